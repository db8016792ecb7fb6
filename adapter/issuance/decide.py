"""What an answer means for a part, and what is to be done next: the table of contract section 4, as two pure functions.

    while True:
        match decide(state, now, policy):
            case Finish() | Defer() | Park(): break
            case action: state = observe(state, what came of doing it, now)

`observe` writes down what came; `decide` looks at what is written and at the time. Neither calls anything, and both say
the same for the same arguments. A loop of the two ends: what may be repeated in one sitting is counted.

The rules, shortly. A part that was possibly sent is asked about before anything else is done with it. It is sent
again only when the waiting time since the last Issue that may have gone out is over and the evidence is complete
(`evidence`). A refused part is never sent again, and failed only on the same evidence. Whatever is short of that is
doubt, and doubt waits: here for moments, on the deferred topic for longer, and at last on the dead letters, under its
right name.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum, unique

from adapter.backoff import backoff_seconds
from adapter.issuance.actions import (
    Action,
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
    ControlAnswered,
    EnvelopeRejected,
    IssueAnswer,
    Known,
    LastAccepted,
    NotFound,
    ProbeAnswered,
    QueryAnswer,
    QueryUnanswered,
    Refused,
    RetryLaterCode,
)
from adapter.issuance.evidence import Evidence, EvidenceStep, NegativeAnswer
from adapter.issuance.park_messages import parked
from adapter.issuance.state import (
    MAY_BE_SENT,
    OPEN,
    Hold,
    IllegalTransition,
    IssueRefusal,
    PartState,
    Phase,
    Submission,
    WaitReason,
)
from adapter.issuance.times import fraction_of, later, latest

BACK_OFF_SECONDS = 0.25
"""The first pause after a fruitless call; it doubles, with jitter, until it is longer than the policy's patience."""
FAILED_CALLS_IN_PLACE = 6
"""Fruitless calls after which a sitting no longer waits in place."""
QUERIES_PER_RUN = 8
"""Queries of the part's own number after which a sitting asks no more, however the answers fall."""
DETAIL_LENGTH = 200
"""Characters kept of a message; RtnMsg is String(200)."""
LONGEST_DEFERRAL_SECONDS = 3600.0
"""No record is deferred for longer than this, or than `submit.defer_seconds`: the longest Retry-After that is honoured.

A lock-out is mostly over after 30 minutes. A `not-before` that is further ahead was not written by this adapter.
"""

_WORTH_QUERYING = frozenset({WaitReason.DOUBT, WaitReason.REFUSAL_NOT_FINAL})
"""What waits for the end of a waiting time, and may be known to ECTicket before."""

_PAUSE_PER_AGE = 0.25
_LONGEST_PAUSE_SECONDS = 600.0


@unique
class QueryFirst(StrEnum):
    """When ECTicket is asked about a part before it is sent (`submit.query_first`)."""

    WHEN_POSSIBLY_SENT = "when_possibly_sent"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitPolicy:
    """What deciding is told by the settings `submit.*`.

    `reissue_after_seconds` and `refusal_final_after_seconds` are the waiting times; `attempts` is how often an envelope
    may be unaccepted while others are; `wait_in_place_seconds` is the longest wait in place instead of being deferred.
    """

    reissue_after_seconds: float = 600.0
    refusal_final_after_seconds: float = 600.0
    retry_rtn_codes: AbstractSet[int] = frozenset()
    attempts: int = 5
    query_first: QueryFirst = QueryFirst.WHEN_POSSIBLY_SENT
    give_up_after_seconds: float = 86_400.0
    wait_in_place_seconds: float = 3.0


def ready_at(state: PartState, policy: SubmitPolicy) -> datetime:
    """When the waiting time is over: since the last Issue that may have arrived, or now if there never was one."""
    refusal = state.history.refusal
    since = latest(state.history.possibly_sent_since, refusal.at if refusal else None) or state.first_seen_at
    return later(since, policy.refusal_final_after_seconds if refusal else policy.reissue_after_seconds)


