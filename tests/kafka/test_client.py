"""What `port.py` promises, kept by aiokafka on a real broker."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, TxnOffsetCommitRequest
from conftest import TopicFactory
from stream.error_injection import ErrorInjector

from adapter.dev.producing import producing
from adapter.errors import BrokerUnavailable
from adapter.kafka.client import AioKafka, AioKafkaMember
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_to_end
from adapter.stream.engine import Engine
from adapter.stream.port import Commit, KafkaClientError, OffsetRange, RecordsTooLarge, TopicPartition
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater

pytestmark = pytest.mark.broker

NOT_READY = {ProduceRequest: 19, TxnOffsetCommitRequest: 16, AddPartitionsToTxnRequest: 16, EndTxnRequest: 16}
"""What a broker answers that cannot do it now: not enough replicas, or not the coordinator."""


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def quick(kafka: KafkaConnection) -> KafkaConnection:
    """The session's broker, with short time-outs."""
    return KafkaConnection(
        bootstrap_servers=kafka.bootstrap_servers, session_timeout_seconds=6, transaction_timeout_seconds=5
    )


@pytest.fixture
async def member(quick: KafkaConnection, group: str) -> AsyncIterator[AioKafkaMember]:
    """A member that is connected and has not joined."""
    member = await AioKafka(quick).connect(group)
    yield member
    await member.leave()


async def everything(kafka: KafkaConnection, topic: str, count: int) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values, read committed."""
    options = kafka.client_options()
    consumer = AIOKafkaConsumer(topic, **options, auto_offset_reset="earliest", isolation_level="read_committed")
    found: list[tuple[bytes | None, bytes | None]] = []
    try:
        await consumer.start()
        async with asyncio.timeout(60):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found.extend((record.key, record.value) for record in records)
    finally:
        await consumer.stop()
    return found


async def joined(member: AioKafkaMember, topic: str) -> None:
    """Join, and wait for the partitions."""
    assigned = asyncio.Event()

    async def revoked() -> None:
        pass

    member.join([topic], revoked=revoked, assigned=assigned.set)
    async with asyncio.timeout(60):
        await assigned.wait()


async def test_publications_and_the_offset_are_one_transaction(
    member: AioKafkaMember, topic: TopicFactory, quick: KafkaConnection
) -> None:
    """Also a publication with neither key nor value, which Kafka takes and a dead letter may be."""
    source, sink = await topic("in"), await topic("out")
    partition = TopicPartition(source, 0)
    assert await member.committed(partition) is None

    producer = await member.start_producer(partition)
    producer_records = [
        ProducerRecord(topic=sink, key=b"k", value=b"v", headers=(("h", b"1"),)),
        ProducerRecord(topic=sink, key=None, value=None),
        ProducerRecord(topic=sink, key=b"k", value=None),
    ]
    await producer.publish(producer_records, offset=3, metadata="some metadata")
    await producer.publish([], offset=4, metadata="another")
    producer.close()

    assert await member.committed(partition) == Commit(offset=4, metadata="another")
    assert sorted(await everything(quick, sink, 3), key=str) == [(None, None), (b"k", None), (b"k", b"v")]


async def test_a_later_producer_fences_an_earlier_one(member: AioKafkaMember, topic: TopicFactory) -> None:
    """What the earlier one still tries is not written, and it says so."""
    source, sink = await topic("in"), await topic("out")
    partition = TopicPartition(source, 0)
    earlier = await member.start_producer(partition)
    await earlier.publish([], offset=1, metadata="")
    later = await member.start_producer(partition)
    assert (earlier.first, later.first) == (True, False)

    with pytest.raises(KafkaClientError):
        await earlier.publish([ProducerRecord(topic=sink, key=b"k", value=b"too late")], offset=9, metadata="")
    earlier.abort()
    await later.publish([], offset=2, metadata="")
    later.close()

    assert await member.committed(partition) == Commit(offset=2, metadata="")


@pytest.mark.usefixtures("nothing_overlooked")
@pytest.mark.parametrize("kind", [ProduceRequest, TxnOffsetCommitRequest, AddPartitionsToTxnRequest, EndTxnRequest])
async def test_a_producer_that_is_fenced_while_it_waits_leaves_nothing_behind(
    kafka: KafkaConnection, group: str, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch, kind: type[object]
) -> None:
    """It is given up after twice its time-out, whatever it waits for; its later result is ignored."""
    impatient = KafkaConnection(
        bootstrap_servers=kafka.bootstrap_servers, session_timeout_seconds=6, transaction_timeout_seconds=1
    )
    source, sink = await topic("in"), await topic("out")
    partition, injector = TopicPartition(source, 0), ErrorInjector(monkeypatch)
    member = await AioKafka(impatient).connect(group)
    producer = await member.start_producer(partition)

    with injector.at(NOT_READY[kind], kind), pytest.raises(KafkaClientError):
        await producer.publish([ProducerRecord(topic=sink, key=b"k", value=b"v")], offset=1, metadata="")
    later = await member.start_producer(partition)
    producer.abort()
    await later.publish([], offset=2, metadata="")
    later.close()
    assert await member.committed(partition) == Commit(offset=2, metadata="")
    await member.leave()


async def test_what_a_topic_does_not_take_is_named_and_nothing_is_written(
    member: AioKafkaMember, topic: TopicFactory, quick: KafkaConnection
) -> None:
    """By the topic, or by the client. The producer cannot be reused; the next one works."""
    source, sink = await topic("in"), await topic("out", config={"max.message.bytes": "20000"})
    partition = TopicPartition(source, 0)
    producer = await member.start_producer(partition)
    for size in (200_000, 17_000_000):
        producer_records = [ProducerRecord(topic=sink, key=b"k", value=each * b"x") for each in (10, size, 10)]
        with pytest.raises(RecordsTooLarge) as refused:
            await producer.publish(producer_records, offset=5, metadata="")
        assert refused.value.indexes == {1}
        producer.abort()
        producer = await member.start_producer(partition)
        assert await member.committed(partition) is None

    await producer.publish(producer_records[::2], offset=5, metadata="")
    assert len(await everything(quick, sink, 2)) == 2
    producer.close()


async def test_a_member_reads_only_what_it_is_asked_to(
    member: AioKafkaMember, topic: TopicFactory, quick: KafkaConnection
) -> None:
    """Other partitions keep their records; a seek forgets what was fetched."""
    source = await topic("in", partitions=2)
    async with producing(quick) as producer:
        for partition in (0, 1):
            await producer.send_and_wait(source, b"%d" % partition, partition=partition, headers=[("h", b"1")])
    await joined(member, source)
    assert member.assignment() == {TopicPartition(source, 0), TopicPartition(source, 1)}
    assert member.lease.holds(member.lease.generation)
    ids = await member.topic_ids([source, "nowhere"])
    assert list(ids) == [source]
    assert await member.offset_range(TopicPartition(source, 0)) == OffsetRange(start=0, end=1, topic_id=ids[source])
    for assigned in member.assignment():
        member.seek(assigned, 0)

    only = await read(member, TopicPartition(source, 1))
    assert [(record.value, record.headers) for record in only] == [(b"1", (("h", b"1"),))]
    assert await member.poll([], timeout=0.1) == {}
    member.seek(TopicPartition(source, 1), 0)
    assert await read(member, TopicPartition(source, 1)) == only
    assert [record.value for record in await read(member, TopicPartition(source, 0))] == [b"0"]
    with pytest.raises(KafkaClientError):
        member.seek(TopicPartition(source, 7), 0)


async def read(member: AioKafkaMember, partition: TopicPartition) -> list[Record]:
    async with asyncio.timeout(60):
        while True:
            if batches := await member.poll([partition], timeout=1):
                assert list(batches) == [partition]
                return list(batches[partition])


async def test_an_absent_broker_is_named(group: str) -> None:
    """Not a time-out, not a stack of the client's own errors."""
    with pytest.raises(BrokerUnavailable, match="no broker answers"):
        await AioKafka(KafkaConnection(bootstrap_servers="127.0.0.1:1")).connect(group)


