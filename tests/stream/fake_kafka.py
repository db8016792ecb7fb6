"""Kafka in memory, as `port.py` promises it, with every failure that a test wants.

Fencing is real: a later producer makes every earlier one of its partition fail. Transactions are atomic.
Rebalances happen when the test says so, and go through the members' callbacks as the real client's do.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from adapter.errors import BrokerUnavailable
from adapter.stream.port import (
    Commit,
    KafkaClientError,
    OffsetOutOfRange,
    OffsetRange,
    RecordsTooLarge,
    TopicPartition,
    UnreadableBatch,
)
from adapter.stream.records import ProducerRecord, Record

CLUSTER_ID = "fake"
SKIPS = "skips"
"""The group whose commits are skip requests."""
_AT_ONCE = 50


class FakeCluster:
    """Logs, commits, and who may write; also what is to fail."""

    def __init__(self) -> None:
        self.logs: defaultdict[TopicPartition, list[Record]] = defaultdict(list)
        self.ids: defaultdict[str, str] = defaultdict(lambda: "first")
        self.starts: defaultdict[TopicPartition, int] = defaultdict(int)
        self.markers: defaultdict[TopicPartition, int] = defaultdict(int)
        self.commits: dict[TopicPartition, Commit] = {}
        self.skips: dict[TopicPartition, Commit] = {}
        self.unreadable: dict[TopicPartition, tuple[int, int]] = {}
        self.produced_records: list[ProducerRecord] = []
        self.transactions: list[tuple[TopicPartition, int]] = []
        self.epochs: defaultdict[TopicPartition, int] = defaultdict(int)
        self.away = False
        self.largest = 1000
        self.faults: list[str] = []
        self.producers_to_fail = 0
        self.slow_transactions = 0.0
        self.transactions_begun = 0
        self.slow_starts = 0.0
        self.members: list[FakeMember] = []
        self.generation = 0
        self.news = asyncio.Event()

    def append(self, partition: TopicPartition, *values: str, key: str | None = None, hole: int = 0) -> list[Record]:
        """Put records at the end of a log, each after `hole` offsets that are no records."""
        made = []
        for value in values:
            record = Record(
                topic=partition.topic,
                partition=partition.partition,
                offset=self.end(partition) + hole,
                timestamp=datetime(2026, 1, 1, tzinfo=UTC),
                key=key.encode() if key is not None else None,
                value=value.encode(),
            )
            self.logs[partition].append(record)
            self.markers[partition] = 0
            made.append(record)
        self.news.set()
        return made

    def end_transaction(self, partition: TopicPartition, count: int = 1) -> None:
        """Put so many markers at the end of a log; aborted records are no records either."""
        self.markers[partition] += count
        self.news.set()

    def end(self, partition: TopicPartition) -> int:
        last = self.logs[partition][-1].offset + 1 if self.logs[partition] else self.starts[partition]
        return last + self.markers[partition]

    def delete_before(self, partition: TopicPartition, offset: int) -> None:
        """Delete records, as retention does."""
        end = self.end(partition)
        self.logs[partition] = [record for record in self.logs[partition] if record.offset >= offset]
        self.starts[partition] = offset
        if not self.logs[partition]:
            self.markers[partition] = max(0, end - offset)
        self.news.set()

    def remake(self, topic: str) -> None:
        """Delete a topic and create it again: other logs of the same name, and no offsets."""
        self.ids[topic] = f"after {self.ids[topic]}"
        for partition in [partition for partition in self.logs if partition.topic == topic]:
            self.logs[partition] = []
            self.starts[partition] = self.markers[partition] = 0
            self.commits.pop(partition, None)

    @property
    def published(self) -> list[str]:
        """The values published, in order."""
        return [(producer_record.value or b"").decode() for producer_record in self.produced_records]

    async def assign(self, *assignments: Collection[TopicPartition]) -> None:
        """A rebalance: every member that answers gives up everything, then each of them gets its own."""
        members = [member for member in self.members if member.lease.answers]
        await asyncio.gather(*(member.revoked() for member in members))
        self.generation += 1
        for member, partitions in zip(members, assignments, strict=False):
            if member in self.members:
                member.give(partitions)


class FakeLease:
    """A lease that holds as long as the test lets the group answer."""

    def __init__(self) -> None:
        self.generation = -1
        self.answers = True
        self._time = 0.0

    def holds(self, generation: int) -> bool:
        return self.answers and generation == self.generation

    def answered(self) -> bool:
        return self.answers

    def clock(self) -> float:
        self._time += 1
        return self._time

    def check_proven(self) -> None:
        pass

    async def proven_after(self, moment: float) -> None:
        while not self.answers:  # noqa: ASYNC110  # tests set `answers`, a plain attribute
            await asyncio.sleep(0.001)


class FakeTransactionalProducer:
    """A producer of one partition, valid until a later one is started."""

    def __init__(self, cluster: FakeCluster, partition: TopicPartition) -> None:
        self.dead = False
        cluster.epochs[partition] += 1
        self._cluster = cluster
        self._partition = partition
        self._epoch = cluster.epochs[partition]
        self.first = self._epoch == 1
        self.ended = ""

    async def publish(self, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str) -> None:
        cluster = self._cluster
        cluster.transactions_begun += 1
        await asyncio.sleep(cluster.slow_transactions)
        await _answer(self)
        fault = cluster.faults.pop(0) if cluster.faults else ""
        if self._epoch != cluster.epochs[self._partition]:
            raise KafkaClientError("fenced")
        if fault == "failed":
            raise KafkaClientError("nothing was written")
        too_large = [at for at, one in enumerate(producer_records) if len(one.value or b"") > cluster.largest]
        if too_large:
            self._epoch = -1  # used up
            raise RecordsTooLarge(too_large)
        assert len(metadata) <= 4096
        cluster.produced_records.extend(producer_records)
        cluster.commits[self._partition] = Commit(offset=offset, metadata=metadata)
        cluster.transactions.append((self._partition, len(producer_records)))
        cluster.news.set()
        if fault == "committed, and failed":
            raise KafkaClientError("the answer was lost")

    def close(self) -> None:
        self.ended = "retired"

    def abort(self) -> None:
        self.ended = "abandoned"


class FakeMember:
    """One member; `give` and `revoked` are what the group does to it."""

    def __init__(self, cluster: FakeCluster, at_once: Collection[TopicPartition], group: str = "") -> None:
        self._cluster = cluster
        self._group = group
        self._at_once = at_once
        self._assignment: frozenset[TopicPartition] = frozenset()
        self._positions: dict[TopicPartition, int] = {}
        self.lease = FakeLease()
        self.cluster_id = CLUSTER_ID
        self.left = False
        self.polled: list[frozenset[TopicPartition]] = []
        self.producers: list[FakeTransactionalProducer] = []
        self.fails_to_poll = False
        self.dead = False

    def die(self) -> None:
        """As after kill -9: nothing of it has any effect any more, and nothing is answered."""
        self.dead = True
        self.lease.answers = False
        for producer in self.producers:
            producer.dead = True
        self._cluster.members.remove(self)

    def join(
        self, topics: Collection[str], *, revoked: Callable[[], Awaitable[None]], assigned: Callable[[], None]
    ) -> None:
        self.revoked = revoked
        self._assigned = assigned
        self._cluster.members.append(self)
        if self._at_once:
            asyncio.get_running_loop().call_soon(self.give, self._at_once)

    def give(self, partitions: Collection[TopicPartition]) -> None:
        self._assignment = frozenset(partitions)
        # As the real client: reading starts at the committed offset by itself, taken over or not.
        for partition in partitions:
            commit = self._cluster.commits.get(partition)
            self._positions[partition] = commit.offset if commit else 0
        self.lease.generation = self._cluster.generation
        self._assigned()

    def assignment(self) -> frozenset[TopicPartition]:
        return self._assignment

    async def partitions_of(self, topics: Collection[str]) -> frozenset[TopicPartition]:
        await _answer(self)
        return frozenset(partition for partition in self._cluster.logs if partition.topic in topics)

    async def commit_before_join(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        await _answer(self)
        if self._cluster.members:
            return False
        self._cluster.commits.update(commits)
        return True

    async def lag(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        await _answer(self)
        return {partition: self._cluster.end(partition) - self._positions[partition] for partition in partitions}

    async def poll(
        self,
        partitions: Collection[TopicPartition],
        *,
        timeout: float,  # noqa: ASYNC109  # as the port has it
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        self.polled.append(frozenset(partitions))
        await _answer(self)
        if self.fails_to_poll:
            raise KafkaClientError("poll failed")
        batches = self._drain(partitions)
        if not batches:
            self._cluster.news.clear()
            try:
                async with asyncio.timeout(min(timeout, 0.02)):
                    await self._cluster.news.wait()
            except TimeoutError:
                return {}
            batches = self._drain(partitions)
        await asyncio.sleep(0)
        return batches

    def _drain(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, list[Record]]:
        batches = {}
        for partition in partitions:
            if partition in self._assignment:
                if not self._cluster.starts[partition] <= self._positions[partition] <= self._cluster.end(partition):
                    raise OffsetOutOfRange([partition])
                end = self._readable_until(partition)
                ahead = [one for one in self._cluster.logs[partition] if self._positions[partition] <= one.offset < end]
                if ahead:
                    batches[partition] = ahead[:_AT_ONCE]
                    self._positions[partition] = batches[partition][-1].offset + 1
                if len(ahead) <= _AT_ONCE:
                    self._positions[partition] = end
        return batches

    def _readable_until(self, partition: TopicPartition) -> int:
        """Where the log ends, or an unreadable batch begins. Raises UnreadableBatch: what this poll read is lost."""
        first, last = self._cluster.unreadable.get(partition, (-1, -1))
        at, end = self._positions[partition], self._cluster.end(partition)
        if first <= at <= last and at < end:
            raise UnreadableBatch(partition, base=first, first=at, last=last, cause="codec 7 is not known")
        return min(first, end) if first >= at else end

    def position(self, partition: TopicPartition) -> int | None:
        return self._positions.get(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition not in self._assignment:
            raise KafkaClientError("not assigned")
        self._positions[partition] = offset

    async def committed(self, partition: TopicPartition) -> Commit | None:
        await _answer(self)
        return (self._cluster.skips if self._group == SKIPS else self._cluster.commits).get(partition)

    async def offset_range(self, partition: TopicPartition) -> OffsetRange:
        await _answer(self)
        cluster = self._cluster
        return OffsetRange(
            start=cluster.starts[partition], end=cluster.end(partition), topic_id=cluster.ids[partition.topic]
        )

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        await _answer(self)
        return {topic: self._cluster.ids[topic] for topic in topics}

    async def start_producer(self, partition: TopicPartition) -> FakeTransactionalProducer:
        await _answer(self)
        if self._cluster.producers_to_fail:
            self._cluster.producers_to_fail -= 1
            raise KafkaClientError("no producer now")
        producer = FakeTransactionalProducer(self._cluster, partition)
        await asyncio.sleep(self._cluster.slow_starts)
        self.producers.append(producer)
        return producer

    async def leave(self) -> None:
        self.left = True
        if not self.dead and self in self._cluster.members:
            self._cluster.members.remove(self)


class FakeKafka:
    """Joins members to the cluster; each is given `places` at once when there are any."""

    rebalance_timeout = 0.3

    def __init__(self, cluster: FakeCluster, partitions: Collection[TopicPartition] = ()) -> None:
        self._cluster = cluster
        self._partitions_of = partitions

    async def connect(self, group: str) -> FakeMember:
        await asyncio.sleep(0)
        if self._cluster.away:
            raise BrokerUnavailable("no broker answers")
        return FakeMember(self._cluster, self._partitions_of, group)


async def _answer(client: FakeMember | FakeTransactionalProducer) -> None:
    """Take a turn of the loop, as a network would; the dead are never answered."""
    await asyncio.sleep(0)
    if client.dead:
        await asyncio.Event().wait()
