"""Limits a merchant's calls per second and calls at once, and shares them fairly between purposes.

ECPay locks out clients that call too fast. The slow answers of one merchant must not use up the slots of another one.
Many orders at once must not starve the queries that resolve doubts, and these queries must not starve the orders.

`FairRateLimiter` is the pure queue; times are seconds on any steady clock, passed as arguments. `CallLimiter` is the
thin asynchronous shell around it, with tasks and timers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from enum import StrEnum, unique
from itertools import count
from types import MappingProxyType

from msgspec import Struct

from adapter.errors import NotSent


@unique
class Purpose(StrEnum):
    """What a call is for."""

    SUBMIT = "submit"
    """Issue calls."""
    DOUBT = "doubt"
    """Queries that settle what became of an Issue call."""
    CONFIRM = "confirm"
    """Queries for the result of a submitted issuance, and reports."""
    ITEM = "item"
    """Queries for products (QueryItemInfo)."""


SHARES: Mapping[Purpose, int] = MappingProxyType(
    {Purpose.SUBMIT: 4, Purpose.DOUBT: 2, Purpose.CONFIRM: 2, Purpose.ITEM: 1}
)
"""Guaranteed parts of the whole while all four wait; without queries for products a half, a quarter and a quarter."""
ITEM_SLOTS = 1 / 8
"""The part of the slots that queries for products hold at most, so that slow ones leave the others to orders."""

BURST_SECONDS = 0.1
_ALMOST_ONE = 1 - 1e-9  # adding up fractions of a token must not miss the whole one


class LimiterUsage(Struct, frozen=True, kw_only=True):
    """How much of a merchant's budgets is in use at one moment."""

    calls_per_second: float
    """The limit; 0 is none."""
    slots: int
    slots_in_use: int
    """Calls on the wire."""
    queued: Mapping[Purpose, int]
    """Calls that wait for a token or a slot."""


class FairRateLimiter:
    """The queue of one merchant's calls in one process.

    It has two budgets and one queue for each purpose. A *token* is the right to call once: tokens come at
    `calls_per_second` (0 is unlimited), and those of a tenth of a second can be saved. A *slot* is a call on the wire;
    there are `concurrent_calls` of them. Whenever both are free, the waiting purpose that is furthest behind its share
    goes next (start-time fair queueing: each admission moves the purpose on by 1/share, and a purpose that wakes up
    starts level with the others). So a waiting purpose gets at least its share, a busy one borrows what the others do
    not use, and no purpose saves up credit while it is idle. Queries for products hold at most `ITEM_SLOTS` of the
    slots.
    """

    def __init__(self, *, calls_per_second: float, concurrent_calls: int, now: float) -> None:
        self._rate = calls_per_second
        self._burst = max(1.0, calls_per_second * BURST_SECONDS)
        self._tokens = self._burst
        self._refilled_at = now
        self._slots = concurrent_calls
        self._free_slots = concurrent_calls
        self._free_item_slots = max(1, int(concurrent_calls * ITEM_SLOTS))
        self._request_ids = count(1)
        self._queues: dict[Purpose, dict[int, None]] = {purpose: {} for purpose in Purpose}
        self._virtual_times = dict.fromkeys(Purpose, 0.0)
        self._virtual_time = 0.0

    def enqueue(self, purpose: Purpose) -> int:
        """Add a call to the queue and return the request id that `admit` will yield."""
        if not self._queues[purpose]:
            self._virtual_times[purpose] = max(self._virtual_times[purpose], self._virtual_time)
        request_id = next(self._request_ids)
        self._queues[purpose][request_id] = None
        return request_id

    def admit_at_once(self, purpose: Purpose, now: float) -> bool:
        """Take a slot and a token if both are free and no call waits; return False if the call has to wait.

        It combines `enqueue` and `admit` for the usual case.
        """
        if not self._has_slot(purpose) or (any(self._queues.values()) and self._waiting()):
            return False
        self._refill(now)
        if not self._has_token():
            return False
        self._virtual_time = max(self._virtual_times[purpose], self._virtual_time)
        self._charge(purpose)
        return True

    def cancel(self, request_id: int) -> None:
        """Remove a waiting call from the queue; for one that is already admitted, call `release` instead."""
        for queue in self._queues.values():
            queue.pop(request_id, None)

    def release(self, purpose: Purpose) -> None:
        """Free the slot of an admitted call that ended."""
        self._free_slots += 1
        if purpose is Purpose.ITEM:
            self._free_item_slots += 1

    def admit(self, now: float) -> Iterator[int]:
        """Yield the request ids that are admitted now, in order; each holds a slot until `release`."""
        self._refill(now)
        while self._free_slots and self._has_token() and (waiting := self._waiting()):
            yield self._admit_next(min(waiting, key=self._virtual_times.__getitem__))

    def wake_at(self, now: float) -> float | None:
        """Return when `admit` will next admit a call; None if time alone changes nothing."""
        if not self._free_slots or not self._waiting():
            return None
        return now if self._has_token() else now + (1 - self._tokens) / self._rate

    def expected_wait(self, purpose: Purpose, now: float) -> float:
        """Estimate the seconds until a call that is queued now gets its token, given the other waiting calls."""
        if not self._rate:
            return 0.0
        self._refill(now)
        active = sum(SHARES[other] for other, queue in self._queues.items() if queue or other is purpose)
        missing = len(self._queues[purpose]) + 1 - self._tokens
        return max(0.0, missing * active / (SHARES[purpose] * self._rate))

    def usage(self) -> LimiterUsage:
        """What is in use now; changes nothing, and any thread may call it."""
        return LimiterUsage(
            calls_per_second=self._rate,
            slots=self._slots,
            slots_in_use=self._slots - self._free_slots,
            queued={purpose: len(queue) for purpose, queue in self._queues.items()},
        )

    def _admit_next(self, purpose: Purpose) -> int:
        request_id = next(iter(self._queues[purpose]))
        del self._queues[purpose][request_id]
        self._virtual_time = self._virtual_times[purpose]
        self._charge(purpose)
        return request_id

    def _charge(self, purpose: Purpose) -> None:
        """Admit a call at `_virtual_time`."""
        self._virtual_times[purpose] = self._virtual_time + 1 / SHARES[purpose]
        self._free_slots -= 1
        if purpose is Purpose.ITEM:
            self._free_item_slots -= 1
        if self._rate:
            self._tokens -= 1

    def _has_slot(self, purpose: Purpose) -> bool:
        return self._free_slots > 0 and (purpose is not Purpose.ITEM or self._free_item_slots > 0)

    def _waiting(self) -> list[Purpose]:
        """The purposes with calls that wait, without queries for products while all their slots are in use."""
        return [
            purpose
            for purpose, queue in self._queues.items()
            if queue and (purpose is not Purpose.ITEM or self._free_item_slots > 0)
        ]

    def _has_token(self) -> bool:
        return not self._rate or self._tokens >= _ALMOST_ONE

    def _refill(self, now: float) -> None:
        earned = max(0.0, now - self._refilled_at) * self._rate
        self._tokens = min(self._burst, self._tokens + earned)
        self._refilled_at = now