def was_verified(state: PartState, policy: SubmitPolicy) -> bool:
    """Whether a part in doubt was trustworthily not known when it was last asked about, however long ago that is."""
    last = state.evidence.second
    if state.phase is not Phase.IN_DOUBT or last is None:
        return False
    return state.evidence.missing_step(ready_at=ready_at(state, policy), now=last.queried_at) is EvidenceStep.COMPLETE


def decide(state: PartState, now: datetime, policy: SubmitPolicy) -> Action:
    """What is to be done next with a part.

    Raises IllegalStep for a part that has left submitting behind.
    """
    if state.phase is Phase.SUBMITTED and state.submission is not None:
        submission = state.submission
        return Finish(
            result=Submitted(
                ticket_trade_no=submission.ticket_trade_no, recovered=submission.recovered, at=submission.at
            )
        )
    if state.phase not in OPEN:
        raise IllegalTransition(f"Nothing is left to decide about a part that is {state.phase}.")
    hold = state.hold
    if hold is not None and (hold.until is None or hold.until > now):
        return _on_hold(state, hold, now, policy)
    return _first(state, policy) if state.phase is Phase.PLANNED else _look_up(state, now, policy)


def deferred_until(deferrals: Iterable[Defer], now: datetime, defer_seconds: float) -> datetime:
    """When a record that carries these parts is due: after `defer_seconds`, or once one of them can make progress.

    A merchant that is locked out for half an hour has each of its orders rewritten once, and not thirty times. A part
    in doubt is due after `defer_seconds`, because a query may find it before its waiting time is over. A part that
    waits for another one goes by that one.
    """
    soonest = later(now, defer_seconds)
    by_themselves = [each for each in deferrals if each.reason is not WaitReason.ANOTHER_PART_IN_DOUBT]
    useful = min((now if each.reason in _WORTH_QUERYING else each.useful_at for each in by_themselves), default=now)
    return max(soonest, min(useful, later(now, LONGEST_DEFERRAL_SECONDS)))


def handed_off_until(first_seen: datetime, now: datetime, defer_seconds: float) -> datetime:
    """When an order is due that was handed off because its turn did not come: the longer it has waited, the later.

    So a backlog of any size is rewritten a few times an hour and not each minute. Pauses differ by up to a quarter, so
    that what was handed off together does not come back together.
    """
    age = max(0.0, (now - first_seen).total_seconds())
    jitter = 0.75 + 0.25 * fraction_of(first_seen.isoformat())
    return later(now, max(defer_seconds, min(age * _PAUSE_PER_AGE, _LONGEST_PAUSE_SECONDS) * jitter))


def conclude(state: PartState, action: Finish | Defer | Park) -> PartState:
    """The part in the phase that the last decision of its sitting leads to.

    Raises IllegalStep when the decision was not about this part.
    """
    match action:
        case Defer():
            return state.moved(Phase.DEFERRED)
        case Park():
            return state.moved(Phase.PARKED)
        case Finish(result=Failed()):
            return state.moved(Phase.FAILED)
    if state.phase is not Phase.SUBMITTED:
        raise IllegalTransition(f"A part that is {state.phase} was to be told as submitted.")
    return state


def _first(state: PartState, policy: SubmitPolicy) -> Action:
    """A part that was certainly never sent."""
    if policy.query_first is QueryFirst.ALWAYS and state.evidence.first is None:
        return Query()
    return Send()


