"""Records that a real broker takes and that no client of ours would write: each is judged like any other."""

from __future__ import annotations

import asyncio

import pytest
from conftest import TopicFactory
from stream.batch_bytes import ZSTD, Written, batch
from stream.broker_harness import until
from stream.raw_batches import send_raw

from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_one, read_to_end
from adapter.stream.engine import Engine
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext

pytestmark = pytest.mark.broker

MICROSECONDS = 1_764_400_000_000_000
FIRST_OF_DOTNET = -62_135_596_800_000
ODD = (
    Written(value=b"microseconds", timestamp_ms=MICROSECONDS),
    Written(value=b"first year", timestamp_ms=FIRST_OF_DOTNET),
    Written(value=b"name", headers=[(b"\xff\xfe", b"1"), (b"", None), (b"h" * 300, b"\xff")]),
    Written(value=None, key=None),
    Written(value=b"", key=b"", attributes=255),
)
ANY_TIMESTAMP = {"message.timestamp.after.max.ms": str(2**63 - 1)}


class Copies:
    """Publishes what it reads."""

    name = "copies"
    sends = False
    starts_at_latest = False
    linger_seconds = 0.0
    max_in_flight = 8
    max_waiting = 10
    fingerprint = "1"

    def __init__(self, source: str, sink: str) -> None:
        self.group = f"copies-{source}"
        self.topics = (source,)
        self.read: list[Record] = []
        self._sink = sink

    async def prepare(self, record: Record) -> PreparedRecord[Record]:
        return PreparedRecord(lane=None, subject=record)

    async def handle(self, subject: Record, context: RecordContext) -> Outcome:
        self.read.append(subject)
        return Outcome(records=(ProducerRecord(topic=self._sink, key=subject.key, value=subject.value),))

    def hand_off(self, record: Record, subject: Record, context: RecordContext) -> Outcome:
        raise AssertionError("nothing is handed off here")

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        raise error


async def test_odd_records_reach_the_stage_and_the_engine_goes_on(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """Timestamps of any size, header names that are not UTF-8, nothing at all: none ends the engine."""
    source, sink = await topic(config=ANY_TIMESTAMP), await topic()
    for codec in (0, ZSTD):
        await send_raw(kafka, source, batch(*ODD, codec=codec))
    stage = Copies(source, sink)
    engine = Engine(stage, AioKafka(kafka))
    running = asyncio.create_task(engine.run())
    try:
        await until(lambda: len(stage.read) == 2 * len(ODD) or running.done(), seconds=30)
    finally:
        await engine.stop(3)
        await running

    by_offset = sorted(stage.read, key=lambda record: record.offset)[: len(ODD)]
    assert [record.raw_timestamp_ms for record in by_offset] == [MICROSECONDS, FIRST_OF_DOTNET, None, None, None]
    assert [record.value for record in by_offset] == [written.value for written in ODD]
    assert by_offset[2].headers == ((r"\xff\xfe", b"1"), ("", None), ("h" * 300, b"\xff"))


async def test_odd_records_can_be_read_by_the_commands(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """`explain`, `reissue` and the dead letters read them too, one by one and to the end."""
    source = await topic(config=ANY_TIMESTAMP)
    await send_raw(kafka, source, batch(*ODD))

    records = [record async for record in read_to_end(kafka, [source])]

    assert [record.raw_timestamp_ms for record in records] == [MICROSECONDS, FIRST_OF_DOTNET, None, None, None]
    assert await read_one(kafka, source, 0, 2) == records[2]
