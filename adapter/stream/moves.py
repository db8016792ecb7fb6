"""How often records that wait for a time far ahead are handed on, to the end of their log, so that others can be read.

A merchant that is locked out for half an hour may leave more deferred records than are kept in memory. Records behind
them are due sooner, so reading must go on; what is passed is written anew at the log's end and comes by again. Were
that not bounded, a log of such records would be rewritten without a pause.

The first ones, as many as may wait, are handed on at once. After that it goes at a pace at which the whole of what is
not read yet comes by once in `ROUND_SECONDS`: each record is rewritten that often at most, and none that is due waits
longer to be read. Pure: the caller has the clock.
"""

from __future__ import annotations

from typing import Final

ROUND_SECONDS: Final = 300.0
"""In this time reading comes round once, however many records wait."""


class Moves:
    """Counts what may be handed on: `at_once` to begin with."""

    def __init__(self, at_once: int) -> None:
        self._most = float(max(1, at_once))
        self._left = self._most
        self._counted_at: float | None = None

    def allowed(self, now: float, unread: int) -> int:
        """How many records may be handed on now, while so many are not read yet."""
        if self._counted_at is not None:
            passed = max(0.0, now - self._counted_at)
            self._left = min(self._most, self._left + passed * max(1, unread) / ROUND_SECONDS)
        self._counted_at = now
        return int(self._left)

    def made(self, count: int) -> None:
        """So many were handed on."""
        self._left -= count
