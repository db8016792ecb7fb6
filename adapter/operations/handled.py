"""Finds dead letters that are handled although the commits that recorded it are forgotten.

Brokers forget a group's commits after a week without a new one; dead letters stay for a month. A second replay would be
safe for an order that was issued, but not for one that failed and was then reissued under another number: the old
number is free, and would be bought too. Later events and later dead letters, which are kept equally long, replace the
commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from adapter.flows.messages.event_reader import PublishedEvent
from adapter.operations.dead_letter_view import DeadLetter

_SETTLES_ORDER = frozenset({"submitted", "issued", "failed", "skipped"})
_SETTLES_CONFIRMATION = frozenset({"issued", "failed"})
_SETTLES_COLLECTION = frozenset({"collected"})
_SETTLES: Mapping[str, frozenset[str]] = {"confirm": _SETTLES_CONFIRMATION, "collect": _SETTLES_COLLECTION}


def handled_dead_letters(dead_letters: Collection[DeadLetter], events: Iterable[PublishedEvent]) -> frozenset[str]:
    """The names of dead letters that a later event or a later dead letter shows to be handled.

    A dead letter with trade numbers is handled by an event about one of them; one without, by any event about its
    order. `events` are those since the oldest dead letter.
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
    """Whether the other dead letter of the same record results from a replay of this one.

    Parts of one order can have their own dead letters.
    """
    same = (
        not dead_letter.trade_nos or not other.trade_nos or not set(dead_letter.trade_nos).isdisjoint(other.trade_nos)
    )
    return same and dead_letter.replay_count < other.replay_count


def _settles(event: PublishedEvent, dead_letter: DeadLetter) -> bool:
    """Whether the event settles the dead letter's content, and is later than the dead letter.

    Events about an order do not show whether a sink has received them.
    """
    if dead_letter.stage == "deliver":
        return False
    names = _SETTLES.get(dead_letter.stage or "", _SETTLES_ORDER)
    about = not dead_letter.trade_nos or event.trade_no is None or event.trade_no in dead_letter.trade_nos
    return event.name in names and event.at > dead_letter.timestamp and about
