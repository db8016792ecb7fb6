"""How often records that wait for a time far ahead are handed on, to the end of their log, so that others can be read.

A merchant that is locked out for half an hour may leave more deferred records than are kept in memory. Records behind
them are due sooner, so reading must go on; what is passed is written anew at the log's end and comes by again. Were
that not bounded, a log of such records would be rewritten without a pause.

A record that was written before this round, `ROUND_SECONDS` ago, is handed on whenever it is in the way. Of those that
were written since, the first ones, as many as may wait, are handed on at once; after that it goes at a pace at which
the whole of what is not read yet comes by once in a round. So each record is rewritten about once in a round, and none
that is due waits longer to be read. Pure: the caller has the clock.
"""

from __future__ import annotations

from typing import Final

PAUSE_SECONDS: Final = 1.0
"""Where nothing was to be handed on, it is looked for again after this time: there may be fifty thousand records."""

ROUND_SECONDS: Final = 300.0
"""In this time reading comes round once, however many records wait."""


class HandOffQuota:
    """Counts what may be handed on: `at_once` to begin with."""

    def __init__(self, at_once: int) -> None:
        self._most = float(max(1, at_once))
        self._left = self._most
        self._counted_at: float | None = None
        self._pause_until = float("-inf")

    def may_look(self, now: float) -> bool:
        """Whether it may be looked for records that can be handed on."""
        return now >= self._pause_until

    def found_nothing(self, now: float) -> None:
        """There were none."""
        self._pause_until = now + PAUSE_SECONDS

    def allowed(self, now: float, lag: int) -> int:
        """How many records of this round may be handed on now, while so many are not read yet."""
        if self._counted_at is not None:
            passed = max(0.0, now - self._counted_at)
            self._left = min(self._most, self._left + passed * max(1, lag) / ROUND_SECONDS)
        self._counted_at = now
        return int(self._left)

    def made(self, count: int) -> None:
        """So many of this round were handed on."""
        self._left -= count
