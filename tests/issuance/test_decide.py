"""The table "Answers of Issue" of docs/delivery.md, line by line.

Each test quotes the row that it checks. Times are seconds since the part's order was first seen; the waiting times are
the default 600 seconds unless a test sets others.
"""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.issuance.actions import (
    ControlQuery,
    Defer,
    Failed,
    FailedStage,
    Finish,
    Park,
    ParkReason,
    Probe,
    Query,
    Send,
    Submitted,
    Wait,
)
from adapter.issuance.answers import (
    Accepted,
    BreakerIsOpen,
    CallInDoubt,
    CallNotSent,
    CallResult,
    CallThrottled,
    EnvelopeRejected,
    IssuingHeld,
    ProbeAnswered,
    QueryUnanswered,
    Refused,
    RetryLaterCode,
)
from adapter.issuance.decide import (
    LONGEST_DEFERRAL_SECONDS,
    SubmitPolicy,
    conclude,
    deferred_until,
    handed_off_until,
    observe,
    ready_at,
)
from adapter.issuance.state import IllegalTransition, IssueRefusal, Phase, WaitReason, initial_state
from adapter.values import replace

from .samples import T0, at, part, planned
from .scenarios import HOUR, N, Scenario, control, known, not_found, not_known, possibly_sent, submitted

# -- Issue: RtnCode 1, our number → submitted ------------------------------------------------------------------------


def test_rtn_code_1_with_our_number_is_submitted() -> None:
    """ "Issue: RtnCode 1, our number → `submitted`"."""
    scenario = Scenario()
    assert scenario.next() == Send()

    scenario.comes(Accepted(ticket_trade_no="2024010112001234"), seconds=1)

    assert scenario.next() == submitted(scenario, recovered=False, ticket_trade_no="2024010112001234")
    assert scenario.state.phase is Phase.SUBMITTED


# -- not sent → again with back-off and jitter ------------------------------------------------------------------------


def test_what_was_not_sent_is_retried_with_growing_pauses() -> None:
    """ "not sent (DNS, connect refused or timed out, pool) → again with back-off and jitter": here, then later."""
    scenario, pauses = Scenario(), []
    scenario.comes(CallNotSent(detail="connect refused"))
    while isinstance(action := scenario.next(), Wait):
        assert action.reason is WaitReason.NOT_SENT
        pauses.append((action.until - scenario.now).total_seconds())
        assert scenario.next(seconds=(action.until - T0).total_seconds()) == Send()
        scenario.comes(CallNotSent(detail="connect refused"))

    assert all(0.125 * 2**step <= pause < 0.25 * 2**step for step, pause in enumerate(pauses))
    assert 3 <= len(pauses) <= 5
    assert isinstance(action, Defer)
    assert (action.reason, action.counted) == (WaitReason.NOT_SENT, True)
    assert scenario.state.phase is Phase.PLANNED
    assert scenario.state.history.first_attempt_at is None


def test_pauses_differ_between_parts() -> None:
    """Jitter: parts that fail together do not come back together."""
    untils = {
        str(Scenario(initial_state(part(f"A-{number}"), first_seen_at=T0)).comes(CallNotSent(detail="")).next())
        for number in range(10)
    }

    assert len(untils) == 10


# -- Issue: RtnCode ≠ 1 ----------------------------------------------------------------------------------------------


def test_a_refusal_is_looked_up_at_once() -> None:
    """ "Issue: RtnCode ≠ 1 → query. Known → `submitted`, `recovered`"."""
    scenario = Scenario().comes(Refused(code=N, message="repeated"), seconds=1)
    assert scenario.next() == Query()

    scenario.comes(known(), seconds=2)

    assert scenario.next() == submitted(scenario, recovered=True)


