"""Runs engines on a thread and loop of their own, so that their work never delays the main loop.

An engine that fails, which is a programming error, is built and run again after a pause. Other engines are not
affected, and the failed one reads again what it had not settled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from adapter import event_loop
from adapter.stream.snapshot import StageStatus

log = logging.getLogger(__name__)

RUN_AGAIN_SECONDS = 30.0
"""The pause before a failed engine is run again."""

_BEAT_SECONDS = 0.5
_MARGIN_SECONDS = 5.0
"""How long stopping may take beyond the grace period: leaving the group, and cancellation."""


class StageRunner(StageStatus, Protocol):
    """A stage that a thread runs."""

    async def run(self) -> None: ...
    async def stop(self, grace_seconds: float) -> None: ...


class EngineThread:
    """Runs the engines that `makes` builds, by name, on a thread called `name`. Started once and stopped once.

    `beside` runs what blocks, such as the look-up of a host name; its shutdown should not wait for that.
    """

    def __init__(
        self,
        name: str,
        makes: Mapping[str, Callable[[], StageRunner]],
        *,
        beside: ThreadPoolExecutor,
        run_again_seconds: float = RUN_AGAIN_SECONDS,
    ) -> None:
        self._makes = makes
        self._beside = beside
        self._run_again_seconds = run_again_seconds
        self._engines: dict[str, StageRunner] = {}
        self._begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._ended: Future[None] = Future()
        self._grace = 0.0
        self._last_heartbeat = time.monotonic()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    @property
    def engines(self) -> Mapping[str, StageRunner]:
        """The current engines."""
        return dict(self._engines)

    @property
    def last_heartbeat(self) -> float:
        """When the thread's loop last ran (`time.monotonic`)."""
        return self._last_heartbeat

    async def start(self) -> None:
        """Start the thread and its engines."""
        self._thread.start()
        await asyncio.wrap_future(self._begun)

    async def stop(self, grace_seconds: float) -> None:
        """Stop all engines, each with this grace period. A thread that does not stop in time is left running."""
        loop, stopping = self._begun.result()
        self._grace = grace_seconds
        loop.call_soon_threadsafe(stopping.set)
        ended = asyncio.wrap_future(self._ended)
        await asyncio.wait({ended}, timeout=grace_seconds + _MARGIN_SECONDS)
        if not ended.done():
            log.error("thread-not-stopped", extra={"thread_name": self._thread.name})

    def _live(self) -> None:
        try:
            event_loop.run(self._run())
        finally:
            self._ended.set_result(None)

    async def _run(self) -> None:
        stopping = asyncio.Event()
        asyncio.get_running_loop().set_default_executor(self._beside)
        running = [asyncio.create_task(self._keep(name, make, stopping)) for name, make in self._makes.items()]
        self._begun.set_result((asyncio.get_running_loop(), stopping))
        while not stopping.is_set():
            self._last_heartbeat = time.monotonic()
            await _either(stopping, _BEAT_SECONDS)
        await asyncio.gather(*(engine.stop(self._grace) for engine in self._engines.values()))
        await asyncio.gather(*running)

    async def _keep(self, name: str, make: Callable[[], StageRunner], stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                engine = self._engines[name] = make()
                await engine.run()
            except Exception:  # the top of the thread: logged, and the engine is built again
                log.exception("stage-failed", extra={"stage": name, "retry_seconds": self._run_again_seconds})
                await _either(stopping, self._run_again_seconds)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, or for so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
