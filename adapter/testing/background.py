"""An event loop in a thread, so that tests written as plain functions can use asynchronous code.

Hooks are plain functions, and so are the tests of most plugins. A call blocks only the calling thread, so it also works
inside a test that is a coroutine.
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
"""Time-out of one call. Every call is much faster; a stuck one must fail the test instead of hanging it."""


class BackgroundLoop:
    """A loop that runs until the `with` block ends."""

    def __init__(self) -> None:
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="adapter.testing", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run `work` on the loop and return its result, or raise its error.

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
    """A sandbox on a free loopback port until the `with` block ends; its jobs finish at once.

    For commands and tests that have no event loop or use another one.
    """
    running = RunningSandbox(settings or SandboxSettings(port=0, job_seconds=0, report_interval_seconds=0), now=now)
    with BackgroundLoop() as loop:
        loop.run(running.__aenter__())
        try:
            yield running
        finally:
            loop.run(running.aclose())
