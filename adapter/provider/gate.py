"""Lets calls through at their `Pace`: the thin asynchronous shell around the pure queue.

Exists so that the queue needs no event loop and its tests no waiting. Refuses to know what is called, and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapter.errors import NotSent
from adapter.provider.pace import Pace, Purpose


class Gate:
    """One merchant's gate; belongs to the event loop it is first used on."""

    def __init__(self, *, calls_per_second: float, concurrent_calls: int, max_wait_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(calls_per_second=calls_per_second, concurrent_calls=concurrent_calls, now=self._loop.time())
        self._max_wait = max_wait_seconds
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, purpose: Purpose) -> AsyncIterator[None]:
        """Wait for a turn, then hold a place for as long as the body lasts.

        Raises:
            NotSent: the turn would come, or came, later than the longest wait allowed.
        """
        await self._enter(purpose)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, purpose: Purpose) -> None:
        if self._pace.enter_at_once(purpose, self._loop.time()):
            return
        if self._pace.expected_wait(purpose, self._loop.time()) > self._max_wait:
            raise NotSent(f"{self._too_long(purpose)}; nothing was tried.")
        ticket = self._pace.ask(purpose)
        turn = self._waiting[ticket] = self._loop.create_future()
        self._grant()
        if turn.done():
            return
        try:
            async with asyncio.timeout(self._max_wait):
                await turn
        except TimeoutError as late:
            self._step_out(ticket, turn)
            raise NotSent(f"{self._too_long(purpose)}; it stood in line and was not sent.") from late
        except asyncio.CancelledError:
            self._step_out(ticket, turn)
            raise

    def _too_long(self, purpose: Purpose) -> str:
        return f"a {purpose} call would wait more than {self._max_wait:g} s for its turn"

    def _step_out(self, ticket: int, turn: asyncio.Future[None]) -> None:
        """Give up a wait; where the turn came in the very same moment, hand the place on."""
        if self._waiting.pop(ticket, None) is not None:
            self._pace.withdraw(ticket)
        elif not turn.cancelled():
            self._leave()

    def _leave(self) -> None:
        self._pace.give_back()
        if self._waiting:
            self._grant()

    def _grant(self) -> None:
        """Let in whose turn has come, and look again when the next token does."""
        now = self._loop.time()
        for ticket in self._pace.grant(now):
            turn = self._waiting.pop(ticket)
            if turn.cancelled():  # its task has not woken up yet to step out of line
                self._pace.give_back()
            else:
                turn.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = self._pace.wake_at(now)
        if wake_at is not None:
            self._timer = self._loop.call_at(wake_at, self._grant)
