"""What an earlier owner of a partition left behind, and what must be believed of it.

It exists because everything about exactly-once after a crash hangs on this one decision; so it is pure, and each case
says why. It refuses to know how the facts were read: that the writer was started first, and so the earlier owner
fenced, is the caller's promise.

A process often takes over a partition that it held itself a moment ago: after a failed transaction, an outage, or a
rebalance. Then it knows which records it sent (`OwnSends`), and doubts no others, **if no other process can have sent
anything in between**. The name of the owner in the commit's note proves that:

1. A process may send a record only below `reserved_until` of a commit that is its own. It takes over with
   `reserved_until` 0 unless the note names it already, so its first send comes after a commit that names it.
2. The commit is read after this process has started the partition's writer. That fences every other owner: none can
   commit after the reading, so none that had not committed before can ever send.
3. So if the note still names this process, every other owner since its last commit has sent nothing and never will.
   This holds for one that is frozen with the partition in hand and wakes up later. It needs no generation of the group
   and no epoch of the writer: both can start again, when a group was empty or a transactional id has expired.
4. What an owner *before* it could have sent was in doubt when it took over from that one, and stays so in `OwnSends`.

If the note names another process, is missing or cannot be believed, what this process knows is worth nothing: doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from adapter.stream.commit_metadata import CommitMetadata, NoMetadata, decode
from adapter.stream.ledger import Run
from adapter.stream.port import Commit, OffsetRange


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSends:
    """What a process knows of the unsettled records of a partition that it held until now.

    `topic_id`: the log that it held. `possibly_sent_until`: records below it may have been sent by an owner before it,
    the last one of which was fenced at `fenced_at`. `sent`: those that may have been sent by this process, and the last
    moment at which they can have been. No other one was sent before the partition was given up.
    """

    topic_id: str
    possibly_sent_until: int
    fenced_at: datetime
    sent: Mapping[int, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredState:
    """Where and how a partition is taken up.

    `offset`: where reading starts. `settled`: runs beyond it that are done. `possibly_sent_until`: records below it
    that are not settled may have been sent. `other_fingerprint_until`: those below it under another fingerprint.
    `reserved_until`: the commit already tells a next owner that everything below may have been sent, so we may.
    `commit_outdated`: the commit says something wrong about the log as it is now, or there is none, and one is due at
    once. `sent`: those that this process may have sent, and when at the latest. `fenced_at`: when the last owner was
    fenced that can have sent what lies below `possibly_sent_until`; None: just now. `proven`: no other process has sent
    anything since this one gave the partition up. `retry_read`: what was read may be wrong for a moment, and is to be
    read again. `lost`: so many offsets that nobody settled are gone. `remark`: what an operator should know, if
    anything.
    """

    offset: int
    settled: tuple[Run, ...] = ()
    possibly_sent_until: int = 0
    other_fingerprint_until: int = 0
    reserved_until: int = 0
    sent: Mapping[int, datetime] = field(default_factory=dict)
    fenced_at: datetime | None = None
    proven: bool = False
    commit_outdated: bool = False
    retry_read: bool = False
    lost_count: int = 0
    warning: str | None = None


def recover(
    commit: Commit | None,
    log: OffsetRange,
    *,
    cluster_id: str,
    fingerprint: str,
    written_before: bool = False,
    owner: str = "",
    own: OwnSends | None = None,
) -> RecoveredState:
    """What to believe, given the group's commit and the log's range, both read after the earlier owner was fenced.

    `fingerprint` is the short one of the new owner. `written_before`: there was an earlier owner, as the brokers
    remember its writer. `owner` is the new owner's name in notes, and `own` what it knows if it held the partition
    before.
    """
    if commit is None:
        return _without_a_commit(log, written_before=written_before)
    metadata = decode(commit.metadata, cluster_id=cluster_id, committed=commit.offset)
    if (
        isinstance(metadata, CommitMetadata)
        and metadata.topic_id
        and log.topic_id
        and metadata.topic_id != log.topic_id
    ):
        return _everything_in_doubt(log, f"committed offset {commit.offset} is about a deleted topic of the same name")
    if commit.offset > log.end:
        # A new leader may not know its own end yet.
        why = f"committed offset {commit.offset} is beyond the log's end: the topic was made anew or lost records"
        return _everything_in_doubt(log, why, retry_read=True)
    if isinstance(metadata, NoMetadata):
        return _without_metadata(commit, log, metadata.why)
    believed = _believed(
        metadata, log, same_plan=metadata.fingerprint == fingerprint, same_owner=metadata.owner == owner
    )
    if own is None or metadata.owner != owner or own.topic_id != log.topic_id:
        return believed
    return replace(
        believed,
        possibly_sent_until=own.possibly_sent_until,
        fenced_at=own.fenced_at,
        sent=own.sent,
        proven=True,
    )


def _without_a_commit(log: OffsetRange, *, written_before: bool) -> RecoveredState:
    """ "A consumer group that has never committed has sent nothing" (contract, section 4): reservations are commits.

    So the first owner commits at once: a group without a commit whose writer is known had one, and lost it.
    """
    if written_before:
        return _everything_in_doubt(log, "the group's committed offset is gone: it was deleted, or expired")
    return RecoveredState(offset=log.start, commit_outdated=True)


def _everything_in_doubt(log: OffsetRange, why: str, *, retry_read: bool = False) -> RecoveredState:
    return RecoveredState(
        offset=log.start,
        possibly_sent_until=log.end,
        other_fingerprint_until=log.end,
        commit_outdated=True,
        retry_read=retry_read,
        warning=f"{why}; reading starts at the earliest record, and everything up to the log's end {log.end} may have "
        f"been sent",
    )


def _without_metadata(commit: Commit, log: OffsetRange, why: str) -> RecoveredState:
    lost = _unsettled(commit.offset, log.start, ())
    return RecoveredState(
        offset=max(commit.offset, log.start),
        possibly_sent_until=log.end,
        other_fingerprint_until=log.end,
        commit_outdated=lost > 0,
        lost_count=lost,
        warning=f"nothing is known beyond committed offset {commit.offset} ({why}): everything up to the log's "
        f"end {log.end} may have been sent",
    )


def _believed(metadata: CommitMetadata, log: OffsetRange, *, same_plan: bool, same_owner: bool) -> RecoveredState:
    lost = _unsettled(metadata.committed, log.start, metadata.settled)
    return RecoveredState(
        offset=max(metadata.committed, log.start),
        settled=metadata.settled,
        possibly_sent_until=metadata.reserved_until,
        other_fingerprint_until=metadata.other_fingerprint_until if same_plan else metadata.reserved_until,
        # Nothing may be sent before a commit names the owner (see above) and the fingerprint: the next owner would take
        # what is sent now for something that was sent under the old one.
        reserved_until=metadata.reserved_until if same_plan and same_owner else 0,
        # The loss is told once: the next owner shall not find it again.
        commit_outdated=lost > 0,
        lost_count=lost,
    )


def _unsettled(first: int, past: int, settled: Iterable[Run]) -> int:
    """How many offsets from `first` up to `past` lie in none of the runs."""
    if first >= past:
        return 0
    return past - first - sum(max(0, min(past, end) - max(first, begin)) for begin, end in settled)
