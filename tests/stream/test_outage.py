"""A broker that is killed under the engine, and comes back; and one that does not."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from adapter.local.broker import LocalKafka
from adapter.stream.connection import KafkaConnection
from adapter.stream.engine import Engine
from adapter.stream.observer import Unobserved
from adapter.stream.records import Publication, Record
from adapter.stream.stage import Grant, Later, Outcome, Prepared
from adapter.stream.topics import TopicSpec, create

pytestmark = pytest.mark.broker

RECORDS = 1500


class Counts(Unobserved):
    """How much is published."""

    published = 0

    def outcomes_published(self, stage: str, topic: str, count: int, publications: int) -> None:
        self.published += count


class SendsOnce:
    """A stage that remembers what it sent."""

    name = "sends-once"
    sends = True
    max_in_flight = 32
    max_waiting = 10
    fingerprint = "one"

    def __init__(self, group: str) -> None:
        self.group = group
        self.topics = (f"in-{group}",)
        self.sent: list[bytes] = []

    async def prepare(self, record: Record) -> Prepared[bytes]:
        return Prepared(lane=record.key, subject=record.value or b"")

    async def handle(self, subject: bytes, grant: Grant) -> Outcome | Later[bytes]:
        await asyncio.sleep(0.01)
        if not (grant.possibly_sent_since and subject in self.sent):
            grant.clear_to_send()
            self.sent.append(subject)
            await asyncio.sleep(0.01)
        return Outcome(records=(Publication(topic=f"out-{self.group}", key=None, value=subject),))

    def carry(self, record: Record, subject: bytes, grant: Grant) -> Outcome:
        raise AssertionError("nothing is carried on here")

    def broken(self, record: Record, error: Exception, grant: Grant) -> Outcome:
        raise error


@pytest.fixture
async def own_kafka(local_kafka_ready: None) -> AsyncIterator[LocalKafka]:
    """A broker that may be killed."""
    broker = LocalKafka()
    await asyncio.to_thread(broker.start)
    yield broker
    await asyncio.to_thread(broker.stop)


async def feed(connection: KafkaConnection, topic: str, count: int) -> None:
    producer = AIOKafkaProducer(**connection.client_options(), enable_idempotence=True)
    await producer.start()
    for number in range(count):
        await producer.send(topic, b"%d" % number, b"%d" % (number // 2))
    await producer.flush()
    await producer.stop()


async def told(connection: KafkaConnection, topic: str, count: int) -> list[bytes]:
    options = connection.client_options()
    consumer = AIOKafkaConsumer(topic, **options, auto_offset_reset="earliest", isolation_level="read_committed")
    await consumer.start()
    values: list[bytes] = []
    async with asyncio.timeout(15):
        while len(values) < count:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                values.extend(record.value for record in records)
    await consumer.stop()
    return values


async def test_a_broker_killed_in_mid_transaction_loses_and_repeats_nothing(own_kafka: LocalKafka) -> None:
    """The engine goes on when it is back, publishes what it has, and sends nothing again; then it stops without one."""
    connection = KafkaConnection(
        bootstrap_servers=own_kafka.bootstrap_servers, session_timeout_seconds=3, transaction_timeout_seconds=5
    )
    stage, counts = SendsOnce(uuid.uuid4().hex[:12]), Counts()
    names = (stage.topics[0], f"out-{stage.group}")
    await create(connection, [TopicSpec(name=name, partitions=3, config={}) for name in names])
    await feed(connection, names[0], RECORDS)
    engine = Engine(stage, connection, observer=counts)
    running = asyncio.create_task(engine.run())
    async with asyncio.timeout(60):
        while counts.published < RECORDS / 10:  # noqa: ASYNC110  # the observer signals nothing to tests
            await asyncio.sleep(0.002)
        await asyncio.to_thread(own_kafka.kill)
        assert counts.published < RECORDS
        await asyncio.to_thread(own_kafka.start)
        while counts.published < RECORDS:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0.01)

    assert sorted(await told(connection, names[1], RECORDS), key=int) == [b"%d" % number for number in range(RECORDS)]
    assert sorted(stage.sent, key=int) == [b"%d" % number for number in range(RECORDS)]

    await asyncio.to_thread(own_kafka.kill)
    began, beat = time.monotonic(), engine.last_beat
    await asyncio.sleep(1)
    assert engine.last_beat > beat
    await engine.stop(3)
    await running
    assert time.monotonic() - began < 8
