"""Limits how often records that are due far ahead are handed off to the end of their log so that others can be read.

A merchant that is locked out for half an hour may have more deferred records than memory holds. Records after them are
due sooner, so reading must continue: a record that is passed is written again at the log's end and is read again later.
Without a limit, a log of such records would be rewritten without a pause.

A record that was written at least `REWRITE_SECONDS` ago is handed off whenever it blocks reading. Of newer records, as
many as may wait are handed off at once. After that, the rate is such that all unread records are read once in
`REWRITE_SECONDS`. So each record is rewritten about once in that time, and no record that is due waits longer to be
read. Pure: the caller has the clock.
"""

from __future__ import annotations

from typing import Final

PAUSE_SECONDS: Final = 1.0
"""After a search that found nothing, the next one waits this long: there may be fifty thousand records."""

REWRITE_SECONDS: Final = 300.0
"""The time in which the whole log is read and rewritten once, however many records wait."""


class HandOffQuota:
    """Counts what may be handed off; `at_once` is the initial amount."""

    def __init__(self, at_once: int) -> None:
        self._max = float(max(1, at_once))
        self._left = self._max
        self._counted_at: float | None = None
        self._pause_until = float("-inf")

    def may_search(self, now: float) -> bool:
        """Whether a search for records to hand off may run."""
        return now >= self._pause_until

    def found_nothing(self, now: float) -> None:
        """Record that the search found nothing."""
        self._pause_until = now + PAUSE_SECONDS

    def allowed(self, now: float, lag: int) -> int:
        """Return how many newer records may be handed off now, with `lag` records not read yet."""
        if self._counted_at is not None:
            passed = max(0.0, now - self._counted_at)
            self._left = min(self._max, self._left + passed * max(1, lag) / REWRITE_SECONDS)
        self._counted_at = now
        return int(self._left)

    def made(self, count: int) -> None:
        """Count newer records that were handed off."""
        self._left -= count
