"""An engine at work on a real broker, and what an operator does to that broker.

The stage sends each record to a remote side that lives as long as the harness, and queries it first if a record was
possibly sent. The remote side would take anything twice: what is sent twice shows.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.client import ConnectionGroup
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String
from aiokafka.structs import OffsetAndMetadata

from adapter.dev.producing import producing
from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_to_end
from adapter.kafka.topics import TopicSpec, create
from adapter.stream.commit_metadata import CommitMetadata, decode
from adapter.stream.engine import Engine
from adapter.stream.observer import NullObserver
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater

SLOW_MACHINE = 4.0
"""How much slower than ours a machine may be before a test gives up; what is waited for is a fact, not a time."""


class Counts(NullObserver):
    """What the engine reported to its observer."""

    def __init__(self) -> None:
        self.published = 0
        self.dropped: list[str] = []
        self.lost = 0

    def outcomes_committed(self, stage: str, topic: str, count: int, produced: int) -> None:
        self.published += count

    def partition_dropped(self, stage: str, topic: str, partition: int, reason: str) -> None:
        self.dropped.append(reason)

    def records_lost(self, stage: str, topic: str, count: int) -> None:
        self.lost += count


class SendsOnce:
    """Sends each record, and asks first where it may have been sent."""

    name = "sends-once"
    sends = True
    starts_at_latest = False
    linger_seconds = 0.0
    max_in_flight = 32
    max_waiting = 10
    fingerprint = "one"

    def __init__(self, harness: BrokerHarness) -> None:
        self.group = harness.group
        self.topics = (harness.source,)
        self._harness = harness

    async def prepare(self, record: Record) -> PreparedRecord[bytes]:
        return PreparedRecord(lane=record.key, subject=record.value or b"")

    async def handle(self, subject: bytes, context: RecordContext) -> Outcome | RetryLater[bytes]:
        harness = self._harness
        await asyncio.sleep(harness.seconds)
        if context.possibly_sent_since is not None:
            harness.queried.append(subject)
            if subject not in harness.sent:
                harness.queried_in_vain.append(subject)
        if context.possibly_sent_since is None or subject not in harness.sent:
            context.authorize_send()
            harness.sent.append(subject)
            await asyncio.sleep(harness.seconds)
        return Outcome(records=(ProducerRecord(topic=harness.sink, key=None, value=subject),))

    def hand_off(self, record: Record, subject: bytes, context: RecordContext) -> Outcome:
        raise AssertionError("nothing is handed off here")

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        raise error


@dataclass
class BrokerHarness:
    """Topics of its own, the remote side, and what was counted; `seconds` is half of what handling takes."""

    connection: KafkaConnection
    partitions: int = 1
    seconds: float = 0.005
    group: str = field(default_factory=lambda: f"harness-{uuid.uuid4().hex[:10]}")
    sent: list[bytes] = field(default_factory=list)
    queried: list[bytes] = field(default_factory=list)
    queried_in_vain: list[bytes] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    engines: list[Engine[bytes]] = field(default_factory=list)

    @property
    def source(self) -> str:
        return f"in-{self.group}"

    @property
    def sink(self) -> str:
        return f"out-{self.group}"

    async def make(self) -> None:
        """Make the topics."""
        specs = [TopicSpec(name=name, partitions=self.partitions, config={}) for name in (self.source, self.sink)]
        await create(self.connection, specs)

    # --- the engine --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def at_work(self, *, grace: float = 3.0) -> AsyncIterator[Engine[bytes]]:
        """An engine at work, with its partitions in hand at first; stopped at the end."""
        engine = Engine(SendsOnce(self), AioKafka(self.connection), observer=self.counts)
        self.engines.append(engine)
        task = asyncio.create_task(engine.run())
        try:
            await until(lambda: task.done() or len(engine.assigned) == self.partitions, seconds=20)
            yield engine
        finally:
            await engine.stop(grace)
            await task

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[Engine[bytes]]:
        """Another engine of the group, as in a second process; whatever the group gives it or not."""
        engine = Engine(SendsOnce(self), AioKafka(self.connection), observer=self.counts)
        task = asyncio.create_task(engine.run())
        try:
            await until(lambda: task.done() or engine.connected, seconds=20)
            yield engine
        finally:
            await engine.stop(3.0)
            await task

    async def settled(self, count: int, *, seconds: float = 20) -> None:
        """Wait until the engines have counted so many outcomes as published since the start.

        They do not count a transaction whose answer was lost. A test that loses answers waits for `caught_up`.
        """
        await until(lambda: self.counts.published >= count, seconds=seconds)

    async def caught_up(self, count: int, *, seconds: float = 20) -> None:
        """Wait until the group's offsets are past so many records. Raises TimeoutError."""
        sources = [TopicPartition(self.source, partition) for partition in range(self.partitions)]
        async with asyncio.timeout(seconds * SLOW_MACHINE), administrating(self.connection) as admin:
            while True:
                found = await admin.list_consumer_group_offsets(self.group, partitions=sources)
                if sum(max(0, commit.offset) for commit in found.values()) >= count:
                    return
                await asyncio.sleep(0.1)

    # --- what others write and read ----------------------------------------------------------------------------------

    async def feed(self, *values: str | int, partition: int | None = None) -> None:
        """Put records into the source."""
        async with producing(self.connection, enable_idempotence=True) as producer:
            for value in values:
                text = str(value).encode()
                await producer.send(self.source, text, key=text, partition=partition)
            await producer.flush()

    async def feed_transaction(self, value: int, *, aborted: bool = False) -> None:
        """Put one record into the source's first partition, in a transaction of its own."""
        name = f"feeder-{self.group}"
        async with producing(self.connection, transactional_id=name) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(self.source, b"%d" % value, partition=0)
            await (producer.abort_transaction() if aborted else producer.commit_transaction())

    async def published(self) -> list[bytes]:
        """Everything in the sink that a committed reader sees now, sorted."""
        async with aclosing(read_to_end(self.connection, [self.sink])) as records:
            return sorted([record.value or b"" async for record in records])

    # --- the operator's hands ----------------------------------------------------------------------------------------

    async def remake(self, *, partitions: int) -> None:
        """Delete the source topic and create it again."""
        async with administrating(self.connection) as admin:
            await admin.delete_topics([self.source])
        self.partitions = partitions
        async with asyncio.timeout(10 * SLOW_MACHINE):
            while await self._there():  # noqa: ASYNC110  # a broker signals nothing
                await asyncio.sleep(0.02)
        await create(self.connection, [TopicSpec(name=self.source, partitions=partitions, config={})])

    async def add_partitions(self, total: int) -> None:
        """Give the source more partitions."""
        async with administrating(self.connection) as admin:
            await admin.create_partitions({self.source: NewPartitions(total_count=total)})
        self.partitions = total

    async def _there(self) -> bool:
        async with administrating(self.connection) as admin:
            return self.source in await admin.list_topics()

    async def configure(self, topic: str, **config: str) -> None:
        """Give a topic these settings, with `_` for dots, and no others."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        async with administrating(self.connection) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=settings)])

    async def delete_before(self, offset: int, partition: int = 0) -> None:
        """Delete the source's records below this offset, as retention does."""
        source = TopicPartition(self.source, partition)
        async with administrating(self.connection) as admin:
            await admin.delete_records({source: RecordsToDelete(before_offset=offset)}, timeout_ms=5000)

    async def empty(self) -> int:
        """Delete everything in the source's first partition, as retention does; where its log begins now."""
        consumer = AIOKafkaConsumer(**self.connection.client_options())
        try:
            await consumer.start()
            partition = TopicPartition(self.source, 0)
            end = (await consumer.end_offsets([partition]))[partition]
        finally:
            await consumer.stop()
        await self.delete_before(end)
        return int(end)

    async def commit(self, offset: int, metadata: str = "", partition: int = 0) -> None:
        """Set the group's offset, as tools do while the group has no member."""
        consumer = AIOKafkaConsumer(**self.connection.client_options(), group_id=self.group, enable_auto_commit=False)
        try:
            await consumer.start()
            source = TopicPartition(self.source, partition)
            consumer.assign([source])
            await consumer.commit({source: OffsetAndMetadata(offset, metadata)})
        finally:
            await consumer.stop()

    async def forget(self) -> None:
        """Delete the group's offsets, as tools do while the group has no member."""
        async with administrating(self.connection) as admin:
            node = await admin.find_coordinator(self.group)
            request = OffsetDeleteRequest(self.group, self.source, range(self.partitions))
            answer = await admin._client.send(node, request, group=ConnectionGroup.COORDINATION)
        assert answer.error_code == 0, answer

    async def committed(self, partition: int = 0) -> tuple[int, str]:
        """The group's offset and what hangs on it; -1 for none."""
        source = TopicPartition(self.source, partition)
        async with administrating(self.connection) as admin:
            found = (await admin.list_consumer_group_offsets(self.group, partitions=[source]))[source]
            return found.offset, found.metadata

    async def metadata(self, partition: int = 0) -> CommitMetadata:
        """What hangs on the group's offset."""
        offset, text = await self.committed(partition)
        async with administrating(self.connection) as admin:
            cluster_id = str((await admin.describe_cluster())["cluster_id"])
        found = decode(text, cluster_id=cluster_id, committed=offset)
        assert isinstance(found, CommitMetadata), found
        return found


