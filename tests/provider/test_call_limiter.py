"""The limiter waits, refuses calls that would wait too long, and loses no slot to a cancelled caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapter.errors import NotSent
from adapter.provider.call_limiter import CallLimiter, Purpose


def _limiter(*, rate: float = 0, slots: int = 1, max_wait: float = 0.1) -> CallLimiter:
    return CallLimiter(calls_per_second=rate, concurrent_calls=slots, max_wait_seconds=max_wait)


@asynccontextmanager
async def _slot(limiter: CallLimiter, purpose: Purpose = Purpose.SUBMIT) -> AsyncIterator[None]:
    await limiter.acquire(purpose)
    try:
        yield
    finally:
        limiter.release(purpose)


async def _pass(limiter: CallLimiter, purpose: Purpose = Purpose.SUBMIT) -> None:
    async with _slot(limiter, purpose):
        pass


async def _next_step() -> None:
    await asyncio.sleep(0)


async def test_a_free_place_is_taken_without_waiting() -> None:
    """The common case does not even yield to the loop, and needs no coroutine."""
    limiter = _limiter(slots=3)

    async with _slot(limiter), _slot(limiter, Purpose.DOUBT):
        assert limiter.acquire_at_once(Purpose.SUBMIT)
        assert not limiter.acquire_at_once(Purpose.SUBMIT)


async def test_a_call_that_would_wait_too_long_is_refused_at_once() -> None:
    """One call in ten seconds: the second is not sent, and does not hold its order up either."""
    limiter = _limiter(rate=0.1, slots=5)
    await _pass(limiter)

    with pytest.raises(NotSent, match="not queued"):
        await _pass(limiter)


async def test_a_call_that_waits_too_long_for_a_place_is_not_sent() -> None:
    """If slow calls hold all slots, waiting calls are given up."""
    limiter = _limiter(max_wait=0.02)

    async with _slot(limiter):
        with pytest.raises(NotSent, match="queued"):
            await _pass(limiter)
    await _pass(limiter)


async def test_the_next_call_goes_when_a_place_is_free() -> None:
    """A call that ends admits the next one."""
    limiter = _limiter(max_wait=5)
    async with _slot(limiter):
        waiting = asyncio.create_task(_pass(limiter))
        await _next_step()
        assert not waiting.done()

    await waiting


async def test_the_next_call_goes_when_its_token_comes() -> None:
    """Fifty a second with five at once: the sixth waits for the clock, not for a free slot."""
    limiter = _limiter(rate=50, slots=100, max_wait=5)
    loop = asyncio.get_running_loop()
    begun = loop.time()

    await asyncio.gather(*(_pass(limiter) for _ in range(8)))

    assert loop.time() - begun >= 0.055


async def test_a_cancelled_waiter_leaves_its_turn_to_the_next() -> None:
    """Cancelled while queued: the next one gets the slot."""
    limiter = _limiter(max_wait=5)
    async with _slot(limiter):
        first, second = asyncio.create_task(_pass(limiter)), asyncio.create_task(_pass(limiter))
        await _next_step()
        first.cancel()
        await _next_step()

    await second
    assert first.cancelled()


async def test_a_waiter_cancelled_just_before_its_turn_does_not_take_the_place_along() -> None:
    """Cancelled, and then admitted before its task ran to leave the queue."""
    limiter = _limiter(max_wait=5)
    async with _slot(limiter):
        first = asyncio.create_task(_pass(limiter))
        await _next_step()
        first.cancel()

    await asyncio.wait([first])
    await _pass(limiter)


async def test_a_waiter_cancelled_just_after_its_turn_gives_the_place_back() -> None:
    """Admitted, and cancelled before its task ran to use the slot."""
    limiter = _limiter(max_wait=5)
    async with _slot(limiter):
        first = asyncio.create_task(_pass(limiter))
        await _next_step()
    first.cancel()

    await asyncio.wait([first])
    await _pass(limiter)
