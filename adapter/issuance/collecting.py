"""Collect the tickets of issued issuances from ECTicket's ticket report (docs/collecting.md).

    waiting ──► report of its days ──► complete: published | contradictory: parked
                     └──► incomplete: another report at growing intervals ──► parked after two days

A report is believed only as a whole: the caller reads it to its end with a `TicketMatcher` and then takes the results.
An issuance is complete if the report has exactly as many usable rows as tickets were issued. What a report should not
contain, such as one ticket number twice, is never corrected by a guess: a person gets a dead letter.

Does not name a ticket number or a redemption code in any message or `repr`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from adapter.issuance.actions import Park, ParkReason
from adapter.issuance.park_messages import not_collected
from adapter.issuance.times import later
from adapter.protocol.issue import IssueType, TradeNo
from adapter.protocol.order_detail import TicketRow, UseStatus
from adapter.protocol.taipei import taipei_day
from adapter.values import replace

MAX_REPORT_DAYS: Final = 60
"""The days of one report. ECPay allows "3 months" (page 48558) without a definition; this is less by any."""
MAX_EARLIER_DAYS: Final = 32
"""How many days before its submission was noticed a recovered issuance is looked for."""
INTERVAL_SHARE: Final = 4
"""The interval between two reports grows to this share of the time that the issuance has waited."""
LONGEST_INTERVAL_SECONDS: Final = 900.0
FAILED_MAX: Final = 5
"""Consecutive reports that could not be read after which an issuance of that age is given up without one."""

NUMBER_COLUMNS: Final = ("特店訂單編號", "贈品單號", "票券序號", "核銷代碼")
"""The columns without which no ticket can be found or used: a report that lacks one is not read."""
PUBLISHED_COLUMNS: Final = frozenset(
    {"出券類型", "商品編號", "商品名稱", "票券面額", "票券生效日", "票券使用狀態", "贈品券到期日期", *NUMBER_COLUMNS}
)
"""A row in which one of these cells cannot be read is not usable: its value is unknown, and not empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDays:
    """The issue dates of a report (Taipei), both included."""

    begin: date
    end: date

    def covers(self, other: ReportDays) -> bool:
        """Whether a report of these days contains everything that one of the other days contains."""
        return self.begin <= other.begin and other.end <= self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedTickets:
    """An issuance whose tickets exist and are not collected yet."""

    trade_no: TradeNo
    issue_type: IssueType
    ticket_count: int
    submitted_on: date
    """The day (Taipei) when it was known to be submitted."""
    issued_on: date
    """The day (Taipei) when it was known to be issued."""
    recovered: bool
    """It was submitted earlier than `submitted_on`, by an unknown time."""

    def days(self, reports: int, today: date) -> ReportDays:
        """Return the days on which ECTicket may have issued it, after so many complete reports.

        Clocks differ, so a day before and after counts. For a recovered issuance, each report in which it is not
        complete doubles the days before. No day is after `today`, because ECPay need not accept it.
        """
        earlier = min(1 << min(reports, 8), MAX_EARLIER_DAYS) if self.recovered else 1
        end = min(self.issued_on + timedelta(days=1), max(today, self.submitted_on))
        begin = min(self.submitted_on, end) - timedelta(days=earlier)
        return ReportDays(begin=max(begin, end - timedelta(days=MAX_REPORT_DAYS)), end=end)


