"""Which dead letters were dealt with, where the commits that said so are forgotten.

Brokers forget a group's commits after a week without a new one, and letters lie there for a month. Replaying one that
was dealt with long ago would be safe for an order that was issued, and is not for one that failed and was then reissued
under another number: the old one is free, and would be bought too. So what was told since, and letters that came back,
stand in for the commits: both are kept as long as the letters themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from adapter.flows.letters import Letter
from adapter.flows.words import Word

_ENDS_AN_ORDER = frozenset({"submitted", "issued", "failed", "skipped"})
_ENDS_A_CONFIRMATION = frozenset({"issued", "failed"})


def dealt_with(letters: Collection[Letter], words: Iterable[Word]) -> frozenset[str]:
    """The names of those letters about which something was told later, or which came back later.

    A part's letter is dealt with by what is told of its own numbers; one that knows none, by whatever is told of its
    order. `words` are what was told since the oldest of the letters.
    """
    said: dict[str | None, list[Word]] = {}
    for word in words:
        said.setdefault(word.order_record, []).append(word)
    siblings: dict[str, list[Letter]] = {}
    for letter in letters:
        if letter.origin is not None:
            siblings.setdefault(letter.origin, []).append(letter)
    return frozenset(
        letter.name
        for letter in letters
        if any(_came_back(letter, other) for other in siblings.get(letter.origin or "", ()))
        or any(_ends(word, letter) for word in said.get(letter.order_record, ()))
    )


def _came_back(letter: Letter, other: Letter) -> bool:
    """Whether the other, of the same record, is what became of this one when it was replayed.

    Parts of one order can have letters of their own.
    """
    same = not letter.trade_nos or not other.trade_nos or not set(letter.trade_nos).isdisjoint(other.trade_nos)
    return same and letter.replay_count < other.replay_count


def _ends(word: Word, letter: Letter) -> bool:
    """Whether this was told of what lies in the letter, after it was put there.

    What is told of an order says nothing of whether a sink has heard of it.
    """
    if letter.stage == "deliver":
        return False
    kinds = _ENDS_A_CONFIRMATION if letter.stage == "confirm" else _ENDS_AN_ORDER
    about = not letter.trade_nos or word.trade_no is None or word.trade_no in letter.trade_nos
    return word.kind in kinds and word.at > letter.timestamp and about