def _look_up(state: PartState, now: datetime, policy: SubmitPolicy) -> Action:
    """A part that ECTicket may know: possibly sent, or refused."""
    if state.evidence.first is None:
        return Query()
    if state.history.control_known:
        return _postpone(state, Hold(until=None, reason=WaitReason.CONTROL_KNOWN), now, policy)
    ready = ready_at(state, policy)
    if now < ready:
        reason = WaitReason.DOUBT if state.phase is Phase.IN_DOUBT else WaitReason.REFUSAL_NOT_FINAL
        return _postpone(state, Hold(until=ready, reason=reason), now, policy)
    match state.evidence.missing_step(ready_at=ready, now=now):
        case EvidenceStep.QUERY if state.queries >= QUERIES_PER_RUN:
            return _postpone(state, Hold(until=None, reason=WaitReason.ASKED_ENOUGH), now, policy)
        case EvidenceStep.QUERY:
            return Query()
        case EvidenceStep.CONTROL:
            return ControlQuery()
        case EvidenceStep.LIVENESS:
            return Probe()
        case EvidenceStep.CONTRADICTED:
            return _postpone(state, Hold(until=None, reason=WaitReason.CONTROL_DIFFERS), now, policy)
        case EvidenceStep.COMPLETE:
            return _not_known(state)


def _not_known(state: PartState) -> Action:
    """ECTicket trustworthily does not know the part."""
    refusal = state.history.refusal
    if refusal is None:
        return Send()
    return Finish(result=Failed(stage=FailedStage.SUBMIT, rtn_code=refusal.code, rtn_msg=refusal.message))


def _on_hold(state: PartState, hold: Hold, now: datetime, policy: SubmitPolicy) -> Action:
    """A part that something keeps from going on.

    An envelope that was not accepted condemns the order only when it stays alone with it: the control query tells.
    """
    alone = (
        hold.reason is WaitReason.NOT_ACCEPTED
        and not state.possibly_sent
        and state.history.unaccepted >= policy.attempts
    )
    if not alone:
        return _postpone(state, hold, now, policy)
    if state.evidence.control is None:
        return ControlQuery()
    return parked(ParkReason.REFUSED_ENVELOPE, state)


def _postpone(state: PartState, hold: Hold, now: datetime, policy: SubmitPolicy) -> Action:
    """Wait here for moments, in a later sitting for longer, and no more once the order is too old."""
    wait_in_place = timedelta(seconds=policy.wait_in_place_seconds)
    if hold.until is not None and hold.until - now <= wait_in_place and state.failed_calls <= FAILED_CALLS_IN_PLACE:
        return Wait(until=hold.until, reason=hold.reason)
    if (now - state.first_seen_at).total_seconds() >= policy.give_up_after_seconds:
        return parked(ParkReason.UNRESOLVED if state.possibly_sent else ParkReason.GAVE_UP, state)
    return Defer(useful_at=hold.until or now, reason=hold.reason, counted=hold.counted)


def observe(state: PartState, result: CallResult, now: datetime) -> PartState:
    """The part after something came.

    Raises IllegalStep for an answer that this part cannot have got: of an Issue call when it is refused, of any call
    when it has left submitting behind.
    """
    match result:
        case LastAccepted():
            return replace(state, evidence=state.evidence.with_accepted(result.at))
        case BreakerIsOpen():
            return _after_failed_call(
                _still(state, OPEN), Hold(until=result.retry_at, reason=WaitReason.BREAKER_OPEN, counted=False)
            )
        case Known() | NotFound() | ControlAnswered() | ProbeAnswered() | QueryUnanswered():
            return _after_query(_still(state, OPEN), result, now)
        case _:
            return _after_issue(_still(state, MAY_BE_SENT), result, now)


def _still(state: PartState, phases: AbstractSet[Phase]) -> PartState:
    if state.phase not in phases:
        raise IllegalTransition(
            f"An answer came for a part that is {state.phase}, where only {sorted(phases)} can get one."
        )
    return state


def _after_failed_call(state: PartState, hold: Hold) -> PartState:
    return replace(state, hold=hold, failed_calls=state.failed_calls + 1)


def _back_off(state: PartState, now: datetime) -> datetime:
    """The next moment to try: pauses double, and jitter keeps parts from trying all at once."""
    jitter = 0.5 + 0.5 * fraction_of(f"{state.part.trade_no.value}/{state.failed_calls}")
    return later(now, backoff_seconds(state.failed_calls + 1, first=BACK_OFF_SECONDS) * jitter)


