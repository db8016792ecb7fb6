"""Decides about the offsets of one partition: ledger, reservation, possible sends, and the next commit.

Pure, so every decision of the engine about offsets is tested without Kafka, a clock or asyncio.

Theory of operation, for stages that send. A commit *reserves*: no record at or beyond `reserved_until` of the last
commit may be sent, so the next owner knows that what lies beyond was never sent. Reservations are part of commits that
happen anyway, far enough ahead that no record waits for them. The last commit of a clean release has the exact value
instead: one past the highest offset whose send began, or that counted as possibly sent since the take-over and is still
open. The process itself knows each of these records: `own_sends`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from adapter.stream.commit_metadata import LIMIT, CommitMetadata, encode
from adapter.stream.ledger import OffsetLedger
from adapter.stream.recovery import OwnSends, RecoveredState
from adapter.stream.stage import Outcome

MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
"""The most that one transaction publishes: with the default time-out, 280 kB/s are enough for it."""


class CommitBatch(Struct, frozen=True, kw_only=True):
    """One transaction: outcomes by offset, the offset to commit, and its metadata."""

    outcomes: Mapping[int, Outcome]
    offset: int
    metadata: str
    reserved_until: int

    @property
    def fits(self) -> bool:
        """Whether a broker accepts the metadata."""
        return len(self.metadata) <= LIMIT


class PartitionState:
    """The state of partition `name`, taken over with `recovered`.

    `ahead`: how many offsets beyond the requested ones a commit reserves; 0 for a stage that sends nothing.
    """

    def __init__(
        self,
        name: str,
        recovered: RecoveredState,
        *,
        cluster_id: str,
        topic_id: str = "",
        fingerprint: str,
        ahead: int,
        owner: str = "",
    ) -> None:
        self._ledger = OffsetLedger(name, committed=recovered.offset, settled=recovered.settled)
        self._cluster_id = cluster_id
        self._topic_id = topic_id
        self._fingerprint = fingerprint
        self._owner = owner
        self._ahead = ahead
        self._possibly_sent_until = recovered.possibly_sent_until
        self._other_fingerprint_until = recovered.other_fingerprint_until
        self._reserved_until = recovered.reserved_until
        self._requested_until = 0
        self._sent_before = dict(recovered.sent)
        self._sent_now: set[int] = set()
        self._sent_until = max(recovered.sent, default=-1) + 1
        self._finished: dict[int, Outcome] = {}
        self._sizes: dict[int, int] = {}
        self._finished_bytes = 0
        self._commit_outdated = recovered.commit_outdated
        self._committed = recovered.offset

    @property
    def next_offset(self) -> int:
        """The next offset to read."""
        return self._ledger.next_offset

    @property
    def open_count(self) -> int:
        """How many records are open, including finished ones that wait for their commit."""
        return len(self._ledger)

    def pass_over(self, offset: int) -> None:
        """Move the position to `offset`; what was not opened below it is no record."""
        self._ledger.pass_over(offset)

    @property
    def commit_is_behind(self) -> bool:
        """Whether more could be committed than is: what lies in between is settled, or is no record.

        Each transaction ends with a marker, which is never read as a record or settled. A commit that stops before it
        looks like lost records once the log is emptied.
        """
        return self._ledger.committable() > self._committed

    def catch_up(self) -> None:
        """Make the next commit due if the last one is behind; it goes with outcomes if there are any."""
        self._commit_outdated = self._commit_outdated or self.commit_is_behind

    def skip_to(self, offset: int) -> int:
        """Continue at `offset` at the earliest; return how many skipped offsets were neither read nor settled."""
        self._commit_outdated = True
        return self._ledger.skip_to(offset)

    def settled_past(self, offset: int) -> int | None:
        """Return the end of the run in which an earlier owner settled this offset, which is not read yet; None: it did
        not.
        """
        return self._ledger.settled_past(offset)

    def open(self, offset: int) -> bool:
        """Mark a record as read; False if it was settled before and is skipped. Raises OffsetNotOpen."""
        return self._ledger.open(offset)

    def possibly_sent(self, offset: int) -> bool:
        """Whether an earlier owner, or this process during an earlier ownership, may have sent this record."""
        return offset < self._possibly_sent_until or offset in self._sent_before

    def sent_before(self, offset: int) -> datetime | None:
        """The last moment at which this process may have sent this record before it took the partition over again."""
        return self._sent_before.get(offset)

    def own_sends(self, *, fenced_at: datetime, until: datetime) -> OwnSends:
        """Return what is known about sends when the partition is released.

        `fenced_at`: when the earlier owner that may have sent something was fenced. `until`: no send begins after it.
        """
        return OwnSends(
            topic_id=self._topic_id,
            possibly_sent_until=self._possibly_sent_until,
            fenced_at=fenced_at,
            sent=self._sent_before | dict.fromkeys(self._sent_now, until),
        )

    def sent_under_other_fingerprint(self, offset: int) -> bool:
        """Whether this record may have been sent under another fingerprint."""
        return offset < self._other_fingerprint_until

    def request_send(self, offset: int) -> bool:
        """Record that this record is about to be handled; True if its send is reserved, False if a commit is needed
        first.
        """
        self._requested_until = max(self._requested_until, offset + 1)
        return self.reserved(offset)

    def reserved(self, offset: int) -> bool:
        """Whether the last commit allows this record to be sent."""
        return self._ahead == 0 or offset < self._reserved_until

    @property
    def reservation_is_short(self) -> bool:
        """Whether half of what is reserved ahead is used up: without a commit, records will soon wait for one."""
        return self._requested_until + self._ahead // 2 > self._reserved_until and self._ahead > 0

    def mark_possibly_sent(self, offset: int) -> None:
        """Count this record as possibly sent from the next commit on: its send begins, or it follows one that may have
        been sent.
        """
        self._sent_now.add(offset)
        self._sent_until = max(self._sent_until, offset + 1)

    def finish(self, offset: int, outcome: Outcome) -> None:
        """Keep a record's outcome for the next commit; a later outcome for the same offset replaces it.

        Raises OffsetNotOpen, before anything contradictory is written.
        """
        self._ledger.check_open(offset)
        self._finished[offset] = outcome
        self._forget_size(offset)
        size = 0
        for producer_record in outcome.records:
            size += producer_record.size
        self._sizes[offset] = size
        self._finished_bytes += size

    def withdraw(self, offset: int) -> None:
        """Remove an outcome that cannot be published: the record stays open until the partition is taken over again."""
        del self._finished[offset]
        self._forget_size(offset)

    def _forget_size(self, offset: int) -> None:
        self._finished_bytes -= self._sizes.pop(offset, 0)

    def finished(self) -> Mapping[int, Outcome]:
        """The outcomes that are not committed yet."""
        return self._finished

    @property
    def finished_bytes(self) -> int:
        """How many bytes these outcomes publish."""
        return self._finished_bytes

    def unfinished(self) -> Iterator[int]:
        """The open offsets without an outcome, the oldest first."""
        return (offset for offset in self._ledger if offset not in self._finished)

    def next_commit(self, *, final: bool = False, max_bytes: int | None = None) -> CommitBatch | None:
        """Return the commit that is due now, even if its metadata is too long; None if none is due.

        `final`: no record of this partition is sent any more, so the reservation shrinks to the exact value.
        `max_bytes`: only the oldest outcomes that publish no more than that, but at least one.
        """
        lacks_reservation = self._ahead > 0 and self._requested_until > self._reserved_until and not final
        shrinks = final and self._reservation(self._ledger.committable(), final=True) < self._reserved_until
        is_behind = final and self.commit_is_behind
        if not (self._finished or lacks_reservation or shrinks or is_behind or self._commit_outdated):
            return None
        return self._commit(self._oldest(max_bytes), final=final)

    def _oldest(self, max_bytes: int | None) -> dict[int, Outcome]:
        if max_bytes is None or self._finished_bytes <= max_bytes:
            return dict(self._finished)
        chosen: dict[int, Outcome] = {}
        total = 0
        for offset in sorted(self._finished):
            total += self._sizes[offset]
            if chosen and total > max_bytes:
                break
            chosen[offset] = self._finished[offset]
        return chosen

    def bytes_of(self, batch: CommitBatch) -> int:
        """How many bytes a batch publishes that is not settled yet."""
        return sum(self._sizes[offset] for offset in batch.outcomes)

    def next_commit_that_fits(self, *, final: bool = False) -> CommitBatch | None:
        """Return the commit that is due now with metadata that fits, with only the oldest outcomes if necessary."""
        batch = self.next_commit(final=final)
        while batch is not None and not batch.fits:
            oldest = sorted(batch.outcomes)[: len(batch.outcomes) // 2]
            if not batch.outcomes:
                return None
            batch = self._commit({offset: batch.outcomes[offset] for offset in oldest}, final=final)
        return batch

    def settle(self, batch: CommitBatch) -> None:
        """Settle the records of a committed batch."""
        for offset in batch.outcomes:
            self._ledger.settle(offset)
            del self._finished[offset]
            self._forget_size(offset)
            self._sent_before.pop(offset, None)
            self._sent_now.discard(offset)
        self._reserved_until = batch.reserved_until
        self._committed = batch.offset
        self._commit_outdated = False

    def _commit(self, outcomes: dict[int, Outcome], *, final: bool) -> CommitBatch:
        committable_offsets = self._ledger.committable_offsets(outcomes.keys())
        reserved_until = self._reservation(committable_offsets.committable, final=final)
        metadata = CommitMetadata(
            cluster_id=self._cluster_id,
            topic_id=self._topic_id,
            committed=committable_offsets.committable,
            reserved_until=reserved_until,
            other_fingerprint_until=self._other_fingerprint_until
            if committable_offsets.committable < self._other_fingerprint_until
            else 0,
            fingerprint=self._fingerprint,
            owner=self._owner,
            settled=committable_offsets.settled,
        )
        return CommitBatch(
            outcomes=outcomes,
            offset=committable_offsets.committable,
            metadata=encode(metadata),
            reserved_until=reserved_until,
        )

    def _reservation(self, committable: int, *, final: bool) -> int:
        # Records possibly sent before the take-over stay so for the next owner too, as long as one of them is open.
        doubts = max(self._sent_until, self._possibly_sent_until if committable < self._possibly_sent_until else 0)
        if final or self._ahead == 0:
            return doubts
        # It never shrinks while sends are possible: one may begin under the old value during the commit of the new one.
        wanted = self._requested_until + self._ahead if self._requested_until else 0
        return max(doubts, wanted, self._reserved_until)
