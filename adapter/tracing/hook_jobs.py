"""Watches the hooks of an order: one span for its mapping, with the plugins that were called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from adapter.extensions.invocation import HookCounters
from adapter.tracing.spans import Spans, is_recording


class _NotingCounters(HookCounters):
    """Counts in the counters of the process, and notes which plugins were called; any thread may add to it."""

    def __init__(self, totals: HookCounters) -> None:
        super().__init__()
        self._of_process = totals
        self.calls: dict[str, None] = {}
        self.failed: dict[str, None] = {}

    def add(self, plugin: str, hook: str, *, seconds: float, failed: bool) -> None:
        self._of_process.add(plugin, hook, seconds=seconds, failed=failed)
        (self.failed if failed else self.calls)[f"{plugin}.{hook}"] = None


class HookSpans:
    """Makes the span `map` of each recorded order."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def __call__(self, totals: HookCounters) -> AbstractContextManager[HookCounters] | None:
        """Watch the hooks of one order, if it is recorded; parsing runs before the order has a span."""
        return self._watched(totals) if is_recording() else None

    @contextmanager
    def _watched(self, totals: HookCounters) -> Iterator[HookCounters]:
        counters = _NotingCounters(totals)
        with self._spans.child("map", attributes={}) as span:
            try:
                yield counters
            finally:
                span.set_attribute("ecticket.plugins", tuple(counters.calls))
                if counters.failed:
                    span.set_attribute("ecticket.plugins.failed", tuple(counters.failed))
