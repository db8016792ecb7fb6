"""Engines on a thread and loop of their own, for work that must never delay that of the main loop.

An engine that ends by itself, which is a mistake of ours, is made and run anew after a while: it may cost nobody else
anything, and what it had not settled it reads again. Refuses to know what the engines work on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

log = logging.getLogger(__name__)

RUN_AGAIN_SECONDS = 30.0
"""How long an engine that ended by itself stays away."""

_BEAT_SECONDS = 0.5
_MARGIN_SECONDS = 5.0
"""What ending may take beyond the grace: leaving the group, and being cancelled."""


class StageRunner(Protocol):
    """An engine, as it is run here; `engine.Engine` is the one there is."""

    @property
    def assigned(self) -> frozenset[tuple[str, int]]: ...
    @property
    def in_touch(self) -> bool: ...
    @property
    def standing_by(self) -> bool: ...
    @property
    def problems(self) -> Sequence[str]: ...
    async def run(self) -> None: ...
    async def stop(self, grace_seconds: float) -> None: ...


class EngineThread:
    """The engines that `makes` makes, by name, run on a thread called `name`; started once and stopped once."""

    def __init__(
        self, name: str, makes: Mapping[str, Callable[[], StageRunner]], *, run_again_seconds: float = RUN_AGAIN_SECONDS
    ) -> None:
        self._makes = makes
        self._run_again_seconds = run_again_seconds
        self._engines: dict[str, StageRunner] = {}
        self._begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._ended: Future[None] = Future()
        self._grace = 0.0
        self._last_heartbeat = time.monotonic()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    @property
    def engines(self) -> Mapping[str, StageRunner]:
        """The engines as they are now."""
        return dict(self._engines)

    @property
    def last_heartbeat(self) -> float:
        """When its loop last turned (`time.monotonic`)."""
        return self._last_heartbeat

    async def start(self) -> None:
        """Begin to run the engines."""
        self._thread.start()
        await asyncio.wrap_future(self._begun)

    async def stop(self, grace_seconds: float) -> None:
        """Stop all engines, each with this grace; a thread that does not end then is left alone."""
        loop, stopping = self._begun.result()
        self._grace = grace_seconds
        loop.call_soon_threadsafe(stopping.set)
        ended = asyncio.wrap_future(self._ended)
        await asyncio.wait({ended}, timeout=grace_seconds + _MARGIN_SECONDS)
        if not ended.done():
            log.error("%s has not stopped; what it has not settled is done again by the next", self._thread.name)

    def _live(self) -> None:
        try:
            asyncio.run(self._run())
        finally:
            self._ended.set_result(None)

    async def _run(self) -> None:
        stopping = asyncio.Event()
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
            except Exception:  # the thread's top: reported, and the engine is made anew
                log.exception("%s ended by itself and is run again", name)
                await _either(stopping, self._run_again_seconds)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event, or so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
