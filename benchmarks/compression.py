"""What `kafka.compression` costs and saves: the batches of submitted orders, written and read with each codec.

No broker and no ECTicket. The records are those that the submit stage returns: events and confirmations. Batches form
by themselves in the adapter (what ends while one commit runs), so three sizes are measured: one order alone, as in a
quiet shop, and 16 and 128 orders, as under load. The rounds of all codecs take turns, so that a busy machine slows each
alike.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from adapter.kafka.compression import CODECS
from adapter.stream.records import ProducerRecord
from adapter.testing.fakes import FakeRecordContext
from adapter.testing.harness import StageHarness
from benchmarks.orders import order
from benchmarks.reporting import Report

BATCHES = (1, 16, 128)
"""Orders in one commit."""
ROUNDS = 15
_TYPES = {"none": 0, **{codec: number for number, codec in enumerate(CODECS, 1)}}
"""The codecs' numbers in a batch's attributes (Kafka's protocol guide, Record Batch)."""
_LARGEST_BATCH = 16 * 1024 * 1024


async def measure(rounds: int = ROUNDS) -> Report:
    """Measure every codec with every size of a batch."""
    orders = [await _published(number) for number in range(max(BATCHES))]
    rows: list[dict[str, str | float | None]] = []
    for size in BATCHES:
        batches = _by_topic(orders[:size])
        written = {codec: [_write(batch, codec) for batch in batches] for codec in ("none", *CODECS)}
        costs = _costs(batches, written, rounds)
        plain = sum(map(len, written["none"]))
        for codec, (write_cost, read_cost) in costs.items():
            weight = sum(map(len, written[codec]))
            rows.append(
                {
                    "codec": codec,
                    "orders a commit": size,
                    "bytes an order": weight / size,
                    "bytes, of none": weight / plain,
                    "CPU µs an order, writing": 1e6 * write_cost / size,
                    "CPU µs an order, reading": 1e6 * read_cost / size,
                }
            )
    return Report(title=f"kafka.compression: batches of submitted orders, {rounds} rounds in turns, medians", rows=rows)


async def _published(number: int) -> Sequence[ProducerRecord]:
    stages = StageHarness()
    record = stages.record(order(number))
    prepared = await stages.submit.prepare(record)
    outcome = await stages.submit.handle(prepared.subject, FakeRecordContext(record))
    return outcome.records


def _by_topic(orders: Sequence[Sequence[ProducerRecord]]) -> list[list[ProducerRecord]]:
    topics: dict[str, list[ProducerRecord]] = defaultdict(list)
    for producer_records in orders:
        for producer_record in producer_records:
            topics[producer_record.topic].append(producer_record)
    return list(topics.values())


def _costs(
    batches: Sequence[Sequence[ProducerRecord]], written: dict[str, list[bytes]], rounds: int
) -> dict[str, tuple[float, float]]:
    writing: dict[str, list[float]] = defaultdict(list)
    reading: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for codec, packed in written.items():
            writing[codec].append(_cpu(lambda codec=codec: [_write(batch, codec) for batch in batches]))  # type: ignore[misc]  # mypy infers no default
            reading[codec].append(_cpu(lambda packed=packed: [_read(batch) for batch in packed]))  # type: ignore[misc]  # as above
    return {codec: (statistics.median(writing[codec]), statistics.median(reading[codec])) for codec in written}


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _write(batch: Sequence[ProducerRecord], codec: str) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=_TYPES[codec],
        is_transactional=1,
        producer_id=1,
        producer_epoch=1,
        base_sequence=0,
        batch_size=_LARGEST_BATCH,
    )
    for offset, each in enumerate(batch):
        builder.append(offset, 0, each.key, each.value, list(each.headers))
    return bytes(builder.build())


def _read(batch: bytes) -> int:
    records = MemoryRecords(batch)
    count = 0
    while records.has_next():
        count += sum(1 for _ in records.next_batch())
    return count
