"""Await the result of a submitted issuance: when to query, and what the answers mean (docs/delivery.md, "Confirming").

    submitted ──► queried at growing intervals ──► issued | failed
                      └──► delayed, published once ──► queried at long intervals ──► issued | failed | parked

The caller waits until the query is due, sends it, and calls `with_answer` and then `next_confirm_step`; both are pure.
The next query time follows from the issuance's age and not from a count, so a restart does not return to short
intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from adapter.issuance.actions import Failed, FailedStage, Park, ParkReason
from adapter.issuance.answers import BreakerIsOpen, Known, NotFound, QueryUnanswered
from adapter.issuance.park_messages import unresolved
from adapter.issuance.state import IllegalTransition, Phase, check_transition
from adapter.issuance.times import later, latest
from adapter.protocol.issue import IssueType, TradeNo
from adapter.protocol.query_issue_result import IssueStatus
from adapter.values import replace

DOUBLINGS = 8
"""The interval grows to this many times the first one (30 s to 240 s)."""
JITTER = 0.2
"""The largest share by which an interval is shortened."""
UNANSWERED_MAX = 5
"""Consecutive queries without an answer after which an issuance of that age is given up without one."""
LONGEST_RETRY_SECONDS = 3_600.0
"""The longest `Retry-After` that is honoured."""
AWAITED = frozenset({Phase.SUBMITTED, Phase.DELAYED})
"""The phases in which a result is awaited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmPolicy:
    """The settings `confirm.*` that confirming needs."""

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

    @property
    def longest_first_query_seconds(self) -> float:
        """How late an issuance is queried for the first time at most: a longest interval later than set, and not after
        the age at which it may be delayed.
        """
        latest_seconds = min(
            self.first_query_seconds + self.query_interval_seconds * DOUBLINGS, self.delayed_after_seconds
        )
        return max(self.first_query_seconds, latest_seconds)

    def first_query_seconds_of(self, issue_type: IssueType) -> float:
        """Return the age at which an issuance is queried for the first time at the earliest; paper is at once."""
        return 0.0 if issue_type is IssueType.PAPER else self.first_query_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """An issuance whose result is awaited."""

    trade_no: TradeNo
    issue_type: IssueType
    submitted_at: datetime
    phase: Phase = Phase.SUBMITTED
    """Submitted, or delayed once that is published."""
    queries: int = 0
    """Queries sent to ECTicket."""
    unanswered: int = 0
    """The latest consecutive queries without an answer, including those that could not be sent."""
    retry_at: datetime | None = None
    """The last query was refused until this time."""
    first_query_seconds: float | None = None
    """The age for which the first query was planned. None if its result says nothing about the job's time: an earlier
    process may have queried, it is overdue, or a query got no answer.
    """
    remark: str | None = None
    """ECTicket's explanation of a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """The tickets exist; `queries` is how many queries it took to know."""

    queries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAgain:
    """Query again at `at`."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishDelayed:
    """Publish that the issuance is delayed, keep it in phase delayed, and query again at `query_at`."""

    query_at: datetime


ConfirmStep = Issued | Failed | QueryAgain | PublishDelayed | Park
ResultAnswer = Known | NotFound | QueryUnanswered | BreakerIsOpen


def first_query_at(issue_type: IssueType, submitted_at: datetime, policy: ConfirmPolicy) -> datetime:
    """Return when to query for the first time: at once for paper, which is issued during the call."""
    return later(submitted_at, policy.first_query_seconds_of(issue_type))


def resume_query_at(not_before: datetime, now: datetime, policy: ConfirmPolicy, *, jitter: float) -> datetime:
    """Return when to query an issuance that was just read; `jitter` is random in [0, 1).

    An overdue issuance waited in a process that has ended, as thousands of others may have. They are spread over as
    long a time as they are late, at most over one longest interval.
    """
    overdue = (now - not_before).total_seconds()
    if overdue <= 0:
        return not_before
    return later(now, jitter * min(overdue, policy.query_interval_seconds * DOUBLINGS))


def with_answer(awaited: Awaited, answer: ResultAnswer) -> Awaited:
    """Return the issuance after a query: Status 1 is issued, 2 is failed, everything else leaves its phase unchanged.

    Raises IllegalTransition if its result is already known.
    """
    if awaited.phase not in AWAITED:
        raise IllegalTransition(f"The result of an issuance that is {awaited.phase} is not awaited.")
    unanswered = awaited.unanswered + 1
    match answer:
        case BreakerIsOpen():
            return replace(awaited, unanswered=unanswered, retry_at=answer.retry_at)
        case QueryUnanswered():
            queries = awaited.queries + 1
            retry_at = answer.retry_at
            return replace(awaited, queries=queries, unanswered=unanswered, retry_at=retry_at, first_query_seconds=None)
    answered = replace(awaited, queries=awaited.queries + 1, unanswered=0, retry_at=None)
    match answer:
        case Known(status=IssueStatus.ISSUED):
            return _moved(answered, Phase.ISSUED)
        case Known(status=IssueStatus.FAILED):
            return replace(_moved(answered, Phase.FAILED), remark=answer.remark)
    return answered


def mark_delayed(awaited: Awaited) -> Awaited:
    """Return the issuance after it was published as delayed.

    Raises IllegalTransition if that was published before.
    """
    return _moved(awaited, Phase.DELAYED)


def next_confirm_step(
    awaited: Awaited, now: datetime, policy: ConfirmPolicy, *, jitter: float, likely_seconds: float = 0.0
) -> ConfirmStep:
    """Return what follows after a query; `jitter` is random in [0, 1).

    `likely_seconds`: the age at which its job is probably done (`job_times`); it is not queried again before.
    An issuance is published as delayed only after a query at that age. It is given up only after an answer, or after
    several queries without one: after an outage of days all issuances are too old and the first queries come in a
    rush, and a query that fails in it is no reason to involve a person.
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
    interval = _interval(awaited, age, policy, likely_seconds) * shortened
    return QueryAgain(at=_next(awaited, now, max(interval, likely_seconds - age), border))


def _interval(awaited: Awaited, age: float, policy: ConfirmPolicy, likely_seconds: float) -> float:
    """Return the seconds to the next query, which double: one interval at first, then as long as already waited."""
    expected = max(policy.first_query_seconds_of(awaited.issue_type), likely_seconds)
    return min(policy.query_interval_seconds + max(0.0, age - expected), policy.query_interval_seconds * DOUBLINGS)


def _next(awaited: Awaited, now: datetime, interval: float, border_seconds: float) -> datetime:
    """Return the time of the next query: not after the age at which something else is due, not before `retry_at`."""
    border = later(awaited.submitted_at, border_seconds)
    at = min(later(now, interval), border)
    return latest(at, awaited.retry_at) or at


def _moved(awaited: Awaited, phase: Phase) -> Awaited:
    check_transition(awaited.phase, phase)
    return replace(awaited, phase=phase)


def _gave_up(awaited: Awaited) -> str:
    clause = f"ECTicket accepted it and was queried {awaited.queries} times, and never reported that its job was done"
    return unresolved(awaited.trade_no, clause)
