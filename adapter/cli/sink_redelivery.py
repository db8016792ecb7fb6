"""The sinks of one command: loaded when the first letter is for one, each on a thread of its own, as in `run`.

Nothing waits here for a sink that fails: its letter stays where it is, and so do those that come after it about the
same issuance, since a sink is told these in their order. The command can be run again.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from adapter.extensions.provided_sinks import ProvidedSink
    from adapter.extensions.sink_thread import SinkThread
    from adapter.operations.replay import SinkDelivery
    from adapter.settings import Settings


class SinkRedelivery:
    """Delivers single events to the sinks of these settings, until it is left."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
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
        """Try once; why it was not delivered, and what to do, or None when it was.

        Raises PluginRefused and SettingsError when the plugins of these settings cannot be used.
        """
        subject_key = delivery.sink, delivery.event.source, delivery.event.subject
        if subject_key in self._failed:
            return f"Sink {delivery.sink} did not take an earlier event about the same, which comes first."
        why = await self._try(delivery)
        if why is not None:
            self._failed.add(subject_key)
        return why

    async def _try(self, delivery: SinkDelivery) -> str | None:
        thread = self._thread(delivery.sink)
        if thread is None:
            known = ", ".join(sorted(self._provided or ())) or "none"
            return f"There is no sink {delivery.sink} here; there is: {known}. Run the command where its plugin is."
        left = self._retry_after.get(delivery.sink, 0.0) - time.monotonic()
        if left > 0:
            return f"Sink {delivery.sink} asks to be left alone for {left:.0f} s more. Run the command again then."
        attempt = await thread.deliver(delivery.event)
        if attempt.pause_seconds is not None:
            self._retry_after[delivery.sink] = time.monotonic() + attempt.pause_seconds
        if attempt.failed:
            return f"Sink {delivery.sink} did not take it: it {attempt.reason}. Mend the sink or its receiver first."
        return None

    def _thread(self, name: str) -> SinkThread | None:
        from adapter.extensions.sink_thread import SinkThread

        provided = self._sinks().get(name)
        if provided is None:
            return None
        if name not in self._threads:
            deliver = self._settings.deliver
            thread = SinkThread(provided, timeout_seconds=deliver.timeout_seconds, concurrency=deliver.concurrency)
            thread.start()
            self._threads[name] = thread
        return self._threads[name]

    def _sinks(self) -> dict[str, ProvidedSink]:
        from adapter.wiring import make_sinks, plugin_manager

        if self._provided is None:
            plugins = plugin_manager(self._settings)
            plugins.raise_if_rejected()
            self._provided = {sink.name: sink for sink in make_sinks(plugins)}
        return self._provided
