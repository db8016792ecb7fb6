"""Reads a topic whose records are acknowledged one by one, such as the dead letters.

A person handles some records today and others next week, and none twice. What a consumer group has acknowledged is its
commit of each partition, with the settled runs beyond the offset in the commit's metadata, as for a stage
(`partition_state`, `commit_metadata`). What is published about a record goes into the same transaction. A new claim
fences the earlier one, so of two people at once one gets an error and nothing happens twice.

Brokers delete the commits of a group without members after a while (`offsets.retention.minutes`, a week by default).
Such a partition is reported as `forgotten`, and all its records count as open.

Does not join a group: no partition is assigned.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from adapter.errors import StreamError
from adapter.stream.commit_metadata import new_owner, short_fingerprint
from adapter.stream.partition_state import MAX_TRANSACTION_BYTES, CommitBatch, PartitionState
from adapter.stream.port import (
    BatchTooLarge,
    Commit,
    Kafka,
    KafkaClientError,
    Member,
    OffsetRange,
    RecordsTooLarge,
    TopicPartition,
    TransactionalProducer,
)
from adapter.stream.records import ProducerRecord
from adapter.stream.recovery import RecoveredState, recover
from adapter.stream.stage import Outcome
from adapter.values import replace

_FINGERPRINT = short_fingerprint("")


class PendingOffsets(Struct, frozen=True):
    """The open offsets of a partition."""

    open: frozenset[int]
    forgotten: bool
    """No usable commit says which records were acknowledged before."""


class FirstPending(Struct, frozen=True, kw_only=True):
    """Where the open records of a partition begin."""

    offset: int
    """Everything before it is acknowledged, or deleted."""
    end: int
    """The end of the log."""
    acknowledged: tuple[tuple[int, int], ...]
    """Runs of acknowledged offsets beyond it, each from one offset up to, and without, another."""
    forgotten: bool
    """See `PendingOffsets`."""

    def is_open(self, offset: int) -> bool:
        """Whether a record at this offset, which is not before `offset`, is open."""
        return not any(first <= offset < past for first, past in self.acknowledged)


async def first_pending(member: Member, partition: TopicPartition) -> FirstPending:
    """Return where the open records of a partition begin, without reading any.

    Raises KafkaClientError, BrokerUnavailable.
    """
    recovered, offset_range, forgotten, _ = await _recovered(member, partition)
    return FirstPending(
        offset=recovered.offset, end=offset_range.end, acknowledged=tuple(recovered.settled), forgotten=forgotten
    )


async def _recovered(
    member: Member, partition: TopicPartition
) -> tuple[RecoveredState, OffsetRange, bool, Commit | None]:
    """What the group's commit says, the log's range, whether the commit is forgotten, and the commit."""
    commit = await member.committed(partition)
    offset_range = await member.offset_range(partition)
    recovered = recover(commit, offset_range, cluster_id=member.cluster_id, fingerprint=_FINGERPRINT)
    # Nothing is ever sent from here, so only an unusable commit can say that something may have been sent.
    forgotten = commit is None or recovered.possibly_sent_until > 0
    return recovered, offset_range, forgotten, commit


class AcknowledgedTopic:
    """A topic, and the partition and offset of each of its records that were read."""

    def __init__(self, member: Member, topic: str, records: Iterable[tuple[int, int]]) -> None:
        self._member = member
        self._topic = topic
        self._offsets: dict[int, list[int]] = {}
        for partition, offset in sorted(records):
            self._offsets.setdefault(partition, []).append(offset)

    async def pending_offsets(self) -> dict[int, PendingOffsets]:
        """Return the open records by partition, without fencing anyone. Raises KafkaClientError, BrokerUnavailable."""
        found = {}
        for number in self._offsets:
            state, forgotten, _ = await self._state(number)
            found[number] = PendingOffsets(frozenset(state.unfinished()), forgotten)
        return found

    @asynccontextmanager
    async def claim(self, number: int) -> AsyncIterator[PartitionClaim]:
        """Claim this partition in order to acknowledge records, which fences an earlier claim. Raises KafkaClientError,
        BrokerUnavailable.
        """
        partition = TopicPartition(self._topic, number)
        producer = await self._member.start_producer(partition)
        try:
            state, forgotten, commit = await self._state(number)
        except BaseException:
            producer.abort()
            raise
        claim = PartitionClaim(self._member, partition, state, producer, commit, forgotten=forgotten)
        try:
            yield claim
        finally:
            claim.end()

    async def _state(self, number: int) -> tuple[PartitionState, bool, Commit | None]:
        partition = TopicPartition(self._topic, number)
        recovered, offset_range, forgotten, commit = await _recovered(self._member, partition)
        recovered = replace(recovered, possibly_sent_until=0, other_fingerprint_until=0, reserved_until=0)
        state = PartitionState(
            str(partition),
            recovered,
            cluster_id=self._member.cluster_id,
            topic_id=offset_range.topic_id,
            fingerprint=_FINGERPRINT,
            ahead=0,
            owner=new_owner(),  # no other process may write commits under this name
        )
        for offset in self._offsets.get(number, ()):
            if offset >= recovered.offset:
                state.open(offset)
        return state, forgotten, commit


class PartitionClaim:
    """One claimed partition."""

    def __init__(
        self,
        member: Member,
        partition: TopicPartition,
        state: PartitionState,
        producer: TransactionalProducer,
        commit: Commit | None,
        *,
        forgotten: bool,
    ) -> None:
        self.forgotten = forgotten
        self._commit = commit
        self._member = member
        self._partition = partition
        self._state = state
        self._producer = producer
        self._fenced = False
        self._open = set(state.unfinished())

    def is_open(self, offset: int) -> bool:
        """Whether the record at this offset has not been acknowledged."""
        return offset in self._open

    def mark_acknowledged(self, offsets: Iterable[int]) -> None:
        """Include these open records, which were acknowledged before, in the next transaction."""
        for offset in offsets:
            self._finish(offset, Outcome())

    async def acknowledge(self, outcomes: Mapping[int, Outcome]) -> frozenset[int]:
        """Acknowledge open records and publish their outcomes in one transaction; return the acknowledged offsets.

        Acknowledges only the oldest records if the commit's metadata has no room for more, or if one transaction would
        be too large.

        Raises StreamError if there is room for none, if a topic rejects a record, or if the partition was claimed by
        another process. In the last case it is unknown whether the transaction was committed; the next read shows it.
        """
        for offset, outcome in outcomes.items():
            self._finish(offset, outcome)
        batch = self._state.next_commit(max_bytes=MAX_TRANSACTION_BYTES)
        if batch is not None and not batch.fits:
            batch = self._state.next_commit_that_fits()
        if batch is None or not batch.outcomes.keys() & outcomes.keys():
            self._withdraw(outcomes)
            raise StreamError(
                f"The commit metadata of {self._partition} has no room left for acknowledged records beyond the oldest "
                "open one. Nothing was done. Handle the oldest records first."
            )
        await self._publish(batch)
        self._state.settle(batch)
        self._commit = Commit(offset=batch.offset, metadata=batch.metadata)
        self._withdraw(outcomes.keys() - batch.outcomes.keys())
        return frozenset(outcomes.keys() & batch.outcomes.keys())

    async def _publish(self, batch: CommitBatch) -> None:
        producer_records = [each for outcome in batch.outcomes.values() for each in outcome.records]
        try:
            await self._write(producer_records, batch)
        except RecordsTooLarge as error:
            self._withdraw(batch.outcomes)
            await self._restart_producer()
            topics = ", ".join(sorted({producer_records[index].topic for index in error.indexes}))
            raise StreamError(
                f"A record is larger than max.message.bytes of {topics}, so no record of its transaction was written. "
                "Raise max.message.bytes (`ecticket-adapter topics` shows the value), then run the command again."
            ) from error
        except KafkaClientError as error:
            self._fenced = True
            raise self._concurrent_use() from error

    async def _write(self, producer_records: Sequence[ProducerRecord], batch: CommitBatch) -> None:
        """Publish, with a smaller batch size after each rejected batch of records that may each be small enough."""
        while True:
            try:
                await self._producer.publish(producer_records, offset=batch.offset, metadata=batch.metadata)
            except BatchTooLarge:
                await self._restart_producer()
            else:
                return

    async def _restart_producer(self) -> None:
        """End the open transaction now: until its time-out, readers could not read past it.

        Raises StreamError if another process has acknowledged records in the meantime, because this claim is then
        outdated.
        """
        self._producer.abort()
        self._producer = await self._member.start_producer(self._partition)
        if await self._member.committed(self._partition) != self._commit:
            self._fenced = True
            raise self._concurrent_use()

    def _concurrent_use(self) -> StreamError:
        return StreamError(
            f"The transaction for {self._partition} failed: another process is handling the same records, or a broker "
            "became unavailable. Run the command again: it reads what was committed and repeats nothing."
        )

    def end(self) -> None:
        """Release the claim."""
        if self._fenced:
            self._producer.abort()
        else:
            self._producer.close()

    def _finish(self, offset: int, outcome: Outcome) -> None:
        self._state.finish(offset, outcome)
        self._open.discard(offset)

    def _withdraw(self, offsets: Iterable[int]) -> None:
        for offset in list(offsets):
            self._state.withdraw(offset)
            self._open.add(offset)


@asynccontextmanager
async def open_acknowledged_topic(
    kafka: Kafka, *, topic: str, group: str, records: Iterable[tuple[int, int]]
) -> AsyncIterator[AcknowledgedTopic]:
    """Open `topic` with the state that `group` has committed; `records` are the partition and offset of each record
    read.

    Raises BrokerUnavailable, KafkaClientError.
    """
    member = await kafka.connect(group)
    try:
        yield AcknowledgedTopic(member, topic, records)
    finally:
        await member.leave()
