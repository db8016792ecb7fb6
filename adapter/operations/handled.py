"""Which dead letters were dealt with, where the commits that said so are forgotten.

Brokers forget a group's commits after a week without a new one, and letters lie there for a month. Replaying one that
was dealt with long ago would be safe for an order that was issued, and is not for one that failed and was then reissued
under another number: the old one is free, and would be bought too. So what was told since, and letters that came back,
stand in for the commits: both are kept as long as the letters themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from adapter.flows.messages.published_events import PublishedEvent
from adapter.operations.dead_letter_view import DeadLetter

_SETTLES_ORDER = frozenset({"submitted", "issued", "failed", "skipped"})
_SETTLES_CONFIRMATION = frozenset({"issued", "failed"})


def handled_dead_letters(dead_letters: Collection[DeadLetter], events: Iterable[PublishedEvent]) -> frozenset[str]:
    """The names of those letters about which something was told later, or which came back later.

    A part's letter is dealt with by what is told of its own numbers; one that knows none, by whatever is told of its
    order. `events` are what was told since the oldest of the letters.
    """
    events_by_order: dict[str | None, list[PublishedEvent]] = {}
    for event in events:
        events_by_order.setdefault(event.order_record, []).append(event)
    siblings: dict[str, list[DeadLetter]] = {}
    for dead_letter in dead_letters:
        if dead_letter.origin is not None:
            siblings.setdefault(dead_letter.origin, []).append(dead_letter)
    return frozenset(
        dead_letter.name
        for dead_letter in dead_letters
        if any(_replaced_by(dead_letter, other) for other in siblings.get(dead_letter.origin or "", ()))
        or any(_settles(event, dead_letter) for event in events_by_order.get(dead_letter.order_record, ()))
    )


def _replaced_by(dead_letter: DeadLetter, other: DeadLetter) -> bool:
    """Whether the other, of the same record, is what became of this one when it was replayed.

    Parts of one order can have letters of their own.
    """
    same = (
        not dead_letter.trade_nos or not other.trade_nos or not set(dead_letter.trade_nos).isdisjoint(other.trade_nos)
    )
    return same and dead_letter.replay_count < other.replay_count


def _settles(event: PublishedEvent, dead_letter: DeadLetter) -> bool:
    """Whether this was told of what lies in the letter, after it was put there.

    What is told of an order says nothing of whether a sink has heard of it.
    """
    if dead_letter.stage == "deliver":
        return False
    names = _SETTLES_CONFIRMATION if dead_letter.stage == "confirm" else _SETTLES_ORDER
    about = not dead_letter.trade_nos or event.trade_no is None or event.trade_no in dead_letter.trade_nos
    return event.name in names and event.at > dead_letter.timestamp and about
