"""What an earlier owner of a partition left behind, and what must be believed of it.

It exists because everything about exactly-once after a crash hangs on this one decision; so it is pure, and each case
says why. It refuses to know how the facts were read: that the writer was started first, and so the earlier owner
fenced, is the caller's promise.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapter.stream.ledger import Run
from adapter.stream.metadata import Unreadable, read
from adapter.stream.port import Commit, LogRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """Where and how a partition is taken up.

    `offset`: where reading starts. `settled`: runs beyond it that are done. `possibly_sent_until`: records below it
    that are not settled may have been sent. `mixed_until`: those below it under another fingerprint.
    `reserved_until`: the commit already tells a next owner that everything below may have been sent, so we may.
    `moved`: the commit says something wrong about the log as it is now, and is to be overwritten at once.
    `remark`: what an operator should know, if anything.
    """

    offset: int
    settled: tuple[Run, ...] = ()
    possibly_sent_until: int = 0
    mixed_until: int = 0
    reserved_until: int = 0
    moved: bool = False
    remark: str | None = None


def inherit(commit: Commit | None, log: LogRange, *, cluster_id: str, fingerprint: str) -> Inheritance:
    """What to believe, given the group's commit and the log's range, both read after the earlier owner was fenced.

    `fingerprint` is the short one of the new owner.
    """
    if commit is None:
        # "A consumer group that has never committed has sent nothing" (contract, section 4): reservations are commits.
        return Inheritance(offset=log.start)
    if commit.offset > log.end:
        return Inheritance(
            offset=log.start,
            possibly_sent_until=log.end,
            mixed_until=log.end,
            moved=True,
            remark=f"committed offset {commit.offset} is beyond the log's end {log.end}: the topic was made anew or "
            f"lost records; reading starts at the earliest, and everything up to the end may have been sent",
        )
    note = read(commit.metadata, cluster_id=cluster_id, committed=commit.offset)
    if isinstance(note, Unreadable):
        return Inheritance(
            offset=max(commit.offset, log.start),
            possibly_sent_until=log.end,
            mixed_until=log.end,
            remark=f"nothing is known beyond committed offset {commit.offset} ({note.why}): everything up to the log's "
            f"end {log.end} may have been sent",
        )
    ours = note.fingerprint == fingerprint
    return Inheritance(
        offset=max(commit.offset, log.start),
        settled=note.settled,
        possibly_sent_until=note.reserved_until,
        mixed_until=note.mixed_until if ours else note.reserved_until,
        # Under another fingerprint nothing may be sent before a commit names it: the next owner would take what we
        # send for something that was sent under the old one.
        reserved_until=note.reserved_until if ours else 0,
        remark=None
        if commit.offset >= log.start
        else f"records from committed offset {commit.offset} to {log.start} are gone: retention was shorter than the "
        f"time they waited",
    )