def test_a_refusal_is_asked_about_and_never_sent_again_until_it_is_final() -> None:
    """ "Else queried (never sent) again, the last time when ... (600 ...) have passed since the last Issue that may
    have arrived: not known → `failed`, `stage: submit`, with the refusal's code and message"."""
    scenario = Scenario().comes(Refused(code=77, message="item is off the shelf"), seconds=1)
    scenario.comes(not_found(2), seconds=2)
    assert scenario.next() == Defer(useful_at=at(601), reason=WaitReason.REFUSAL_NOT_FINAL, counted=True)

    scenario.state = initial_state(part(), first_seen_at=T0, history=scenario.state.history)
    assert scenario.next(seconds=590) == Query()
    assert scenario.comes(not_found(590), seconds=600).next() == Wait(
        until=at(601), reason=WaitReason.REFUSAL_NOT_FINAL
    )

    assert scenario.next(seconds=601) == ControlQuery()
    assert scenario.comes(control(601)).next() == Probe()
    assert scenario.comes(ProbeAnswered(ok=True)).next() == Query()
    assert scenario.comes(not_found(601)).next() == Query()
    assert scenario.comes(not_found(601)).next() == Probe()
    assert scenario.comes(ProbeAnswered(ok=True)).next() == Query()
    assert scenario.comes(not_found(601)).next() == Finish(
        result=Failed(stage=FailedStage.SUBMIT, rtn_code=77, rtn_msg="item is off the shelf")
    )


def test_a_refusal_after_a_doubt_waits_from_the_later_of_the_two() -> None:
    """An earlier owner, or a doubt, may have an Issue on its way still: the refusal says nothing about that one."""
    scenario = possibly_sent(0)
    assert not_known(scenario, 600).next() == Send()
    scenario.comes(Refused(code=N, message="repeated"), seconds=600)

    assert isinstance(not_known(scenario, 1199).next(), Wait)
    assert not_known(scenario, 1200).next() == Finish(
        result=Failed(stage=FailedStage.SUBMIT, rtn_code=N, rtn_msg="repeated")
    )


def test_a_refusal_of_a_resend_is_looked_up_at_once() -> None:
    """What was known before the Issue says nothing about after it."""
    scenario = not_known(possibly_sent(0), 600).comes(Refused(code=77, message=""), seconds=601)

    assert scenario.next() == Query()


@pytest.mark.parametrize(
    ("refused", "possibly_sent_since", "ready"),
    [(5, None, 605), (5, at(3), 605), (5, at(50), 650), (None, at(50), 110)],
)
def test_the_waiting_time_counts_from_the_last_issue_that_may_have_arrived(
    refused: float | None, possibly_sent_since: datetime | None, ready: float
) -> None:
    """Of a refusal and a doubt the later one; each has its own waiting time, and a refusal's is the one for both."""
    refusal = None if refused is None else IssueRefusal(code=9, message="", at=at(refused))
    state = planned(refusal=refusal, possibly_sent_since=possibly_sent_since)

    assert ready_at(state, SubmitPolicy(reissue_after_seconds=60, refusal_final_after_seconds=600)) == at(ready)


def test_a_refused_part_is_not_sent_by_a_new_owner_either() -> None:
    """A fence does not make a refused part doubtful: no process sends it."""
    history = Scenario().comes(Refused(code=77, message=""), seconds=1).state.history

    scenario = Scenario(initial_state(part(), first_seen_at=T0, history=history, possibly_sent_since=at(5_000)))

    assert scenario.state.phase is Phase.REFUSED
    assert isinstance(not_known(scenario, 5_001).next(), Finish)


# -- HTTP 403; 429; 503 with Retry-After -------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [CallThrottled(retry_at=at(1800)), BreakerIsOpen(retry_at=at(1800))])
def test_a_throttled_call_waits_for_its_retry_after_and_does_not_count(result: CallResult) -> None:
    """A call refused before execution waits for its Retry-After; "breaker waits do not count" (section 5)."""
    scenario = Scenario().comes(result)

    assert isinstance(action := scenario.next(), Defer)
    assert (action.useful_at, action.counted) == (at(1800), False)
    assert not scenario.state.possibly_sent


def test_a_held_merchants_order_waits_and_does_not_count() -> None:
    """Nothing was sent, and the operator decides for how long."""
    scenario = Scenario().comes(IssuingHeld(until=at(HOUR)))

    assert scenario.next() == Defer(useful_at=at(HOUR), reason=WaitReason.HELD, counted=False)
    assert (scenario.state.phase, scenario.state.history.first_attempt_at) == (Phase.PLANNED, None)


def test_a_hold_that_ends_soon_is_waited_for_in_place() -> None:
    """A second is not worth a deferred record."""
    scenario = Scenario().comes(IssuingHeld(until=at(1)))

    assert scenario.next() == Wait(until=at(1), reason=WaitReason.HELD)
    assert scenario.next(seconds=1) == Send()


