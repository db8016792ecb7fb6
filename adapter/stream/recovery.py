"""Recovers the state of a partition from the group's last commit and the range of its log.

Exactly-once after a crash depends on this one decision, so it is pure, and each case gives its reason. The caller
guarantees that it started the producer before it read these facts, so the earlier owner is fenced.

A process often takes over a partition that it owned itself a moment ago: after a failed transaction, an outage, or a
rebalance. Then it knows which records it sent (`OwnSends`), and no others count as possibly sent, **if no other process
can have sent anything in between**. The owner's name in the commit's metadata proves that:

1. A process may send a record only below `reserved_until` of its own commit. It takes over with `reserved_until` 0
   unless the metadata already names it, so its first send comes after a commit that names it.
2. The commit is read after this process has started the partition's producer, which fences every other owner. None can
   commit after the reading, so none that had not committed before can ever send.
3. So if the metadata still names this process, every other owner since its last commit has sent nothing and never will.
   This holds for an owner that is frozen and wakes up later. It needs no generation of the group and no epoch of the
   producer: both can start from zero again, when a group was empty or a transactional id has expired.
4. What an owner *before* it may have sent counted as possibly sent when it took over from that owner, and stays so in
   `OwnSends`.

If the metadata names another process, is missing or cannot be decoded, what this process knows does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct, field

from adapter.stream.commit_metadata import CommitMetadata, NoMetadata, decode
from adapter.stream.ledger import Run
from adapter.stream.port import Commit, OffsetRange
from adapter.values import replace


class OwnSends(Struct, frozen=True, kw_only=True):
    """What a process knows about the unsettled records of a partition that it has owned until now.

    No other record was sent before the partition was released.
    """

    topic_id: str
    """The topic that it read."""
    possibly_sent_until: int
    """Records below it may have been sent by an earlier owner."""
    fenced_at: datetime
    """When the last of those owners was fenced."""
    sent: Mapping[int, datetime]
    """The records that this process may have sent, each with the last possible moment."""


class RecoveredState(Struct, frozen=True, kw_only=True):
    """The state with which a partition is taken over."""

    offset: int
    """Where reading starts."""
    settled: tuple[Run, ...] = ()
    """Runs beyond `offset` that are settled."""
    possibly_sent_until: int = 0
    """Unsettled records below it may have been sent."""
    other_fingerprint_until: int = 0
    """Records below it may have been sent under another fingerprint."""
    reserved_until: int = 0
    """The commit already makes the next owner count everything below as possibly sent, so this process may send it."""
    sent: Mapping[int, datetime] = field(default_factory=dict)
    """The records that this process may have sent, each with the last possible moment."""
    fenced_at: datetime | None = None
    """When the last owner was fenced that may have sent records below `possibly_sent_until`; None: just now."""
    proven: bool = False
    """No other process has sent anything since this one released the partition."""
    commit_outdated: bool = False
    """The commit is missing or wrong about the present log, so a new one is due at once."""
    retry_read: bool = False
    """What was read may be wrong for a moment, and must be read again."""
    lost_count: int = 0
    """How many unsettled offsets are gone."""
    warning: str | None = None
    """What an operator must know, if anything."""


def recover(
    commit: Commit | None,
    log: OffsetRange,
    *,
    cluster_id: str,
    fingerprint: str,
    had_producer: bool = False,
    owner: str = "",
    own: OwnSends | None = None,
) -> RecoveredState:
    """Return the state to believe, from the group's commit and the log's range, both read after the earlier owner was
    fenced.

    `fingerprint` is the short one of the new owner. `had_producer`: the brokers know an earlier producer, so there
    was an earlier owner. `owner` is the new owner's name in commits, and `own` what it knows if it owned the partition
    before.
    """
    if commit is None:
        return _without_a_commit(log, had_producer=had_producer)
    metadata = decode(commit.metadata, cluster_id=cluster_id, committed=commit.offset)
    if (
        isinstance(metadata, CommitMetadata)
        and metadata.topic_id
        and log.topic_id
        and metadata.topic_id != log.topic_id
    ):
        return _everything_possibly_sent(
            log, f"committed offset {commit.offset} is about a deleted topic of the same name"
        )
    if commit.offset > log.end:
        # A new leader may not know its own end yet.
        why = f"committed offset {commit.offset} is beyond the log's end: the topic was recreated or lost records"
        return _everything_possibly_sent(log, why, retry_read=True)
    if isinstance(metadata, NoMetadata):
        return _without_metadata(commit, log, metadata.why)
    believed = _believed(
        metadata, log, same_fingerprint=metadata.fingerprint == fingerprint, same_owner=metadata.owner == owner
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


def _without_a_commit(log: OffsetRange, *, had_producer: bool) -> RecoveredState:
    """Apply "A consumer group that has never committed has sent nothing" (docs/delivery.md, "Possibly sent"):
    reservations are commits.

    The first owner commits at once, so a group without a commit whose producer is known had one and lost it.
    """
    if had_producer:
        return _everything_possibly_sent(log, "the group's committed offset was deleted or has expired")
    return RecoveredState(offset=log.start, commit_outdated=True)


def _everything_possibly_sent(log: OffsetRange, why: str, *, retry_read: bool = False) -> RecoveredState:
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


def _believed(
    metadata: CommitMetadata, log: OffsetRange, *, same_fingerprint: bool, same_owner: bool
) -> RecoveredState:
    lost = _unsettled(metadata.committed, log.start, metadata.settled)
    return RecoveredState(
        offset=max(metadata.committed, log.start),
        settled=metadata.settled,
        possibly_sent_until=metadata.reserved_until,
        other_fingerprint_until=metadata.other_fingerprint_until if same_fingerprint else metadata.reserved_until,
        # Nothing may be sent before a commit names the owner (see above) and the fingerprint. Otherwise the next owner
        # would believe that it was sent under the old fingerprint.
        reserved_until=metadata.reserved_until if same_fingerprint and same_owner else 0,
        # A loss is reported once: a new commit hides it from the next owner.
        commit_outdated=lost > 0,
        lost_count=lost,
    )


def _unsettled(first: int, past: int, settled: Iterable[Run]) -> int:
    """Return how many offsets from `first` up to `past` lie in none of the runs."""
    if first >= past:
        return 0
    return past - first - sum(max(0, min(past, end) - max(first, begin)) for begin, end in settled)
