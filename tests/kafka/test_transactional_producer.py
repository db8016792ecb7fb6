"""What a transactional producer says when it fails, and what the engine hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest
from aiokafka.errors import IllegalOperation, MessageSizeTooLargeError, ProducerFenced

from adapter.kafka.transactional_producer import AioKafkaTransactionalProducer, BatchBytes
from adapter.stream.port import BatchTooLarge, KafkaClientError, RecordsTooLarge, TopicPartition
from adapter.stream.records import ProducerRecord

PRODUCED = ProducerRecord(topic="produced", key=b"k", value=b"v")


class NothingPending:
    """A transaction in which no offset waits to be committed."""

    _pending_txn_offsets = ()


class FailingProducer:
    """A producer that begins a transaction, and fails at the first send."""

    _txn_manager = NothingPending()

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    async def begin_transaction(self) -> None:
        """All is well so far."""

    async def send(self, *_record: object, **_headers: object) -> None:
        """It is not."""
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


class RefusingProducer:
    """A producer some of whose batches are refused: those that the records at these places are in."""

    _txn_manager = NothingPending()

    def __init__(self, refused: Collection[int]) -> None:
        self._refused = refused
        self._sent = 0

    async def begin_transaction(self) -> None:
        """All is well so far."""

    async def send(self, *_record: object, **_headers: object) -> asyncio.Future[object]:
        """Accepted, and refused later."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self._sent in self._refused:
            future.set_exception(MessageSizeTooLargeError())
        else:
            future.set_result(None)
        self._sent += 1
        return future

    async def send_offsets_to_transaction(self, *_offsets: object) -> None:
        """They go with it."""


def some(topic: str, *sizes: int) -> list[ProducerRecord]:
    return [ProducerRecord(topic=topic, key=None, value=b"x" * size) for size in sizes]


@pytest.mark.parametrize(
    ("producer_records", "refused", "judged"),
    [
        (some("a", 900, 900, 900), {0, 1, 2}, set()),
        (some("a", 900, 200_000, 900), {1}, {1}),
        (some("a", 900, 200_000, 900), {0, 1, 2}, {1}),
        (some("a", 900, 900) + some("b", 900), {2}, {2}),
        (some("a", 900, 900) + some("b", 900), {0, 1, 2}, {2}),
        (some("a", 900, 900) + some("b", 900, 900), {2, 3}, set()),
        (some("a", 0, 0), {0, 1}, set()),
    ],
    ids=["shared", "alone", "alone-and-shared", "the-only-one", "only-and-shared", "another-topic", "empty"],
)
async def test_only_a_record_that_was_alone_in_its_batch_is_judged(
    producer_records: list[ProducerRecord], refused: set[int], judged: set[int]
) -> None:
    """The topic refused a batch; the others of it may each be small enough, and are tried in smaller ones."""
    batches = BatchBytes()
    producer = AioKafkaTransactionalProducer(
        RefusingProducer(refused), "group", TopicPartition("orders", 0), 5.0, set(), batches
    )

    with pytest.raises((RecordsTooLarge, BatchTooLarge)) as raised:
        await producer.publish(producer_records, offset=1, metadata="")

    assert getattr(raised.value, "indexes", set()) == judged
    assert (batches.max_bytes < 128 * 1024) == (judged != refused)


async def test_batches_shrink_until_each_record_is_alone_and_then_all_are_judged() -> None:
    """Each round with a new producer; in the end no topic can reject a record for its company."""
    batches, producer_records, rounds = BatchBytes(), some("a", 10, 10), 0
    while batches.max_bytes > 1:
        rounds += 1
        producer = AioKafkaTransactionalProducer(
            RefusingProducer({0, 1}), "group", TopicPartition("orders", 0), 5.0, set(), batches
        )
        with pytest.raises(BatchTooLarge):
            await producer.publish(producer_records, offset=1, metadata="")

    producer = AioKafkaTransactionalProducer(
        RefusingProducer({0, 1}), "group", TopicPartition("orders", 0), 5.0, set(), batches
    )
    with pytest.raises(RecordsTooLarge) as raised:
        await producer.publish(producer_records, offset=1, metadata="")
    assert raised.value.indexes == {0, 1}
    assert rounds <= 6


async def test_two_producers_that_are_rejected_at_once_shrink_batches_once() -> None:
    """Those of a process's partitions send at the same time, and to the same topics."""
    batches = BatchBytes()
    producers = [
        AioKafkaTransactionalProducer(
            RefusingProducer({0, 1}), "group", TopicPartition("orders", number), 5.0, set(), batches
        )
        for number in range(2)
    ]
    for producer in producers:
        with pytest.raises(BatchTooLarge):
            await producer.publish(some("a", 10, 10), offset=1, metadata="")

    assert batches.max_bytes == 32 * 1024
