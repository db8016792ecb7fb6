"""Check the numbers that a previous mapping may have given an order: does ECTicket have one of them?

An order that may have been sent under another mapping is queried under today's numbers first. If those are not known,
this proves nothing about the others. Example: of a plan of two parts only the second one arrived, and today's mapping
makes one part of the order; sending it would buy the tickets twice.

A derived number depends on merchant, order id and part alone, so every number that any mapping could have used can be
computed: 20 parts, each as MerchantTradeNo and as FreeTradeNo, and the order's own `trade_no`, as either. Which
of them are used depends on the mapping, on a plugin that parses, and on `submit.derive_trade_no`. All three are in the
fingerprint, so a change of any of them is noticed.

    when today's parts are all verified ──► first queries ──► control ──► RtnCode 1 for a known number ──► second ones

When: today's parts are verified only after the waiting time, which is the same for all numbers of the order, because
every process that could have sent it is fenced by then. So each query here comes after the last possible effect, and a
number that is not known then stays unknown. Therefore today's parts come first (a known one ends the check without
another query), and these answers may be older than theirs: before a part is sent, it is queried again if its evidence
is older than a minute.

What counts: each number has its own chain (`evidence`): two queries with RtnCode 1 from QueryIssueResult for a known
number between them, and a control of the same kind with the same code, within a minute. One query each would halve the
calls, but a maintenance at that time would look like "not known", whatever is verified about today's parts before and
after. Ten numbers at a time share a control and a liveness query, so that a minute is enough at a slow rate. If it was
not enough, because calls wait behind those of hundreds of such orders, the batch size is halved.

The message names every number that is found. Anything short of proof is doubt: it holds the order back like an
unanswered query about one of its parts, and a later run starts again. Does not check today's own parts (see `decide`)
nor numbers under another prefix than today's, which cannot be listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from adapter.errors import InvalidOrder
from adapter.issuance.actions import Park, ParkReason, Probe
from adapter.issuance.answers import (
    BreakerIsOpen,
    ControlAnswered,
    Known,
    LastAccepted,
    NotFound,
    ProbeAnswered,
    QueryAnswer,
    QueryUnanswered,
)
from adapter.issuance.evidence import Evidence, EvidenceStep, NegativeAnswer
from adapter.issuance.packing import MAX_CALLS
from adapter.issuance.park_messages import other_plan_message
from adapter.issuance.plan import Part
from adapter.issuance.state import PartState, Postponement, WaitReason
from adapter.issuance.trade_numbers import LENGTH, derive_trade_no
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.values import replace

BATCH_SIZE = 10
"""Numbers that share a control and a liveness query."""
QUERIES_EACH = 4
"""Queries per number, on average, after which a run stops; two are needed."""
_ALWAYS_READY = datetime.min.replace(tzinfo=UTC)
"""The waiting time is over before the first query here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateNumber:
    """A number that `part` of the order may have under another mapping, and its evidence."""

    trade_no: TradeNo
    part: int
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryCandidate:
    """QueryIssueResult of another plan's number."""

    trade_no: TradeNo


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryCandidateControl:
    """QueryIssueResult of a random number of that kind."""

    kind: TradeNoKind


CandidateQuery = QueryCandidate | QueryCandidateControl | Probe


def candidate_numbers(
    parts: Sequence[Part], *, merchant_id: str, order_id: str, prefix: str = ""
) -> tuple[CandidateNumber, ...]:
    """Return every number that a mapping could have given the order, except those of these parts."""
    todays = {part.trade_no for part in parts}
    possible = dict(_possible(parts, merchant_id, order_id, prefix))
    return tuple(
        CandidateNumber(trade_no=number, part=part) for number, part in possible.items() if number not in todays
    )


def _possible(parts: Sequence[Part], merchant_id: str, order_id: str, prefix: str) -> Iterator[tuple[TradeNo, int]]:
    values = _derived(merchant_id, order_id, prefix) | {part.trade_no.value: part.number for part in parts}
    for kind in TradeNoKind:
        for value, part in values.items():
            if kind is TradeNoKind.MERCHANT or len(value) <= LENGTH:
                yield TradeNo(kind=kind, value=value), part


