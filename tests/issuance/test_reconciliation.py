"""What is a difference between events and report, what agrees, and what is too young to be judged."""

from __future__ import annotations

import shlex
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.issuance.reconciliation import (
    DifferenceKind,
    IssuanceDifference,
    IssuedElsewhere,
    NotYet,
    PublishedFact,
    PublishedState,
    ReconciledDays,
    ReconcilePolicy,
    ReportedRow,
    belongs_to,
    compare,
    issue_date_of,
    merge_published,
    merge_reported,
)
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.taipei import TAIPEI
from adapter.values import replace

NUMBER = TradeNo(kind=TradeNoKind.MERCHANT, value="CBX20260302153064851")
DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=TAIPEI)
REQUESTED = datetime(2026, 3, 5, 5, tzinfo=TAIPEI)
DAYS = ReconciledDays(first=DAY, last=date(2026, 3, 5), requested_at=REQUESTED)
POLICY = ReconcilePolicy(settles_after=timedelta(minutes=10), result_within=timedelta(hours=24))
SUBMITTED, ISSUED, FAILED = PublishedState.SUBMITTED, PublishedState.ISSUED, PublishedState.FAILED


def fact(state: PublishedState = ISSUED, **changes: object) -> PublishedFact:
    """An event, as of an order that was submitted at noon."""
    plain = PublishedFact(
        trade_no=NUMBER,
        order_id="A-1",
        state=state,
        learned_at=NOON + timedelta(minutes=5),
        submitted_at=NOON,
        ticket_count=2,
        recovered=False,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields of the class


def row(status: IssueStatus | None = IssueStatus.ISSUED, **changes: object) -> ReportedRow:
    """A row of the report, as of the same order."""
    plain = ReportedRow(trade_no=NUMBER, status=status, ticket_count=2, issued_at=NOON, ticket_trade_no="ECT1")
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields of the class


def judge(
    facts: list[PublishedFact], rows: list[ReportedRow], *, days: ReconciledDays = DAYS, ignore: tuple[str, ...] = ()
) -> object:
    """Compare them; of a difference its kind."""
    policy = replace(POLICY, ignore_prefixes=ignore)
    judgement = compare(merge_published(facts), merge_reported(rows), days, policy)
    return judgement.kind if isinstance(judgement, IssuanceDifference) else judgement


S = IssueStatus


@pytest.mark.parametrize(
    ("published", "status", "judgement"),
    [
        (SUBMITTED, S.ISSUED, DifferenceKind.STATE),
        (SUBMITTED, S.FAILED, DifferenceKind.STATE),
        (SUBMITTED, S.IN_PROGRESS, None),
        (ISSUED, S.ISSUED, None),
        (ISSUED, S.FAILED, DifferenceKind.STATE),
        (ISSUED, S.IN_PROGRESS, DifferenceKind.STATE),
        (FAILED, S.ISSUED, DifferenceKind.STATE),
        (FAILED, S.FAILED, None),
        (FAILED, S.IN_PROGRESS, DifferenceKind.STATE),
        (SUBMITTED, None, None),
        (ISSUED, None, None),
        (FAILED, None, None),
    ],
)
def test_every_pair_of_states(published: PublishedState, status: S | None, judgement: DifferenceKind | None) -> None:
    """A status that cannot be read contradicts nothing."""
    assert judge([fact(published)], [row(status)]) is judgement


@pytest.mark.parametrize(
    ("published", "judgement"),
    [
        (SUBMITTED, DifferenceKind.NOT_REPORTED),
        (ISSUED, DifferenceKind.NOT_REPORTED),
        (FAILED, None),
    ],
)
def test_an_issuance_that_the_report_lacks(published: PublishedState, judgement: DifferenceKind | None) -> None:
    """What finally failed need not be there."""
    assert judge([fact(published)], []) is judgement


@pytest.mark.parametrize("status", [*S, None])
def test_an_issuance_that_no_event_has(status: S | None) -> None:
    """Whatever its state is, it was issued outside, or its order needs a person."""
    assert judge([], [row(status)]) is DifferenceKind.NOT_PUBLISHED


@pytest.mark.parametrize("prefix", ["CBX", "cbx2026", NUMBER.value])
def test_numbers_of_other_programs_are_accepted(prefix: str) -> None:
    """Only where no event has them: a published number is compared."""
    assert judge([], [row()], ignore=("XY", prefix)) == IssuedElsewhere()
    assert judge([fact()], [row(ticket_count=3)], ignore=(prefix,)) is DifferenceKind.TICKET_COUNT
    assert judge([fact()], [], ignore=(prefix,)) is DifferenceKind.NOT_REPORTED


@pytest.mark.parametrize(
    ("published", "status", "count", "judgement"),
    [
        (ISSUED, S.ISSUED, 3, DifferenceKind.TICKET_COUNT),
        (ISSUED, S.ISSUED, None, None),
        (FAILED, S.FAILED, 0, None),
        (SUBMITTED, S.IN_PROGRESS, 0, None),
    ],
)
def test_tickets_are_counted_once_both_sides_are_issued(
    published: PublishedState, status: S, count: int | None, judgement: DifferenceKind | None
) -> None:
    """Before that, the report may count none."""
    assert judge([fact(published)], [row(status, ticket_count=count)]) is judgement


def test_a_state_hides_the_count() -> None:
    """One number has one difference."""
    assert judge([fact(ISSUED)], [row(S.FAILED, ticket_count=0)]) is DifferenceKind.STATE


# --- days and midnight ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issued_at", "day"),
    [
        (datetime(2026, 3, 1, 15, 59, 59, tzinfo=UTC), date(2026, 3, 1)),
        (datetime(2026, 3, 1, 16, 0, 0, tzinfo=UTC), date(2026, 3, 2)),
        (datetime(2026, 3, 5, 15, 59, 59, tzinfo=UTC), date(2026, 3, 5)),
        (datetime(2026, 3, 5, 16, 0, 0, tzinfo=UTC), date(2026, 3, 6)),
    ],
)
def test_the_day_begins_at_midnight_in_taipei(issued_at: datetime, day: date) -> None:
    """16:00 UTC; only the named days are judged."""
    reported = merge_reported([row(issued_at=issued_at)])

    assert issue_date_of(None, reported) == day
    assert belongs_to(DAYS, None, reported) == (DAY <= day <= DAYS.last)


