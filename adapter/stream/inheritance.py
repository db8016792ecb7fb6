"""What an earlier owner of a partition left behind, and what must be believed of it.

It exists because everything about exactly-once after a crash hangs on this one decision; so it is pure, and each case
says why. It refuses to know how the facts were read: that the writer was started first, and so the earlier owner
fenced, is the caller's promise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from adapter.stream.ledger import Run
from adapter.stream.metadata import CommitNote, Unreadable, read
from adapter.stream.port import Commit, LogRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """Where and how a partition is taken up.

    `offset`: where reading starts. `settled`: runs beyond it that are done. `possibly_sent_until`: records below it
    that are not settled may have been sent. `mixed_until`: those below it under another fingerprint.
    `reserved_until`: the commit already tells a next owner that everything below may have been sent, so we may.
    `moved`: the commit says something wrong about the log as it is now, or there is none, and one is due at once.
    `unsure`: what was read may be wrong for a moment, and is to be read again. `lost`: so many offsets that nobody
    settled are gone. `remark`: what an operator should know, if anything.
    """

    offset: int
    settled: tuple[Run, ...] = ()
    possibly_sent_until: int = 0
    mixed_until: int = 0
    reserved_until: int = 0
    moved: bool = False
    unsure: bool = False
    lost: int = 0
    remark: str | None = None


def inherit(
    commit: Commit | None, log: LogRange, *, cluster_id: str, fingerprint: str, written_before: bool = False
) -> Inheritance:
    """What to believe, given the group's commit and the log's range, both read after the earlier owner was fenced.

    `fingerprint` is the short one of the new owner. `written_before`: there was an earlier owner, as the brokers
    remember its writer.
    """
    if commit is None:
        return _without_a_commit(log, written_before=written_before)
    note = read(commit.metadata, cluster_id=cluster_id, committed=commit.offset)
    if isinstance(note, CommitNote) and note.log_id and log.log_id and note.log_id != log.log_id:
        return _all_anew(log, f"committed offset {commit.offset} is about a deleted topic of the same name")
    if commit.offset > log.end:
        # A new leader may not know its own end yet.
        why = f"committed offset {commit.offset} is beyond the log's end: the topic was made anew or lost records"
        return _all_anew(log, why, unsure=True)
    if isinstance(note, Unreadable):
        return _without_a_note(commit, log, note.why)
    return _believed(note, log, ours=note.fingerprint == fingerprint)


def _without_a_commit(log: LogRange, *, written_before: bool) -> Inheritance:
    """ "A consumer group that has never committed has sent nothing" (contract, section 4): reservations are commits.

    So the first owner commits at once: a group without a commit whose writer is known had one, and lost it.
    """
    if written_before:
        return _all_anew(log, "the group's committed offset is gone: it was deleted, or expired")
    return Inheritance(offset=log.start, moved=True)


def _all_anew(log: LogRange, why: str, *, unsure: bool = False) -> Inheritance:
    return Inheritance(
        offset=log.start,
        possibly_sent_until=log.end,
        mixed_until=log.end,
        moved=True,
        unsure=unsure,
        remark=f"{why}; reading starts at the earliest record, and everything up to the log's end {log.end} may have "
        f"been sent",
    )


def _without_a_note(commit: Commit, log: LogRange, why: str) -> Inheritance:
    lost = _unsettled(commit.offset, log.start, ())
    return Inheritance(
        offset=max(commit.offset, log.start),
        possibly_sent_until=log.end,
        mixed_until=log.end,
        moved=lost > 0,
        lost=lost,
        remark=f"nothing is known beyond committed offset {commit.offset} ({why}): everything up to the log's "
        f"end {log.end} may have been sent",
    )


def _believed(note: CommitNote, log: LogRange, *, ours: bool) -> Inheritance:
    lost = _unsettled(note.committed, log.start, note.settled)
    return Inheritance(
        offset=max(note.committed, log.start),
        settled=note.settled,
        possibly_sent_until=note.reserved_until,
        mixed_until=note.mixed_until if ours else note.reserved_until,
        # Under another fingerprint nothing may be sent before a commit names it: the next owner would take what we
        # send for something that was sent under the old one.
        reserved_until=note.reserved_until if ours else 0,
        # The loss is told once: the next owner shall not find it again.
        moved=lost > 0,
        lost=lost,
    )


def _unsettled(first: int, past: int, settled: Iterable[Run]) -> int:
    """How many offsets from `first` up to `past` lie in none of the runs."""
    if first >= past:
        return 0
    return past - first - sum(max(0, min(past, end) - max(first, begin)) for begin, end in settled)
