"""The scheduler's backlog: what waits for room comes in as soon as another bulkhead has made some."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import cast

from adapter.stream.observer import NullObserver
from adapter.stream.owned_partition import OwnedPartition, WorkItem, WorkPhase
from adapter.stream.port import TopicPartition
from adapter.stream.records import Record
from adapter.stream.scheduler import RecordScheduler
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, Stage
from stream.engine_harness import until

SLOTS = 16


class _State:
    """Reserves every offset, or none."""

    def __init__(self, *, reserves: bool) -> None:
        self.reserves = reserves

    def request_send(self, _offset: int) -> bool:
        return self.reserves

    def reserved(self, _offset: int) -> bool:
        return self.reserves

    def finish(self, _offset: int, _outcome: Outcome) -> None: ...


class _Partition:
    """An owned partition whose commits do nothing."""

    working = active = may_send = True

    def __init__(self, number: int, *, reserves: bool) -> None:
        self.partition = TopicPartition("orders.paid", number)
        self.state = _State(reserves=reserves)
        self.awaiting_reservation: list[object] = []

    def possibly_sent_since(self, _offset: int) -> None: ...

    def phase_changed(self, _source: WorkPhase, _target: WorkPhase) -> None: ...

    def request_commit(self) -> None: ...

    def request_lingering_commit(self) -> None: ...


class _Handles:
    """Handles each record when its event is set."""

    name = "handles"
    max_in_flight = SLOTS
    max_waiting = 1000

    async def handle(self, may_end: asyncio.Event, _context: RecordContext) -> Outcome:
        await may_end.wait()
        return Outcome()


class _Desk:
    """Admits records to a scheduler."""

    def __init__(self) -> None:
        stage = cast("Stage[asyncio.Event]", _Handles())
        self._scheduler = RecordScheduler(stage, NullObserver(), lambda: datetime.now(UTC), self.failed)
        self._offsets: Iterator[int] = count()
        self.errors: list[BaseException] = []

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)

    def admit(self, partition: _Partition, bulkhead: str, may_end: asyncio.Event) -> WorkItem[asyncio.Event]:
        record = Record(
            topic=partition.partition.topic,
            partition=partition.partition.partition,
            offset=next(self._offsets),
            timestamp=datetime.now(UTC),
            key=None,
            value=None,
        )
        item = WorkItem(record, cast("OwnedPartition[asyncio.Event]", partition))
        self._scheduler.admit(item, PreparedRecord(lane=None, subject=may_end, bulkhead=bulkhead))
        return item


async def test_room_that_others_made_is_noticed_when_a_running_record_ends() -> None:
    """All admitted records of B wait for a commit of one partition that hangs; those of the other partition go on."""
    desk, at_once, later = _Desk(), asyncio.Event(), asyncio.Event()
    hangs, healthy = _Partition(1, reserves=False), _Partition(2, reserves=True)
    at_once.set()
    running = [desk.admit(healthy, "B", later) for _ in range(4)]
    await until(lambda: all(item.phase is WorkPhase.RUNNING for item in running))
    others = [desk.admit(healthy, "A", at_once) for _ in range(30)]
    for _ in range(30):
        desk.admit(hangs, "B", at_once)
    waiting = [desk.admit(healthy, "B", at_once) for _ in range(20)]
    assert any(item.phase is WorkPhase.WAITING for item in waiting)

    await until(lambda: all(item.phase is WorkPhase.FINISHED for item in others))
    later.set()

    await until(lambda: all(item.phase is WorkPhase.FINISHED for item in (*running, *waiting)))
    assert not desk.errors
