"""Replaces the record decoder of a started aiokafka consumer by ours.

aiokafka 0.14 has no setting for that. Two methods of its fetcher name the decoder and the object that holds a fetch. So
this consumer's fetcher gets those methods with our classes in place of aiokafka's. No other consumer of the process is
affected, and a test with a real broker notices if a new version of aiokafka differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType, MethodType

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.consumer import fetcher as fetchers

from adapter.kafka.record_batches import ReadBudget, RecordReader
from adapter.stream.port import TopicPartition
from adapter.stream.records import Record

FETCH_AT_ONCE = 500
"""The most records that one poll returns."""

_METHODS = ("_proc_fetch_request", "fetched_records")


def decode_safely(consumer: AIOKafkaConsumer) -> ReadBudget:
    """Let this started consumer decode batches with `RecordReader`; return the budget to renew at each poll."""
    budget = ReadBudget()
    fetcher = consumer._fetcher

    def reader(
        partition: ClientPartition,
        fetched: _Fetched,
        aborted: Iterable[tuple[int, int]] | None,
        offset: int,
        *_: object,
    ) -> _PartitionReader:
        return _PartitionReader(
            fetched.data, TopicPartition(*partition), position=offset, aborted=aborted or (), budget=budget
        )

    names = {
        **vars(fetchers),
        "MemoryRecords": _Fetched,
        "PartitionRecords": reader,
        "FetchResult": _FetchResult,
    }
    for name in _METHODS:
        method: FunctionType = getattr(type(fetcher), name)
        ours = FunctionType(method.__code__, names, name, method.__defaults__, method.__closure__)
        setattr(fetcher, name, MethodType(ours, fetcher))
    return budget


class _Fetched:
    """The bytes of one partition in the answer to a fetch; in place of aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def has_next(self) -> bool:
        """Whether there is anything to decode; the decoder reports what is wrong with it."""
        return bool(self.data)

    def size_in_bytes(self) -> int:
        return len(self.data)


class _PartitionReader(RecordReader):
    """A reader with the interface that aiokafka's fetcher expects; in place of `PartitionRecords`."""

    @property
    def next_fetch_offset(self) -> int:
        return self.position


class _FetchResult(fetchers.FetchResult):  # type: ignore[misc]  # aiokafka has no types
    """A fetch that keeps what one poll does not return."""

    def getall(self, max_records: int | None = None) -> list[Record]:
        """Return the next records. Raises UnreadableBatch."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        reader: _PartitionReader = self._partition_records  # type: ignore[has-type]  # aiokafka has no types
        records = reader.take(max_records or FETCH_AT_ONCE)
        self._update_position()
        if reader.ended:
            self._partition_records = None
        return records
