"""Commits the outcomes of one partition with its offset, one transaction after another.

A commit hands off records if its metadata is too long, then publishes, and settles only after that. If a transaction
fails, the caller drops the partition.

Batches form by themselves: what finishes while one transaction runs goes into the next, up to a number of bytes. At a
low pace they form while the first outcome lingers (`commit_linger`).

A transaction that timed out would time out again, so after a failure the next transactions of its partition are
smaller, down to one outcome. They grow again while they succeed.
"""

from __future__ import annotations

import logging
import time
from typing import Generic, TypeVar

from adapter.errors import OutcomeTooLarge
from adapter.stream.observer import StreamObserver
from adapter.stream.owned_partition import OwnedPartition
from adapter.stream.partition_state import MAX_TRANSACTION_BYTES, CommitBatch
from adapter.stream.port import BatchTooLarge, KafkaClientError, RecordsTooLarge, TopicPartition
from adapter.stream.records import ProducerRecord
from adapter.stream.revoked_work import MAX_REFUSALS
from adapter.stream.scheduler import RecordScheduler
from adapter.stream.stage import Stage

S = TypeVar("S")

log = logging.getLogger(__name__)

HAND_OFF_ABOVE = 3600
"""If a commit's metadata is longer than this (bytes, of 4,096), the oldest open records are handed off ..."""

HAND_OFF_DOWN_TO = 2700
"""... until it is this short, so that this does not happen at every commit."""

_MIN_GROWTH_BYTES = 16 * 1024


class Committer(Generic[S]):
    """Commits the partitions of one stage."""

    def __init__(self, stage: Stage[S], scheduler: RecordScheduler[S], observer: StreamObserver) -> None:
        self._stage = stage
        self._scheduler = scheduler
        self._observer = observer
        self._max_bytes: dict[TopicPartition, int] = {}

    async def keep_committing(self, owned: OwnedPartition[S]) -> None:
        """Commit whenever a commit is due, until the partition is closing; the last commit has the exact reservation.

        Raises KafkaClientError if a transaction failed: the caller drops the partition.
        """
        while not owned.closing:
            await owned.commit_due.wait()
            owned.commit_due.clear()
            await self._commit(owned)
        while owned.state.finished() and await self._commit(owned):
            pass
        await self._commit(owned, final=True)

    async def _commit(self, owned: OwnedPartition[S], *, final: bool = False) -> int:
        """Run one transaction if one is due; return how many records it settled."""
        batch = self._next_batch(owned, final=final)
        if batch is None:
            return 0
        began = time.perf_counter()
        left_over = len(batch.outcomes) < len(owned.state.finished())
        try:
            produced = await self._publish(owned, batch)
        except BatchTooLarge:
            raise
        except KafkaClientError:
            self._shrink(owned.partition, owned.state.bytes_of(batch))
            raise
        except RecordsTooLarge as refusal:
            self._replace(owned, batch, refusal)
            raise KafkaClientError("a topic rejects an outcome as too large; the outcome is replaced") from refusal
        self._observer.transaction_took(self._stage.name, time.perf_counter() - began)
        self._grow(owned.partition)
        self._settle(owned, batch, produced, left_over=left_over)
        return len(batch.outcomes)

    def _next_batch(self, owned: OwnedPartition[S], *, final: bool) -> CommitBatch | None:
        max_bytes = self._max_bytes.get(owned.partition, MAX_TRANSACTION_BYTES)
        batch = owned.state.next_commit(final=final, max_bytes=max_bytes)
        if batch is None or len(batch.metadata) <= HAND_OFF_ABOVE:
            return batch
        self._hand_off(owned, final=final)
        batch = owned.state.next_commit(final=final, max_bytes=max_bytes)
        # Fewer outcomes make longer metadata: metadata that is too long for few of them may fit with all.
        return batch if batch is not None and batch.fits else owned.state.next_commit_that_fits(final=final)

    def _shrink(self, partition: TopicPartition, size: int) -> None:
        """Limit the next transaction to half of what this one failed to publish."""
        self._max_bytes[partition] = size // 2
        log.debug("transaction-shrunk", extra={**partition._asdict(), "bytes": size, "max_bytes": size // 2})

    def _grow(self, partition: TopicPartition) -> None:
        if partition in self._max_bytes:
            max_bytes = self._max_bytes[partition]
            self._max_bytes[partition] = max_bytes + max(max_bytes // 4, _MIN_GROWTH_BYTES)
            if self._max_bytes[partition] >= MAX_TRANSACTION_BYTES:
                del self._max_bytes[partition]

    async def _publish(self, owned: OwnedPartition[S], batch: CommitBatch) -> int:
        produced: list[ProducerRecord] = []
        for outcome in batch.outcomes.values():
            produced.extend(outcome.records)
        await owned.producer.publish(produced, offset=batch.offset, metadata=batch.metadata)
        return len(produced)

    def _settle(self, owned: OwnedPartition[S], batch: CommitBatch, produced: int, *, left_over: bool) -> None:
        """Settle a batch that is committed; `left_over`: it had no room for some outcomes."""
        owned.state.settle(batch)
        owned.has_committed = True
        for offset in batch.outcomes:
            item = owned.items[offset]
            self._scheduler.revoked_work.settled(item)
            owned.remove_item(item)
        if batch.outcomes:
            self._observer.outcomes_committed(self._stage.name, owned.partition.topic, len(batch.outcomes), produced)
        if left_over:
            owned.request_commit()
        self._scheduler.reserved(owned)

    def _hand_off(self, owned: OwnedPartition[S], *, final: bool) -> None:
        """Shorten the metadata: hand off the oldest open records that have no call under way."""
        while (batch := owned.state.next_commit(final=final)) and len(batch.metadata) > HAND_OFF_DOWN_TO:
            if not self._scheduler.hand_off_oldest(owned, max(32, owned.state.open_count // 16)):
                log.warning("commit-metadata-long", extra={"stage": self._stage.name, **owned.partition._asdict()})
                return

    def _replace(self, owned: OwnedPartition[S], batch: CommitBatch, refusal: RecordsTooLarge) -> None:
        """Ask the stage for smaller outcomes for records whose outcome a topic rejected."""
        owners = [offset for offset, outcome in batch.outcomes.items() for _ in outcome.records]
        for offset in {owners[index] for index in refusal.indexes}:
            item = owned.items[offset]
            refusals = self._scheduler.revoked_work.refused(item)
            error = OutcomeTooLarge(
                f"{item}: its outcome is larger than max.message.bytes of the topic", again=refusals > 1
            )
            outcome = self._scheduler.on_error(item, error, "publish") if refusals <= MAX_REFUSALS else None
            if outcome is None:
                place = {"stage": self._stage.name, **owned.partition._asdict(), "offset": offset}
                log.error("outcome-rejected", extra=place)
                owned.state.withdraw(offset)
            else:
                owned.state.finish(offset, outcome)
