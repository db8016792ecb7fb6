"""The records of a transaction, in batches."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from adapter.kafka.producers import LARGEST_REQUEST
from adapter.kafka.record_batches import ReadBudget, RecordReader
from adapter.kafka.transaction_batches import TransactionBatch, write_batches
from adapter.stream.port import RecordsTooLarge, TopicPartition
from adapter.stream.records import ProducerRecord, Record
from kafka.batching_producer import BatchingProducer

PARTITIONS = 6
RECORDS = st.lists(
    st.builds(
        ProducerRecord,
        topic=st.sampled_from(["a", "b"]),
        key=st.none() | st.binary(max_size=9),
        value=st.none() | st.binary(max_size=60),
        headers=st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2).map(tuple),
    ),
    max_size=40,
)


def contents(batch: TransactionBatch) -> list[Record]:
    """What a reader of the partition finds."""
    reader = RecordReader(
        bytes(batch.builder._build()),
        TopicPartition(batch.topic, batch.partition),
        position=0,
        aborted=(),
        budget=ReadBudget(),
    )
    return reader.take(1000)


@given(RECORDS, st.sampled_from([1, 150, 400, 100_000]))
async def test_each_record_is_in_one_batch_of_the_partition_that_aiokafka_chooses(
    producer_records: list[ProducerRecord], max_bytes: int
) -> None:
    """In order, unchanged, and no batch but one of a single record is larger than allowed."""
    available = {1, 4}
    producer = BatchingProducer(max_bytes, partitions=PARTITIONS, available=available)
    batches = await write_batches(producer, producer_records)

    assert sorted(index for batch in batches for index in batch.indexes) == list(range(len(producer_records)))
    order: dict[tuple[str, int], list[int]] = {}
    for batch in batches:
        order.setdefault((batch.topic, batch.partition), []).extend(batch.indexes)
        written = [producer_records[index] for index in batch.indexes]
        read = [(each.topic, each.key, each.value, each.headers) for each in contents(batch)]
        assert read == [(each.topic, each.key, each.value, each.headers) for each in written]
        assert batch.builder.size() <= max_bytes or len(written) == 1
        chosen = {
            DefaultPartitioner()(each.key, list(range(PARTITIONS)), [0]) for each in written if each.key is not None
        }
        assert chosen <= {batch.partition}
        assert batch.partition in available or all(each.key is not None for each in written)
    assert all(indexes == sorted(indexes) for indexes in order.values())


async def test_a_record_that_no_request_can_hold_is_refused_by_its_index() -> None:
    """The other records are not, although none of them is sent."""
    records = [ProducerRecord(topic="a", key=b"k", value=b"v" * size) for size in (1, LARGEST_REQUEST, 1)]

    with pytest.raises(RecordsTooLarge) as raised:
        await write_batches(BatchingProducer(), records)

    assert raised.value.indexes == {1}
