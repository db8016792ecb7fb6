"""Awaiting the result of a submitted issuance: when to ask, and what the answers mean (contract, section 6).

    submitted ──► asked, and asked again at growing intervals ──► issued | failed
                      └──► delayed, told once ──► asked at long intervals ──► issued | failed | parked

The caller waits until its time, asks, and calls `asked` and then `next_confirm_step`; both are pure. When to
ask next follows from the issuance's age and not from a count, so that a restart does not begin anew at short intervals.

Refuses to know where the waiting happens and where the record is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from adapter.issuance.actions import Failed, FailedStage, Park, ParkReason
from adapter.issuance.answers import BreakerIsOpen, Known, NotFound, QueryUnanswered
from adapter.issuance.park_messages import unresolved
from adapter.issuance.state import IllegalTransition, Phase, check_transition
from adapter.issuance.times import later, latest
from adapter.protocol.issue import IssueType, TradeNo
from adapter.protocol.query_issue_result import IssueStatus

DOUBLINGS = 8
"""The interval grows to this many times the first one (30 s to 240 s)."""
JITTER = 0.2
"""The share of an interval by which it is shortened at most."""
UNANSWERED_MAX = 5
"""Questions without an answer, one after the other, after which an issuance of that age is given up all the same."""
LONGEST_RETRY_SECONDS = 3_600.0
"""The longest `Retry-After` that is honoured."""
AWAITED = frozenset({Phase.SUBMITTED, Phase.DELAYED})
"""The phases in which a result is awaited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmPolicy:
    """What confirming is told by the settings `confirm.*`."""

    first_query_seconds: float = 30.0
    query_interval_seconds: float = 30.0
    delayed_after_seconds: float = 600.0
    delayed_interval_seconds: float = 600.0
    give_up_after_seconds: float = 86_400.0

    @property
    def longest_wait_seconds(self) -> float:
        """How long an issuance waits at most before it is queried again."""
        intervals = self.first_query_seconds, self.query_interval_seconds * DOUBLINGS, self.delayed_interval_seconds
        return max(*intervals, LONGEST_RETRY_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """An issuance whose result is awaited.

    `phase` is submitted, or delayed once that has been told. `queries` counts the questions that were put to ECTicket,
    `unanswered` the last ones to which no answer came, or that could not even be put. `retry_at`: the last one was
    refused until then. `remark` explains a failure.
    """

    trade_no: TradeNo
    issue_type: IssueType
    submitted_at: datetime
    phase: Phase = Phase.SUBMITTED
    queries: int = 0
    unanswered: int = 0
    retry_at: datetime | None = None
    remark: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """The tickets exist; known after so many `queries`."""

    queries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAgain:
    """Ask again at `at`."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishDelayed:
    """Tell that the issuance is delayed, hand it on in phase delayed, and ask again at `query_at`."""

    query_at: datetime


ConfirmStep = Issued | Failed | QueryAgain | PublishDelayed | Park
ResultAnswer = Known | NotFound | QueryUnanswered | BreakerIsOpen


def first_query_at(issue_type: IssueType, submitted_at: datetime, policy: ConfirmPolicy) -> datetime:
    """When to ask for the first time: paper at once, since it is issued during the call."""
    return later(submitted_at, _first_query_seconds(issue_type, policy))


def resume_query_at(not_before: datetime, now: datetime, policy: ConfirmPolicy, *, jitter: float) -> datetime:
    """When to ask about an issuance that was just read, `fraction` being random in [0, 1).

    What is overdue was waiting in a process that is gone, as thousands of others were: they are spread over as long a
    time as they are late, and over one longest interval at most.
    """
    overdue = (now - not_before).total_seconds()
    if overdue <= 0:
        return not_before
    return later(now, jitter * min(overdue, policy.query_interval_seconds * DOUBLINGS))


def with_answer(awaited: Awaited, answer: ResultAnswer) -> Awaited:
    """The issuance after a question: Status 1 is issued, 2 is failed, and everything else leaves it as it was.

    Raises IllegalStep when its result is known already.
    """
    if awaited.phase not in AWAITED:
        raise IllegalTransition(f"The result of an issuance that is {awaited.phase} is not awaited.")
    unanswered = awaited.unanswered + 1
    match answer:
        case BreakerIsOpen():
            return replace(awaited, unanswered=unanswered, retry_at=answer.retry_at)
        case QueryUnanswered():
            queries = awaited.queries + 1
            return replace(awaited, queries=queries, unanswered=unanswered, retry_at=answer.retry_at)
    answered = replace(awaited, queries=awaited.queries + 1, unanswered=0, retry_at=None)
    match answer:
        case Known(status=IssueStatus.ISSUED):
            return _moved(answered, Phase.ISSUED)
        case Known(status=IssueStatus.FAILED):
            return replace(_moved(answered, Phase.FAILED), remark=answer.remark)
    return answered


def mark_delayed(awaited: Awaited) -> Awaited:
    """The issuance after it was told as delayed.

    Raises IllegalStep when that was told before.
    """
    return _moved(awaited, Phase.DELAYED)


def next_confirm_step(awaited: Awaited, now: datetime, policy: ConfirmPolicy, *, jitter: float) -> ConfirmStep:
    """What follows after a question, `fraction` being random in [0, 1).

    An issuance is told as delayed only after a question at that age, and given up only after an answer, or several
    questions in vain: when all of them are too old after an outage of days, the first questions come in a rush, and
    whoever does not get through shall not be a person's business for that.
    """
    if awaited.phase is Phase.ISSUED:
        return Issued(queries=awaited.queries)
    if awaited.phase is Phase.FAILED:
        return Failed(stage=FailedStage.CONFIRM, remark=awaited.remark)
    age = (now - awaited.submitted_at).total_seconds()
    shortened = 1.0 - JITTER * jitter
    if age >= policy.give_up_after_seconds:
        if not 0 < awaited.unanswered < UNANSWERED_MAX:
            return Park(reason=ParkReason.UNRESOLVED, message=_gave_up(awaited))
        at = later(now, policy.query_interval_seconds * DOUBLINGS * shortened)
        return QueryAgain(at=latest(at, awaited.retry_at) or at)
    delayed_interval = policy.delayed_interval_seconds * shortened
    if awaited.phase is Phase.DELAYED:
        return QueryAgain(at=_next(awaited, now, delayed_interval, policy.give_up_after_seconds))
    if age >= policy.delayed_after_seconds:
        return PublishDelayed(query_at=_next(awaited, now, delayed_interval, policy.give_up_after_seconds))
    border = min(policy.delayed_after_seconds, policy.give_up_after_seconds)
    return QueryAgain(at=_next(awaited, now, _interval(awaited, age, policy) * shortened, border))


def _interval(awaited: Awaited, age: float, policy: ConfirmPolicy) -> float:
    """Seconds to the next question, which double: at first one interval, and then as long as was already waited."""
    waited = max(0.0, age - _first_query_seconds(awaited.issue_type, policy))
    return min(policy.query_interval_seconds + waited, policy.query_interval_seconds * DOUBLINGS)


def _next(awaited: Awaited, now: datetime, interval: float, border_seconds: float) -> datetime:
    """The time of the next question: not beyond the age at which something else is due, nor before it may be asked."""
    border = later(awaited.submitted_at, border_seconds)
    at = min(later(now, interval), border)
    return latest(at, awaited.retry_at) or at


def _first_query_seconds(issue_type: IssueType, policy: ConfirmPolicy) -> float:
    return 0.0 if issue_type is IssueType.PAPER else policy.first_query_seconds


def _moved(awaited: Awaited, phase: Phase) -> Awaited:
    check_transition(awaited.phase, phase)
    return replace(awaited, phase=phase)


def _gave_up(awaited: Awaited) -> str:
    clause = f"ECTicket took it in and, asked {awaited.queries} times since, never said that its job was done"
    return unresolved(awaited.trade_no, clause)
