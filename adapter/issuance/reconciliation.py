"""Compares what was published about one issuance with its rows in ECPay's order report.

A difference is never withdrawn, so a fact is judged only once the other side must know it: after the time in which the
effect of a call comes and is visible (`submit.reissue_after_seconds`), and a result only after
`confirm.give_up_after_hours`. What is too young is `NotYet`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum, unique
from shlex import quote
from typing import Final, TypeAlias

from adapter.issuance.park_messages import number_name, query_command
from adapter.protocol.issue import TradeNo
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.taipei import taipei_day


@unique
class PublishedState(StrEnum):
    """The state of an issuance by its events, from the weakest to the strongest."""

    FAILED = "failed"
    SUBMITTED = "submitted"
    ISSUED = "issued"


@unique
class DifferenceKind(StrEnum):
    """How events and report differ."""

    NOT_PUBLISHED = "not-published"
    """The report has the number, and no event does."""
    NOT_REPORTED = "not-reported"
    """It was published, and the report lacks it."""
    STATE = "state"
    """Both have it, with states that exclude each other."""
    TICKET_COUNT = "ticket-count"
    """It is issued on both sides, with different numbers of tickets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFact:
    """One event about an issuance."""

    trade_no: TradeNo
    order_id: str
    state: PublishedState
    learned_at: datetime
    """When the adapter learned it (`ce_time`)."""
    submitted_at: datetime | None
    """When it was known to be submitted; None if ECTicket refused it."""
    ticket_count: int
    recovered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedIssuance:
    """All events about one issuance: those of the order that has the number."""

    trade_no: TradeNo
    order_id: str
    state: PublishedState
    learned_at: datetime
    """When this state was learned first."""
    submitted_at: datetime | None
    ticket_count: int
    recovered: bool
    """It was found by a query, so it may have been issued on any earlier day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRow:
    """One row of the order report; None is an empty or unreadable cell, and a status that is not documented."""

    trade_no: TradeNo
    status: IssueStatus | None
    ticket_count: int | None
    issued_at: datetime | None
    ticket_trade_no: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedIssuance:
    """All rows of the report about one number."""

    trade_no: TradeNo
    status: IssueStatus | None
    ticket_count: int | None
    """Of all issuances under this number together."""
    issued_at: datetime | None
    """The earliest."""
    issuances: int
    """How many different issuances have the number; more than one contradicts ECPay's rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciledDays:
    """What a comparison covers."""

    first: date
    """The first issue date, in Taipei."""
    last: date
    """The last one, included."""
    requested_at: datetime
    """When the report was requested; it cannot know what was learned later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePolicy:
    """The rules of a comparison."""

    settles_after: timedelta
    """How long until the effect of a call has come and is visible (`submit.reissue_after_seconds`)."""
    result_within: timedelta
    """How long an issuance may be without a result (`confirm.give_up_after_hours`)."""
    ignore_prefixes: tuple[str, ...] = ()
    """Numbers that begin so are issued by other programs; upper and lower case are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuanceDifference:
    """Events and report differ; the message says what to do."""

    kind: DifferenceKind
    trade_no: TradeNo
    order_id: str | None
    issue_date: date | None
    """In Taipei: the report's, else the day of submission; None if the report's date cannot be read."""
    published: PublishedIssuance | None
    reported: ReportedIssuance | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """There may be a difference, and it is too early to be certain."""

    until: datetime | None
    """When a new report decides it; None if only a later day does."""


@dataclass(frozen=True, slots=True)
class IssuedElsewhere:
    """Issued by another program, as `ignore_prefixes` allows."""


Judgement: TypeAlias = IssuanceDifference | NotYet | IssuedElsewhere | None
"""None: both sides agree, or the issuance is not one of these days."""

_RANK: Final[Mapping[PublishedState, int]] = {state: rank for rank, state in enumerate(PublishedState)}
_STATUS_RANK: Final[Mapping[IssueStatus | None, int]] = {
    None: 0,
    IssueStatus.FAILED: 1,
    IssueStatus.IN_PROGRESS: 2,
    IssueStatus.ISSUED: 3,
}
_STATUS_WORDS: Final[Mapping[IssueStatus | None, str]] = {
    IssueStatus.ISSUED: "issued",
    IssueStatus.FAILED: "failed",
    IssueStatus.IN_PROGRESS: "in progress",
    None: "in a state that cannot be read",
}


def merge_published(facts: Iterable[PublishedFact]) -> PublishedIssuance | None:
    """Merge the events about one number, in any order; None without events.

    Of one order, `failed` and `issued` end `submitted`. If two orders brought one number, one of them was resolved as
    failed although the other has the tickets, so the strongest state counts.
    """
    by_order: dict[str, list[PublishedFact]] = {}
    for fact in facts:
        by_order.setdefault(fact.order_id, []).append(fact)
    merged = [_of_order(each) for each in by_order.values()]
    return max(merged, key=lambda each: (_RANK[each.state], each.order_id), default=None)


