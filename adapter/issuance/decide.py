"""Decide what to do next with a part, and record what an answer means: docs/delivery.md as two pure functions.

    while True:
        match decide(state, now, policy):
            case Finish() | Defer() | Park(): break
            case action: state = observe(state, the result of the action, now)

`observe` records a result; `decide` uses the recorded state and the time. Neither makes a call, and both return the
same for the same arguments. A loop of the two ends, because everything that may be repeated in one run is counted.

The rules in short:

* A part that was possibly sent is queried before anything else is done with it.
* It is sent again only when the waiting time since the last Issue that may have been sent is over and the evidence is
  complete (`evidence`).
* A refused part is never sent again, and it is failed only on the same evidence.
* Anything less is doubt, and a part in doubt waits: in place for seconds, on the deferred topic for longer, and finally
  on the dead letters, as unresolved.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
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
    IssuingHeld,
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
    IllegalTransition,
    IssueRefusal,
    PartState,
    Phase,
    Postponement,
    Submission,
    WaitReason,
)
from adapter.issuance.times import fraction_of, later, latest
from adapter.values import replace

BACK_OFF_SECONDS = 0.25
"""The first pause after a failed call; it doubles, with jitter, until it exceeds the policy's wait in place."""
FAILED_CALLS_IN_PLACE = 6
"""Failed calls after which a run no longer waits in place."""
QUERIES_PER_RUN = 8
"""Queries of the part's own number after which a run sends no more, whatever the answers are."""
DETAIL_LENGTH = 200
"""Characters kept of a message; RtnMsg is String(200)."""
LONGEST_DEFERRAL_SECONDS = 3600.0
"""The longest deferral, unless `submit.defer_seconds` is longer: the longest Retry-After that is honoured.

A lock-out is mostly over after 30 minutes. A `not-before` that is further ahead was not written by this adapter.
"""

_WORTH_QUERYING = frozenset({WaitReason.DOUBT, WaitReason.REFUSAL_NOT_FINAL})
"""The reasons that wait for the end of a waiting time, where ECTicket may know the part earlier."""

_PAUSE_PER_AGE = 0.25
_LONGEST_PAUSE_SECONDS = 600.0


@unique
class QueryFirst(StrEnum):
    """When ECTicket is queried for a part before it is sent (`submit.query_first`)."""

    WHEN_POSSIBLY_SENT = "when_possibly_sent"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitPolicy:
    """The settings `submit.*` that `decide` needs."""

    reissue_after_seconds: float = 600.0
    """The waiting time of a part that may have been sent."""
    refusal_final_after_seconds: float = 600.0
    """The waiting time of a refused part."""
    retry_rtn_codes: AbstractSet[int] = frozenset()
    attempts: int = 5
    """How often an envelope may be rejected while others are accepted."""
    query_first: QueryFirst = QueryFirst.WHEN_POSSIBLY_SENT
    give_up_after_seconds: float = 86_400.0
    wait_in_place_seconds: float = 3.0
    """A longer wait defers the part."""


def ready_at(state: PartState, policy: SubmitPolicy) -> datetime:
    """Return when the waiting time is over, counted from the last Issue that may have arrived."""
    refusal = state.history.refusal
    since = latest(state.history.possibly_sent_since, refusal.at if refusal else None) or state.first_seen_at
    return later(since, policy.refusal_final_after_seconds if refusal else policy.reissue_after_seconds)


def was_verified(state: PartState, policy: SubmitPolicy) -> bool:
    """Whether a part in doubt was reliably not known at its last query, however long ago that is."""
    last = state.evidence.second
    if state.phase is not Phase.IN_DOUBT or last is None:
        return False
    return state.evidence.missing_step(ready_at=ready_at(state, policy), now=last.queried_at) is EvidenceStep.COMPLETE


