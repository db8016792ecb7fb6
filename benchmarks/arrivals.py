"""Reads every committed event of one topic, as any subscriber does (`read_committed`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from adapter.kafka.connection import KafkaConnection
from adapter.wiring import PARTITIONS

SUBMITTED = b"ecticket.issuance.submitted.v1"


class Arrivals:
    """Counts the events of one type on `topic` by order (default: `submitted`), and the other events.

    It polls every `at_most_every` seconds: rarely if throughput is measured, at once if time is.
    """

    def __init__(
        self, connection: KafkaConnection, topic: str, *, counted: bytes = SUBMITTED, at_most_every: float = 0.02
    ) -> None:
        self.published: Counter[str] = Counter()
        self.arrived_at: dict[str, float] = {}
        self.others: Counter[str] = Counter()
        self.count = 0
        self._topic = topic
        self._counted = counted
        self._rest = at_most_every
        self._consumer = AIOKafkaConsumer(
            **connection.client_options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
        )
        self._news = asyncio.Event()
        self._ended: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        self._consumer.assign([TopicPartition(self._topic, number) for number in range(PARTITIONS)])
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._consumer.stop()

    async def until(self, count: int, *, patience: float, alive: Callable[[], None]) -> bool:
        """Wait until `count` have arrived; False if none has arrived for `patience` seconds.

        `alive` raises if no more will arrive.
        """
        while self.count < count:
            if self._task.done():
                self._task.result()
            before = self._all
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), patience)
            alive()
            if self._all == before:
                return False
        return True

    @property
    def _all(self) -> int:
        return self.count + self.others.total()

    async def _read(self) -> None:
        while True:
            batches = await self._consumer.getmany(timeout_ms=1000)
            now = time.perf_counter()
            for batch in batches.values():
                for record in batch:
                    self._note(dict(record.headers), now)
            if batches:
                self._news.set()
            await asyncio.sleep(self._rest)

    def _note(self, headers: dict[str, bytes], now: float) -> None:
        if headers["ce_type"] == self._counted:
            order = headers["ce_orderid"].decode()
            self.published[order] += 1
            self.arrived_at.setdefault(order, now)
            self.count += 1
        else:
            self.others[headers["ce_type"].decode()] += 1
