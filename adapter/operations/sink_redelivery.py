"""Delivers single events to sinks, each sink on its own thread, as `run` does.

Does not retry. If a delivery fails, later events about the same issuance fail too, because a sink receives these in
order. The operation can be run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from adapter.extensions.provided_sinks import ProvidedSink
from adapter.extensions.sink_thread import SinkThread
from adapter.operations.replay import SinkDelivery


class SinkRedelivery:
    """Delivers events while its block is open; `make_sinks` is called for the first event."""

    def __init__(
        self, make_sinks: Callable[[], Iterable[ProvidedSink]], *, timeout_seconds: float, concurrency: int
    ) -> None:
        self._make_sinks = make_sinks
        self._timeout_seconds = timeout_seconds
        self._concurrency = concurrency
        self._provided: dict[str, ProvidedSink] | None = None
        self._threads: dict[str, SinkThread] = {}
        self._retry_after: dict[str, float] = {}
        self._failed: set[tuple[str, str, str | None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for thread in self._threads.values():
            await thread.close()

    async def deliver(self, delivery: SinkDelivery) -> str | None:
        """Try once. Return why the event was not delivered, and what to do; None if it was delivered.

        Raises PluginRejected and SettingsError when the plugins cannot be used.
        """
        subject_key = delivery.sink, delivery.event.source, delivery.event.subject
        if subject_key in self._failed:
            return f"Sink {delivery.sink} has not accepted an earlier event about the same issuance, which comes first."
        why = await self._try(delivery)
        if why is not None:
            self._failed.add(subject_key)
        return why

    async def _try(self, delivery: SinkDelivery) -> str | None:
        thread = self._thread(delivery.sink)
        if thread is None:
            known = ", ".join(sorted(self._provided or ())) or "none"
            return f"There is no sink {delivery.sink} here; sinks: {known}. Run the command where its plugin is."
        left = self._retry_after.get(delivery.sink, 0.0) - time.monotonic()
        if left > 0:
            return f"Sink {delivery.sink} requested a pause of {left:.0f} s more. Run the command again then."
        attempt = await thread.deliver(delivery.event)
        if attempt.pause_seconds is not None:
            self._retry_after[delivery.sink] = time.monotonic() + attempt.pause_seconds
        if attempt.failed:
            return f"Sink {delivery.sink} did not accept it: it {attempt.reason}. Fix the sink or its receiver first."
        return None

    def _thread(self, name: str) -> SinkThread | None:
        provided = self._sinks().get(name)
        if provided is None:
            return None
        if name not in self._threads:
            thread = SinkThread(provided, timeout_seconds=self._timeout_seconds, concurrency=self._concurrency)
            thread.start()
            self._threads[name] = thread
        return self._threads[name]

    def _sinks(self) -> dict[str, ProvidedSink]:
        if self._provided is None:
            self._provided = {sink.name: sink for sink in self._make_sinks()}
        return self._provided
