"""A topic from which a person takes records one by one, and that remembers which were taken.

It exists for the dead letters: some are dealt with today, others next week, and none twice. What was dealt with is a
consumer group's commit of each partition, with the settled runs beyond it in the commit's metadata, exactly as that of
a stage (`books`, `metadata`); and what is published about a record goes into the same transaction. Whoever begins to
take fences whoever took before, so of two people at once one is told so and nothing happens twice.

Brokers forget the commits of a group without members after a while (`offsets.retention.minutes`, a week by default).
That is told (`forgotten`) and not hidden: then every record counts as open.

It refuses to know what the records are, and it joins no group: nobody is assigned anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from adapter.errors import StreamError
from adapter.stream.commit_metadata import new_owner, short_fingerprint
from adapter.stream.committer import MOST_TRANSACTION_BYTES
from adapter.stream.partition_state import CommitBatch, PartitionState
from adapter.stream.port import (
    BatchTooLarge,
    Commit,
    Kafka,
    KafkaClientError,
    Member,
    RecordsTooLarge,
    TopicPartition,
    TransactionalProducer,
)
from adapter.stream.records import ProducerRecord
from adapter.stream.recovery import recover
from adapter.stream.stage import Outcome

_FINGERPRINT = short_fingerprint("")


@dataclass(frozen=True, slots=True)
class PendingOffsets:
    """Which offsets of a partition are open; `forgotten`: no commit says which of them were taken before."""

    open: frozenset[int]
    forgotten: bool


class AcknowledgedTopic:
    """The topic as it was read: `records` are the partition and the offset of each."""

    def __init__(self, member: Member, topic: str, records: Iterable[tuple[int, int]]) -> None:
        self._member = member
        self._topic = topic
        self._offsets: dict[int, list[int]] = {}
        for partition, offset in sorted(records):
            self._offsets.setdefault(partition, []).append(offset)

    async def pending_offsets(self) -> dict[int, PendingOffsets]:
        """Which records are open, by partition; nobody is disturbed. Raises KafkaTrouble, BrokerAway."""
        found = {}
        for number in self._offsets:
            state, forgotten, _ = await self._state(number)
            found[number] = PendingOffsets(frozenset(state.unfinished()), forgotten)
        return found

    @asynccontextmanager
    async def claim(self, number: int) -> AsyncIterator[PartitionClaim]:
        """Take records of this partition, which fences whoever did so before. Raises KafkaTrouble, BrokerAway."""
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
        commit = await self._member.committed(partition)
        offset_range = await self._member.offset_range(partition)
        cluster_id = self._member.cluster_id
        recovered = recover(commit, offset_range, cluster_id=cluster_id, fingerprint=_FINGERPRINT)
        # Nothing is ever sent from here: only an unbelievable commit says that something may have been.
        forgotten = commit is None or recovered.possibly_sent_until > 0
        recovered = replace(recovered, possibly_sent_until=0, other_fingerprint_until=0, reserved_until=0)
        state = PartitionState(
            str(partition),
            recovered,
            cluster_id=cluster_id,
            topic_id=offset_range.topic_id,
            fingerprint=_FINGERPRINT,
            ahead=0,
            owner=new_owner(),  # so that no commit of anybody else's looks like one of these
        )
        for offset in self._offsets.get(number, ()):
            if offset >= recovered.offset:
                state.open(offset)
        return state, forgotten, commit


class PartitionClaim:
    """One partition of which records are being taken."""

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
        """Whether nobody has taken the record at this offset."""
        return offset in self._open

    def mark_acknowledged(self, offsets: Iterable[int]) -> None:
        """Let the next transaction say that these open records were taken before."""
        for offset in offsets:
            self._finish(offset, Outcome())

    async def acknowledge(self, outcomes: Mapping[int, Outcome]) -> frozenset[int]:
        """Take open records and publish what comes of them, in one transaction; returns the offsets that were taken.

        Fewer than were given where the commit has no room for more, or one transaction would be too large: the oldest
        first. Raises StreamError when it has
        room for none, when a topic does not take what is to be published, and when somebody else has begun to take:
        in the last case it is not known whether it happened, but whoever looks again sees it.
        """
        for offset, outcome in outcomes.items():
            self._finish(offset, outcome)
        batch = self._state.next_commit(most_bytes=MOST_TRANSACTION_BYTES)
        if batch is not None and not batch.fits:
            batch = self._state.next_commit_that_fits()
        if batch is None or not batch.outcomes.keys() & outcomes.keys():
            self._withdraw(outcomes)
            raise StreamError(
                f"The commit of {self._partition} has no room left to say which of its records beyond the oldest "
                "open one were dealt with. Nothing was done; deal with the oldest ones first."
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
                f"A record is larger than {topics} takes, so nothing was done about it and those it was to go with. "
                "Raise max.message.bytes (`ecticket-adapter topics` says to how much), then run the command again."
            ) from error
        except KafkaClientError as error:
            self._fenced = True
            raise self._concurrent_use() from error

    async def _write(self, producer_records: Sequence[ProducerRecord], batch: CommitBatch) -> None:
        """With smaller batches each time that a topic refuses one of records that may each be small enough."""
        while True:
            try:
                await self._producer.publish(producer_records, offset=batch.offset, metadata=batch.metadata)
            except BatchTooLarge:
                await self._restart_producer()
            else:
                return

    async def _restart_producer(self) -> None:
        """End the transaction that is under way now: until its time-out nobody could read beyond it.

        Raises StreamError when somebody else has taken records meanwhile: what is known here is not true any more.
        """
        self._producer.abort()
        self._producer = await self._member.start_producer(self._partition)
        if await self._member.committed(self._partition) != self._commit:
            self._fenced = True
            raise self._concurrent_use()

    def _concurrent_use(self) -> StreamError:
        return StreamError(
            f"Writing about {self._partition} failed: somebody else is dealing with the same records at this moment, "
            "or a broker went away. Run the command again: it sees what was done, and repeats nothing."
        )

    def end(self) -> None:
        """Take no more."""
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
    """The `records` that were read of `topic`, each a partition and an offset, as `group` remembers it.

    Raises BrokerAway, KafkaTrouble.
    """
    member = await kafka.connect(group)
    try:
        yield AcknowledgedTopic(member, topic, records)
    finally:
        await member.leave()
