"""The numbers that another mapping may have given an order, and whether ECTicket has one of them.

An order that may have been sent under another mapping is asked about under today's numbers first. That those are not
known proves nothing of the others: a plan of two parts, of which only the second arrived, and a mapping that now makes
one part of the order, and it would be bought twice. A derived number hangs on merchant, order id and part alone, so
every number that any mapping could have used can be computed: 20 parts, each as MerchantTradeNo and as FreeTradeNo, and
the number that the order brings, as either. The mapping decides which of them are used, and so do a plugin that parses
and `submit.derive_trade_no`; all three are in the fingerprint, so that none of them may be taken for unchanged.

    when today's parts are all proven ──► first questions ──► control ──► RtnCode 1 for a known number ──► second ones

When they are asked. Today's parts are proven only after the waiting time, which is one for all numbers of the order:
whoever could have sent it is fenced since. So each question here comes after the last effect that is to be reckoned
with, and what is not known then stays so; nobody else can send. That is why today's parts come first (a known one
settles the matter without a single question more), and why these answers need not be as fresh as theirs: before
anything is sent, today's parts are asked again where their own minute has passed meanwhile.

What is believed. Each number has its own chain (`evidence`): two questions with RtnCode 1 from QueryIssueResult for a
known number between them, and a control of the same kind with the same code, within a minute. One question each would
be half the calls, but a maintenance around it passes for "not known", whatever is proven of today's parts before and
after. Ten numbers at a time share control and proof of life, so that their minute is long enough at a slow pace; where
it was not, as when a call waits for seconds behind those of hundreds of such orders, half as many do from then on.

Of what is found every number is named. Anything short of proof is doubt: it holds the order back as an unanswered
question about one of its parts does, and a later sitting begins anew. Refuses to know today's parts' own chains
(`decide`), and numbers under another prefix than today's, which nobody can list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
from adapter.issuance.state import Hold, PartState, WaitReason
from adapter.issuance.trade_numbers import LENGTH, derive_trade_no
from adapter.protocol.issue import TradeNo, TradeNoKind

BATCH_SIZE = 10
"""Numbers that share a control and a proof of life."""
QUERIES_EACH = 4
"""Questions per number, on average, after which a sitting asks no more; two are needed."""
_ALWAYS_READY = datetime.min.replace(tzinfo=UTC)
"""The waiting time is over before anything is asked here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateNumber:
    """A number that `part` of the order may have under another mapping, and what was learned of it."""

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
    """Every number that a mapping could have given the order, but those that these parts have."""
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
    """The derived numbers with their parts; none for an order id from which no number can be derived."""
    try:
        return {derive_trade_no(merchant_id, order_id, part, prefix=prefix): part for part in range(1, MAX_CALLS + 1)}
    except InvalidOrder:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousMappingCheck:
    """What is known so far: `numbers` are not settled yet, `found` are at ECTicket; `queries_left` are left to ask.

    `batch_size`: how many numbers share a control and a proof of life at the pace of this sitting.
    """

    numbers: tuple[CandidateNumber, ...]
    found: tuple[CandidateNumber, ...] = ()
    queries_left: int
    batch_size: int = BATCH_SIZE

    @classmethod
    def of(cls, numbers: Sequence[CandidateNumber]) -> Self:
        """Nothing has been asked yet."""
        return cls(numbers=tuple(numbers), queries_left=QUERIES_EACH * len(numbers))

    @property
    def all_unknown(self) -> bool:
        """Whether ECTicket trustworthily has none of them."""
        return not (self.numbers or self.found)

    def next(self, now: datetime) -> CandidateQuery | Hold | None:
        """What is to be asked next; a Hold where asking on is of no use in this sitting, None when all is settled."""
        if self.found:
            unqueried = (number for number in self.numbers if number.evidence.first is None)
            return next((QueryCandidate(trade_no=number.trade_no) for number in unqueried), None)
        if not self.numbers:
            return None
        if self.queries_left <= 0:
            return Hold(until=None, reason=WaitReason.ASKED_ENOUGH)
        kind = self.numbers[0].trade_no.kind
        batch_size = [number for number in self.numbers if number.trade_no.kind is kind][: self.batch_size]
        return min((_step(number, now) for number in batch_size), key=lambda step: step[0])[1]

    def observe(self, query: CandidateQuery | None, result: QueryAnswer | LastAccepted, now: datetime) -> Self:
        """The same after something came: an answer to `query`, or a fact that nobody asked for."""
        match query, result:
            case QueryCandidate(), Known():
                found = tuple(number for number in self.numbers if number.trade_no == query.trade_no)
                return replace(self, found=self.found + found, numbers=_without(self.numbers, found))
            case QueryCandidate(), NotFound():
                answer = NegativeAnswer(queried_at=result.queried_at, answered_at=now, code=result.code)
                learned = tuple(_with_answer(number, query.trade_no, answer) for number in self.numbers)
                # Where so many do not fit into a minute, fewer may; else they would be asked about for ever.
                missed = any(map(_query_was_lost, self.numbers, learned))
                return replace(
                    self,
                    numbers=_unsettled(learned, now),
                    queries_left=self.queries_left - 1,
                    batch_size=max(1, self.batch_size // 2) if missed else self.batch_size,
                )
            case QueryCandidateControl(), ControlAnswered():
                answer = NegativeAnswer(queried_at=result.queried_at, answered_at=now, code=result.code)
                numbers = (_with_control(number, query.kind, answer) for number in self.numbers)
                return replace(self, numbers=_unsettled(numbers, now))
            case Probe(), ProbeAnswered(ok=True):
                return replace(self, numbers=tuple(_with_accepted(number, now) for number in self.numbers))
            case _, LastAccepted():
                return replace(self, numbers=tuple(_with_accepted(number, result.at) for number in self.numbers))
        return replace(self, numbers=()) if self.found else self

    def is_failed_call(self, result: QueryAnswer) -> bool:
        """Whether what came is trouble, to be told to the part that waits; once something is found nothing is."""
        match result:
            case QueryUnanswered() | BreakerIsOpen():
                return not self.found
            case ControlAnswered():
                return result.known
            case ProbeAnswered():
                return not result.ok
        return False

    def park(self, states: Sequence[PartState]) -> Park:
        """What becomes of these parts, which were not sent, when something was found."""
        message = other_plan_message(
            [(number.trade_no, number.part) for number in self.found], [state.part.trade_no for state in states]
        )
        return Park(reason=ParkReason.UNRESOLVED, message=message)


NO_OTHER_PLANS = PreviousMappingCheck.of(())
"""Of an order that was certainly not sent under another mapping."""


def _step(number: CandidateNumber, now: datetime) -> tuple[int, CandidateQuery | Hold]:
    """What a number needs next, and its turn: what is begun is ended first, and links that are shared come late."""
    evidence = number.evidence
    match evidence.missing_step(ready_at=_ALWAYS_READY, now=now):
        case EvidenceStep.CONTROL:
            return 2, QueryCandidateControl(kind=number.trade_no.kind)
        case EvidenceStep.CONTRADICTED:
            return 2, Hold(until=None, reason=WaitReason.CONTROL_DIFFERS)
        case EvidenceStep.LIVENESS:
            return 3, Probe()
        case _:
            return 1 if evidence.accepted_at is None else 0, QueryCandidate(trade_no=number.trade_no)


def _with_answer(number: CandidateNumber, trade_no: TradeNo, answer: NegativeAnswer) -> CandidateNumber:
    return replace(number, evidence=number.evidence.with_query(answer)) if number.trade_no == trade_no else number


def _query_was_lost(before: CandidateNumber, after: CandidateNumber) -> bool:
    """Whether an earlier question was lost, since this one came too late to follow it."""
    return before is not after and before.evidence.first is not None and after.evidence.second is None


def _with_control(number: CandidateNumber, kind: TradeNoKind, answer: NegativeAnswer) -> CandidateNumber:
    same = number.trade_no.kind is kind
    return replace(number, evidence=number.evidence.with_control(answer)) if same else number


def _with_accepted(number: CandidateNumber, at: datetime) -> CandidateNumber:
    return replace(number, evidence=number.evidence.with_accepted(at))


def _unsettled(numbers: Iterable[CandidateNumber], now: datetime) -> tuple[CandidateNumber, ...]:
    """Those that are not proven; proof stays proof, since nobody can send them any more."""
    return tuple(
        number
        for number in numbers
        if number.evidence.missing_step(ready_at=_ALWAYS_READY, now=now) is not EvidenceStep.COMPLETE
    )


def _without(numbers: Sequence[CandidateNumber], found: Sequence[CandidateNumber]) -> tuple[CandidateNumber, ...]:
    return tuple(number for number in numbers if number not in found)
