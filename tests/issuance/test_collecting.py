"""Collecting tickets from reports (docs/collecting.md): what a report means, and when the next one is read.

No test prints a ticket number: numbers here are made up, and results do not show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.issuance.actions import Park, ParkReason
from adapter.issuance.collecting import (
    FAILED_MAX,
    LONGEST_INTERVAL_SECONDS,
    MAX_EARLIER_DAYS,
    MAX_REPORT_DAYS,
    AwaitedTickets,
    CollectAgain,
    CollectPolicy,
    CollectProgress,
    PublishCollected,
    ReportDays,
    TicketMatcher,
    TicketsComplete,
    TicketsContradictory,
    TicketsIncomplete,
    TicketsResult,
    next_collect_step,
    report_days,
    with_report,
)
from adapter.protocol.issue import IssueType, TradeNo, TradeNoKind
from adapter.protocol.order_detail import TicketRow, UseStatus
from adapter.protocol.report_csv import UnreadableCell
from adapter.values import replace

from .samples import ELECTRONIC, SERIAL, T0, at

POLICY = CollectPolicy()
DAY = 86_400
TODAY = date(2026, 3, 10)
HOUR = 3600


def _number(text: str = "A") -> TradeNo:
    return TradeNo(kind=TradeNoKind.MERCHANT, value=text)


def _awaited(text: str = "A", *, count: int = 2, kind: IssueType = SERIAL, recovered: bool = False) -> AwaitedTickets:
    return AwaitedTickets(
        trade_no=_number(text),
        issue_type=kind,
        ticket_count=count,
        submitted_on=TODAY,
        issued_on=TODAY,
        recovered=recovered,
    )


def _row(text: str | None = "A", ticket_no: str | None = "n1", **fields: object) -> TicketRow:
    names = (name for name in TicketRow.__dataclass_fields__ if name not in ("line", "unreadable"))
    empty: dict[str, object] = dict.fromkeys(names)
    code = None if ticket_no is None else f"code of {ticket_no}"
    given_fields = {"merchant_trade_no": text, "ticket_no": ticket_no, "write_off_no": code, "issue_type": SERIAL}
    row = TicketRow(line=2, unreadable=(), **{**empty, **given_fields})  # type: ignore[arg-type]  # every field is named
    return replace(row, **fields)  # type: ignore[arg-type]  # as the caller names them


def _results(awaited: Sequence[AwaitedTickets], *rows: TicketRow) -> list[TicketsResult]:
    matcher = TicketMatcher(awaited)
    for row in rows:
        matcher.add(row)
    results = matcher.results()
    return [results[each] for each in awaited]


def _unreadable(column: str | None) -> tuple[UnreadableCell, ...]:
    return (UnreadableCell(line=2, column=column, expected="a whole number"),)


COMPLETE, INCOMPLETE, CONTRADICTORY = "complete", "incomplete", "contradictory"
NAMES = {TicketsComplete: COMPLETE, TicketsIncomplete: INCOMPLETE, TicketsContradictory: CONTRADICTORY}


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([], INCOMPLETE),
        ([_row()], INCOMPLETE),
        ([_row(), _row(ticket_no="n2")], COMPLETE),
        ([_row(), _row(ticket_no="n2"), _row("B", "n3"), _row(None, "n4")], COMPLETE),
        ([_row(), _row(ticket_no="n2"), _row(ticket_no="n3")], CONTRADICTORY),
        ([_row(), _row()], CONTRADICTORY),
        ([_row(), _row(ticket_no="n2", write_off_no="code of n1")], CONTRADICTORY),
        ([_row(), _row(ticket_no=None)], INCOMPLETE),
        ([_row(), _row(ticket_no="n2", write_off_no=None)], INCOMPLETE),
        ([_row(), _row(ticket_no="n2", issue_type=ELECTRONIC)], CONTRADICTORY),
        ([_row(), _row(ticket_no="n2", issue_type="a new word")], CONTRADICTORY),
        ([_row(), _row(ticket_no="n2", issue_type=None)], COMPLETE),
        ([_row(), _row(ticket_no="n2", unreadable=_unreadable("票券面額"))], INCOMPLETE),
        ([_row(), _row(ticket_no="n2", unreadable=_unreadable(None))], INCOMPLETE),
        ([_row(), _row(ticket_no="n2", unreadable=_unreadable("退貨手續費"))], COMPLETE),
        ([_row(), _row(ticket_no=None), _row(ticket_no="n2")], CONTRADICTORY),
        ([_row(), _row(None, "n2", free_trade_no="A")], INCOMPLETE),
        ([_row(), _row(" a", "n2")], INCOMPLETE),
    ],
)  # fmt: skip
def test_what_a_report_means_for_an_issuance(rows: Sequence[TicketRow], name: str) -> None:
    """Complete with exactly the issued number of usable rows; never more, never one number twice."""
    (result,) = _results([_awaited()], *rows)

    assert NAMES[type(result)] == name


def test_the_tickets_are_those_of_the_report() -> None:
    """Each value comes from its own column; the status is the report's."""
    row = _row(
        item_no="VQT1",
        item_name="Tea",
        ticket_price=450,
        starts_on=TODAY,
        expires_on=TODAY + timedelta(days=9),
        use_status=UseStatus.REDEEMED,
    )
    (result,) = _results([_awaited(count=1)], row)

    assert isinstance(result, TicketsComplete)
    (ticket,) = result.tickets
    assert (ticket.ticket_no, ticket.redemption_code) == ("n1", "code of n1")
    assert (ticket.item_no, ticket.name, ticket.face_value) == ("VQT1", "Tea", 450)
    assert (ticket.start_date, ticket.expire_date) == (TODAY, TODAY + timedelta(days=9))
    assert ticket.status is UseStatus.REDEEMED