@pytest.mark.parametrize("scenario", [Scenario(), not_known(possibly_sent(), 600)], ids=["never sent", "in doubt"])
def test_a_held_merchants_order_is_never_given_up(scenario: Scenario) -> None:
    """The give-up clock is for what the adapter tries in vain; here it was not allowed to try."""
    scenario.comes(IssuingHeld(until=at(100 * HOUR)), seconds=99 * HOUR)

    assert scenario.next() == Defer(useful_at=at(100 * HOUR), reason=WaitReason.HELD, counted=False)


@pytest.mark.parametrize(
    ("scenario", "result"),
    [
        (Scenario(), CallThrottled(retry_at=at(1800))),
        (possibly_sent(), QueryUnanswered(detail="HTTP 429", retry_at=at(1800))),
    ],
)
def test_retry_after_of_ecticket_is_honoured_in_later_runs_too(scenario: Scenario, result: CallResult) -> None:
    """A Retry-After is honoured up to its cap: runs are a minute apart, and it may be an hour."""
    scenario = Scenario(initial_state(part(), first_seen_at=T0, history=scenario.comes(result).state.history))

    assert scenario.next(seconds=1700) == Defer(useful_at=at(1800), reason=WaitReason.THROTTLED, counted=False)
    assert isinstance(scenario.next(seconds=1800), Send | Query)


@pytest.mark.parametrize(
    ("waits", "due"),
    [
        ([(WaitReason.BREAKER_OPEN, 1800)], 1800),
        ([(WaitReason.THROTTLED, 1800)], 1800),
        ([(WaitReason.UNANSWERED, 900)], 900),
        ([(WaitReason.BREAKER_OPEN, 5)], 60),
        ([(WaitReason.BREAKER_OPEN, -5)], 60),
        ([(WaitReason.BREAKER_OPEN, 3600 * 24)], LONGEST_DEFERRAL_SECONDS),
        ([(WaitReason.DOUBT, 615)], 60),
        ([(WaitReason.REFUSAL_NOT_FINAL, 600)], 60),
        ([(WaitReason.BREAKER_OPEN, 1800), (WaitReason.DOUBT, 615)], 60),
        ([(WaitReason.BREAKER_OPEN, 1800), (WaitReason.THROTTLED, 1200)], 1200),
        ([(WaitReason.BREAKER_OPEN, 1800), (WaitReason.ANOTHER_PART_IN_DOUBT, 0)], 1800),
        ([(WaitReason.ANOTHER_PART_IN_DOUBT, 0)], 60),
        ([], 60),
    ],
)
def test_a_deferred_record_is_due_when_one_of_its_parts_can_make_progress(
    waits: list[tuple[WaitReason, float]], due: float
) -> None:
    """ "If retrying makes no sense before a later time (a lock-out), the record waits longer" (section 5)."""
    deferrals = [Defer(useful_at=at(seconds), reason=reason, counted=False) for reason, seconds in waits]

    assert deferred_until(deferrals, T0, 60) == at(due)


@given(st.floats(-1e6, 1e6), st.floats(0.001, 1e5))
def test_what_is_handed_off_is_due_within_ten_minutes_or_the_usual_time(age: float, defer_seconds: float) -> None:
    """For any age and any clock."""
    pause = (handed_off_until(T0, at(age), defer_seconds) - at(age)).total_seconds()

    assert defer_seconds - 1e-3 <= pause <= max(defer_seconds, 600) + 1e-3


def test_a_short_retry_after_is_waited_for_in_the_same_run() -> None:
    """What is over in a moment needs no deferral."""
    scenario = Scenario().comes(CallThrottled(retry_at=at(2)))

    assert scenario.next() == Wait(until=at(2), reason=WaitReason.THROTTLED)
    assert scenario.next(seconds=2) == Send()


# -- TransCode ≠ 1; HTTP 400, 401, 404, 405, 413, 415, 422, 3xx --------------------------------------------------------


def test_an_envelope_that_was_not_accepted_is_deferred() -> None:
    """ "nothing was accepted; settings or clock are wrong, or this order's content is: deferred"."""
    scenario = Scenario().comes(EnvelopeRejected(detail="TransCode 999"))

    assert scenario.next() == Defer(useful_at=T0, reason=WaitReason.NOT_ACCEPTED, counted=True)
    assert not scenario.state.possibly_sent


