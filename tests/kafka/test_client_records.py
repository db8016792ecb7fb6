"""What the client hands over or raises becomes records, or a trouble that a new member may do without."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from aiokafka.structs import TopicPartition as ClientPartition
from hypothesis import given
from hypothesis import strategies as st
from stream.batch_bytes import Written, batch

from adapter.kafka.client import AioKafkaMember
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.lease import HeartbeatLease
from adapter.kafka.record_batches import ReadBudget, RecordReader
from adapter.stream.port import KafkaClientError, TopicPartition, UnreadableBatch
from adapter.stream.records import Record

PAID = TopicPartition("paid", 0)


def fetched(timestamp: int, name: str = "h", value: bytes | None = None) -> Record:
    """The one record of a batch, as the client's decoder returns it."""
    header = name.encode("utf-8", "surrogatepass"), value
    data = batch(Written(key=b"k", headers=(header,), timestamp_ms=timestamp), base=1)
    (record,) = RecordReader(data, PAID, position=1, aborted=(), budget=ReadBudget()).take(1)
    return record


class Consumer:
    """A client that hands over one record, or raises."""

    def __init__(self, result: Record | Exception) -> None:
        self._result = result

    async def getmany(
        self, *_: ClientPartition, timeout_ms: int, max_records: int
    ) -> dict[ClientPartition, list[object]]:
        if isinstance(self._result, Exception):
            raise self._result
        return {ClientPartition(*PAID): [self._result]}


def member(result: Record | Exception) -> AioKafkaMember:
    connection = KafkaConnection(bootstrap_servers="fake:1")
    return AioKafkaMember(Consumer(result), HeartbeatLease(10, 30), "group", "cluster", connection, {})


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=5) | st.just("\udcff\ud800"), st.none() | st.binary())
def test_the_clients_record_is_converted_whatever_it_holds(timestamp: int, name: str, value: bytes | None) -> None:
    """Both readers use one conversion, and it never raises."""
    record = fetched(timestamp, name, value)

    assert record.timestamp.tzinfo is not None
    assert record.raw_timestamp_ms in (None, timestamp, -1)
    assert record.headers[0][1] == value
    record.headers[0][0].encode()


async def test_an_odd_timestamp_does_not_end_a_poll() -> None:
    """Microseconds for milliseconds."""
    batches = await member(fetched(1_764_400_000_000_000)).poll([PAID], timeout=1)

    (record,) = batches[PAID]
    assert record == Record(
        topic="paid",
        partition=0,
        offset=1,
        timestamp=datetime(8999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        key=b"k",
        value=b"{}",
        headers=(("h", None),),
        raw_timestamp_ms=1_764_400_000_000_000,
    )


@pytest.mark.parametrize(
    "error", [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), AssertionError(), ValueError(), OverflowError()]
)
async def test_whatever_the_client_raises_is_a_client_error(error: Exception) -> None:
    """The engine joins again, and does not end."""
    with pytest.raises(KafkaClientError):
        await member(error).poll([PAID], timeout=1)


async def test_an_unreadable_batch_stays_one() -> None:
    """It is about one partition, and the engine judges it."""
    with pytest.raises(UnreadableBatch):
        await member(UnreadableBatch(PAID, base=1, first=1, last=1, cause="codec 7")).poll([PAID], timeout=1)


async def test_cancelling_a_poll_cancels_it() -> None:
    """A rebalance interrupts it."""

    class Delayed(Consumer):
        async def getmany(
            self, *_: ClientPartition, timeout_ms: int, max_records: int
        ) -> dict[ClientPartition, list[object]]:
            await asyncio.Event().wait()
            return {}

    waiting = member(ValueError())
    waiting._consumer = Delayed(ValueError())
    task = asyncio.create_task(waiting.poll([PAID], timeout=1))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
