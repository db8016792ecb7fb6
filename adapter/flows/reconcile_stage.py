"""The reconcile stage: compares each merchant's last days once a day, in one process of a fleet.

The processes are members of a consumer group over the topic of reconciliations, and each merchant belongs to the owner
of one of its partitions. So one process works for a merchant, and another one takes over when it dies. Membership only
saves work: what makes a day's events come once is the merchant's exclusive producer and the topic itself (`reconcile`).

No record is read as a member and nothing is committed. A day is done when `completed` of its period is on the topic.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Final, Protocol

from adapter.backoff import backoff_seconds
from adapter.errors import AdapterError, BrokerUnavailable, StreamError
from adapter.flows.ports import Clock, Merchants
from adapter.flows.reconcile import Comparison, ReconciledPeriod, Reconciler
from adapter.protocol.taipei import TAIPEI
from adapter.stream.port import Kafka, Member, TopicPartition

LOOK_SECONDS: Final = 1.0
"""How often the stage looks at its merchants, the clock and its membership."""
LONGEST_RETRY_SECONDS: Final = 1800.0
"""The longest pause after a comparison that failed."""
LONGEST_CONNECT_SECONDS: Final = 30.0
"""The longest pause between attempts to join the group."""

_log = logging.getLogger(__name__)


class ReconcileObserver(Protocol):
    """Gets the results of comparisons, for metrics. Called on the loop: must be quick and must not raise."""

    def reconciled(self, merchant_id: str, new_by_kind: Mapping[str, int], at: datetime) -> None:
        """A period was completed, and so many differences are new."""

    def reconciliation_failed(self, merchant_id: str) -> None:
        """A comparison failed, and is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileSchedule:
    """When a merchant's days are compared, and which."""

    at: time_of_day
    """In Taipei."""
    days: int
    """So many complete days are repeated."""

    def period(self, now: datetime) -> ReconciledPeriod:
        """The period of the latest run that is due."""
        return ReconciledPeriod.of_run(self._day(now), self.days)

    def _day(self, now: datetime) -> date:
        local = now.astimezone(TAIPEI)
        return local.date() if local.time() >= self.at else local.date() - timedelta(days=1)


@dataclass(slots=True)
class _Progress:
    """What this process knows of one merchant."""

    done: ReconciledPeriod | None = None
    not_before: float = 0.0
    failures: int = 0


