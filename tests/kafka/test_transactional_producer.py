"""What a transactional producer says when it fails, and what the engine hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest
from aiokafka.errors import IllegalOperation, MessageSizeTooLargeError, ProducerFenced

from adapter.kafka.transactional_producer import AioKafkaTransactionalProducer, BatchBytes
from adapter.stream.port import BatchTooLarge, KafkaClientError, RecordsTooLarge, TopicPartition
from adapter.stream.records import ProducerRecord
from kafka.batching_producer import BatchingProducer

PRODUCED = ProducerRecord(topic="produced", key=b"k", value=b"v")


class FailingProducer(BatchingProducer):
    """A producer that begins a transaction, and fails at the first send."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self._failure = failure

    async def send_batch(self, *_batch: object, **_partition: object) -> None:
        """It does not work."""
        raise self._failure


@pytest.mark.parametrize(
    "failure",
    [
        IllegalOperation("not in transaction"),
        ProducerFenced(),
        AssertionError(),
        TimeoutError(),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_producer_that_fails_raises_a_client_error(failure: Exception) -> None:
    """Fenced between two sends, as a zombie that wakes up may be: the partition is dropped, and the process goes on."""
    producer = AioKafkaTransactionalProducer(FailingProducer(failure), "group", TopicPartition("orders", 0), 5.0, set())

    with pytest.raises(KafkaClientError):
        await producer.publish([PRODUCED], offset=1, metadata="")


class RefusingProducer(BatchingProducer):
    """A producer some of whose batches are refused, given by their place in the transaction."""

    def __init__(self, refused: Collection[int], max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._refused = refused
        self._sent = 0

    async def send_batch(self, _batch: object, _topic: str, **_partition: object) -> asyncio.Future[object]:
        """Accepted, and refused later."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self._sent in self._refused:
            future.set_exception(MessageSizeTooLargeError())
        else:
            future.set_result(None)
        self._sent += 1
        return future


def refusing(refused: Collection[int], batches: BatchBytes, partition: int = 0) -> AioKafkaTransactionalProducer:
    """A new producer, as a partition gets one when it is taken over."""
    client = RefusingProducer(refused, batches.max_bytes)
    return AioKafkaTransactionalProducer(client, "group", TopicPartition("orders", partition), 5.0, set(), batches)


def some(topic: str, *sizes: int) -> list[ProducerRecord]:
    return [ProducerRecord(topic=topic, key=None, value=b"x" * size) for size in sizes]


@pytest.mark.parametrize(
    ("producer_records", "refused", "judged"),
    [
        (some("a", 900, 900, 900), {0}, set()),
        (some("a", 900, 200_000, 900), {1}, {1}),
        (some("a", 900, 900, 200_000, 900), {0, 1}, {2}),
        (some("a", 900, 900) + some("b", 900), {1}, {2}),
        (some("a", 900, 900) + some("b", 900), {0, 1}, {2}),
        (some("a", 900, 900) + some("b", 900, 900), {1}, set()),
        (some("a", 0, 0), {0}, set()),
    ],
    ids=["shared", "alone", "alone-and-shared", "the-only-one", "only-and-shared", "another-topic", "empty"],
)
async def test_only_a_record_that_was_alone_in_its_batch_is_judged(
    producer_records: list[ProducerRecord], refused: set[int], judged: set[int]
) -> None:
    """The topic refused a batch; the others of it may each be small enough, and are tried in smaller ones."""
    batches = BatchBytes()

    with pytest.raises((RecordsTooLarge, BatchTooLarge)) as raised:
        await refusing(refused, batches).publish(producer_records, offset=1, metadata="")

    assert getattr(raised.value, "indexes", set()) == judged
    assert (batches.max_bytes < 128 * 1024) == (len(judged) != len(refused))


async def test_batches_shrink_until_each_record_is_alone_and_then_all_are_judged() -> None:
    """Each round with a new producer; in the end no topic can reject a record for its company."""
    batches, producer_records, rounds = BatchBytes(), some("a", 10, 10), 0
    while batches.max_bytes > 1:
        rounds += 1
        with pytest.raises(BatchTooLarge):
            await refusing({0}, batches).publish(producer_records, offset=1, metadata="")

    with pytest.raises(RecordsTooLarge) as raised:
        await refusing({0, 1}, batches).publish(producer_records, offset=1, metadata="")
    assert raised.value.indexes == {0, 1}
    assert rounds <= 6


async def test_two_producers_that_are_rejected_at_once_shrink_batches_once() -> None:
    """Those of a process's partitions send at the same time, and to the same topics."""
    batches = BatchBytes()
    for producer in [refusing({0}, batches, partition) for partition in range(2)]:
        with pytest.raises(BatchTooLarge):
            await producer.publish(some("a", 10, 10), offset=1, metadata="")

    assert batches.max_bytes == 32 * 1024


async def test_records_that_no_client_can_write_are_refused_before_anything_is_sent() -> None:
    """Half a surrogate pair as the name of a header, which a plugin may have read."""
    odd = ProducerRecord(topic="a", key=b"k", value=b"v", headers=(("\ud800", b""),))
    client = FailingProducer(AssertionError())
    producer = AioKafkaTransactionalProducer(client, "group", TopicPartition("orders", 0), 5.0, set())

    with pytest.raises(RecordsTooLarge) as raised:
        await producer.publish([PRODUCED, odd, PRODUCED], offset=1, metadata="")

    assert raised.value.indexes == {1}
    assert not client.began