def decide(state: PartState, now: datetime, policy: SubmitPolicy) -> Action:
    """Return the next action for a part.

    Raises IllegalTransition for a part whose submitting is finished.
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
    postponement = state.postponement
    if postponement is not None and (postponement.until is None or postponement.until > now):
        return _on_postponement(state, postponement, now, policy)
    return _decide_unsent(state, policy) if state.phase is Phase.PLANNED else _decide_possibly_known(state, now, policy)


def deferred_until(deferrals: Iterable[Defer], now: datetime, defer_seconds: float) -> datetime:
    """Return when a record with these parts is due: after `defer_seconds`, or later, once a part can make progress.

    So if a merchant is locked out for half an hour, each of its orders is rewritten once and not thirty times. A part
    in doubt is due after `defer_seconds`, because a query may find it before its waiting time is over. A part that
    waits for another one is due with that one.
    """
    soonest = later(now, defer_seconds)
    by_themselves = [each for each in deferrals if each.reason is not WaitReason.ANOTHER_PART_IN_DOUBT]
    useful = min((now if each.reason in _WORTH_QUERYING else each.useful_at for each in by_themselves), default=now)
    return max(soonest, min(useful, later(now, LONGEST_DEFERRAL_SECONDS)))


def handed_off_until(first_seen: datetime, now: datetime, defer_seconds: float) -> datetime:
    """Return when an order is due that was handed off before it was processed: the longer it has waited, the later.

    So a backlog of any size is rewritten a few times an hour and not each minute. Pauses differ by up to a quarter, so
    that orders that were handed off together do not come back together.
    """
    age = max(0.0, (now - first_seen).total_seconds())
    jitter = 0.75 + 0.25 * fraction_of(first_seen.isoformat())
    return later(now, max(defer_seconds, min(age * _PAUSE_PER_AGE, _LONGEST_PAUSE_SECONDS) * jitter))


def conclude(state: PartState, action: Finish | Defer | Park) -> PartState:
    """Return the part in the phase to which the last decision of its run leads.

    Raises IllegalTransition if the decision was not about this part.
    """
    match action:
        case Defer():
            return state.moved(Phase.DEFERRED)
        case Park():
            return state.moved(Phase.PARKED)
        case Finish(result=Failed()):
            return state.moved(Phase.FAILED)
    if state.phase is not Phase.SUBMITTED:
        raise IllegalTransition(f"A part that is {state.phase} cannot be published as submitted.")
    return state


def _decide_unsent(state: PartState, policy: SubmitPolicy) -> Action:
    """Decide about a part that was certainly never sent."""
    if policy.query_first is QueryFirst.ALWAYS and state.evidence.first is None:
        return Query()
    return Send()


def _decide_possibly_known(state: PartState, now: datetime, policy: SubmitPolicy) -> Action:
    """Decide about a part that ECTicket may know: possibly sent, or refused."""
    if state.evidence.first is None:
        return Query()
    if state.history.control_known:
        return _postpone(state, Postponement(until=None, reason=WaitReason.CONTROL_KNOWN), now, policy)
    ready = ready_at(state, policy)
    if now < ready:
        reason = WaitReason.DOUBT if state.phase is Phase.IN_DOUBT else WaitReason.REFUSAL_NOT_FINAL
        return _postpone(state, Postponement(until=ready, reason=reason), now, policy)
    match state.evidence.missing_step(ready_at=ready, now=now):
        case EvidenceStep.QUERY if state.queries >= QUERIES_PER_RUN:
            return _postpone(state, Postponement(until=None, reason=WaitReason.QUERY_LIMIT_REACHED), now, policy)
        case EvidenceStep.QUERY:
            return Query()
        case EvidenceStep.CONTROL:
            return ControlQuery()
        case EvidenceStep.LIVENESS:
            return Probe()
        case EvidenceStep.CONTRADICTED:
            return _postpone(state, Postponement(until=None, reason=WaitReason.CONTROL_DIFFERS), now, policy)
        case EvidenceStep.COMPLETE:
            return _not_known(state)


def _not_known(state: PartState) -> Action:
    """Decide about a part that ECTicket reliably does not know."""
    refusal = state.history.refusal
    if refusal is None:
        return Send()
    return Finish(result=Failed(stage=FailedStage.SUBMIT, rtn_code=refusal.code, rtn_msg=refusal.message))


def _on_postponement(state: PartState, postponement: Postponement, now: datetime, policy: SubmitPolicy) -> Action:
    """Decide about a part with a postponement.

    A rejected envelope parks the order only if the control query is accepted, that is, if the fault is in this order.
    """
    alone = (
        postponement.reason is WaitReason.NOT_ACCEPTED
        and not state.possibly_sent
        and state.history.unaccepted >= policy.attempts
    )
    if not alone:
        return _postpone(state, postponement, now, policy)
    if state.evidence.control is None:
        return ControlQuery()
    return parked(ParkReason.REFUSED_ENVELOPE, state)


def _postpone(state: PartState, postponement: Postponement, now: datetime, policy: SubmitPolicy) -> Action:
    """Wait in place for seconds, defer for longer, and park once the order is too old.

    A held merchant's order is never too old: the adapter was not allowed to send it.
    """
    wait_in_place = timedelta(seconds=policy.wait_in_place_seconds)
    if (
        postponement.until is not None
        and postponement.until - now <= wait_in_place
        and state.failed_calls <= FAILED_CALLS_IN_PLACE
    ):
        return Wait(until=postponement.until, reason=postponement.reason)
    too_old = (now - state.first_seen_at).total_seconds() >= policy.give_up_after_seconds
    if too_old and postponement.reason is not WaitReason.HELD:
        return parked(ParkReason.UNRESOLVED if state.possibly_sent else ParkReason.GAVE_UP, state)
    return Defer(useful_at=postponement.until or now, reason=postponement.reason, counted=postponement.counted)


def observe(state: PartState, result: CallResult, now: datetime) -> PartState:
    """Return the part after a result.

    Raises IllegalTransition for a result that this part cannot have: of an Issue call if it is refused, of any call if
    its submitting is finished.
    """
    match result:
        case LastAccepted():
            return replace(state, evidence=state.evidence.with_accepted(result.at))
        case BreakerIsOpen():
            return _after_failed_call(
                _require_phase(state, OPEN),
                Postponement(until=result.retry_at, reason=WaitReason.BREAKER_OPEN, counted=False),
            )
        case Known() | NotFound() | ControlAnswered() | ProbeAnswered() | QueryUnanswered():
            return _after_query(_require_phase(state, OPEN), result, now)
        case _:
            return _after_issue(_require_phase(state, MAY_BE_SENT), result, now)


def _require_phase(state: PartState, phases: AbstractSet[Phase]) -> PartState:
    if state.phase not in phases:
        raise IllegalTransition(
            f"A result came for a part that is {state.phase}; only {sorted(phases)} can have this one."
        )
    return state


def _after_failed_call(state: PartState, postponement: Postponement) -> PartState:
    return replace(state, postponement=postponement, failed_calls=state.failed_calls + 1)


def _back_off(state: PartState, now: datetime) -> datetime:
    """Return the time of the next try: pauses double, and jitter keeps parts from trying at the same time."""
    jitter = 0.5 + 0.5 * fraction_of(f"{state.part.trade_no.value}/{state.failed_calls}")
    return later(now, backoff_seconds(state.failed_calls + 1, first=BACK_OFF_SECONDS) * jitter)


def _after_issue(state: PartState, result: IssueAnswer, now: datetime) -> PartState:
    """Record the result of a call that may cost money."""
    if isinstance(result, IssuingHeld):
        return _after_failed_call(state, Postponement(until=result.until, reason=WaitReason.HELD, counted=False))
    if isinstance(result, CallNotSent):
        return _after_failed_call(state, Postponement(until=_back_off(state, now), reason=WaitReason.NOT_SENT))
    state = replace(state, history=state.history.with_attempt(now), postponement=None)
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
    """Record that the request was written and certainly not executed."""
    match result:
        case CallThrottled():
            state = replace(state, history=replace(state.history, retry_at=result.retry_at))
            return _after_failed_call(
                state, Postponement(until=result.retry_at, reason=WaitReason.THROTTLED, counted=False)
            )
        case EnvelopeRejected():
            history = replace(state.history, unaccepted=state.history.unaccepted + 1)
            return replace(
                state, history=history, postponement=Postponement(until=None, reason=WaitReason.NOT_ACCEPTED)
            )
        case RetryLaterCode():
            return replace(state, postponement=Postponement(until=None, reason=WaitReason.RETRY_LATER_CODE))
    raise IllegalTransition(f"{type(result).__name__} does not prove that nothing was executed.")


def _after_query(state: PartState, result: QueryAnswer, now: datetime) -> PartState:
    """Record the result of a query, which changes nothing at ECTicket."""
    unaccepted = state.postponement is not None and state.postponement.reason is WaitReason.NOT_ACCEPTED
    match result:
        case Known():
            submission = Submission(ticket_trade_no=None, recovered=True, at=now)
            return replace(state.moved(Phase.SUBMITTED), submission=submission, postponement=None)
        case NotFound():
            answer = NegativeAnswer(queried_at=result.queried_at, answered_at=now, code=result.code)
            return replace(
                state, evidence=state.evidence.with_query(answer), queries=state.queries + 1, postponement=None
            )
        case ControlAnswered():
            answer = NegativeAnswer(queried_at=result.queried_at, answered_at=now, code=result.code)
            history = replace(state.history, control_known=state.history.control_known or result.known)
            postponement = state.postponement if unaccepted else None
            return replace(
                state, history=history, evidence=state.evidence.with_control(answer), postponement=postponement
            )
        case ProbeAnswered(ok=True):
            return replace(state, evidence=state.evidence.with_accepted(now), postponement=None)
        case ProbeAnswered(none_known=True) if state.phase is Phase.PLANNED:
            # No number of the merchant is known. Nothing was sent for this record, so its own answer must be enough.
            return replace(state, evidence=state.evidence.with_accepted(now), postponement=None)
        case ProbeAnswered():
            reason = WaitReason.NO_KNOWN_NUMBER if result.none_known else WaitReason.PROBE_FAILED
            return replace(state, postponement=Postponement(until=None, reason=reason))
        case QueryUnanswered():
            history = replace(state.history, retry_at=result.retry_at or state.history.retry_at)
            until = None if unaccepted else result.retry_at or _back_off(state, now)
            return _after_failed_call(
                replace(state, history=history), Postponement(until=until, reason=WaitReason.UNANSWERED)
            )
    raise IllegalTransition(f"{type(result).__name__} is no answer to a query.")