async def test_a_committed_offset_is_never_older_than_a_transaction_under_way(
    member: AioKafkaMember, topic: TopicFactory
) -> None:
    """As long as a transaction with an offset is open, there is no answer; the fence of a new producer ends it."""
    partition = TopicPartition(await topic("in"), 0)
    producer = await member.start_producer(partition)
    await producer._producer.begin_transaction()
    await producer._producer.send_offsets_to_transaction({ClientPartition(*partition): (7, "")}, member._group)
    asking = asyncio.create_task(member.committed(partition))
    await asyncio.sleep(0.3)
    assert not asking.done()

    producer.abort()
    (await member.start_producer(partition)).close()

    assert await asyncio.wait_for(asking, 60) is None


async def test_what_no_client_can_write_is_named_and_nothing_is_written(
    member: AioKafkaMember, topic: TopicFactory, quick: KafkaConnection
) -> None:
    """Half a character in a header's name, or no bytes at all: its stage is asked for another outcome."""
    source, sink = await topic("in"), await topic("out")
    producer = await member.start_producer(TopicPartition(source, 0))
    producer_records = (
        ProducerRecord(topic=sink, key=None, value=b"fine"),
        ProducerRecord(topic=sink, key=b"k", value=b"v", headers=(("\ud800", b"1"),)),
        ProducerRecord(topic=sink, key=None, value=None, headers=(("\ud800", None),)),
    )

    with pytest.raises(RecordsTooLarge) as refused:
        await producer.publish(producer_records, offset=1, metadata="")
    producer.abort()

    assert refused.value.indexes == {1, 2}
    assert await member.committed(TopicPartition(source, 0)) is None


