"""Derives from the facts of an order how far each part is, and which of its dead letters are open. Pure.

Topics have no order among each other, so the strongest fact of a part counts, and not the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from adapter.operations.timeline import FactKind, PartProgress, ProgressState, TimelineFact
from adapter.protocol.issue import TradeNo

_STRONGEST: Final = (
    (FactKind.COLLECTED, ProgressState.COLLECTED),
    (FactKind.COLLECTING, ProgressState.COLLECTING),
    (FactKind.ISSUED, ProgressState.ISSUED),
    (FactKind.FAILED, ProgressState.FAILED),
    (FactKind.DELAYED, ProgressState.DELAYED),
    (FactKind.SUBMITTED, ProgressState.SUBMITTED),
    (FactKind.AWAITED, ProgressState.SUBMITTED),
    (FactKind.REISSUED, ProgressState.DEFERRED),
    (FactKind.DEFERRED, ProgressState.DEFERRED),
)
"""What the facts of a part show, the strongest first."""
_STRONGEST_OF_WHOLE: Final = (
    (FactKind.SKIPPED, ProgressState.SKIPPED),
    (FactKind.DEFERRED, ProgressState.DEFERRED),
    (FactKind.RECEIVED, ProgressState.WAITING),
)
"""The same for an order of which no part is known."""


class ProgressOfParts:
    """The parts of an order and its open dead letters, from its facts in the order of time."""

    def __init__(self, facts: Sequence[TimelineFact], handled: Collection[str | None]) -> None:
        """`handled` are the coordinates of dead letters that need nothing any more."""
        self.whole = [fact for fact in facts if fact.trade_no is None]
        """The facts about the order as a whole."""
        self.by_number: dict[TradeNo, list[TimelineFact]] = {}
        """The facts about each number."""
        for fact in facts:
            if fact.trade_no is not None:
                self.by_number.setdefault(fact.trade_no, []).append(fact)
        self._total = max((fact.parts or 0 for fact in facts), default=0)
        self.dead_letters: dict[str, list[TimelineFact]] = {}
        """The facts about each open dead letter: one, or one for each number in it."""
        for fact in facts:
            if fact.dead_letter is not None and fact.dead_letter not in handled:
                self.dead_letters.setdefault(fact.dead_letter, []).append(fact)
        self.parts = self._parts()

    def facts_of(self, part: PartProgress) -> Sequence[TimelineFact]:
        """The facts about a part's number; those about the whole order if it has none."""
        return self.whole if part.trade_no is None else self.by_number[part.trade_no]

    def _parts(self) -> list[PartProgress]:
        parts = [self._of_number(number, facts) for number, facts in self.by_number.items()]
        known = {each.part for each in parts if each.part is not None}
        missing = [] if not known else [each for each in range(1, self._total + 1) if each not in known]
        parts += [PartProgress(trade_no=None, part=each, state=ProgressState.NOT_FOUND, since=None) for each in missing]
        if not parts and self.whole:
            state, fact = self._state(self.whole, _STRONGEST_OF_WHOLE)
            parts = [PartProgress(trade_no=None, part=None, state=state, since=None if fact is None else fact.at)]
        return sorted(parts, key=lambda each: (each.part or 0, 0.0 if each.since is None else each.since.timestamp()))

    def _of_number(self, number: TradeNo, facts: Sequence[TimelineFact]) -> PartProgress:
        state, fact = self._state(facts, _STRONGEST)
        part = next((each.part for each in facts if each.part is not None), None)
        if state is ProgressState.DEFERRED and fact is not None and (ended := self._ended_as_a_whole(fact)) is not None:
            state, fact = ended
        if state is ProgressState.FAILED and fact is not None and self._is_replaced(number, part, fact):
            state = ProgressState.REPLACED
        return PartProgress(trade_no=number, part=part, state=state, since=None if fact is None else fact.at)

    def _ended_as_a_whole(self, deferral: TimelineFact) -> tuple[ProgressState, TimelineFact] | None:
        """What ended the order after this deferral of a part: it was mapped again, so nothing names the part."""
        state, fact = self._state(self.whole, _STRONGEST_OF_WHOLE)
        is_end = state in (ProgressState.PARKED, ProgressState.SKIPPED)
        return (state, fact) if is_end and fact is not None and fact.at > deferral.at else None

    def _is_replaced(self, number: TradeNo, part: int | None, failure: TimelineFact) -> bool:
        """Whether another number of the same part came after this one's failure."""
        return part is not None and any(
            other != number and any(fact.part == part and fact.at > failure.at for fact in facts)
            for other, facts in self.by_number.items()
        )

    def _state(
        self, facts: Sequence[TimelineFact], strongest: Iterable[tuple[FactKind, ProgressState]]
    ) -> tuple[ProgressState, TimelineFact | None]:
        """The state, and the fact that shows it: the newest open dead letter, or the last fact of the strongest kind.

        A sink's dead letter does not stop the order.
        """
        parked = [fact for fact in facts if fact.dead_letter in self.dead_letters and fact.stage != "deliver"]
        if parked:
            return ProgressState.PARKED, parked[-1]
        last = {fact.kind: fact for fact in facts}
        for kind, state in strongest:
            if kind in last:
                return state, last[kind]
        return ProgressState.NOT_FOUND, None
