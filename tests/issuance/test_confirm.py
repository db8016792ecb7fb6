"""Awaiting a result (docs/delivery.md, "Confirming"), sentence by sentence; times are seconds since submission."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.issuance.actions import Failed, FailedStage, Park, ParkReason
from adapter.issuance.answers import BreakerIsOpen, Known, NotFound, QueryUnanswered
from adapter.issuance.confirm import (
    UNANSWERED_MAX,
    Awaited,
    ConfirmPolicy,
    Issued,
    PublishDelayed,
    QueryAgain,
    ResultAnswer,
    first_query_at,
    mark_delayed,
    next_confirm_step,
    resume_query_at,
    with_answer,
)
from adapter.issuance.state import IllegalTransition, Phase
from adapter.protocol.issue import IssueType, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.values import replace

from .samples import CVS, ELECTRONIC, PAPER, SERIAL, T0, at

POLICY = ConfirmPolicy()
DAY = 86_400
TRADE_NO = TradeNo(kind=TradeNoKind.FREE, value="GIFT1")
IN_PROGRESS = Known(status=IssueStatus.IN_PROGRESS)


def awaited(kind: IssueType = ELECTRONIC, *, delayed: bool = False, queries: int = 0) -> Awaited:
    phase = Phase.DELAYED if delayed else Phase.SUBMITTED
    return Awaited(trade_no=TRADE_NO, issue_type=kind, submitted_at=T0, phase=phase, queries=queries)


@pytest.mark.parametrize(("kind", "seconds"), [(CVS, 30), (ELECTRONIC, 30), (SERIAL, 30), (PAPER, 0)])
def test_the_first_question(kind: IssueType, seconds: float) -> None:
    """ "QueryIssueResult from `confirm.first_query_seconds` (30; paper at once)"."""
    assert first_query_at(kind, T0, POLICY) == at(seconds)


@pytest.mark.parametrize(
    ("answer", "phase", "step"),
    [
        (Known(status=IssueStatus.ISSUED), Phase.ISSUED, Issued(queries=3)),
        (Known(status=IssueStatus.FAILED, remark="amounts differ"), Phase.FAILED,
         Failed(stage=FailedStage.CONFIRM, remark="amounts differ")),
        (IN_PROGRESS, Phase.SUBMITTED, QueryAgain(at=at(60))),
        (Known(status=None), Phase.SUBMITTED, QueryAgain(at=at(60))),
        (NotFound(code=5, queried_at=T0), Phase.SUBMITTED, QueryAgain(at=at(60))),
        (QueryUnanswered(detail="timeout"), Phase.SUBMITTED, QueryAgain(at=at(60))),
    ],
)  # fmt: skip
def test_status_1_is_issued_2_is_failed_and_everything_else_goes_on(
    answer: ResultAnswer, phase: Phase, step: object
) -> None:
    """ "Status 1 → `issued`, 2 → `failed` (`stage: confirm`, `remark`), everything else → go on"."""
    after = with_answer(awaited(queries=2), answer)

    assert after.phase is phase
    assert after.queries == 3
    assert next_confirm_step(after, at(30), POLICY, jitter=0.0) == step


@pytest.mark.parametrize(
    ("answer", "planned"),
    [(IN_PROGRESS, 30.0), (Known(status=IssueStatus.ISSUED), 30.0), (QueryUnanswered(detail="timeout"), None)],
)
def test_a_job_whose_query_got_no_answer_counts_for_no_job_time(answer: ResultAnswer, planned: float | None) -> None:
    """It may have been done long before ECTicket answered again."""
    assert with_answer(replace(awaited(), first_query_seconds=30.0), answer).first_query_seconds == planned


def times_asked(kind: IssueType = ELECTRONIC, policy: ConfirmPolicy = POLICY, until: float = 3_000) -> list[float]:
    """When an issuance without a result is queried, without jitter."""
    state, times = awaited(kind), []
    now = first_query_at(kind, T0, policy)
    while (now - T0).total_seconds() <= until:
        times.append((now - T0).total_seconds())
        state = with_answer(state, IN_PROGRESS)
        step = next_confirm_step(state, now, policy, jitter=0.0)
        if isinstance(step, PublishDelayed):
            state, now = mark_delayed(state), step.query_at
        elif isinstance(step, QueryAgain):
            now = step.at
        else:
            break
    return times


def test_intervals_double_up_to_240_seconds_and_then_are_long() -> None:
    """ "then every `confirm.query_interval_seconds` (30, doubling up to 240 ...)"; delayed: "asked every ... (600)"."""
    assert times_asked() == [30, 60, 120, 240, 480, 600, 1200, 1800, 2400, 3000]
    assert times_asked(PAPER) == [0, 30, 90, 210, 450, 600, 1200, 1800, 2400, 3000]


def test_the_longest_interval_is_eight_times_the_first() -> None:
    """Scaled times scale the doubling with them."""
    slow = replace(POLICY, first_query_seconds=1, query_interval_seconds=1, delayed_after_seconds=40)

    assert times_asked(policy=slow, until=40) == [1, 2, 4, 8, 16, 24, 32, 40]


def test_delayed_is_published_once_after_a_query_at_that_age() -> None:
    """ "After `confirm.delayed_after_seconds` (600): `delayed` once"."""
    state = with_answer(awaited(), IN_PROGRESS)
    assert next_confirm_step(state, at(599), POLICY, jitter=0.0) == QueryAgain(at=at(600))
    assert next_confirm_step(state, at(600), POLICY, jitter=0.0) == PublishDelayed(query_at=at(1200))

    marked = mark_delayed(state)

    assert next_confirm_step(with_answer(marked, IN_PROGRESS), at(1200), POLICY, jitter=0.0) == QueryAgain(at=at(1800))
    with pytest.raises(IllegalTransition):
        mark_delayed(marked)


@pytest.mark.parametrize("delayed", [False, True])
def test_it_is_given_up_in_the_end(delayed: bool) -> None:
    """ "after `confirm.give_up_after_hours` (24): dead letter `unresolved`", with what to do about it."""
    state = with_answer(awaited(delayed=delayed), IN_PROGRESS)

    step = next_confirm_step(state, at(DAY), POLICY, jitter=0.5)

    assert isinstance(step, Park)
    assert step.reason is ParkReason.UNRESOLVED
    assert "FreeTradeNo GIFT1" in step.message
    assert "ecticket-adapter query GIFT1 --free" in step.message


@pytest.mark.parametrize(
    ("answer", "again_at"),
    [(QueryUnanswered(detail="no turn in 10 s"), DAY + 240), (BreakerIsOpen(retry_at=at(DAY + 1_800)), DAY + 1_800)],
)
def test_what_could_not_be_asked_about_is_asked_again_before_it_is_given_up(
    answer: QueryUnanswered | BreakerIsOpen, again_at: float
) -> None:
    """After an outage of days all are too old and come at once; one that never gets an answer is given up too."""
    state = with_answer(awaited(delayed=True), answer)

    assert next_confirm_step(state, at(DAY), POLICY, jitter=0.0) == QueryAgain(at=at(again_at))
    assert isinstance(next_confirm_step(with_answer(state, IN_PROGRESS), at(DAY), POLICY, jitter=0.0), Park)
    for _ in range(UNANSWERED_MAX - 1):
        assert isinstance(next_confirm_step(state, at(DAY), POLICY, jitter=0.0), QueryAgain)
        state = with_answer(state, answer)
    assert isinstance(next_confirm_step(state, at(DAY), POLICY, jitter=0.0), Park)


def test_the_last_question_is_put_before_giving_up() -> None:
    """An interval does not reach beyond the end: a result until then is learned."""
    state = with_answer(awaited(delayed=True), IN_PROGRESS)

    assert next_confirm_step(state, at(DAY - 100), POLICY, jitter=0.0) == QueryAgain(at=at(DAY))


def test_a_result_counts_at_any_age() -> None:
    """After a standstill of days the answer is still an answer."""
    state = with_answer(awaited(delayed=True), Known(status=IssueStatus.ISSUED))

    assert next_confirm_step(state, at(3 * DAY), POLICY, jitter=0.0) == Issued(queries=1)


def test_what_was_not_asked_is_not_counted() -> None:
    """An open breaker prevents the query and gives a retry time."""
    state = with_answer(awaited(), BreakerIsOpen(retry_at=at(1830)))

    assert state.queries == 0
    assert next_confirm_step(state, at(30), POLICY, jitter=0.0) == QueryAgain(at=at(1830))
    assert next_confirm_step(with_answer(state, IN_PROGRESS), at(30), POLICY, jitter=0.0) == QueryAgain(at=at(60))


@given(age=st.floats(0, 86_399), jitter=st.floats(0, 1, exclude_max=True), delayed=st.booleans())
def test_jitter_only_shortens_and_never_by_much(age: float, jitter: float, delayed: bool) -> None:
    """ "jittered": a crowd thins out, no interval grows, and time always goes on."""
    state = with_answer(awaited(delayed=delayed), IN_PROGRESS)
    plain, jittered = (next_confirm_step(state, at(age), POLICY, jitter=each) for each in (0.0, jitter))

    assert type(plain) is type(jittered)
    if isinstance(plain, QueryAgain) and isinstance(jittered, QueryAgain):
        assert at(age) < jittered.at <= plain.at
        assert (jittered.at - at(age)) >= 0.79 * (plain.at - at(age))


@pytest.mark.parametrize(
    ("overdue", "latest"),
    [(-60, 60), (0, 0), (5, 5), (100, 100), (240, 240), (7_200, 240)],
)
def test_a_restart_spreads_its_queries(overdue: float, latest: float) -> None:
    """Overdue queries are spread over as long as they are late, at most 240 s; the others keep their time."""
    now = at(1_000)
    due = at(1_000 - overdue)

    first, last = (resume_query_at(due, now, POLICY, jitter=jitter) for jitter in (0.0, 0.999_999))

    assert first == max(due, now)
    assert first <= last <= at(1_000 + latest)


def test_a_result_comes_once() -> None:
    """An issuance whose result is known is not queried."""
    with pytest.raises(IllegalTransition):
        with_answer(with_answer(awaited(), Known(status=IssueStatus.ISSUED)), IN_PROGRESS)


def test_waits_beyond_reckoning_are_no_error() -> None:
    """An operator who never wants to give up may set any number."""
    policy = ConfirmPolicy(give_up_after_seconds=1e300, delayed_interval_seconds=1e300)

    assert isinstance(
        next_confirm_step(with_answer(awaited(delayed=True), IN_PROGRESS), at(700), policy, jitter=0.0), QueryAgain
    )