def _of_order(facts: list[PublishedFact]) -> PublishedIssuance:
    ended = [fact for fact in facts if fact.state is not PublishedState.SUBMITTED]
    state = max((fact.state for fact in ended), key=_RANK.__getitem__, default=PublishedState.SUBMITTED)
    first = min((fact for fact in facts if fact.state is state), key=lambda fact: (fact.learned_at, fact.ticket_count))
    return PublishedIssuance(
        trade_no=first.trade_no,
        order_id=first.order_id,
        state=state,
        learned_at=first.learned_at,
        submitted_at=min((fact.submitted_at for fact in facts if fact.submitted_at is not None), default=None),
        ticket_count=first.ticket_count,
        recovered=all(fact.recovered for fact in facts),
    )


def merge_reported(rows: Iterable[ReportedRow]) -> ReportedIssuance | None:
    """Merge the rows of one number, in any order; None without rows.

    A row that the report repeats counts once, with its largest number of tickets. Different issuances under one number,
    each with a TicketTradeNo of its own, are counted together: their tickets were all issued.
    """
    found = list(rows)
    if not found:
        return None
    status = max((row.status for row in found), key=_STATUS_RANK.__getitem__)
    counts: dict[str | None, int | None] = {}
    for row in found:
        if row.status is status:
            counts[row.ticket_trade_no] = _larger(counts.get(row.ticket_trade_no, 0), row.ticket_count)
    known = [count for count in counts.values() if count is not None]
    return ReportedIssuance(
        trade_no=min((row.trade_no for row in found), key=lambda trade_no: trade_no.value),
        status=status,
        ticket_count=sum(known) if len(known) == len(counts) else None,
        issued_at=min((row.issued_at for row in found if row.issued_at is not None), default=None),
        issuances=len(counts),
    )


def _larger(one: int | None, other: int | None) -> int | None:
    """The larger of two numbers; None, a cell that cannot be read, if one of them is."""
    return None if one is None or other is None else max(one, other)


def issue_date_of(published: PublishedIssuance | None, reported: ReportedIssuance | None) -> date | None:
    """The issue date in Taipei: the report's, else the day of submission; None if neither is known."""
    if reported is not None and reported.issued_at is not None:
        return taipei_day(reported.issued_at)
    if published is not None and published.submitted_at is not None:
        return taipei_day(published.submitted_at)
    return None


def belongs_to(days: ReconciledDays, published: PublishedIssuance | None, reported: ReportedIssuance | None) -> bool:
    """Whether an issuance is one of these days; one that the report has without a readable date always is.

    A refused issuance has no issue date and belongs to no day, unless the report has it.
    """
    day = issue_date_of(published, reported)
    return reported is not None if day is None else days.first <= day <= days.last


def compare(
    published: PublishedIssuance | None,
    reported: ReportedIssuance | None,
    days: ReconciledDays,
    policy: ReconcilePolicy,
) -> Judgement:
    """Compare both sides of one number."""
    if not belongs_to(days, published, reported):
        return None
    if published is None:
        return _not_published(reported, days, policy) if reported is not None else None
    found = _not_reported(published) if reported is None else _contradiction(published, reported)
    if found is None:
        return None
    kind, message = found
    return _too_early(kind, published, days, policy) or _difference(kind, message, published, reported)


def _too_early(
    kind: DifferenceKind, published: PublishedIssuance, days: ReconciledDays, policy: ReconcilePolicy
) -> NotYet | None:
    """Whether the other side need not know yet what was published, or a result need not be known yet."""
    if published.learned_at > days.requested_at:
        return NotYet(until=None)
    submitted_at = published.submitted_at or published.learned_at
    awaits_result = published.state is PublishedState.SUBMITTED and kind is not DifferenceKind.TICKET_COUNT
    if awaits_result and days.requested_at < submitted_at + policy.result_within:
        return NotYet(until=None)
    ready_at = published.learned_at + policy.settles_after
    return NotYet(until=ready_at) if days.requested_at < ready_at else None


def _not_published(reported: ReportedIssuance, days: ReconciledDays, policy: ReconcilePolicy) -> Judgement:
    number = reported.trade_no.value.upper()
    if any(number.startswith(prefix.upper()) for prefix in policy.ignore_prefixes):
        return IssuedElsewhere()
    if reported.issued_at is not None:
        # ECPay's clock may be ahead of ours: no row is younger than the report.
        ready_at = min(reported.issued_at, days.requested_at) + policy.settles_after
        if days.requested_at < ready_at:
            return NotYet(until=ready_at)
    return _difference(DifferenceKind.NOT_PUBLISHED, _not_published_message(reported), None, reported)