def test_both_sides_of_midnight_agree() -> None:
    """The report's date counts: an answer that came after midnight belongs to the day before."""
    submitted = datetime(2026, 3, 2, 0, 0, 1, tzinfo=TAIPEI)
    before = row(issued_at=submitted - timedelta(seconds=2))

    assert judge([fact(submitted_at=submitted)], [before]) is None
    assert judge([fact(submitted_at=submitted)], [replace(before, ticket_count=9)]) is None
    assert judge([fact(submitted_at=submitted)], []) is DifferenceKind.NOT_REPORTED
    assert judge([fact(submitted_at=submitted - timedelta(seconds=2))], []) is None


def test_a_row_without_a_readable_date_is_judged() -> None:
    """Its difference has the date of the event, or none."""
    lost = compare(None, merge_reported([row(issued_at=None)]), DAYS, POLICY)
    other = compare(merge_published([fact()]), merge_reported([row(issued_at=None, ticket_count=3)]), DAYS, POLICY)

    assert isinstance(lost, IssuanceDifference)
    assert (lost.kind, lost.issue_date) == (DifferenceKind.NOT_PUBLISHED, None)
    assert isinstance(other, IssuanceDifference)
    assert (other.kind, other.issue_date) == (DifferenceKind.TICKET_COUNT, DAY)


def test_a_refused_issuance_belongs_to_no_day_until_the_report_has_it() -> None:
    """Then it is the worst difference: the shop believes that no tickets exist."""
    refused = fact(FAILED, submitted_at=None)

    assert judge([refused], []) is None
    assert judge([refused], [row(S.ISSUED)]) is DifferenceKind.STATE
    assert judge([refused], [row(S.FAILED)]) is None


# --- late jobs and young facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[], [row(S.ISSUED)], [row(S.FAILED)]])
def test_a_job_may_end_late(rows: list[ReportedRow]) -> None:
    """Within the time that confirming has for it, `submitted` is no difference, and a later day decides."""
    late = replace(DAYS, requested_at=NOON + timedelta(hours=23))

    assert judge([fact(SUBMITTED, learned_at=NOON)], rows, days=late) == NotYet(until=None)


@pytest.mark.parametrize(
    ("facts", "rows", "moment"),
    [
        ([], [row()], NOON),
        ([fact(learned_at=NOON)], [], NOON),
        ([fact(learned_at=NOON)], [row(S.IN_PROGRESS)], NOON),
        ([fact(learned_at=NOON)], [row(ticket_count=3)], NOON),
    ],
)
def test_what_is_young_is_judged_when_the_other_side_must_know(
    facts: list[PublishedFact], rows: list[ReportedRow], moment: datetime
) -> None:
    """An order in doubt is recovered meanwhile, and an issuance becomes visible."""
    soon = moment + POLICY.settles_after

    assert judge(facts, rows, days=replace(DAYS, requested_at=soon - timedelta(seconds=1))) == NotYet(until=soon)
    assert isinstance(judge(facts, rows, days=replace(DAYS, requested_at=soon)), DifferenceKind)