def report_days(days: Iterable[ReportDays]) -> ReportDays:
    """Return the days of one report for as many of these as fit, beginning with the earliest.

    Raises ValueError if there are none.
    """
    ordered = sorted(days, key=lambda each: (each.begin, each.end))
    if not ordered:
        raise ValueError("A report without days.")
    begin = ordered[0].begin
    last = begin + timedelta(days=MAX_REPORT_DAYS)
    return ReportDays(begin=begin, end=max(each.end for each in ordered if each.end <= last))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedTicket:
    """One ticket as the report lists it. Amounts in NT$; None is an empty cell."""

    ticket_no: str = field(repr=False)
    redemption_code: str | None = field(repr=False)
    item_no: str | None
    name: str | None
    face_value: int | None
    start_date: date | None
    expire_date: date | None
    status: UseStatus | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketsComplete:
    """All tickets of an issuance, in the order of their numbers, whatever the order of the report."""

    tickets: tuple[ReportedTicket, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketsIncomplete:
    """Fewer usable rows than tickets."""

    usable: int
    unusable: int
    """Rows without a number, without the redemption code of a serial number, or with a cell that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketsContradictory:
    """The report contradicts itself or the issuance; `problem` is a clause without any number of a ticket."""

    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketsUnconfirmed:
    """All tickets, with one in the last line of a file that has no line end: its last cell may be cut off."""

    tickets: tuple[ReportedTicket, ...] = field(repr=False)


TicketsResult = TicketsComplete | TicketsUnconfirmed | TicketsIncomplete | TicketsContradictory


class TicketMatcher:
    """Takes the rows of one report, one after another, and keeps those of awaited issuances.

    Its memory is bounded by the tickets of these issuances, however long the report is. One number may be awaited with
    different numbers of tickets, because an order that was found again has those of its present mapping.
    """

    def __init__(self, awaited: Iterable[AwaitedTickets]) -> None:
        self._matches: dict[TradeNo, list[_Match]] = {}
        for each in dict.fromkeys(awaited):
            self._matches.setdefault(each.trade_no, []).append(_Match(each))
        self._numbers: dict[str, TradeNo] = {}
        self._codes: dict[str, TradeNo] = {}
        self._last: TradeNo | None = None

    def add(self, row: TicketRow) -> None:
        """Take the next row."""
        self._last = trade_no = row.trade_no
        if trade_no is None:
            return
        usable = [match.add(row) for match in self._matches.get(trade_no, ())]
        if any(usable):
            self._claim(self._numbers, row.ticket_no, trade_no, "ticket number")
            self._claim(self._codes, row.write_off_no, trade_no, "redemption code")

    def _claim(self, owners: dict[str, TradeNo], text: str | None, trade_no: TradeNo, what: str) -> None:
        """Note whose number this is; one that comes twice makes its issuances contradictory."""
        if text is None:
            return
        owner = owners.get(text)
        if owner is None:
            owners[text] = trade_no
            return
        problem = f"one {what} stands in it twice" if owner == trade_no else f"one {what} stands under two issuances"
        for match in (*self._matches[owner], *self._matches[trade_no]):
            match.reject(problem)

    def results(self, *, ends_open: bool = False) -> Mapping[AwaitedTickets, TicketsResult]:
        """Return what the report has of each issuance; call it once the report has ended.

        `ends_open`: the last row may be cut off in its last cell, and the last column is that of redemption codes.
        """
        return {
            match.awaited: match.result(is_open=ends_open and trade_no == self._last)
            for trade_no, matches in self._matches.items()
            for match in matches
        }


class _Match:
    """The rows of one issuance."""

    __slots__ = ("_problem", "_tickets", "_unusable", "awaited")

    def __init__(self, awaited: AwaitedTickets) -> None:
        self.awaited = awaited
        self._tickets: list[ReportedTicket] = []
        self._unusable = 0
        self._problem: str | None = None

    def add(self, row: TicketRow) -> bool:
        """Keep a row; return whether it is a usable one."""
        if self._problem is not None:
            return False
        if row.issue_type not in (None, self.awaited.issue_type):
            self.reject("it lists tickets of another issue type")
            return False
        usable = self._is_usable(row)
        if usable:
            self._tickets.append(_ticket(row))
        else:
            self._unusable += 1
        if len(self._tickets) + self._unusable > self.awaited.ticket_count:
            self.reject(f"it lists more than the {self.awaited.ticket_count} tickets that were issued")
            return False
        return usable

    def reject(self, problem: str) -> None:
        """Believe nothing that the report has of this issuance."""
        self._problem = self._problem or problem
        self._tickets.clear()

    def result(self, *, is_open: bool) -> TicketsResult:
        """What the report has of the issuance; `is_open`: its last row may be cut off."""
        if self._problem is not None:
            return TicketsContradictory(problem=self._problem)
        if len(self._tickets) == self.awaited.ticket_count:
            tickets = tuple(sorted(self._tickets, key=lambda ticket: ticket.ticket_no))
            return TicketsUnconfirmed(tickets=tickets) if is_open else TicketsComplete(tickets=tickets)
        return TicketsIncomplete(usable=len(self._tickets), unusable=self._unusable)

    def _is_usable(self, row: TicketRow) -> bool:
        if row.ticket_no is None:
            return False
        if self.awaited.issue_type is IssueType.SERIAL_NUMBER and row.write_off_no is None:
            return False
        return not any(cell.column is None or cell.column in PUBLISHED_COLUMNS for cell in row.unreadable)


def _ticket(row: TicketRow) -> ReportedTicket:
    return ReportedTicket(
        ticket_no=row.ticket_no or "",
        redemption_code=row.write_off_no,
        item_no=row.item_no,
        name=row.item_name,
        face_value=row.ticket_price,
        start_date=row.starts_on,
        expire_date=row.expires_on,
        status=row.use_status,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectPolicy:
    """The settings `collect.*` that deciding needs."""

    interval_seconds: float = 60.0
    give_up_after_seconds: float = 172_800.0

    @property
    def longest_wait_seconds(self) -> float:
        """How long an issuance waits at most for its next report."""
        return max(self.interval_seconds, LONGEST_INTERVAL_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectProgress:
    """What was done for one issuance."""

    since: datetime
    """When its tickets were first awaited, or when it was replayed."""
    reports: int = 0
    """Reports of its days that were read to their end."""
    failed: int = 0
    """The latest consecutive reports that could not be read."""
    unconfirmed: tuple[ReportedTicket, ...] = field(default=(), repr=False)
    """What the latest report had of it, if that ended with a line that may be cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishCollected:
    """Publish these tickets."""

    tickets: tuple[ReportedTicket, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectAgain:
    """Read another report at `at`."""

    at: datetime


CollectStep = PublishCollected | CollectAgain | Park


def confirmed(progress: CollectProgress, result: TicketsResult | None) -> TicketsResult | None:
    """Return the result of a report, complete if two consecutive ones ended alike.

    ECPay need not end the last line of a file, and no file is cut off twice within the same cell.
    """
    if isinstance(result, TicketsUnconfirmed) and result.tickets == progress.unconfirmed:
        return TicketsComplete(tickets=result.tickets)
    return result


def with_report(progress: CollectProgress, result: TicketsResult | None) -> CollectProgress:
    """Return the progress after a report of its days; `result` None means that it could not be read."""
    if result is None:
        return replace(progress, failed=progress.failed + 1)
    unconfirmed = result.tickets if isinstance(result, TicketsUnconfirmed) else ()
    return replace(progress, reports=progress.reports + 1, failed=0, unconfirmed=unconfirmed)


def next_collect_step(
    awaited: AwaitedTickets,
    progress: CollectProgress,
    result: TicketsResult | None,
    now: datetime,
    policy: CollectPolicy,
) -> CollectStep:
    """Return what follows after a report; `result` None means that it could not be read.

    An issuance is given up only after a report of that age, or after several that could not be read: after an outage of
    days all are too old, and one failed download is no reason to involve a person.
    """
    if isinstance(result, TicketsComplete):
        return PublishCollected(tickets=result.tickets)
    days = awaited.days(progress.reports, taipei_day(now))
    if isinstance(result, TicketsContradictory):
        clause = f"ECTicket's ticket report cannot be believed about it, because {result.problem}"
        message = not_collected(awaited.trade_no, clause, begin=days.begin, end=days.end)
        return Park(reason=ParkReason.UNRESOLVED, message=message)
    age = (now - progress.since).total_seconds()
    incomplete = result if isinstance(result, TicketsIncomplete) else None
    if age >= policy.give_up_after_seconds and (incomplete is not None or progress.failed >= FAILED_MAX):
        clause = _gave_up(awaited, progress, incomplete)
        message = not_collected(awaited.trade_no, clause, begin=days.begin, end=days.end)
        return Park(reason=ParkReason.UNRESOLVED, message=message)
    interval = min(max(policy.interval_seconds, age / INTERVAL_SHARE), policy.longest_wait_seconds)
    until_given_up = policy.give_up_after_seconds - age
    return CollectAgain(at=later(now, min(interval, until_given_up) if until_given_up > 0 else interval))


def _gave_up(awaited: AwaitedTickets, progress: CollectProgress, result: TicketsIncomplete | None) -> str:
    if result is None:
        return (
            f"{progress.reports} ticket reports were read, and the last {progress.failed} could not be downloaded or "
            "read"
        )
    unusable = f", and {result.unusable} of which a value is missing or cannot be read" if result.unusable else ""
    return (
        f"{progress.reports} ticket reports were read, and the last one has {result.usable} of its "
        f"{awaited.ticket_count} tickets{unusable}"
    )