def test_a_number_of_two_issuances_is_believed_for_neither() -> None:
    """One of them would get a ticket of the other; a third issuance is not affected."""
    waiting = [_awaited("A", count=1), _awaited("B", count=1), _awaited("C", count=1)]
    results = _results(waiting, _row("A"), _row("B"), _row("C", "n2"))

    assert [NAMES[type(each)] for each in results] == [CONTRADICTORY, CONTRADICTORY, COMPLETE]


def test_a_number_that_is_awaited_twice_is_complete_for_the_right_count_only() -> None:
    """An order that was found again under another mapping has another count: its tickets are not published as all."""
    waiting = [_awaited(count=2), _awaited(count=3), _awaited(count=1)]

    for ordered in (waiting, waiting[::-1]):
        results = dict(zip(ordered, _results(ordered, _row(), _row(ticket_no="n2")), strict=True))
        assert [NAMES[type(results[each])] for each in waiting] == [COMPLETE, INCOMPLETE, CONTRADICTORY]


def test_only_serial_numbers_need_a_redemption_code() -> None:
    """ECTicket gives no other ticket's code."""
    (result,) = _results([_awaited(count=1, kind=ELECTRONIC)], _row(issue_type=ELECTRONIC, write_off_no=None))

    assert isinstance(result, TicketsComplete)


def test_nothing_shows_a_number() -> None:
    """Not the results, nor the tickets themselves, nor the steps, nor the message of a dead letter."""
    shown = []
    for rows in ([_row(ticket_no="SECRET")], [_row(ticket_no="SECRET")] * 2):
        (result,) = _results([_awaited(count=1)], *rows)
        step = next_collect_step(_awaited(count=1), CollectProgress(since=T0), result, at(3 * DAY), POLICY)
        shown += [repr(result), repr(step), repr(rows)]
        shown += map(repr, result.tickets if isinstance(result, TicketsComplete) else ())

    assert len(shown) == 7
    assert not any("SECRET" in each for each in shown)


@given(st.data())
def test_rows_of_many_issuances_in_any_order(data: st.DataObject) -> None:
    """Each issuance is complete if and only if it has all its tickets, whatever else is in the report and where."""
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    present = [data.draw(st.integers(0, count + 1)) for count in counts]
    rows = [_row(f"A{index}", f"{index}-{each}") for index, found in enumerate(present) for each in range(found)]
    rows += [_row("other", f"o{each}") for each in range(data.draw(st.integers(0, 3)))]
    waiting = [_awaited(f"A{index}", count=count) for index, count in enumerate(counts)]

    results = _results(waiting, *data.draw(st.permutations(rows)))

    for index, (count, found, result) in enumerate(zip(counts, present, results, strict=True)):
        if isinstance(result, TicketsComplete):
            assert sorted(each.ticket_no for each in result.tickets) == [f"{index}-{each}" for each in range(count)]
        assert NAMES[type(result)] == (COMPLETE if found == count else CONTRADICTORY if found > count else INCOMPLETE)


