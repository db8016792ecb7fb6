"""Writes the records of one transaction into batches, with aiokafka's builder.

All records of a transaction are known before it begins, and are awaited together. aiokafka's `send` costs a future, a
size estimate and two sets of partitions for each of them; `send_batch` costs that once for a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from adapter.kafka.producers import LARGEST_REQUEST
from adapter.stream.port import RecordsTooLarge
from adapter.stream.records import ProducerRecord

_UNWRITABLE = (TypeError, ValueError)
"""What the builder raises for a record that it cannot write, such as text that UTF-8 cannot encode."""

_partition_of = DefaultPartitioner()


class TransactionBatch(NamedTuple):
    """Records of one partition, by their index in the transaction."""

    topic: str
    partition: int
    builder: BatchBuilder
    indexes: list[int]


async def write_batches(
    producer: AIOKafkaProducer, producer_records: Sequence[ProducerRecord]
) -> list[TransactionBatch]:
    """Return batches with all records, in their order within each partition.

    Raises RecordsTooLarge for records that no request can hold, or that the client cannot write.
    """
    partitions = await _partitions(producer, producer_records)
    batches: list[TransactionBatch] = []
    latest: dict[tuple[str, int], TransactionBatch] = {}
    refused: set[int] = set()
    for index, (producer_record, partition) in enumerate(zip(producer_records, partitions, strict=True)):
        target = producer_record.topic, partition
        batch = latest.get(target)
        try:
            size = _append(batch.builder, producer_record) if batch is not None else None
            if batch is None or size is None:
                batch = latest[target] = TransactionBatch(*target, producer.create_batch(), [])
                batches.append(batch)
                size = _append(batch.builder, producer_record)
        except _UNWRITABLE:
            size = None
        else:
            batch.indexes.append(index)
        if size is None or size > LARGEST_REQUEST:
            refused.add(index)
    if refused:
        raise RecordsTooLarge(refused)
    return batches


def _append(builder: BatchBuilder, producer_record: ProducerRecord) -> int | None:
    """Append a record; return its size in the batch, or None if a batch that is not empty has no room for it."""
    written = builder.append(
        timestamp=None, key=producer_record.key, value=producer_record.value, headers=list(producer_record.headers)
    )
    return None if written is None else int(written.size)


async def _partitions(producer: AIOKafkaProducer, producer_records: Sequence[ProducerRecord]) -> list[int]:
    """Return the partition of each record, as `send` chooses it.

    The records of an outcome mostly have one key, and topics the same number of partitions: then it is hashed once.
    """
    counts: dict[str, int] = {}
    available: dict[str, list[int]] = {}
    for topic in {producer_record.topic for producer_record in producer_records}:
        counts[topic] = len(await producer.partitions_for(topic))
        available[topic] = list(producer.client.cluster.available_partitions_for_topic(topic))
    known: dict[tuple[bytes, int], int] = {}
    partitions = []
    for producer_record in producer_records:
        topic, key = producer_record.topic, producer_record.key
        count = counts[topic]
        partition = known.get((key, count)) if key is not None else None
        if partition is None:
            partition = _partition_of(key, range(count), available[topic])
            if key is not None:
                known[key, count] = partition
        partitions.append(partition)
    return partitions
