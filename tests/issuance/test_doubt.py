"""Doubt, and how it ends: the paragraphs "Possibly sent" and "Not known" of docs/delivery.md, and giving up.

Each test quotes the sentence that it checks. Times are seconds since the part's order was first seen.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapter.issuance.actions import (
    ControlQuery,
    Defer,
    Park,
    ParkReason,
    Probe,
    Query,
    Send,
    Wait,
)
from adapter.issuance.answers import (
    BreakerIsOpen,
    CallInDoubt,
    CallNotSent,
    CallResult,
    CallThrottled,
    ControlAnswered,
    LastAccepted,
    NotFound,
    ProbeAnswered,
    QueryUnanswered,
    Refused,
)
from adapter.issuance.decide import QUERIES_PER_RUN, QueryFirst, SubmitPolicy
from adapter.issuance.state import IssueRefusal, PartState, Phase, WaitReason, initial_state
from adapter.protocol.query_issue_result import IssueStatus

from .samples import T0, at, part, planned
from .scenarios import HOUR, Scenario, control, known, not_found, not_known, possibly_sent, submitted

# -- Possibly sent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "state"),
    [
        ("an earlier owner of the partition could have sent it", possibly_sent().state),
        ("its record says so", planned(possibly_sent_since=T0)),
        ("an in-doubt attempt of our own", Scenario().comes(CallInDoubt(detail="")).state),
        ("a refusal that may not be one", Scenario().comes(Refused(code=9, message="")).state),
        ("a refusal in its record", planned(refusal=IssueRefusal(code=9, message="", at=T0))),
    ],
)
@pytest.mark.parametrize("seconds", [0, 599, 600, 30 * HOUR])
def test_what_was_possibly_sent_is_queried_before_anything_else(how: str, state: PartState, seconds: float) -> None:
    """ "Such a part is **queried before anything else is done with it**", at any age of the order."""
    assert Scenario(state).next(seconds=seconds) == Query(), how
    assert state.possibly_sent


def test_what_was_certainly_never_sent_is_sent() -> None:
    """ "A consumer group that has never committed has sent nothing"."""
    assert Scenario().next() == Send()


def test_query_first_always_asks_once_and_needs_no_evidence() -> None:
    """`submit.query_first: always` finds orders that were issued elsewhere; there is no doubt to settle."""
    scenario = Scenario(policy=SubmitPolicy(query_first=QueryFirst.ALWAYS))
    assert scenario.next() == Query()

    assert scenario.comes(not_found(0)).next() == Send()


def test_query_first_always_finds_a_part() -> None:
    """Known already: published as recovered, and not sent."""
    scenario = Scenario(policy=SubmitPolicy(query_first=QueryFirst.ALWAYS)).comes(known(IssueStatus.ISSUED))

    assert scenario.next() == submitted(scenario, recovered=True)


# -- Not known ---------------------------------------------------------------------------------------------------------


def test_not_known_takes_three_things_at_once() -> None:
    """(1) RtnCode ≠ 1 after the waiting time, (2) a control with the same code, (3) RtnCode 1 for a known number."""
    scenario = possibly_sent(0)
    assert scenario.next(seconds=600) == Query()
    assert scenario.comes(not_found(600)).next() == ControlQuery()
    assert scenario.comes(control(600)).next() == Probe()
    assert scenario.comes(ProbeAnswered(ok=True)).next() == Query()
    assert scenario.comes(not_found(600)).next() == Send()


def test_another_orders_rtn_code_1_spares_the_probe() -> None:
    """ "QueryIssueResult itself answers RtnCode 1 for a number of this merchant that is known to exist"."""
    scenario = possibly_sent(0).comes(not_found(600), seconds=600).comes(control(600), seconds=601)

    assert scenario.comes(LastAccepted(at=at(602)), seconds=602).next() == Query()


def test_an_earlier_rtn_code_1_does_not_spare_the_probe() -> None:
    """A maintenance may have begun since: only an RtnCode 1 after the query shows that queries work."""
    scenario = possibly_sent(0).comes(LastAccepted(at=at(599)), seconds=599)
    scenario.comes(not_found(600), seconds=600).comes(LastAccepted(at=at(599)), seconds=601).comes(control(600))

    assert scenario.next() == Probe()


@pytest.mark.parametrize(
    ("what", "result", "reason"),
    [
        ("the control answers with another code", control(600, 99), WaitReason.CONTROL_DIFFERS),
        ("the control is known", control(600, 1), WaitReason.CONTROL_KNOWN),
        ("the probe fails", ProbeAnswered(ok=False), WaitReason.PROBE_FAILED),
        ("no number is known to exist", ProbeAnswered(ok=False, none_known=True), WaitReason.NO_KNOWN_NUMBER),
        ("the breaker opens", BreakerIsOpen(retry_at=at(2400)), WaitReason.BREAKER_OPEN),
    ],
)
def test_anything_short_of_it_is_doubt_and_doubt_waits(what: str, result: CallResult, reason: WaitReason) -> None:
    """ "Anything short of this is doubt, and doubt waits"."""
    scenario = possibly_sent(0).comes(not_found(600), seconds=600)

    assert isinstance(action := scenario.comes(result).next(), Defer), what
    assert action.reason is reason


def test_a_doubt_without_a_known_number_ends_with_its_cure() -> None:
    """The message names the setting that settles this dead letter and later ones."""
    scenario = possibly_sent(0).comes(not_found(24 * HOUR), seconds=24 * HOUR).comes(control(24 * HOUR))

    action = scenario.comes(ProbeAnswered(ok=False, none_known=True)).next()

    assert isinstance(action, Park)
    assert action.reason is ParkReason.UNRESOLVED
    assert f"merchants.{scenario.state.part.request.merchant_id}.known_trade_no" in action.message


def test_a_control_that_is_known_is_never_forgotten() -> None:
    """ "A control that is itself answered with RtnCode 1 means that nothing is ever "not known": alarm"."""
    scenario = possibly_sent(0).comes(not_found(600), seconds=600).comes(control(600, 1))
    assert scenario.state.history.control_known

    later = Scenario(initial_state(part(), first_seen_at=T0, history=scenario.state.history))

    assert later.next(seconds=700) == Query()
    assert isinstance(not_known(later, 700).next(), Defer)
    assert isinstance(action := not_known(later, 24 * HOUR).next(), Park)
    assert action.reason is ParkReason.UNRESOLVED


def test_an_unanswered_question_is_put_again() -> None:
    """In the same run after a pause or Retry-After, and in a later run if it keeps failing."""
    scenario = possibly_sent(0)
    assert isinstance(scenario.comes(QueryUnanswered(detail="timeout")).next(), Wait)
    assert scenario.next(seconds=1) == Query()

    throttled = possibly_sent(0).comes(QueryUnanswered(detail="429", retry_at=at(90)))
    assert isinstance(action := throttled.next(), Defer)
    assert action.useful_at == at(90)


@pytest.mark.parametrize(
    "result", [QueryUnanswered(detail=""), CallNotSent(detail=""), BreakerIsOpen(retry_at=at(0.1))]
)
def test_a_run_ends_however_often_calls_fail(result: CallResult) -> None:
    """Quick failures do not keep an order in progress."""
    scenario, policy = Scenario(), SubmitPolicy(wait_in_place_seconds=1e9)
    scenario.policy = policy
    for _ in range(50):
        scenario.comes(result)
        if isinstance(scenario.next(), Defer):
            return
    pytest.fail("the run did not end")


def test_a_run_ends_however_the_answers_change() -> None:
    """A server that answers with another code each time is queried a few times, and then in a later run."""
    scenario = possibly_sent(0)
    scenario.now = at(600)
    questions = 0
    while isinstance(action := scenario.next(), Query | ControlQuery | Probe):
        questions += isinstance(action, Query)
        scenario.now += timedelta(seconds=1)
        match action:
            case Query():
                scenario.comes(NotFound(code=100 + questions, queried_at=scenario.now))
            case ControlQuery():
                scenario.comes(ControlAnswered(code=100 + questions, queried_at=scenario.now))
            case Probe():
                scenario.comes(ProbeAnswered(ok=True))

    assert questions == QUERIES_PER_RUN
    assert isinstance(action, Defer)


# -- After submit.give_up_after_hours (section 5) ----------------------------------------------------------------------


def test_an_old_order_that_was_never_sent_gave_up() -> None:
    """ "After ... (24): dead letter, `unresolved` if it may have been sent, else `gave-up`"."""
    scenario = Scenario().comes(CallThrottled(retry_at=at(24 * HOUR + 1800)), seconds=24 * HOUR - 1)
    assert isinstance(scenario.next(), Defer)

    assert isinstance(action := scenario.next(seconds=24 * HOUR), Park)
    assert action.reason is ParkReason.GAVE_UP


@pytest.mark.parametrize("result", [CallInDoubt(detail="reset"), Refused(code=9, message="no")])
def test_an_old_order_that_may_have_been_sent_is_unresolved(result: CallResult) -> None:
    """An unknown result is never published as failed."""
    scenario = Scenario().comes(result, seconds=24 * HOUR - 60).comes(not_found(24 * HOUR - 60))
    assert isinstance(scenario.next(), Defer)

    assert isinstance(action := scenario.next(seconds=24 * HOUR), Park)
    assert action.reason is ParkReason.UNRESOLVED
    assert f"ecticket-adapter query {scenario.state.part.trade_no.value}" in action.message


def test_an_old_order_still_gets_what_this_run_can_settle() -> None:
    """After a long standstill an order is queried and sent once more, but not deferred again."""
    late = 48 * HOUR

    assert Scenario().next(seconds=late) == Send()
    assert possibly_sent(0).next(seconds=late) == Query()
    assert not_known(possibly_sent(0), late).next() == Send()
    assert possibly_sent(0).comes(known(), seconds=late).state.phase is Phase.SUBMITTED