def unaccepted(times: int) -> Scenario:
    return Scenario(planned(unaccepted=times - 1)).comes(EnvelopeRejected(detail="TransCode 999"))


def test_an_order_that_stays_alone_with_it_is_parked() -> None:
    """ "an order that stays alone with it for `submit.attempts` while the control query is fine is dead-lettered
    `refused-envelope`"."""
    assert isinstance(unaccepted(4).next(), Defer)

    scenario = unaccepted(5)
    assert scenario.next() == ControlQuery()
    scenario.comes(control(0))

    assert isinstance(action := scenario.next(), Park)
    assert action.reason is ParkReason.REFUSED_ENVELOPE


@pytest.mark.parametrize("result", [QueryUnanswered(detail="TransCode 999"), BreakerIsOpen(retry_at=at(1800))])
def test_an_order_that_is_not_alone_with_it_is_not_parked(result: CallResult) -> None:
    """When the control query fares no better, it is settings or clock, and other orders wait as well."""
    scenario = unaccepted(5)

    assert isinstance(scenario.comes(result).next(), Defer)


def test_an_unaccepted_envelope_does_not_condemn_what_may_have_been_sent() -> None:
    """Tickets may exist from before: the part goes on as a doubt, whatever the count."""
    state = initial_state(part(), first_seen_at=T0, history=planned(unaccepted=9).history, possibly_sent_since=T0)
    scenario = not_known(Scenario(state), 600).comes(EnvelopeRejected(detail="TransCode 999"))

    assert isinstance(scenario.next(), Defer)


# -- everything else: in doubt -----------------------------------------------------------------------------------------


def test_a_doubt_is_looked_up_at_once() -> None:
    """ "in doubt: query. Known → `submitted`, `recovered`"."""
    scenario = Scenario().comes(CallInDoubt(detail="read timed out"), seconds=15)
    assert scenario.state.phase is Phase.IN_DOUBT
    assert scenario.next() == Query()

    scenario.comes(known(), seconds=16)

    assert scenario.next() == submitted(scenario, recovered=True)


def test_a_doubt_is_not_sent_again_before_its_time() -> None:
    """ "Not known, asked when `submit.reissue_after_seconds` (600) have passed since the last attempt"."""
    scenario = Scenario().comes(CallInDoubt(detail="read timed out"), seconds=15).comes(not_found(15))
    assert scenario.next() == Defer(useful_at=at(615), reason=WaitReason.DOUBT, counted=True)

    assert not_known(scenario, 614.9).next() == Wait(until=at(615), reason=WaitReason.DOUBT)
    assert not_known(scenario, 615).next() == Send()


def test_after_a_take_over_the_time_counts_from_the_fence() -> None:
    """ "(after a take-over: since the fence)"."""
    scenario = possibly_sent(100)

    assert isinstance(not_known(scenario, 699.9).next(), Wait)
    assert not_known(scenario, 700).next() == Send()


def test_each_resend_needs_evidence_of_its_own() -> None:
    """Sent again and in doubt again: everything starts again, waiting time included."""
    scenario = not_known(possibly_sent(0), 600)
    assert scenario.next() == Send()

    scenario.comes(CallInDoubt(detail="reset"), seconds=615)

    assert scenario.next() == Query()
    assert isinstance(not_known(scenario, 1214).next(), Wait)
    assert not_known(scenario, 1215).next() == Send()


def test_a_question_that_was_asked_too_early_proves_nothing_however_late_its_answer() -> None:
    """The query time counts: ECTicket looked before the waiting time was over."""
    scenario = possibly_sent(0)
    scenario.comes(not_found(590), seconds=590).comes(control(590)).comes(ProbeAnswered(ok=True), seconds=591)

    scenario.comes(not_found(592), seconds=606)

    assert scenario.next() == Query()


def test_evidence_ends_with_its_run() -> None:
    """A number that was queried an hour ago is queried again."""
    scenario = not_known(possibly_sent(0), 600)

    later = initial_state(part(), first_seen_at=T0, history=scenario.state.history)

    assert Scenario(later).next(seconds=HOUR) == Query()


# -- RtnCodes listed in submit.retry_rtn_codes -------------------------------------------------------------------------


