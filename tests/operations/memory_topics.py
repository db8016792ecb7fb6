"""Topics in memory, as the ports of operations and of the engine read and write them.

Records keep the coordinates that the harness has given them. What an operation writes can be read afterwards, so that a
story goes on: dead letter, operation, order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from flows.harness import KNOWN_TRADE_NO, Harness
from stream.fake_kafka import FakeCluster, FakeKafka

from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.operations.dead_letter_store import DeadLetterStore
from adapter.stream.port import TopicPartition, UnreadableBatch
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome
from adapter.testing.fakes import TOPICS
from adapter.testing.outcome_reader import OrderEvents

SINCE_THEN = timedelta(hours=12)
"""How long ago a story begins: after all its waits, and before brokers may have forgotten a commit."""


class MemoryTopics:
    """The topics of one cluster, around the harness that fills them; implements `operations.ports.KeyedTopicReader`."""

    def __init__(self, harness: Harness) -> None:
        harness.clock.time = datetime.now(UTC) - SINCE_THEN
        self._harness = harness
        self._taken = 0
        self._reads = 0
        self.cluster = FakeCluster()
        self.cluster.largest = 10_000_000
        self.partition_reads: list[dict[str, frozenset[int]]] = []
        """The partitions of each read of some partitions."""
        self.before_read: dict[int, Callable[[], Awaitable[object]]] = {}
        """What happens before the n-th read to the end, from 1: another command that is faster."""
        self.unreadable: list[UnreadableBatch] = []
        """What a read of some partitions leaves out."""

    @property
    def store(self) -> DeadLetterStore:
        """The dead letters, as a new command opens them."""
        return DeadLetterStore(
            reader=self,
            kafka=FakeKafka(self.cluster),
            topic=TOPICS.dead_letters,
            group="ecticket-adapter.dead-letters",
            events_topic=TOPICS.issuances,
            collected_topic=TOPICS.collected,
        )

    def put(self, *records: Record) -> None:
        """Put records into their topics, at their coordinates."""
        for record in records:
            self.cluster.logs[TopicPartition(record.topic, record.partition)].append(record)

    async def put_events(self) -> None:
        """Put all events that the harness has published into their topic."""
        records = [record async for record in self._harness.reader.tail({})]
        known = len(self._log(TOPICS.issuances))
        self.put(*records[known:])

    def delete(self, topic: str) -> None:
        """Delete all records of a topic, as retention does."""
        for partition in [each for each in self.cluster.logs if each.topic == topic]:
            del self.cluster.logs[partition]

    def take_written(self) -> OrderEvents:
        """What operations have written since the last call, which is in its topics from then on."""
        written = self.cluster.produced_records[self._taken :]
        self._taken += len(written)
        published = self._harness.reader.read(Outcome(records=tuple(written)))
        self.put(*published.deferred_records, *published.confirmations, *published.dead_letters)
        return published

    async def open_names(self) -> set[str]:
        """The names of the dead letters that are not handled."""
        async with self.store.open() as dead_letters:
            return set(dead_letters.open)

    async def read_to_end(
        self, topics: Collection[str], *, since: datetime | None = None
    ) -> AsyncGenerator[Record, None]:
        self._reads += 1
        if (interruption := self.before_read.pop(self._reads, None)) is not None:
            await interruption()
        for record in [record for topic in topics for record in self._log(topic)]:
            if since is None or record.timestamp >= since:
                yield record

    async def partitions_of(self, keys: Mapping[str, Collection[bytes] | None]) -> dict[str, frozenset[int]]:
        """Only the partitions that hold a record with one of the keys, so a key that is left out hides its records."""
        return {topic: self._partitions(topic, wanted) for topic, wanted in keys.items()}

    def _partitions(self, topic: str, keys: Collection[bytes] | None) -> frozenset[int]:
        return frozenset(record.partition for record in self._log(topic) if keys is None or record.key in keys)

    async def read_partitions(
        self,
        partitions: Mapping[str, Collection[int]],
        *,
        since: datetime | None,
        on_progress: Callable[[int, int], None],
        on_unreadable: Callable[[UnreadableBatch], None],
    ) -> AsyncGenerator[Record, None]:
        self.partition_reads.append({topic: frozenset(numbers) for topic, numbers in partitions.items()})
        records = [
            record
            for topic, numbers in partitions.items()
            for record in self._log(topic)
            if record.partition in numbers and (since is None or record.timestamp >= since)
        ]
        for batch in self.unreadable:
            if batch.partition.partition in partitions.get(batch.partition.topic, ()):
                on_unreadable(batch)
        for number, record in enumerate(records, 1):
            yield record
            on_progress(number, len(records))

    async def read_one(self, topic: str, partition: int, offset: int) -> Record | None:
        found = self.cluster.logs.get(TopicPartition(topic, partition), [])
        return next((record for record in found if record.offset == offset), None)

    def _log(self, topic: str) -> list[Record]:
        return [
            record for partition, log in list(self.cluster.logs.items()) if partition.topic == topic for record in log
        ]


class MemoryWriter:
    """Writes records in a transaction of its own; remembers the names under which it was opened."""

    def __init__(self, harness: Harness, topics: MemoryTopics) -> None:
        self._harness = harness
        self._topics = topics
        self.names: list[str] = []
        self.written: list[Record] = []

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[MemoryWriter]:
        self.names.append(name)
        yield self

    async def write(self, producer_records: Sequence[ProducerRecord]) -> None:
        records = [self._harness.reader.published(each) for each in producer_records]
        self.written += records
        self._topics.put(*records)


def impatient_harness(*, known_trade_no: str | None = KNOWN_TRADE_NO) -> Harness:
    """A harness that gives up after an hour, so that doubts and confirmations become dead letters soon."""
    return Harness(
        policy=SubmitPolicy(give_up_after_seconds=3_600),
        confirm_policy=ConfirmPolicy(give_up_after_seconds=3_600),
        known_trade_no=known_trade_no,
    )


async def park_unresolved(harness: Harness, *lines: dict[str, object], order_id: str = "A-1") -> Record:
    """The dead letter of an order whose Issue calls and queries were not answered."""
    harness.ecticket.silent = True
    parked = await harness.run(harness.order(*lines, order_id=order_id))
    harness.ecticket.silent = False
    return parked.dead_letter


async def park_confirmation(harness: Harness, *, order_id: str = "A-1") -> Record:
    """The dead letter of a confirmation whose job never ended."""
    submitted = await harness.work(harness.order(order_id=order_id))
    delayed, _ = await harness.await_result(submitted.confirmations[0])
    parked, _ = await harness.await_result(delayed.confirmations[0])
    return parked.dead_letter
