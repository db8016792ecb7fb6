"""An event loop on a thread of its own, so that tests which are plain functions can use what is asynchronous.

Hooks are plain functions, and so are the tests of most plugins. Whoever waits here blocks only themselves: it works the
same inside a test that is a coroutine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self, TypeVar

from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.dev.sandbox.web import Now, utc_now

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 120.0
"""Nothing here takes so long; what does is stuck, and a test that hangs says nothing."""


class BackgroundLoop:
    """A loop that runs as long as the `with` lasts."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="adapter.testing", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def run(self, work: Coroutine[object, object, T]) -> T:
        """What `work` returns or raises, done on the loop.

        Raises TimeoutError.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the loop and wait for its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_SECONDS)
        self._loop.close()


@contextmanager
def sandbox_in_a_thread(settings: SandboxSettings | None = None, *, now: Now = utc_now) -> Iterator[RunningSandbox]:
    """A sandbox that serves on any free port of loopback while the `with` lasts; its jobs are done at once.

    For commands and tests that have no event loop, or another one.
    """
    running = RunningSandbox(settings or SandboxSettings(port=0, job_seconds=0, report_interval_seconds=0), now=now)
    with BackgroundLoop() as loop:
        loop.run(running.__aenter__())
        try:
            yield running
        finally:
            loop.run(running.aclose())
