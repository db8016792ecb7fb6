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
    came_back = _latest_replay(letters)
    return frozenset(
        letter.name
        for letter in letters
        if (letter.origin is not None and letter.replay_count < came_back[letter.origin])
        or any(_ends(word, letter) for word in said.get(letter.order_record, ()))
    )


def _ends(word: Word, letter: Letter) -> bool:
    """Whether this was told of what lies in the letter, after it was put there."""
    kinds = _ENDS_A_CONFIRMATION if letter.stage == "confirm" else _ENDS_AN_ORDER
    about = not letter.trade_nos or word.trade_no is None or word.trade_no in letter.trade_nos
    return word.kind in kinds and word.at > letter.timestamp and about


def _latest_replay(letters: Iterable[Letter]) -> dict[str, int]:
    """How often each parked record was replayed, as its last letter says."""
    counts: dict[str, int] = {}
    for letter in letters:
        if letter.origin is not None:
            counts[letter.origin] = max(counts.get(letter.origin, 0), letter.replay_count)
    return counts
