"""A broker with two partitions: logs with holes, commits with metadata, and transactions that a later producer fences.

A transaction is under way from `begin` until it lands, which may be after its process is gone; it is all or nothing.
Does not know what is in the records.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from adapter.stream.partition_state import CommitBatch
from adapter.stream.port import Commit, OffsetRange, TopicPartition
from adapter.stream.records import ProducerRecord, Record

from .invariants import Invariants
from .protections import Protections

PAID, DEFERRED = TopicPartition("paid", 0), TopicPartition("deferred", 0)
PUBLISHED = "published"
PARTITIONS = (PAID, DEFERRED)


class Fate(Enum):
    """What became of a transaction."""

    UNDER_WAY = auto()
    COMMITTED = auto()
    FENCED = auto()


@dataclass(slots=True, eq=False)
class Transaction:
    """A commit on its way, by the producer with that epoch."""

    partition: TopicPartition
    epoch: int
    batch: CommitBatch
    fate: Fate = Fate.UNDER_WAY


class Broker:
    """Logs, commits and epochs of `PARTITIONS`."""

    def __init__(self, protections: Protections, invariants: Invariants) -> None:
        self.logs: dict[TopicPartition, list[Record]] = {partition: [] for partition in PARTITIONS}
        self.commits: dict[TopicPartition, Commit] = {}
        self.under_way: list[Transaction] = []
        self._ends: defaultdict[TopicPartition, int] = defaultdict(int)
        self._epochs: defaultdict[TopicPartition, int] = defaultdict(int)
        self._protections = protections
        self._invariants = invariants

    def append(self, producer_record: ProducerRecord, now: datetime, *, hole: int = 0) -> None:
        """Put a record at the end of its log, after `hole` offsets that are no records."""
        partition = TopicPartition(producer_record.topic, 0)
        offset = self._ends[partition] + hole
        self._ends[partition] = offset + 1
        self.logs[partition].append(
            Record(
                topic=partition.topic,
                partition=partition.partition,
                offset=offset,
                timestamp=now,
                key=producer_record.key,
                value=producer_record.value,
                headers=producer_record.headers,
            )
        )

    def offset_range(self, partition: TopicPartition) -> OffsetRange:
        """What the log has."""
        return OffsetRange(start=0, end=self._ends[partition])

    def start_producer(self, partition: TopicPartition) -> int:
        """Start a producer: its epoch. Earlier ones of the partition are fenced, and their transactions over."""
        self._epochs[partition] += 1
        return self._epochs[partition]

    def begin(self, partition: TopicPartition, epoch: int, batch: CommitBatch) -> Transaction:
        """Send a transaction on its way."""
        transaction = Transaction(partition, epoch, batch)
        self.under_way.append(transaction)
        return transaction

    def land(self, transaction: Transaction, now: datetime) -> None:
        """Commit a transaction, or find it fenced."""
        self.under_way.remove(transaction)
        partition, batch = transaction.partition, transaction.batch
        if self._protections.fencing and transaction.epoch != self._epochs[partition]:
            transaction.fate = Fate.FENCED
            return
        transaction.fate = Fate.COMMITTED
        for offset, outcome in batch.outcomes.items():
            self._invariants.settled(partition, offset, [each for each in outcome.records if each.topic == PUBLISHED])
            for producer_record in outcome.records:
                if producer_record.topic != PUBLISHED:
                    self.append(producer_record, now)
                    self._ends[TopicPartition(producer_record.topic, 0)] += 1  # the transaction's marker
        self.commits[partition] = Commit(offset=batch.offset, metadata=batch.metadata)
        self._invariants.committed(partition, batch.offset, [record.offset for record in self.logs[partition]])
