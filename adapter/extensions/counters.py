"""Counts calls, failures and seconds of each plugin's hooks, for metrics."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCount:
    """Totals since start of one hook of one plugin; `seconds` is wall time inside the hook.

    A hook that exceeded its budget counts as called and failed, with the time that the adapter waited for it.
    """

    plugin: str
    hook: str
    calls: int = 0
    failures: int = 0
    seconds: float = 0.0


class HookCounters:
    """Totals of all hooks; any thread may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str], tuple[int, int, float]] = {}

    def add(self, plugin: str, hook: str, *, seconds: float, failed: bool) -> None:
        """Count one call."""
        with self._lock:
            calls, failures, total = self._totals.get((plugin, hook), (0, 0, 0.0))
            self._totals[plugin, hook] = calls + 1, failures + failed, total + seconds

    def snapshot(self) -> tuple[HookCount, ...]:
        """The totals now, by plugin and hook."""
        with self._lock:
            totals = sorted(self._totals.items())
        return tuple(
            HookCount(plugin=plugin, hook=hook, calls=calls, failures=failures, seconds=seconds)
            for (plugin, hook), (calls, failures, seconds) in totals
        )