class _OffsetDeleteResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 47
    API_VERSION = 0
    _PARTITIONS = Array(("partition", Int32), ("error_code", Int16))
    SCHEMA = Schema(
        ("error_code", Int16),
        ("throttle_time_ms", Int32),
        ("topics", Array(("topic", String("utf-8")), ("partitions", _PARTITIONS))),
    )


class _OffsetDeleteStruct(RequestStruct):  # type: ignore[misc]  # likewise
    API_KEY = 47
    API_VERSION = 0
    RESPONSE_TYPE = _OffsetDeleteResponse
    SCHEMA = Schema(
        ("group", String("utf-8")), ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32))))
    )


class OffsetDeleteRequest(Request[_OffsetDeleteStruct]):  # type: ignore[misc]  # likewise
    """What `kafka-consumer-groups --delete-offsets` asks."""

    API_KEY = 47

    def __init__(self, group: str, topic: str, partitions: Iterable[int]) -> None:
        self._queried = (group, [(topic, list(partitions))])

    def build(self, request_struct_class: type[_OffsetDeleteStruct]) -> _OffsetDeleteStruct:
        """See aiokafka's Request."""
        return request_struct_class(*self._queried)


@asynccontextmanager
async def administrating(connection: KafkaConnection) -> AsyncIterator[AIOKafkaAdminClient]:
    """An administrator for a moment."""
    admin = AIOKafkaAdminClient(**connection.client_options())
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def until(condition: Callable[[], object], *, seconds: float) -> None:
    """Wait until something is so that signals nothing. Raises TimeoutError."""
    async with asyncio.timeout(seconds * SLOW_MACHINE):
        while not condition():  # noqa: ASYNC110  # engines signal nothing to tests
            await asyncio.sleep(0.005)


def named(first: int, past: int) -> list[bytes]:
    """The records of these numbers, sorted as `published` sorts."""
    return sorted(b"%d" % number for number in range(first, past))