async def test_a_header_without_a_value_stays_one(
    member: AioKafkaMember, topic: TopicFactory, quick: KafkaConnection
) -> None:
    """Kafka distinguishes nothing from empty, and so does every copy of a record."""
    source, sink = await topic("in"), await topic("out")
    producer = await member.start_producer(TopicPartition(source, 0))
    headers = (("null", None), ("empty", b""))

    await producer.publish((ProducerRecord(topic=sink, key=b"k", value=b"v", headers=headers),), offset=1, metadata="")
    producer.close()

    assert [record.headers async for record in read_to_end(quick, [sink])] == [headers]


class Copies:
    """A stage that copies, and leaves out what it cannot."""

    name = "copies"
    sends = True
    starts_at_latest = False
    linger_seconds = 0.0
    max_in_flight = 10
    max_waiting = 10
    fingerprint = "one"

    def __init__(self, group: str, source: str, sink: str) -> None:
        self.group = group
        self.topics = (source,)
        self._sink = sink

    async def prepare(self, record: Record) -> PreparedRecord[bytes | None]:
        return PreparedRecord(lane=None, subject=record.value)

    async def handle(self, subject: bytes | None, context: RecordContext) -> Outcome | RetryLater[bytes | None]:
        context.authorize_send()
        return self._copy(context.record.key, subject)

    def hand_off(self, record: Record, subject: bytes | None, context: RecordContext) -> Outcome:
        return self._copy(record.key, b"handed off")

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        return self._copy(record.key, type(error).__name__.encode())

    def _copy(self, key: bytes | None, value: bytes | None) -> Outcome:
        return Outcome(records=(ProducerRecord(topic=self._sink, key=key, value=value),))


async def test_odd_records_get_through_one_by_one(topic: TopicFactory, quick: KafkaConnection, group: str) -> None:
    """Tombstones, empty ones, and one that is too large for where it should go: each has its outcome."""
    source, sink = await topic("in"), await topic("out", config={"max.message.bytes": "20000"})
    async with producing(quick) as producer:
        for key, value in ((b"1", b"fine"), (b"2", None), (b"3", b""), (None, b"no key"), (b"5", b"x" * 500_000)):
            await producer.send_and_wait(source, value, key)

    engine = Engine(Copies(group, source, sink), AioKafka(quick))
    running = asyncio.create_task(engine.run())
    found = await everything(quick, sink, 5)
    assert engine.assigned == {(source, 0)}
    assert engine.connected
    await engine.stop(5)
    await running

    assert sorted(found, key=str) == sorted(
        [(b"1", b"fine"), (b"2", None), (b"3", b""), (None, b"no key"), (b"5", b"OutcomeTooLarge")], key=str
    )
    assert engine.assigned == frozenset()


class PublishesTwice(Copies):
    """Each outcome is two records for one topic and one for another."""

    def __init__(self, group: str, source: str, sink: str, other: str) -> None:
        super().__init__(group, source, sink)
        self.max_in_flight = 256
        self._other = other

    def _copy(self, key: bytes | None, value: bytes | None) -> Outcome:
        copies = [ProducerRecord(topic=self._sink, key=key, value=value)] * 2
        return Outcome(records=(*copies, ProducerRecord(topic=self._other, key=key, value=(value or b"")[:5])))


async def test_outcomes_that_share_a_transaction_are_judged_one_by_one(
    topic: TopicFactory, quick: KafkaConnection, group: str
) -> None:
    """A topic that takes less than a batch of the client's: of 301 only the outcome that does not fit is replaced."""
    source, other = await topic("in"), await topic("other")
    sink = await topic("out", partitions=2, config={"max.message.bytes": "20000"})
    async with producing(quick) as producer:
        for number in range(300):
            await producer.send(source, b"small " + b"x" * 900, b"%d" % number)
            if number == 150:
                await producer.send(source, b"large " + b"x" * 25_000, b"large")
        await producer.flush()

    engine = Engine(PublishesTwice(group, source, sink, other), AioKafka(quick))
    running = asyncio.create_task(engine.run())
    found = await everything(quick, sink, 602)
    beside = await everything(quick, other, 301)
    await engine.stop(5)
    await running

    counts = Counter(found)
    assert counts == Counter({(b"%d" % number, b"small " + b"x" * 900): 2 for number in range(300)}) + Counter(
        {(b"large", b"OutcomeTooLarge"): 2}
    )
    assert Counter(value for _, value in beside) == {b"small": 300, b"Outco": 1}


async def test_a_second_process_stands_by(topic: TopicFactory, quick: KafkaConnection, group: str) -> None:
    """One partition, two members: one has it, the other says that it stands by."""
    source, sink = await topic("in"), await topic("out")
    engines = [Engine(Copies(group, source, sink), AioKafka(quick)) for _ in range(2)]
    running = [asyncio.create_task(engine.run()) for engine in engines]
    async with asyncio.timeout(60):
        while [bool(engine.assigned) + 2 * engine.standing_by for engine in engines] not in ([1, 2], [2, 1]):  # noqa: ASYNC110  # engines signal nothing to tests
            await asyncio.sleep(0.01)
    for engine in engines:
        await engine.stop(3)
    await asyncio.gather(*running)
