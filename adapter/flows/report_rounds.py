"""Reads ticket reports for everything that waits: one report per merchant and round, however many issuances wait.

The first issuance whose turn has come starts a round. Its report covers the days of every issuance of the merchant that
is due. All that wait for tickets of these days are looked for in it, due or not, so their next reports fall together.
What a round finds is kept with the issuance until the engine handles it.

Issuances are found through weak references: an issuance waits for as long as the engine holds its record, and ends when
the engine drops the record, for example because the partition has another owner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from weakref import WeakSet

from msgspec import Struct

from adapter.errors import CallError, UnreadableReply
from adapter.flows.ports import Clock, FlowObserver, Merchants, TicketReport, TicketReports
from adapter.issuance.collecting import (
    NUMBER_COLUMNS,
    PUBLISHED_COLUMNS,
    AwaitedTickets,
    CollectAgain,
    CollectPolicy,
    CollectProgress,
    CollectStep,
    ReportDays,
    TicketMatcher,
    TicketsIncomplete,
    TicketsResult,
    confirmed,
    next_collect_step,
    report_days,
    with_report,
)
from adapter.issuance.times import later
from adapter.protocol.credentials import Merchant
from adapter.protocol.order_detail import ReportRequest, ReportType, TicketRow
from adapter.protocol.report_csv import ReportRows
from adapter.protocol.taipei import taipei_day

_log = logging.getLogger(__name__)


@dataclass(slots=True, weakref_slot=True, eq=False, kw_only=True)
class PendingTickets:
    """An issuance that waits in memory for its tickets. Compared by identity: a number may wait twice."""

    merchant_id: str
    awaited: AwaitedTickets
    progress: CollectProgress
    due: datetime
    """When it needs another report."""
    step: CollectStep | None = field(default=None, repr=False)
    """What the last report means for it; None before the first one."""

    def days(self, today: date) -> ReportDays:
        """The days on which it may have been issued."""
        return self.awaited.days(self.progress.reports, today)

    @property
    def has_ended(self) -> bool:
        """Whether it needs no further report."""
        return self.step is not None and not isinstance(self.step, CollectAgain)


class WaitingTickets(Struct, frozen=True, kw_only=True):
    """How many issuances of a merchant wait, and since when the oldest does."""

    count: int
    oldest: datetime | None


@dataclass(slots=True)
class _Merchant:
    waiting: WeakSet[PendingTickets] = field(default_factory=WeakSet)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    failed: bool = False
    oddities: tuple[str, ...] = ()


class _Reading(Struct, frozen=True, kw_only=True):
    """What one report has."""

    results: Mapping[AwaitedTickets, TicketsResult]
    oddities: tuple[str, ...]
    """Sentences about what is not as documented, without a number."""


class ReportRounds:
    """The rounds of all merchants. It belongs to one event loop."""

    def __init__(
        self,
        *,
        reports: TicketReports,
        merchants: Merchants,
        policy: CollectPolicy,
        observer: FlowObserver,
        now: Clock,
    ) -> None:
        self._reports = reports
        self._merchants = merchants
        self._policy = policy
        self._observer = observer
        self._now = now
        self._by_merchant: dict[str, _Merchant] = {}

    def add(self, pending: PendingTickets) -> None:
        """Look for this issuance in the rounds to come."""
        self._by_merchant.setdefault(pending.merchant_id, _Merchant()).waiting.add(pending)

    def waiting(self) -> Mapping[str, WaitingTickets]:
        """What waits now, by merchant; any thread may call it."""
        return {merchant_id: _waiting(merchant.waiting) for merchant_id, merchant in [*self._by_merchant.items()]}

    async def check(self, pending: PendingTickets) -> datetime | None:
        """Look for an issuance that is due, in the running round or a new one; None once that is done.

        Otherwise the time to call again: the merchant's next report is not allowed before.
        """
        merchant = self._by_merchant[pending.merchant_id]
        async with merchant.lock:
            if not self._is_due(pending):
                return None
            seconds = self._reports.expected_wait(pending.merchant_id)
            if seconds > 0:
                return later(self._now(), seconds)
            await self._round(pending.merchant_id, merchant)
        return self._now() if self._is_due(pending) else None

    def _is_due(self, pending: PendingTickets) -> bool:
        return not pending.has_ended and pending.due <= self._now()

    async def _round(self, merchant_id: str, merchant: _Merchant) -> None:
        now = self._now()
        today = taipei_day(now)
        waiting = list(_open(merchant.waiting))
        days = report_days(each.days(today) for each in waiting if each.due <= now)
        covered = [each for each in waiting if days.covers(each.days(today))]
        try:
            reading = await self._read(self._configured(merchant_id), days, covered)
        except (CallError, UnreadableReply) as error:
            self._failed(merchant_id, merchant, error, [each for each in covered if each.due <= now])
            return
        self._observer.report_for_collecting(merchant_id, "read")
        merchant.failed = False
        if reading.oddities != merchant.oddities:
            merchant.oddities = reading.oddities
            for sentence in reading.oddities:
                _log.warning("ticket-report-odd", extra={"merchant_id": merchant_id, "detail": sentence})
        for each in covered:
            self._conclude(each, reading.results[each.awaited])

    def _configured(self, merchant_id: str) -> Merchant:
        merchant = self._merchants.find(merchant_id)
        if merchant is None:
            raise CallError(f"Merchant {merchant_id} is not configured.")
        return merchant

    async def _read(self, merchant: Merchant, days: ReportDays, covered: Iterable[PendingTickets]) -> _Reading:
        request = ReportRequest(
            merchant_id=merchant.merchant_id,
            report_type=ReportType.TICKETS,
            begin_date=days.begin,
            end_date=days.end,
        )
        awaited = [each.awaited for each in covered]
        async with self._reports.download(merchant, request) as report:
            # A million rows take some 20 s of CPU time: the loop must send heartbeats meanwhile.
            return await asyncio.to_thread(_matched, report, awaited)

    def _failed(self, merchant_id: str, merchant: _Merchant, error: Exception, due: Iterable[PendingTickets]) -> None:
        """Log the first failure of a series, and count them all."""
        self._observer.report_for_collecting(merchant_id, "failed")
        if not merchant.failed:
            merchant.failed = True
            _log.warning("ticket-report-failed", extra={"merchant_id": merchant_id, "detail": str(error)})
        for each in due:
            self._conclude(each, None)

    def _conclude(self, pending: PendingTickets, result: TicketsResult | None) -> None:
        result = confirmed(pending.progress, result)
        pending.progress = with_report(pending.progress, result)
        pending.step = next_collect_step(pending.awaited, pending.progress, result, self._now(), self._policy)
        if isinstance(pending.step, CollectAgain):
            pending.due = pending.step.at


def _matched(report: TicketReport, awaited: Iterable[AwaitedTickets]) -> _Reading:
    """Read the report to its end. Raises UnreadableReply."""
    rows = report.ticket_rows()
    rows.require(*NUMBER_COLUMNS)
    matcher = TicketMatcher(awaited)
    for row in rows:
        matcher.add(row)
    results = matcher.results(ends_open=rows.ends_open)
    return _Reading(results=results, oddities=tuple(_oddities(rows, results.values())))


def _oddities(rows: ReportRows[TicketRow], results: Iterable[TicketsResult]) -> Iterator[str]:
    missing = [column for column in rows.missing_columns if column in PUBLISHED_COLUMNS]
    if missing:
        yield f"The ticket report lacks {', '.join(missing)}: these values of collected tickets are null."
    if rows.additional_columns:
        yield f"Columns of the ticket report that are not documented, and ignored: {rows.additional_columns}."
    if any(isinstance(each, TicketsIncomplete) and each.unusable for each in results):
        yield "The ticket report has awaited tickets without a number or with a cell that cannot be read; they wait."


def _waiting(all_pending: Iterable[PendingTickets]) -> WaitingTickets:
    since = [each.progress.since for each in _open(_copied(all_pending))]
    return WaitingTickets(count=len(since), oldest=min(since, default=None))


def _copied(all_pending: Iterable[PendingTickets]) -> list[PendingTickets]:
    """A copy; a set that its own thread changes meanwhile is read again."""
    while True:
        try:
            return list(all_pending)
        except RuntimeError:  # "Set changed size during iteration"
            continue


def _open(all_pending: Iterable[PendingTickets]) -> Iterator[PendingTickets]:
    return (each for each in all_pending if not each.has_ended)
