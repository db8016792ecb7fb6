"""The reconcile stage in memory: one process for each merchant and day, whatever happens to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import cast

import pytest
from stream.fake_kafka import FakeCluster, FakeKafka

from adapter.errors import NotAccepted
from adapter.flows.messages.events import DifferenceCounts, ReconciliationCompleted
from adapter.flows.reconcile import Comparison, OrderReportFindings, ReconciledPeriod, Reconciler
from adapter.flows.reconcile_stage import ReconcileSchedule, ReconcileStage, partition_of
from adapter.flows.reconciliation_table import ComparedCounts, ReconciliationTable
from adapter.issuance.reconciliation import DifferenceKind
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.taipei import TAIPEI
from adapter.stream.port import TopicPartition
from adapter.testing.fakes import TOPICS

PARTITIONS = [TopicPartition(TOPICS.reconciliations, number) for number in range(2)]
MERCHANTS = ("1", "2", "3", "4")
MORNING = datetime(2026, 3, 5, 6, tzinfo=TAIPEI)
SCHEDULE = ReconcileSchedule(at=time(5), days=3)


class Book:
    """Some merchants."""

    ids = MERCHANTS

    def find(self, merchant_id: str) -> Merchant | None:
        return Merchant(merchant_id=merchant_id, credentials=Credentials(hash_key="k" * 16, hash_iv="i" * 16))


@dataclass
class Days:
    """Stands for the flow: which periods are done, who works on them, and what goes wrong."""

    done: set[tuple[str, ReconciledPeriod]] = field(default_factory=set)
    looked_at: list[str] = field(default_factory=list)
    began: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def is_completed(self, merchant_id: str, period: ReconciledPeriod) -> bool:
        self.looked_at.append(merchant_id)
        self.changed.set()
        return (merchant_id, period) in self.done

    @asynccontextmanager
    async def compare(
        self, merchant: Merchant, period: ReconciledPeriod, *, publish: bool, wait: object
    ) -> AsyncIterator[Comparison]:
        assert publish
        merchant_id = merchant.merchant_id
        self.began.append(merchant_id)
        self.changed.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(merchant_id)
            self.changed.set()
            raise
        if self.errors:
            raise self.errors.pop(0)
        self.done.add((merchant_id, period))
        self.changed.set()
        completed = ReconciliationCompleted(
            merchant_id=merchant_id,
            first_day=period.first,
            last_day=period.last,
            reported=1,
            published=1,
            differences=1,
            by_kind=DifferenceCounts(state=1),
        )
        findings = OrderReportFindings(unreadable=2, additional_columns=1)
        counts = ComparedCounts()
        counts.new_by_kind[DifferenceKind.STATE] = 1
        yield Comparison(cast("ReconciliationTable", None), completed, counts, findings)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def merchants_done(self) -> set[str]:
        return {merchant_id for merchant_id, _ in self.done}


@dataclass
class Seen:
    """What the observer got."""

    days: Days
    reconciled_merchants: list[tuple[str, Mapping[str, int]]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def reconciled(self, merchant_id: str, new_by_kind: Mapping[str, int], at: datetime) -> None:
        self.reconciled_merchants.append((merchant_id, new_by_kind))

    def reconciliation_failed(self, merchant_id: str) -> None:
        self.failed.append(merchant_id)
        self.days.changed.set()


@dataclass
class Fleet:
    """Processes over one cluster."""

    days: Days = field(default_factory=Days)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    now: datetime = MORNING
    stages: list[ReconcileStage] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen = Seen(self.days)
        for partition in PARTITIONS:
            self.cluster.logs[partition] = []

    async def start(self, count: int) -> None:
        """Start so many processes that share the partitions, as far as they go."""
        for _ in range(count):
            stage = ReconcileStage(
                kafka=FakeKafka(self.cluster),
                topic=TOPICS.reconciliations,
                group="ecticket-adapter.reconcile",
                merchants=Book(),
                reconciler=cast("Reconciler", self.days),
                schedule=SCHEDULE,
                report_interval_seconds=0,
                observer=self.seen,
                now=lambda: self.now,
                look_seconds=0.01,
            )
            self.stages.append(stage)
            self.tasks.append(asyncio.ensure_future(stage.run()))
        while len(self.cluster.members) < len(self.stages):  # noqa: ASYNC110  # members offer no event
            await asyncio.sleep(0.001)

    async def end(self) -> None:
        for stage in self.stages:
            await stage.stop(1)
        await asyncio.gather(*self.tasks)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """No process runs yet; comparisons wait at the gate."""
    found = Fleet()
    yield found
    await found.end()


def _of(number: int) -> set[str]:
    return {each for each in MERCHANTS if partition_of(each, PARTITIONS) == PARTITIONS[number]}


def test_merchants_are_spread_over_the_partitions() -> None:
    """So a fleet shares them."""
    assert _of(0)
    assert _of(1)


@pytest.mark.parametrize(
    ("now", "first", "last"),
    [
        (datetime(2026, 3, 4, 20, 59, 59, tzinfo=UTC), date(2026, 3, 1), date(2026, 3, 4)),
        (datetime(2026, 3, 4, 21, 0, 0, tzinfo=UTC), date(2026, 3, 2), date(2026, 3, 5)),
        (datetime(2026, 3, 5, 15, 59, 59, tzinfo=UTC), date(2026, 3, 2), date(2026, 3, 5)),
        (datetime(2026, 3, 5, 16, 0, 0, tzinfo=UTC), date(2026, 3, 2), date(2026, 3, 5)),
    ],
)
def test_a_day_begins_at_its_time_in_taipei(now: datetime, first: date, last: date) -> None:
    """05:00 in Taipei is 21:00 UTC of the day before; until then, the run of the day before is due."""
    assert SCHEDULE.period(now) == ReconciledPeriod(first=first, last=last)


async def test_each_merchant_is_reconciled_once_by_the_process_that_has_it(fleet: Fleet) -> None:
    """Two processes, four merchants, one comparison each; the observer gets what is new."""
    await fleet.start(2)
    await fleet.cluster.assign(PARTITIONS[:1], PARTITIONS[1:])
    fleet.days.gate.set()
    await fleet.days.until(lambda: fleet.days.merchants_done() == set(MERCHANTS))

    assert sorted(fleet.days.began) == sorted(MERCHANTS)
    assert sorted(fleet.seen.reconciled_merchants) == [(each, {"state": 1}) for each in MERCHANTS]
    assert [stage.assigned for stage in fleet.stages] == [{PARTITIONS[0]}, {PARTITIONS[1]}]
    assert all(stage.connected and not stage.problems and not stage.standing_by for stage in fleet.stages)


async def test_a_process_without_partitions_stands_by(fleet: Fleet) -> None:
    """It is ready, and does nothing."""
    await fleet.start(2)
    await fleet.cluster.assign(PARTITIONS, ())
    fleet.days.gate.set()
    await fleet.days.until(lambda: fleet.days.merchants_done() == set(MERCHANTS))

    assert (fleet.stages[1].standing_by, fleet.stages[1].assigned) == (True, frozenset())


async def test_the_next_day_is_reconciled_too(fleet: Fleet) -> None:
    """When its time has come."""
    await fleet.start(1)
    await fleet.cluster.assign(PARTITIONS)
    fleet.days.gate.set()
    await fleet.days.until(lambda: len(fleet.days.done) == len(MERCHANTS))
    fleet.now = MORNING.replace(day=6)
    await fleet.days.until(lambda: len(fleet.days.done) == 2 * len(MERCHANTS))

    assert sorted(fleet.days.began) == sorted(2 * MERCHANTS)


async def test_what_another_process_has_completed_is_not_compared_again(fleet: Fleet) -> None:
    """Before a crash, or before this process started."""
    period = SCHEDULE.period(MORNING)
    fleet.days.done |= {(each, period) for each in MERCHANTS[1:]}
    await fleet.start(1)
    await fleet.cluster.assign(PARTITIONS)
    fleet.days.gate.set()
    await fleet.days.until(
        lambda: len(fleet.days.looked_at) >= len(MERCHANTS) and fleet.days.merchants_done() == set(MERCHANTS)
    )

    assert fleet.days.began == [MERCHANTS[0]]


async def test_a_process_that_loses_a_merchant_stops_at_once_and_the_next_one_compares(fleet: Fleet) -> None:
    """In the middle of its work; during the rebalance it continues."""
    await fleet.start(2)
    await fleet.cluster.assign(PARTITIONS, ())
    await fleet.days.until(lambda: len(fleet.days.began) == 1)
    (lost,) = fleet.days.began
    await fleet.cluster.assign((), PARTITIONS)
    await fleet.days.until(lambda: fleet.days.cancelled == [lost] and len(fleet.days.began) == 2)
    fleet.days.gate.set()
    await fleet.days.until(lambda: fleet.days.merchants_done() == set(MERCHANTS))

    assert fleet.stages[0].standing_by


async def test_a_rebalance_that_changes_nothing_stops_nothing(fleet: Fleet) -> None:
    """Another process joined, and this one kept its merchants."""
    await fleet.start(1)
    await fleet.cluster.assign(PARTITIONS)
    await fleet.days.until(lambda: len(fleet.days.began) == 1)
    await fleet.cluster.assign(PARTITIONS)
    await fleet.cluster.assign(PARTITIONS)
    fleet.days.gate.set()
    await fleet.days.until(lambda: fleet.days.merchants_done() == set(MERCHANTS))

    assert fleet.days.cancelled == []
    assert sorted(fleet.days.began) == sorted(MERCHANTS)


@pytest.mark.parametrize("error", [NotAccepted("no report now"), ValueError("a defect")], ids=["expected", "defect"])
async def test_a_failure_is_counted_and_the_other_merchants_are_reconciled(fleet: Fleet, error: Exception) -> None:
    """The stage never ends the process, which issues tickets."""
    fleet.days.errors.append(error)
    await fleet.start(1)
    await fleet.cluster.assign(PARTITIONS)
    fleet.days.gate.set()
    await fleet.days.until(lambda: len(fleet.days.done) == len(MERCHANTS) - 1)

    assert len(fleet.seen.failed) == 1
    assert fleet.days.merchants_done() == set(MERCHANTS) - set(fleet.seen.failed)


async def test_a_member_that_cannot_continue_is_replaced(fleet: Fleet) -> None:
    """Only a poll shows it."""
    await fleet.start(1)
    (broken,) = fleet.cluster.members
    broken.fails_to_poll = True
    while fleet.cluster.members in ([], [broken]):  # noqa: ASYNC110  # members offer no event
        await asyncio.sleep(0.001)

    assert broken.left
    assert not fleet.tasks[0].done()


async def test_a_stop_ends_a_comparison(fleet: Fleet) -> None:
    """Nothing of it was published, and the next process compares again."""
    await fleet.start(1)
    await fleet.cluster.assign(PARTITIONS)
    await fleet.days.until(lambda: len(fleet.days.began) == 1)
    await fleet.end()

    assert fleet.days.cancelled == fleet.days.began