def _after_issue(state: PartState, result: IssueAnswer, now: datetime) -> PartState:
    """What came of a call that may cost money."""
    if isinstance(result, CallNotSent):
        return _after_failed_call(state, Hold(until=_back_off(state, now), reason=WaitReason.NOT_SENT))
    state = replace(state, history=state.history.with_attempt(now), hold=None)
    match result:
        case Accepted():
            submission = Submission(ticket_trade_no=result.ticket_trade_no, recovered=False, at=now)
            return replace(state.moved(Phase.SUBMITTED), submission=submission)
        case Refused():
            refusal = IssueRefusal(code=result.code, message=result.message[:DETAIL_LENGTH], at=now)
            history = replace(state.history, refusal=refusal)
            return replace(state.moved(Phase.REFUSED), history=history, evidence=Evidence())
        case CallInDoubt():
            history = state.history.with_doubt(now, result.detail[:DETAIL_LENGTH])
            return replace(state.moved(Phase.IN_DOUBT), history=history, evidence=Evidence())
        case _:
            return _after_nothing_done(state, result)


def _after_nothing_done(state: PartState, result: IssueAnswer) -> PartState:
    """The request was written, and certainly nothing was executed."""
    match result:
        case CallThrottled():
            state = replace(state, history=replace(state.history, retry_at=result.retry_at))
            return _after_failed_call(state, Hold(until=result.retry_at, reason=WaitReason.THROTTLED, counted=False))
        case EnvelopeRejected():
            history = replace(state.history, unaccepted=state.history.unaccepted + 1)
            return replace(state, history=history, hold=Hold(until=None, reason=WaitReason.NOT_ACCEPTED))
        case RetryLaterCode():
            return replace(state, hold=Hold(until=None, reason=WaitReason.RETRY_LATER_CODE))
    raise IllegalTransition(f"{type(result).__name__} is not known to leave everything as it was.")


def _after_query(state: PartState, result: QueryAnswer, now: datetime) -> PartState:
    """What came of asking, which changes nothing at ECTicket."""
    unaccepted = state.hold is not None and state.hold.reason is WaitReason.NOT_ACCEPTED
    match result:
        case Known():
            submission = Submission(ticket_trade_no=None, recovered=True, at=now)
            return replace(state.moved(Phase.SUBMITTED), submission=submission, hold=None)
        case NotFound():
            answer = NegativeAnswer(queried_at=result.queried_at, answered_at=now, code=result.code)
            return replace(state, evidence=state.evidence.with_query(answer), queries=state.queries + 1, hold=None)
        case ControlAnswered():
            answer = NegativeAnswer(queried_at=result.queried_at, answered_at=now, code=result.code)
            history = replace(state.history, control_known=state.history.control_known or result.known)
            hold = state.hold if unaccepted else None
            return replace(state, history=history, evidence=state.evidence.with_control(answer), hold=hold)
        case ProbeAnswered(ok=True):
            return replace(state, evidence=state.evidence.with_accepted(now), hold=None)
        case ProbeAnswered(none_known=True) if state.phase is Phase.PLANNED:
            # A merchant of whom no number is known. Nothing was sent for this record, so its own answer has to do.
            return replace(state, evidence=state.evidence.with_accepted(now), hold=None)
        case ProbeAnswered():
            reason = WaitReason.NO_KNOWN_NUMBER if result.none_known else WaitReason.PROBE_FAILED
            return replace(state, hold=Hold(until=None, reason=reason))
        case QueryUnanswered():
            history = replace(state.history, retry_at=result.retry_at or state.history.retry_at)
            until = None if unaccepted else result.retry_at or _back_off(state, now)
            return _after_failed_call(replace(state, history=history), Hold(until=until, reason=WaitReason.UNANSWERED))
    raise IllegalTransition(f"{type(result).__name__} is no answer to a question.")