class CallLimiter:
    """The limiter of one merchant; belongs to the event loop on which it is created."""

    def __init__(self, *, calls_per_second: float, concurrent_calls: int, max_wait_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limiter = FairRateLimiter(
            calls_per_second=calls_per_second, concurrent_calls=concurrent_calls, now=self._loop.time()
        )
        self._max_wait = max_wait_seconds
        self._waiting: dict[int, tuple[Purpose, asyncio.Future[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def usage(self) -> LimiterUsage:
        """What is in use now; any thread may call it."""
        return self._limiter.usage()

    def acquire_at_once(self, purpose: Purpose) -> bool:
        """Take a slot if one is free and no call waits; `acquire` waits for one. Each slot is held until `release`."""
        return self._limiter.admit_at_once(purpose, self._loop.time())

    async def acquire(self, purpose: Purpose) -> None:
        """Wait for a slot.

        Raises:
            NotSent: the wait would be, or was, longer than the longest wait allowed.
        """
        if self._limiter.expected_wait(purpose, self._loop.time()) > self._max_wait:
            raise NotSent(f"{self._too_long(purpose)}; it was not queued.")
        request_id = self._limiter.enqueue(purpose)
        slot = self._loop.create_future()
        self._waiting[request_id] = (purpose, slot)
        self._admit_waiting()
        if slot.done():
            return
        try:
            async with asyncio.timeout(self._max_wait):
                await slot
        except TimeoutError as late:
            self._give_up(request_id, purpose, slot)
            raise NotSent(f"{self._too_long(purpose)}; it was queued and not sent.") from late
        except asyncio.CancelledError:
            self._give_up(request_id, purpose, slot)
            raise

    def _too_long(self, purpose: Purpose) -> str:
        return f"a {purpose} call would wait more than {self._max_wait:g} s for its slot"

    def _give_up(self, request_id: int, purpose: Purpose, slot: asyncio.Future[None]) -> None:
        """Give up a wait; release the slot if the call was admitted at the same moment."""
        if self._waiting.pop(request_id, None) is not None:
            self._limiter.cancel(request_id)
        elif not slot.cancelled():
            self.release(purpose)

    def release(self, purpose: Purpose) -> None:
        """Give a slot back, and let the next call have it."""
        self._limiter.release(purpose)
        if self._waiting:
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        """Admit the calls whose turn has come, and schedule the next check for the next token."""
        now = self._loop.time()
        for request_id in self._limiter.admit(now):
            purpose, slot = self._waiting.pop(request_id)
            if slot.cancelled():  # its task has not run yet to leave the queue
                self._limiter.release(purpose)
            else:
                slot.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = self._limiter.wake_at(now)
        if wake_at is not None:
            self._timer = self._loop.call_at(wake_at, self._admit_waiting)
