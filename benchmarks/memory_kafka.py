"""A Kafka with one partition in memory, for benchmarks of the adapter's own work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from adapter.stream.port import Commit, OffsetRange, TopicPartition
from adapter.stream.records import ProducerRecord, Record

SECONDS = 60.0
"""How long an order may take at most."""
Headers = tuple[tuple[str, bytes], ...]
PARTITION = TopicPartition("orders.paid", 0)


class _Lease:
    """A lease that always holds."""

    generation = 1

    def holds(self, _generation: int) -> bool:
        return True

    def answered(self) -> bool:
        return True

    def check_proven(self) -> None: ...

    async def proven_after(self, _moment: float) -> None: ...

    def clock(self) -> float:
        return 0.0


class MemoryMember:
    """The only member of a group, with one partition; and the producer of its outcomes."""

    cluster_id = "memory"
    first = True

    def __init__(self) -> None:
        self.lease = _Lease()
        self._log: list[Record] = []
        self._position = 0
        self._commit: Commit | None = None
        self._published: list[ProducerRecord] = []
        self._grown = asyncio.Event()
        self._settled = asyncio.Event()

    async def commit_order(self, value: bytes) -> None:
        """Append an order to the partition, and wait until its outcome is committed."""
        await self.commit_orders([value])

    async def commit_orders(self, values: Sequence[bytes], headers: Mapping[int, Headers] | None = None) -> None:
        """Append orders, and wait until the outcomes of all are committed; `headers` are those of some, by index."""
        self._settled.clear()
        began, given = len(self._log), headers or {}
        self._log.extend(
            Record(
                topic=PARTITION.topic,
                partition=PARTITION.partition,
                offset=offset,
                timestamp=datetime.now(UTC),
                key=b"shop",
                value=value,
                headers=given.get(offset - began, ()),
            )
            for offset, value in enumerate(values, began)
        )
        self._grown.set()
        async with asyncio.timeout(SECONDS):
            await self._settled.wait()

    def join(
        self, _topics: Collection[str], *, revoked: Callable[[], Awaitable[None]], assigned: Callable[[], None]
    ) -> None:
        asyncio.get_running_loop().call_soon(assigned)

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset({PARTITION})

    async def partitions_of(self, _topics: Collection[str]) -> frozenset[TopicPartition]:
        return frozenset({PARTITION})

    async def commit_before_join(self, _commits: Mapping[TopicPartition, Commit]) -> bool:
        return False

    async def poll(
        self,
        partitions: Collection[TopicPartition],
        *,
        timeout: float,  # noqa: ASYNC109  # as the port has it
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        self._grown.clear()
        records = self._log[self._position :] if partitions else []
        if not records:
            await asyncio.wait({asyncio.ensure_future(self._grown.wait())}, timeout=timeout)
            return {}
        self._position = len(self._log)
        return {PARTITION: records}

    def position(self, _partition: TopicPartition) -> int | None:
        return self._position

    def seek(self, _partition: TopicPartition, offset: int) -> None:
        self._position = offset

    async def committed(self, _partition: TopicPartition) -> Commit | None:
        return self._commit

    async def offset_range(self, _partition: TopicPartition) -> OffsetRange:
        return OffsetRange(start=0, end=len(self._log))

    async def lag(self, _partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {}

    async def topic_ids(self, _topics: Collection[str]) -> Mapping[str, str]:
        return {}

    async def start_producer(self, _partition: TopicPartition) -> MemoryMember:
        return self

    async def leave(self) -> None: ...

    async def publish(self, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str) -> None:
        self._published.extend(producer_records)
        self._commit = Commit(offset=offset, metadata=metadata)
        if offset == len(self._log):
            asyncio.get_running_loop().call_soon(self._settled.set)

    def close(self) -> None: ...

    def abort(self) -> None: ...


class MemoryKafka:
    """Connects the member."""

    rebalance_timeout = 30.0

    def __init__(self, member: MemoryMember) -> None:
        self._member = member

    async def connect(self, _group: str) -> MemoryMember:
        return self._member