def test_a_report_cannot_know_what_came_after_it() -> None:
    """Then only another report decides."""
    early = replace(DAYS, requested_at=NOON)

    assert judge([fact(learned_at=NOON + timedelta(seconds=1))], [], days=early) == NotYet(until=None)


def test_a_date_ahead_of_our_clock_is_as_old_as_the_report() -> None:
    """ECPay's clock may be wrong, and the number is judged all the same, at most a waiting time later."""
    ahead = row(issued_at=REQUESTED + timedelta(hours=9))

    assert judge([], [ahead]) == NotYet(until=REQUESTED + POLICY.settles_after)


# --- several facts and rows of one number -----------------------------------------------------------------------------


def test_a_delayed_or_recovered_issuance_is_one_issuance() -> None:
    """The earliest submission counts, and the first time of the state; copies of an event change nothing."""
    late = timedelta(days=9)
    facts = [
        fact(SUBMITTED, learned_at=NOON, recovered=True),
        fact(ISSUED, learned_at=NOON + late, submitted_at=NOON + late, recovered=True),
        fact(ISSUED, recovered=True),
    ]

    merged = merge_published(facts)

    assert merged is not None
    assert (merged.state, merged.submitted_at, merged.recovered) == (ISSUED, NOON, True)
    assert merged.learned_at == NOON + timedelta(minutes=5)


def test_a_reissued_order_is_two_numbers() -> None:
    """The first failed and the second was issued; each is compared with its own rows."""
    second = TradeNo(kind=TradeNoKind.FREE, value="NEW1")

    assert judge([fact(SUBMITTED), fact(FAILED)], [row(S.FAILED)]) is None
    assert judge([fact(trade_no=second)], [row(trade_no=second)]) is None
    assert judge([fact(SUBMITTED), fact(FAILED)], [row(S.ISSUED)]) is DifferenceKind.STATE


def test_of_two_orders_with_one_number_the_one_with_the_tickets_counts() -> None:
    """The other was resolved as failed, under the same number."""
    merged = merge_published([fact(FAILED, order_id="B-1", submitted_at=None), fact(ISSUED)])

    assert merged is not None
    assert (merged.order_id, merged.state) == ("A-1", ISSUED)


def test_a_row_that_the_report_repeats_counts_once() -> None:
    """The same TicketTradeNo is the same issuance."""
    assert judge([fact()], [row(), row()]) is None


@pytest.mark.parametrize("counts", [(1, 2), (2, 1)])
def test_a_row_that_is_repeated_with_another_count_counts_with_the_larger(counts: tuple[int, int]) -> None:
    """In whichever order they come."""
    assert judge([fact(ticket_count=2)], [row(ticket_count=count) for count in counts]) is None


def test_two_issuances_under_one_number_are_counted_together() -> None:
    """ECPay never accepts a number twice; if it did, twice the tickets exist."""
    merged = merge_reported([row(), row(ticket_trade_no="ECT2", issued_at=NOON + timedelta(days=1))])

    assert merged is not None
    assert (merged.ticket_count, merged.issuances, merged.issued_at) == (4, 2, NOON)
    assert judge([fact()], [row(), row(ticket_trade_no="ECT2")]) is DifferenceKind.TICKET_COUNT


def test_an_issued_row_outweighs_a_failed_one() -> None:
    """Tickets exist under the number."""
    merged = merge_reported([row(S.FAILED, ticket_count=0), row(S.ISSUED, ticket_trade_no="ECT2")])

    assert merged is not None
    assert (merged.status, merged.ticket_count) == (S.ISSUED, 2)


