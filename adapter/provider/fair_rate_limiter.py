"""Whose turn is it: a merchant's calls per second and calls at once, shared fairly between purposes.

Exists because ECPay locks out who calls too fast, because one merchant's slow answers must not use up another's places,
and because submitting a rush of orders must not starve the queries that settle doubts (nor the other way round).

Two budgets, one queue per purpose. A *token* is the right to call once: tokens come at `calls_per_second` and a tenth
of a second's worth can be saved up. A *place* is a call on the wire. Whenever both are there, the waiting purpose that
is furthest behind its share goes next (start-time fair queueing: every grant moves a purpose's turn on by 1/share, and
a purpose that wakes up starts level with the others). So a purpose that waits gets at least its share, a busy one
borrows what the others leave idle, and nobody saves up credit by sleeping.

Refuses to know clocks (times are seconds on any steady clock, handed in), tasks and timers: `limiter` has those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum, unique
from itertools import count
from types import MappingProxyType


@unique
class Purpose(StrEnum):
    """What a call is for."""

    SUBMIT = "submit"
    """Issue calls."""
    DOUBT = "doubt"
    """Queries that settle what became of an Issue call."""
    CONFIRM = "confirm"
    """Queries for the result of a submitted issuance, and reports."""


SHARES: Mapping[Purpose, int] = MappingProxyType({Purpose.SUBMIT: 2, Purpose.DOUBT: 1, Purpose.CONFIRM: 1})
"""Guaranteed parts of the whole while all three wait: a half, a quarter and a quarter."""

BURST_SECONDS = 0.1
_ALMOST_ONE = 1 - 1e-9  # adding up fractions of a token must not miss the whole one


class FairRateLimiter:
    """The queue before ECTicket of one merchant in one process.

    `calls_per_second` 0 is unlimited; `concurrent_calls` is the number of places.
    """

    def __init__(self, *, calls_per_second: float, concurrent_calls: int, now: float) -> None:
        self._rate = calls_per_second
        self._burst = max(1.0, calls_per_second * BURST_SECONDS)
        self._tokens = self._burst
        self._refilled_at = now
        self._free_slots = concurrent_calls
        self._request_ids = count(1)
        self._queues: dict[Purpose, dict[int, None]] = {purpose: {} for purpose in Purpose}
        self._virtual_times = dict.fromkeys(Purpose, 0.0)
        self._virtual_time = 0.0

    def enqueue(self, purpose: Purpose) -> int:
        """Stand in line; the answer is the ticket that `admit` will name."""
        if not self._queues[purpose]:
            self._virtual_times[purpose] = max(self._virtual_times[purpose], self._virtual_time)
        request_id = next(self._request_ids)
        self._queues[purpose][request_id] = None
        return request_id

    def admit_at_once(self, purpose: Purpose, now: float) -> bool:
        """Take a place and a token where both are there and nobody stands in line; False when one has to.

        The same as `ask` and `admit` in one, for the usual case.
        """
        if not self._free_slots or self._waiting():
            return False
        self._refill(now)
        if not self._has_token():
            return False
        self._virtual_time = max(self._virtual_times[purpose], self._virtual_time)
        self._charge(purpose)
        return True

    def cancel(self, request_id: int) -> None:
        """Step out of line; a ticket that was granted already has to be given back with `release` instead."""
        for queue in self._queues.values():
            queue.pop(request_id, None)

    def release(self) -> None:
        """A granted call ended: its place is free."""
        self._free_slots += 1

    def admit(self, now: float) -> Iterator[int]:
        """Name the tickets whose turn has come, in order; each holds a place until `release`."""
        self._refill(now)
        while self._free_slots and self._has_token() and (waiting := self._waiting()):
            yield self._admit_next(min(waiting, key=self._virtual_times.__getitem__))

    def wake_at(self, now: float) -> float | None:
        """When `admit` will next have something to say, all else equal; None when time alone changes nothing."""
        if not self._free_slots or not self._waiting():
            return None
        return now if self._has_token() else now + (1 - self._tokens) / self._rate

    def expected_wait(self, purpose: Purpose, now: float) -> float:
        """Estimate the seconds until a call that stands in line now gets its token, given who else waits."""
        if not self._rate:
            return 0.0
        self._refill(now)
        active = sum(SHARES[other] for other, queue in self._queues.items() if queue or other is purpose)
        missing = len(self._queues[purpose]) + 1 - self._tokens
        return max(0.0, missing * active / (SHARES[purpose] * self._rate))

    def _admit_next(self, purpose: Purpose) -> int:
        request_id = next(iter(self._queues[purpose]))
        del self._queues[purpose][request_id]
        self._virtual_time = self._virtual_times[purpose]
        self._charge(purpose)
        return request_id

    def _charge(self, purpose: Purpose) -> None:
        """Let a call in at `_virtual_time`."""
        self._virtual_times[purpose] = self._virtual_time + 1 / SHARES[purpose]
        self._free_slots -= 1
        if self._rate:
            self._tokens -= 1

    def _waiting(self) -> list[Purpose]:
        return [purpose for purpose, queue in self._queues.items() if queue]

    def _has_token(self) -> bool:
        return not self._rate or self._tokens >= _ALMOST_ONE

    def _refill(self, now: float) -> None:
        earned = max(0.0, now - self._refilled_at) * self._rate
        self._tokens = min(self._burst, self._tokens + earned)
        self._refilled_at = now