def test_a_listed_code_is_retried_later() -> None:
    """ "RtnCodes listed in `submit.retry_rtn_codes` → again later"."""
    scenario = Scenario().comes(RetryLaterCode(code=5, message="busy"))
    assert scenario.next() == Defer(useful_at=T0, reason=WaitReason.RETRY_LATER_CODE, counted=True)

    later = Scenario(initial_state(part(), first_seen_at=T0, history=scenario.state.history))

    assert later.next(seconds=60) == Send()


def test_a_listed_code_does_not_end_a_doubt() -> None:
    """It means that this Issue did nothing, and proves nothing about the one before."""
    scenario = not_known(possibly_sent(0), 600).comes(RetryLaterCode(code=5, message="busy"), seconds=600)
    assert isinstance(scenario.next(), Defer)

    later = Scenario(initial_state(part(), first_seen_at=T0, history=scenario.state.history))

    assert later.next(seconds=660) == Query()
    assert not_known(later, 661).next() == Send()


# -- Phases ------------------------------------------------------------------------------------------------------------


def test_the_last_decision_of_a_run_names_the_phase() -> None:
    """Deferred, parked and failed follow from what was decided; submitted from what came."""
    deferred = Scenario().comes(RetryLaterCode(code=5, message=""))
    accepted = Scenario().comes(Accepted(ticket_trade_no=None))
    refused = not_known(Scenario().comes(Refused(code=9, message="")), 600)
    gave_up = Scenario().comes(BreakerIsOpen(retry_at=at(25 * HOUR)), seconds=24 * HOUR)
    ends = {}
    for scenario in (deferred, accepted, refused, gave_up):
        action = scenario.next()
        assert isinstance(action, Finish | Defer | Park)
        ends[conclude(scenario.state, action).phase] = action

    assert set(ends) == {Phase.DEFERRED, Phase.SUBMITTED, Phase.FAILED, Phase.PARKED}


@pytest.mark.parametrize(
    "result",
    [Accepted(ticket_trade_no=None), CallInDoubt(detail=""), Refused(code=9, message=""), CallNotSent(detail="")],
)
def test_an_answer_to_issue_cannot_come_for_a_refused_part(result: CallResult) -> None:
    """Refused means never sent again; a second send is a defect and raises."""
    scenario = Scenario().comes(Refused(code=9, message=""))

    with pytest.raises(IllegalTransition, match="refused"):
        scenario.comes(result)


@pytest.mark.parametrize("result", [known(), CallInDoubt(detail=""), BreakerIsOpen(retry_at=T0), not_found(0)])
def test_nothing_comes_for_a_part_that_is_submitted(result: CallResult) -> None:
    """Confirming is responsible for the part."""
    scenario = Scenario().comes(Accepted(ticket_trade_no=None))

    with pytest.raises(IllegalTransition, match="submitted"):
        scenario.comes(result)


def test_a_deferred_part_has_nothing_left_to_decide() -> None:
    """Its next run starts again from the history."""
    scenario = Scenario().comes(RetryLaterCode(code=5, message=""))
    action = scenario.next()
    assert isinstance(action, Defer)

    with pytest.raises(IllegalTransition, match="deferred"):
        Scenario(conclude(scenario.state, action)).next()


def test_submitted_is_not_concluded_for_a_part_that_is_not() -> None:
    """A decision belongs to the state it was made for."""
    result = Submitted(ticket_trade_no=None, recovered=False, at=T0)

    with pytest.raises(IllegalTransition, match="planned"):
        conclude(planned(), Finish(result=result))


def test_deciding_changes_nothing() -> None:
    """The same state and time give the same decision."""
    scenario = possibly_sent(0).comes(not_found(600), seconds=600)

    assert scenario.next() == scenario.next()
    assert observe(scenario.state, control(600), at(601)) == observe(replace(scenario.state), control(600), at(601))


def test_long_messages_are_cut() -> None:
    """A long message of the server does not fill a header."""
    scenario = Scenario().comes(Refused(code=9, message="x" * 10_000))

    assert scenario.state.history.refusal is not None
    assert len(scenario.state.history.refusal.message) == 200


def test_attempts_are_written_down() -> None:
    """First and last attempt travel with the order: Issue calls that were written."""
    scenario = (
        Scenario().comes(RetryLaterCode(code=5, message=""), seconds=3).comes(CallInDoubt(detail="reset"), seconds=70)
    )

    assert scenario.state.history.first_attempt_at == at(3)
    assert scenario.state.history.last_attempt_at == at(70)
    assert scenario.state.history.doubt == "reset"
