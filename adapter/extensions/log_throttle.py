"""Limits repeated log lines: one for each subject and interval, with the number of those that were left out.

A plugin or a sender that fails does so for every order, and a line each would hide all others. Metrics count each case.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable


class LogThrottle:
    """Decides which lines are logged: one about the same subject in `every_seconds`. Does not log.

    Subjects are kept for ever, so they come from a small, fixed set. `clock` returns seconds.
    """

    def __init__(self, every_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_seconds = every_seconds
        self._clock = clock
        self._logged_at: dict[Hashable, float] = {}
        self._withheld: Counter[Hashable] = Counter()

    def passes(self, *about: Hashable) -> int | None:
        """Return how many lines were withheld since the last one about this; None if this one is withheld too."""
        now = self._clock()
        if now - self._logged_at.get(about, float("-inf")) < self._every_seconds:
            self._withheld[about] += 1
            return None
        self._logged_at[about] = now
        return self._withheld.pop(about, 0)