def _not_reported(published: PublishedIssuance) -> tuple[DifferenceKind, str] | None:
    """A failed issuance need not be in the report: a refused one never came there."""
    if published.state is PublishedState.FAILED:
        return None
    number, query = number_name(published.trade_no), query_command(published.trade_no)
    if published.state is PublishedState.ISSUED:
        step = f"Query it (`ecticket-adapter {query}`) and ask ECPay; if it is not known there, no tickets exist."
    else:
        step = (
            f"Query it (`ecticket-adapter {query}`) and ask ECPay; then resolve it (`ecticket-adapter resolve "
            f"{quote(published.trade_no.value)} --as issued --why ...`, or `--as failed`)."
        )
    message = f"{number} was published as {published.state}, and ECPay's report lacks it. {step}"
    return DifferenceKind.NOT_REPORTED, message


def _contradiction(published: PublishedIssuance, reported: ReportedIssuance) -> tuple[DifferenceKind, str] | None:
    step = _STATE_STEPS.get((published.state, reported.status))
    number, value = number_name(published.trade_no), quote(published.trade_no.value)
    if step is not None:
        message = (
            f"{number} was published as {published.state}, and ECPay's report has it as "
            f"{_STATUS_WORDS[reported.status]}. "
        )
        return DifferenceKind.STATE, message + step.format(value=value, query=query_command(published.trade_no))
    is_issued = published.state is not PublishedState.FAILED and reported.status is IssueStatus.ISSUED
    if not is_issued or reported.ticket_count in (None, published.ticket_count):
        return None
    issuances = f" in {reported.issuances} issuances" if reported.issuances > 1 else ""
    return (
        DifferenceKind.TICKET_COUNT,
        f"{number} was published with {published.ticket_count} tickets, and ECPay's report has "
        f"{reported.ticket_count}{issuances}. Ask ECPay which tickets exist under it, and compare with the order.",
    )


def _difference(
    kind: DifferenceKind, message: str, published: PublishedIssuance | None, reported: ReportedIssuance | None
) -> IssuanceDifference:
    return IssuanceDifference(
        kind=kind,
        trade_no=_either(published, reported).trade_no,
        order_id=published.order_id if published is not None else None,
        issue_date=issue_date_of(published, reported),
        published=published,
        reported=reported,
        message=message,
    )


def _either(
    published: PublishedIssuance | None, reported: ReportedIssuance | None
) -> PublishedIssuance | ReportedIssuance:
    if published is not None:
        return published
    if reported is None:
        raise ValueError("a difference without sides")
    return reported


def _not_published_message(reported: ReportedIssuance) -> str:
    value = quote(reported.trade_no.value)  # a report may have any text there
    resolution = "failed" if reported.status is IssueStatus.FAILED else "issued"
    other = "" if reported.status in {IssueStatus.ISSUED, IssueStatus.FAILED} else ", or `--as failed`"
    return (
        f"{number_name(reported.trade_no)} is in ECPay's report as {_STATUS_WORDS[reported.status]}, and no event has "
        f"it. If a dead letter holds it (`ecticket-adapter dead-letters list`), resolve it (`ecticket-adapter resolve "
        f"{value} --as {resolution} --why ...`{other}). If another program issued it, accept its numbers with "
        "reconcile.ignore_prefixes. Otherwise ask ECPay who issued it."
    )


_STATE_STEPS: Final[Mapping[tuple[PublishedState, IssueStatus | None], str]] = {
    (PublishedState.ISSUED, IssueStatus.FAILED): (
        "Ask ECPay which is right; if it failed, no tickets exist, and the customer needs others or the money."
    ),
    (PublishedState.ISSUED, IssueStatus.IN_PROGRESS): (
        "Query it (`ecticket-adapter {query}`), and ask ECPay if its tickets exist."
    ),
    (PublishedState.FAILED, IssueStatus.ISSUED): (
        "Tickets exist: do not reissue this order. Give the tickets to the customer, or have ECPay refund them."
    ),
    (PublishedState.FAILED, IssueStatus.IN_PROGRESS): (
        "Tickets may still come: do not reissue this order before ECPay has answered. Query it (`ecticket-adapter "
        "{query}`)."
    ),
    (PublishedState.SUBMITTED, IssueStatus.ISSUED): (
        "Its result was never published: resolve it (`ecticket-adapter resolve {value} --as issued --why ...`)."
    ),
    (PublishedState.SUBMITTED, IssueStatus.FAILED): (
        "Its result was never published: resolve it (`ecticket-adapter resolve {value} --as failed --why ...`), then "
        "issue the order under a new number (`ecticket-adapter reissue {value}`)."
    ),
}
"""What to do about each pair of states that exclude each other; all other pairs agree."""