# --- days ---


@pytest.mark.parametrize(
    ("reports", "recovered", "earlier"),
    [(0, False, 1), (9, False, 1), (0, True, 1), (1, True, 2), (3, True, 8), (30, True, MAX_EARLIER_DAYS)],
)
def test_the_days_of_an_issuance(reports: int, recovered: bool, earlier: int) -> None:
    """A day before and after, because clocks differ; a recovered one was sent at an unknown earlier time."""
    days = _awaited(recovered=recovered).days(reports, TODAY + timedelta(days=5))

    assert days == ReportDays(begin=TODAY - timedelta(days=earlier), end=TODAY + timedelta(days=1))


def test_no_report_of_tomorrow() -> None:
    """Its last day is today at the latest, in Taipei."""
    assert _awaited().days(0, TODAY).end == TODAY


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 90), st.integers(0, 9), st.booleans()), min_size=1))
def test_one_report_covers_what_fits(issuances: list[tuple[int, int, int, bool]]) -> None:
    """It is no longer than allowed, covers the earliest, and everything if that fits; so each is covered at last."""
    days = [
        replace(
            _awaited(recovered=recovered),
            submitted_on=TODAY + timedelta(days=start),
            issued_on=TODAY + timedelta(days=start + took),
        ).days(reports, TODAY + timedelta(days=600))
        for start, took, reports, recovered in issuances
    ]
    earliest = min(days, key=lambda each: (each.begin, each.end))
    report = report_days(days)

    assert (report.end - report.begin).days <= MAX_REPORT_DAYS
    assert report.covers(earliest)
    if (max(each.end for each in days) - earliest.begin).days <= MAX_REPORT_DAYS:
        assert all(report.covers(each) for each in days)


# --- what follows ---


def _step(result: TicketsResult | None, age: float, *, reports: int = 1, failed: int = 0) -> object:
    progress = CollectProgress(since=T0, reports=reports, failed=failed)
    return next_collect_step(_awaited(), progress, result, at(age), POLICY)


NOTHING = TicketsIncomplete(usable=0, unusable=0)


@pytest.mark.parametrize(
    ("age", "wait"), [(0, 60), (60, 60), (400, 100), (HOUR, LONGEST_INTERVAL_SECONDS), (47.9 * HOUR, 360)]
)
def test_the_next_report(age: float, wait: float) -> None:
    """Soon at first, then at longer intervals, and one at the age at which it is given up."""
    assert _step(NOTHING, age) == CollectAgain(at=at(age + wait))


@pytest.mark.parametrize(
    ("result", "failed", "given_up"),
    [(NOTHING, 0, True), (None, 1, False), (None, FAILED_MAX - 1, False), (None, FAILED_MAX, True)],
)
def test_giving_up_needs_a_report(result: TicketsResult | None, failed: int, given_up: bool) -> None:
    """After an outage of days everything is too old; one failed download is no reason to involve a person."""
    step = _step(result, 49 * HOUR, failed=failed)

    assert isinstance(step, Park) is given_up
    if isinstance(step, Park):
        assert step.reason is ParkReason.UNRESOLVED
    else:
        assert step == CollectAgain(at=at(49 * HOUR + LONGEST_INTERVAL_SECONDS))


def test_a_contradiction_needs_a_person_at_once() -> None:
    """Another report need not correct it, and a wrong number must never be published."""
    step = _step(TicketsContradictory(problem="it is wrong"), 0)

    assert isinstance(step, Park)
    assert "it is wrong" in step.message


def test_complete_tickets_are_published_however_late() -> None:
    """Even beyond the age at which it would be given up."""
    assert isinstance(_step(TicketsComplete(tickets=()), 90 * DAY), PublishCollected)


def test_a_report_that_was_read_ends_a_series_of_failures() -> None:
    """Only consecutive failures count."""
    progress = CollectProgress(since=T0)
    for result in (None, None, NOTHING, None):
        progress = with_report(progress, result)

    assert (progress.reports, progress.failed) == (1, 1)
