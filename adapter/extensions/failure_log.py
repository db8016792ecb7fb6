"""Logs failures of observers, of each plugin's hook once a minute at most, with the number of those in between.

An observer that fails does so for every order, and no order is affected: a line each would bury all others. The
metrics count every failure.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from adapter.errors import HookFailed

EVERY_SECONDS: Final = 60.0

Write = Callable[[HookFailed, int], None]
"""Logs one failure, and how many were not logged since the last line about this hook."""


class FailureLog:
    """Hears of every failure and has the first one of each minute written, by plugin and hook."""

    def __init__(self, write: Write, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._monotonic = monotonic
        self._logged_at: dict[tuple[str, str], float] = {}
        self._withheld: Counter[tuple[str, str]] = Counter()

    def __call__(self, failure: HookFailed) -> None:
        """Have the failure written now, or count it for the next line."""
        key, now = (failure.plugin, failure.hook), self._monotonic()
        if now - self._logged_at.get(key, float("-inf")) < EVERY_SECONDS:
            self._withheld[key] += 1
            return
        self._logged_at[key] = now
        self._write(failure, self._withheld.pop(key, 0))