# --- messages and properties ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "rows", "named"),
    [
        ([], [row()], ("resolve", "--as issued", "reconcile.ignore_prefixes", "ECPay")),
        ([], [row(S.FAILED)], ("resolve", "--as failed")),
        ([fact()], [], ("query", "ECPay")),
        ([fact(SUBMITTED)], [], ("query", "resolve")),
        ([fact(FAILED)], [row()], ("do not reissue",)),
        ([fact(SUBMITTED)], [row(S.FAILED)], ("--as failed", "reissue")),
        ([fact(SUBMITTED)], [row()], ("--as issued",)),
        ([fact()], [row(S.FAILED)], ("ECPay",)),
        ([fact()], [row(ticket_count=3)], ("2 tickets", "3", "ECPay")),
    ],
)
def test_each_message_names_the_number_and_the_next_step(
    facts: list[PublishedFact], rows: list[ReportedRow], named: tuple[str, ...]
) -> None:
    """The person who reads it needs no other page."""
    found = compare(merge_published(facts), merge_reported(rows), DAYS, POLICY)

    assert isinstance(found, IssuanceDifference)
    assert all(each in found.message for each in (NUMBER.value, *named))


@pytest.mark.parametrize("text", ["$(ls)", "A; ls", "A`ls`", "A' B"])
@pytest.mark.parametrize("status", [S.ISSUED, S.FAILED])
def test_a_number_in_a_command_is_one_word_of_a_shell(text: str, status: S) -> None:
    """A person copies the command, and a report may have any text there."""
    odd = TradeNo(kind=TradeNoKind.MERCHANT, value=text)
    unknown = compare(None, merge_reported([row(status, trade_no=odd)]), DAYS, POLICY)
    contrary = compare(
        merge_published([fact(SUBMITTED, trade_no=odd)]), merge_reported([row(status, trade_no=odd)]), DAYS, POLICY
    )

    for found in (unknown, contrary):
        assert isinstance(found, IssuanceDifference)
        assert f"resolve {shlex.quote(text)} --as" in found.message


def test_a_free_number_is_queried_as_one() -> None:
    """FreeTradeNo and MerchantTradeNo are different fields of the query."""
    free = TradeNo(kind=TradeNoKind.FREE, value="GIFT1")
    found = compare(merge_published([fact(trade_no=free)]), None, DAYS, POLICY)

    assert isinstance(found, IssuanceDifference)
    assert "query GIFT1 --free" in found.message


_MOMENTS = st.datetimes(
    min_value=datetime(2026, 2, 27),  # the zone is added
    max_value=datetime(2026, 3, 7),
    timezones=st.just(TAIPEI),
)
_FACTS = st.builds(
    fact,
    st.sampled_from(PublishedState),
    order_id=st.sampled_from(["A-1", "B-1"]),
    learned_at=_MOMENTS,
    submitted_at=st.none() | _MOMENTS,
    ticket_count=st.integers(1, 3),
    recovered=st.booleans(),
)
_ROWS = st.builds(
    row,
    st.sampled_from([*S, None]),
    ticket_count=st.none() | st.integers(0, 3),
    issued_at=st.none() | _MOMENTS,
    ticket_trade_no=st.sampled_from(["ECT1", "ECT2", None]),
)


@given(st.lists(_FACTS, max_size=5), st.lists(_ROWS, max_size=3), st.randoms(use_true_random=False))
def test_the_order_of_facts_does_not_matter(facts: list[PublishedFact], rows: list[ReportedRow], chance) -> None:  # type: ignore[no-untyped-def]
    """Topics have partitions, and reports have no order."""
    kinds = judge(facts, rows)
    chance.shuffle(facts)
    chance.shuffle(rows)

    assert judge(facts, rows) == kinds


@given(st.lists(_FACTS, max_size=5), st.lists(_ROWS, max_size=3))
def test_a_difference_is_certain(facts: list[PublishedFact], rows: list[ReportedRow]) -> None:
    """It belongs to the compared days, and the other side had its time to know."""
    found = compare(merge_published(facts), merge_reported(rows), DAYS, POLICY)

    if isinstance(found, IssuanceDifference):
        assert found.published is not None or found.reported is not None
        assert found.issue_date is None or DAYS.first <= found.issue_date <= DAYS.last
        if found.published is not None:
            assert found.published.learned_at + POLICY.settles_after <= REQUESTED
        elif found.reported is not None and found.reported.issued_at is not None:
            assert found.reported.issued_at + POLICY.settles_after <= REQUESTED


@given(st.lists(_FACTS, min_size=1, max_size=5), st.lists(_ROWS, max_size=3))
def test_what_is_judged_stays_judged(facts: list[PublishedFact], rows: list[ReportedRow]) -> None:
    """A later report with the same content never withdraws a difference."""
    later = replace(DAYS, requested_at=REQUESTED + timedelta(days=1))
    first, second = judge(facts, rows), judge(facts, rows, days=later)

    if isinstance(first, DifferenceKind):
        assert second is first