def _derived(merchant_id: str, order_id: str, prefix: str) -> dict[str, int]:
    """Return the derived numbers with their parts; none if no number can be derived from the order id."""
    try:
        return {derive_trade_no(merchant_id, order_id, part, prefix=prefix): part for part in range(1, MAX_CALLS + 1)}
    except InvalidOrder:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousMappingCheck:
    """The progress of the check."""

    numbers: tuple[CandidateNumber, ...]
    """The numbers about which nothing is proven yet."""
    found: tuple[CandidateNumber, ...] = ()
    """The numbers that ECTicket has."""
    queries_left: int
    batch_size: int = BATCH_SIZE
    """How many numbers share a control and a liveness query at the rate of this run."""

    @classmethod
    def of(cls, numbers: Sequence[CandidateNumber]) -> Self:
        """Return the check before its first query."""
        return cls(numbers=tuple(numbers), queries_left=QUERIES_EACH * len(numbers))

    @property
    def all_unknown(self) -> bool:
        """Whether ECTicket reliably has none of them."""
        return not (self.numbers or self.found)

    def next(self, now: datetime) -> CandidateQuery | Postponement | None:
        """Return the next query; a Postponement if more are of no use in this run, None when no number is open."""
        if self.found:
            unqueried = (number for number in self.numbers if number.evidence.first is None)
            return next((QueryCandidate(trade_no=number.trade_no) for number in unqueried), None)
        if not self.numbers:
            return None
        if self.queries_left <= 0:
            return Postponement(until=None, reason=WaitReason.QUERY_LIMIT_REACHED)
        kind = self.numbers[0].trade_no.kind
        batch = [number for number in self.numbers if number.trade_no.kind is kind][: self.batch_size]
        return min((_step(number, now) for number in batch), key=lambda step: step[0])[1]

    def observe(self, query: CandidateQuery | None, result: QueryAnswer | LastAccepted, now: datetime) -> Self:
        """Return the check after an answer to `query`, or after a fact that no query asked for."""
        match query, result:
            case QueryCandidate(), Known():
                found = tuple(number for number in self.numbers if number.trade_no == query.trade_no)
                return replace(self, found=self.found + found, numbers=_without(self.numbers, found))
            case QueryCandidate(), NotFound():
                answer = NegativeAnswer(queried_at=result.queried_at, answered_at=now, code=result.code)
                learned = tuple(_with_answer(number, query.trade_no, answer) for number in self.numbers)
                # If a batch does not fit into a minute, a smaller one may; otherwise the queries would never end.
                missed = any(map(_query_was_too_early, self.numbers, learned))
                return replace(
                    self,
                    numbers=_without_proof(learned, now),
                    queries_left=self.queries_left - 1,
                    batch_size=max(1, self.batch_size // 2) if missed else self.batch_size,
                )
            case QueryCandidateControl(), ControlAnswered():
                answer = NegativeAnswer(queried_at=result.queried_at, answered_at=now, code=result.code)
                numbers = (_with_control(number, query.kind, answer) for number in self.numbers)
                return replace(self, numbers=_without_proof(numbers, now))
            case Probe(), ProbeAnswered(ok=True):
                return replace(self, numbers=tuple(_with_accepted(number, now) for number in self.numbers))
            case _, LastAccepted():
                return replace(self, numbers=tuple(_with_accepted(number, result.at) for number in self.numbers))
        return replace(self, numbers=()) if self.found else self

    def is_failed_call(self, result: QueryAnswer) -> bool:
        """Whether the part that waits must observe the result as a failed call; never once a number is found."""
        match result:
            case QueryUnanswered() | BreakerIsOpen():
                return not self.found
            case ControlAnswered():
                return result.known
            case ProbeAnswered():
                return not result.ok
        return False

    def park(self, states: Sequence[PartState]) -> Park:
        """Park these parts, which were not sent, because a number was found."""
        message = other_plan_message(
            [(number.trade_no, number.part) for number in self.found], [state.part.trade_no for state in states]
        )
        return Park(reason=ParkReason.UNRESOLVED, message=message)


NO_OTHER_PLANS = PreviousMappingCheck.of(())
"""The check of an order that was certainly not sent under another mapping."""


def _step(number: CandidateNumber, now: datetime) -> tuple[int, CandidateQuery | Postponement]:
    """Return the priority and the next query of a number: begun chains are completed first, shared steps come late."""
    evidence = number.evidence
    match evidence.missing_step(ready_at=_ALWAYS_READY, now=now):
        case EvidenceStep.CONTROL:
            return 2, QueryCandidateControl(kind=number.trade_no.kind)
        case EvidenceStep.CONTRADICTED:
            return 2, Postponement(until=None, reason=WaitReason.CONTROL_DIFFERS)
        case EvidenceStep.LIVENESS:
            return 3, Probe()
        case _:
            return 1 if evidence.accepted_at is None else 0, QueryCandidate(trade_no=number.trade_no)


def _with_answer(number: CandidateNumber, trade_no: TradeNo, answer: NegativeAnswer) -> CandidateNumber:
    return replace(number, evidence=number.evidence.with_query(answer)) if number.trade_no == trade_no else number


def _query_was_too_early(before: CandidateNumber, after: CandidateNumber) -> bool:
    """Whether an earlier query no longer counts, because this one came too late after it."""
    return before is not after and before.evidence.first is not None and after.evidence.second is None


def _with_control(number: CandidateNumber, kind: TradeNoKind, answer: NegativeAnswer) -> CandidateNumber:
    same = number.trade_no.kind is kind
    return replace(number, evidence=number.evidence.with_control(answer)) if same else number


def _with_accepted(number: CandidateNumber, at: datetime) -> CandidateNumber:
    return replace(number, evidence=number.evidence.with_accepted(at))


def _without_proof(numbers: Iterable[CandidateNumber], now: datetime) -> tuple[CandidateNumber, ...]:
    """Return the numbers that are not proven; proof stays valid, because no process can send them any more."""
    return tuple(
        number
        for number in numbers
        if number.evidence.missing_step(ready_at=_ALWAYS_READY, now=now) is not EvidenceStep.COMPLETE
    )


def _without(numbers: Sequence[CandidateNumber], found: Sequence[CandidateNumber]) -> tuple[CandidateNumber, ...]:
    return tuple(number for number in numbers if number not in found)
