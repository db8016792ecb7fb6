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
from adapter.issuance.evidence import Answer, Evidence, Link
from adapter.issuance.packing import MAX_CALLS
from adapter.issuance.parking import beside_another_plan
from adapter.issuance.plan import Part
from adapter.issuance.state import Hold, PartState, Why
from adapter.issuance.trade_numbers import LENGTH, derive_trade_no
from adapter.protocol.issue import TradeNo, TradeNoKind

TOGETHER = 10
"""Numbers that share a control and a proof of life."""
QUESTIONS_EACH = 4
"""Questions per number, on average, after which a sitting asks no more; two are needed."""
_NO_WAITING = datetime.min.replace(tzinfo=UTC)
"""The waiting time is over before anything is asked here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherNumber:
    """A number that `part` of the order may have under another mapping, and what was learned of it."""

    trade_no: TradeNo
    part: int
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAbout:
    """QueryIssueResult of another plan's number."""

    trade_no: TradeNo


@dataclass(frozen=True, slots=True, kw_only=True)
class AskControl:
    """QueryIssueResult of a random number of that kind."""

    kind: TradeNoKind


OtherQuestion = AskAbout | AskControl | Probe


def other_numbers(
    parts: Sequence[Part], *, merchant_id: str, order_id: str, prefix: str = ""
) -> tuple[OtherNumber, ...]:
    """Every number that a mapping could have given the order, but those that these parts have."""
    todays = {part.trade_no for part in parts}
    possible = dict(_possible(parts, merchant_id, order_id, prefix))
    return tuple(OtherNumber(trade_no=number, part=part) for number, part in possible.items() if number not in todays)


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
class OtherPlans:
    """What is known so far: `numbers` are not settled yet, `found` are at ECTicket; `questions` are left to ask.

    `together`: how many numbers share a control and a proof of life at the pace of this sitting.
    """

    numbers: tuple[OtherNumber, ...]
    found: tuple[OtherNumber, ...] = ()
    questions: int
    together: int = TOGETHER

    @classmethod
    def of(cls, numbers: Sequence[OtherNumber]) -> Self:
        """Nothing has been asked yet."""
        return cls(numbers=tuple(numbers), questions=QUESTIONS_EACH * len(numbers))

    @property
    def nowhere(self) -> bool:
        """Whether ECTicket trustworthily has none of them."""
        return not (self.numbers or self.found)

    def next(self, now: datetime) -> OtherQuestion | Hold | None:
        """What is to be asked next; a Hold where asking on is of no use in this sitting, None when all is settled."""
        if self.found:
            unasked = (number for number in self.numbers if number.evidence.first is None)
            return next((AskAbout(trade_no=number.trade_no) for number in unasked), None)
        if not self.numbers:
            return None
        if self.questions <= 0:
            return Hold(until=None, why=Why.ASKED_ENOUGH)
        kind = self.numbers[0].trade_no.kind
        together = [number for number in self.numbers if number.trade_no.kind is kind][: self.together]
        return min((_step(number, now) for number in together), key=lambda step: step[0])[1]

    def observe(self, asked: OtherQuestion | None, came: QueryAnswer | LastAccepted, now: datetime) -> Self:
        """The same after something came: an answer to what was `asked`, or a fact that nobody asked for."""
        match asked, came:
            case AskAbout(), Known():
                found = tuple(number for number in self.numbers if number.trade_no == asked.trade_no)
                return replace(self, found=self.found + found, numbers=_without(self.numbers, found))
            case AskAbout(), NotFound():
                answer = Answer(asked_at=came.asked_at, answered_at=now, code=came.code)
                learned = tuple(_asked(number, asked.trade_no, answer) for number in self.numbers)
                # Where so many do not fit into a minute, fewer may; else they would be asked about for ever.
                missed = any(map(_was_asked_in_vain, self.numbers, learned))
                return replace(
                    self,
                    numbers=_unsettled(learned, now),
                    questions=self.questions - 1,
                    together=max(1, self.together // 2) if missed else self.together,
                )
            case AskControl(), ControlAnswered():
                answer = Answer(asked_at=came.asked_at, answered_at=now, code=came.code)
                numbers = (_controlled(number, asked.kind, answer) for number in self.numbers)
                return replace(self, numbers=_unsettled(numbers, now))
            case Probe(), ProbeAnswered(ok=True):
                return replace(self, numbers=tuple(_accepted(number, now) for number in self.numbers))
            case _, LastAccepted():
                return replace(self, numbers=tuple(_accepted(number, came.at) for number in self.numbers))
        return replace(self, numbers=()) if self.found else self

    def sets_back(self, came: QueryAnswer) -> bool:
        """Whether what came is trouble, to be told to the part that waits; once something is found nothing is."""
        match came:
            case QueryUnanswered() | BreakerIsOpen():
                return not self.found
            case ControlAnswered():
                return came.known
            case ProbeAnswered():
                return not came.ok
        return False

    def park(self, states: Sequence[PartState]) -> Park:
        """What becomes of these parts, which were not sent, when something was found."""
        message = beside_another_plan(
            [(number.trade_no, number.part) for number in self.found], [state.part.trade_no for state in states]
        )
        return Park(reason=ParkReason.UNRESOLVED, message=message)


def _step(number: OtherNumber, now: datetime) -> tuple[int, OtherQuestion | Hold]:
    """What a number needs next, and its turn: what is begun is ended first, and links that are shared come late."""
    evidence = number.evidence
    match evidence.next_link(ready_at=_NO_WAITING, now=now):
        case Link.CONTROL:
            return 2, AskControl(kind=number.trade_no.kind)
        case Link.BROKEN:
            return 2, Hold(until=None, why=Why.CONTROL_DIFFERS)
        case Link.PROOF_OF_LIFE:
            return 3, Probe()
        case _:
            return 1 if evidence.accepted_at is None else 0, AskAbout(trade_no=number.trade_no)


def _asked(number: OtherNumber, trade_no: TradeNo, answer: Answer) -> OtherNumber:
    return replace(number, evidence=number.evidence.with_question(answer)) if number.trade_no == trade_no else number


def _was_asked_in_vain(before: OtherNumber, after: OtherNumber) -> bool:
    """Whether an earlier question was lost, since this one came too late to follow it."""
    return before is not after and before.evidence.first is not None and after.evidence.second is None


def _controlled(number: OtherNumber, kind: TradeNoKind, answer: Answer) -> OtherNumber:
    same = number.trade_no.kind is kind
    return replace(number, evidence=number.evidence.with_control(answer)) if same else number


def _accepted(number: OtherNumber, at: datetime) -> OtherNumber:
    return replace(number, evidence=number.evidence.with_accepted(at))


def _unsettled(numbers: Iterable[OtherNumber], now: datetime) -> tuple[OtherNumber, ...]:
    """Those that are not proven; proof stays proof, since nobody can send them any more."""
    return tuple(
        number for number in numbers if number.evidence.next_link(ready_at=_NO_WAITING, now=now) is not Link.COMPLETE
    )


def _without(numbers: Sequence[OtherNumber], found: Sequence[OtherNumber]) -> tuple[OtherNumber, ...]:
    return tuple(number for number in numbers if number not in found)
