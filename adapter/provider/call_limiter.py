"""Lets calls through at their `FairRateLimiter`: the thin asynchronous shell around the pure queue.

Exists so that the queue needs no event loop and its tests no waiting. Refuses to know what is called, and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapter.errors import NotSent
from adapter.provider.fair_rate_limiter import FairRateLimiter, Purpose


class CallLimiter:
    """One merchant's gate; belongs to the event loop it is first used on."""

    def __init__(self, *, calls_per_second: float, concurrent_calls: int, max_wait_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limiter = FairRateLimiter(
            calls_per_second=calls_per_second, concurrent_calls=concurrent_calls, now=self._loop.time()
        )
        self._max_wait = max_wait_seconds
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self, purpose: Purpose) -> AsyncIterator[None]:
        """Wait for a turn, then hold a place for as long as the body lasts.

        Raises:
            NotSent: the turn would come, or came, later than the longest wait allowed.
        """
        await self._acquire(purpose)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, purpose: Purpose) -> None:
        if self._limiter.admit_at_once(purpose, self._loop.time()):
            return
        if self._limiter.expected_wait(purpose, self._loop.time()) > self._max_wait:
            raise NotSent(f"{self._too_long(purpose)}; nothing was tried.")
        request_id = self._limiter.enqueue(purpose)
        slot = self._waiting[request_id] = self._loop.create_future()
        self._admit_waiting()
        if slot.done():
            return
        try:
            async with asyncio.timeout(self._max_wait):
                await slot
        except TimeoutError as late:
            self._give_up(request_id, slot)
            raise NotSent(f"{self._too_long(purpose)}; it stood in line and was not sent.") from late
        except asyncio.CancelledError:
            self._give_up(request_id, slot)
            raise

    def _too_long(self, purpose: Purpose) -> str:
        return f"a {purpose} call would wait more than {self._max_wait:g} s for its turn"

    def _give_up(self, request_id: int, slot: asyncio.Future[None]) -> None:
        """Give up a wait; where the turn came in the very same moment, hand the place on."""
        if self._waiting.pop(request_id, None) is not None:
            self._limiter.cancel(request_id)
        elif not slot.cancelled():
            self._release()

    def _release(self) -> None:
        self._limiter.release()
        if self._waiting:
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        """Let in whose turn has come, and look again when the next token does."""
        now = self._loop.time()
        for request_id in self._limiter.admit(now):
            slot = self._waiting.pop(request_id)
            if slot.cancelled():  # its task has not woken up yet to step out of line
                self._limiter.release()
            else:
                slot.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = self._limiter.wake_at(now)
        if wake_at is not None:
            self._timer = self._loop.call_at(wake_at, self._admit_waiting)