class ReconcileStage:
    """The stage, from `run` to `stop`; see `stream.engine_thread.StageRunner`."""

    def __init__(
        self,
        *,
        kafka: Kafka,
        topic: str,
        group: str,
        merchants: Merchants,
        reconciler: Reconciler,
        schedule: ReconcileSchedule,
        report_interval_seconds: float,
        observer: ReconcileObserver,
        now: Clock,
        clock: Callable[[], float] = time.monotonic,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`report_interval_seconds`: ECPay allows one report of a merchant in this time."""
        self._kafka = kafka
        self._topic = topic
        self._group = group
        self._merchants = merchants
        self._reconciler = reconciler
        self._schedule = schedule
        self._interval = report_interval_seconds
        self._observer = observer
        self._now = now
        self._clock = clock
        self._look_seconds = look_seconds
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._member: Member | None = None
        self._assigned = asyncio.Event()
        self._problem: str | None = None
        self._failing: dict[str, str] = {}
        self._progress: dict[str, _Progress] = {}
        self._mine: frozenset[str] = frozenset()
        self._last_heartbeat = time.monotonic()

    # --- status ------------------------------------------------------------------------------------------------------

    @property
    def last_heartbeat(self) -> float:
        """When the stage last looked (`time.monotonic`)."""
        return self._last_heartbeat

    @property
    def assigned(self) -> frozenset[tuple[str, int]]:
        """The partitions whose merchants this process reconciles."""
        member = self._member
        return (
            frozenset() if member is None else frozenset((each.topic, each.partition) for each in member.assignment())
        )

    @property
    def connected(self) -> bool:
        """Whether the group answered within a session time-out."""
        member = self._member
        return member is not None and member.lease.holds(member.lease.generation)

    @property
    def standing_by(self) -> bool:
        """Whether this process is a member and other ones have all partitions."""
        return self.connected and not self.assigned

    @property
    def problems(self) -> Sequence[str]:
        """Why the stage is out of touch with the brokers. A comparison that fails is logged and counted."""
        return [self._problem] if self._problem is not None and not self.connected else []

    # --- running -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Reconcile until stopped, through any outage."""
        self._ended.clear()
        failures = 0
        try:
            while not self._stopping.is_set():
                try:
                    self._member = await self._kafka.connect(self._group)
                    failures = 0
                    await self._serve(self._member)
                except (BrokerUnavailable, StreamError) as error:
                    self._problem = str(error)
                    _log.warning("stage-disconnected", extra={"stage": "reconcile", "detail": str(error)})
                finally:
                    await self._leave()
                failures += 1
                await self._pause(backoff_seconds(failures, first=1.0, longest=LONGEST_CONNECT_SECONDS))
        finally:
            self._ended.set()

    async def stop(self, grace_seconds: float) -> None:
        """Stop at once: what is not published yet is compared again by the next process."""
        self._stopping.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(grace_seconds, 1.0)):
                await self._ended.wait()

    async def _leave(self) -> None:
        member, self._member = self._member, None
        if member is not None:
            await member.leave()

    async def _pause(self, seconds: float) -> None:
        """Wait, or until stopped, while the heartbeat continues."""
        until = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            self._last_heartbeat = time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, self._look_seconds)):
                    await self._stopping.wait()

    async def _serve(self, member: Member) -> None:
        """Work as a member, until stopped. Raises KafkaClientError, BrokerUnavailable."""
        self._mine = frozenset()
        self._assigned.clear()
        member.join([self._topic], revoked=_nothing, assigned=self._assigned.set)
        while not self._stopping.is_set():
            await self._accept_assignment(member)
            due = self._due()
            if due is None:
                # No record is read, but only a poll shows that this member cannot continue.
                await member.poll((), timeout=self._look_seconds)
                await asyncio.sleep(0)
                self._last_heartbeat = time.monotonic()
            else:
                await self._work(member, due)

    async def _accept_assignment(self, member: Member) -> None:
        """After a rebalance, find the merchants of this process. During one, it keeps those that it had.

        A process waits for one interval with a new merchant: the previous one may just have downloaded a report.
        """
        if not self._assigned.is_set():
            return
        self._assigned.clear()
        partitions = sorted(await member.partitions_of([self._topic]))
        assigned = member.assignment()
        mine = frozenset(
            each for each in self._merchants.ids if partitions and partition_of(each, partitions) in assigned
        )
        for merchant_id in mine - self._mine:
            self._progress[merchant_id] = _Progress(not_before=self._clock() + self._interval)
        self._mine = mine

    def _due(self) -> str | None:
        """A merchant whose latest period is not done, the one that waits longest."""
        now, clock = self._schedule.period(self._now()), self._clock()
        waiting = [
            (progress.not_before, merchant_id)
            for merchant_id in self._mine
            if (progress := self._progress[merchant_id]).done != now and progress.not_before <= clock
        ]
        return min(waiting)[1] if waiting else None

    async def _work(self, member: Member, merchant_id: str) -> None:
        """Reconcile one merchant, and stop at once when its partition belongs to another process."""
        work = asyncio.ensure_future(self._reconcile(merchant_id, self._schedule.period(self._now())))
        try:
            while not work.done() and not self._stopping.is_set():
                self._last_heartbeat = time.monotonic()
                await asyncio.wait({work}, timeout=self._look_seconds)
                await self._accept_assignment(member)
                if merchant_id not in self._mine:
                    _log.info("reconcile-handed-over", extra={"merchant_id": merchant_id})
                    return
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def _reconcile(self, merchant_id: str, period: ReconciledPeriod) -> None:
        progress = self._progress[merchant_id]
        try:
            if await self._reconciler.is_completed(merchant_id, period):
                _log.info("reconcile-done-elsewhere", extra={"merchant_id": merchant_id})
            else:
                await self._compare(merchant_id, period)
        except AdapterError as error:
            self._failed(merchant_id, progress)
            _log.warning("reconcile-failed", extra={"merchant_id": merchant_id, "detail": str(error)})
        except Exception:  # noqa: BLE001  # a defect here must not stop the stages that issue
            self._failed(merchant_id, progress)
            _log.exception("reconcile-error", extra={"merchant_id": merchant_id})
        else:
            progress.done, progress.failures = period, 0

    def _failed(self, merchant_id: str, progress: _Progress) -> None:
        self._observer.reconciliation_failed(merchant_id)
        progress.failures += 1
        pause = backoff_seconds(progress.failures, first=max(self._interval, 1.0), longest=LONGEST_RETRY_SECONDS)
        progress.not_before = self._clock() + pause

    async def _compare(self, merchant_id: str, period: ReconciledPeriod) -> None:
        merchant = self._merchants.find(merchant_id)
        if merchant is None:
            _log.warning("merchant-not-configured", extra={"merchant_id": merchant_id, "stage": "reconcile"})
            return

        async def wait(until: datetime, count: int) -> None:
            _log.info(
                "reconcile-waits", extra={"merchant_id": merchant_id, "count": count, "retry_at": until.isoformat()}
            )
            await asyncio.sleep(max(0.0, (until - self._now()).total_seconds()))

        async with self._reconciler.compare(merchant, period, publish=True, wait=wait) as comparison:
            self._report(merchant_id, comparison)

    def _report(self, merchant_id: str, comparison: Comparison) -> None:
        counts, completed = comparison.counts, comparison.completed
        new_by_kind = {kind.value: count for kind, count in counts.new_by_kind.items() if count}
        self._observer.reconciled(merchant_id, new_by_kind, self._now())
        _log.info(
            "reconciled",
            extra={
                "merchant_id": merchant_id,
                "first_day": completed.first_day.isoformat(),
                "last_day": completed.last_day.isoformat(),
                "reported": completed.reported,
                "published": completed.published,
                "differences": completed.differences,
                "new_differences": new_by_kind,
                "ignored": counts.ignored,
                "not_yet": counts.not_yet,
            },
        )
        for sentence in comparison.findings.sentences():
            _log.warning("order-report-odd", extra={"merchant_id": merchant_id, "detail": sentence})


def partition_of(merchant_id: str, partitions: Sequence[TopicPartition]) -> TopicPartition:
    """The partition whose owner reconciles this merchant; the same in every process."""
    return partitions[zlib.crc32(merchant_id.encode()) % len(partitions)]


async def _nothing() -> None:
    """Nothing is in flight that a revocation must wait for."""
