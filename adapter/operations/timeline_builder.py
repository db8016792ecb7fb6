"""Builds the timeline of an order from its facts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from adapter.operations.next_actions import next_actions
from adapter.operations.part_progress import ProgressOfParts
from adapter.operations.timeline import FactKind, OrderTimeline, TimelineFact
from adapter.values import replace

_CAUSES: Final[Mapping[FactKind, int]] = {kind: position for position, kind in enumerate(FactKind)}
"""Facts of one moment are shown in this order: causes before effects."""


class FoundFacts(Struct, frozen=True, kw_only=True):
    """What was found about one order."""

    merchant_id: str | None
    order_id: str | None
    facts: tuple[TimelineFact, ...]
    """In any order."""
    handled: Collection[str] = ()
    """The coordinates of dead letters that are known to be handled, besides those that a fact shows to be replayed."""
    truncated: bool = False
    other_orders: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def build_timeline(found: FoundFacts, *, now: datetime, merchant_option: str = "") -> OrderTimeline:
    """Put the facts into the order of time, and derive the states and the next actions.

    A replay is a fact of its own. `merchant_option` is added to commands that take a trade number.
    """
    facts = _sorted(found.facts)
    replays = _first_of_each_replay(facts)
    facts = _sorted((*facts, *map(_replay, replays)))
    progress = ProgressOfParts(facts, frozenset(found.handled) | {fact.replay_of for fact in replays})
    return OrderTimeline(
        merchant_id=found.merchant_id,
        order_id=found.order_id,
        facts=facts,
        parts=tuple(progress.parts),
        next=tuple(next_actions(progress, now=now, merchant_option=merchant_option, shared=bool(found.other_orders))),
        truncated=found.truncated,
        other_orders=found.other_orders,
        unreadable=found.unreadable,
    )


def _sorted(facts: Iterable[TimelineFact]) -> tuple[TimelineFact, ...]:
    return tuple(sorted(facts, key=lambda fact: (fact.at, _CAUSES[fact.kind], fact.part or 0, fact.record or "")))


def _first_of_each_replay(facts: Iterable[TimelineFact]) -> list[TimelineFact]:
    """The first fact of each replayed dead letter: later records keep the header that names it."""
    first: dict[str, TimelineFact] = {}
    for fact in facts:
        if fact.replay_of is not None:
            known = first.setdefault(fact.replay_of, fact)
            if known is not fact and known.record == fact.record:
                first[fact.replay_of] = replace(known, trade_no=None, part=None)  # a replay of several parts
    return list(first.values())


def _replay(fact: TimelineFact) -> TimelineFact:
    return TimelineFact(
        at=fact.at,
        kind=FactKind.REPLAYED,
        record=fact.record,
        text=f"The dead letter {fact.replay_of} was replayed.",
        order_id=fact.order_id,
        trade_no=fact.trade_no,
        part=fact.part,
        parts=fact.parts,
        replay_of=fact.replay_of,
    )
