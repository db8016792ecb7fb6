"""Whose turn is it: a merchant's calls per second and calls at once, shared fairly between purposes.

Exists because ECPay locks out who calls too fast, because one merchant's slow answers must not use up another's places,
and because submitting a rush of orders must not starve the queries that settle doubts (nor the other way round).

Two budgets, one queue per purpose. A *token* is the right to call once: tokens come at `calls_per_second` and a tenth
of a second's worth can be saved up. A *place* is a call on the wire. Whenever both are there, the waiting purpose that
is furthest behind its share goes next (start-time fair queueing: every grant moves a purpose's turn on by 1/share, and
a purpose that wakes up starts level with the others). So a purpose that waits gets at least its share, a busy one
borrows what the others leave idle, and nobody saves up credit by sleeping.

Refuses to know clocks (times are seconds on any steady clock, handed in), tasks and timers: `gate` has those.
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


class Pace:
    """The queue before ECTicket of one merchant in one process.

    `calls_per_second` 0 is unlimited; `concurrent_calls` is the number of places.
    """

    def __init__(self, *, calls_per_second: float, concurrent_calls: int, now: float) -> None:
        self._rate = calls_per_second
        self._burst = max(1.0, calls_per_second * BURST_SECONDS)
        self._tokens = self._burst
        self._counted_at = now
        self._places = concurrent_calls
        self._numbers = count(1)
        self._queues: dict[Purpose, dict[int, None]] = {purpose: {} for purpose in Purpose}
        self._turns = dict.fromkeys(Purpose, 0.0)
        self._turn = 0.0

    def ask(self, purpose: Purpose) -> int:
        """Stand in line; the answer is the ticket that `grant` will name."""
        if not self._queues[purpose]:
            self._turns[purpose] = max(self._turns[purpose], self._turn)
        ticket = next(self._numbers)
        self._queues[purpose][ticket] = None
        return ticket

    def enter_at_once(self, purpose: Purpose, now: float) -> bool:
        """Take a place and a token where both are there and nobody stands in line; False when one has to.

        The same as `ask` and `grant` in one, for the usual case.
        """
        if not self._places or self._waiting():
            return False
        self._count_tokens(now)
        if not self._has_token():
            return False
        self._turn = max(self._turns[purpose], self._turn)
        self._account_for(purpose)
        return True

    def withdraw(self, ticket: int) -> None:
        """Step out of line; a ticket that was granted already has to be given back with `give_back` instead."""
        for queue in self._queues.values():
            queue.pop(ticket, None)

    def give_back(self) -> None:
        """A granted call ended: its place is free."""
        self._places += 1

    def grant(self, now: float) -> Iterator[int]:
        """Name the tickets whose turn has come, in order; each holds a place until `give_back`."""
        self._count_tokens(now)
        while self._places and self._has_token() and (waiting := self._waiting()):
            yield self._take(min(waiting, key=self._turns.__getitem__))

    def wake_at(self, now: float) -> float | None:
        """When `grant` will next have something to say, all else equal; None when time alone changes nothing."""
        if not self._places or not self._waiting():
            return None
        return now if self._has_token() else now + (1 - self._tokens) / self._rate

    def expected_wait(self, purpose: Purpose, now: float) -> float:
        """Estimate the seconds until a call that stands in line now gets its token, given who else waits."""
        if not self._rate:
            return 0.0
        self._count_tokens(now)
        active = sum(SHARES[other] for other, queue in self._queues.items() if queue or other is purpose)
        missing = len(self._queues[purpose]) + 1 - self._tokens
        return max(0.0, missing * active / (SHARES[purpose] * self._rate))

    def _take(self, purpose: Purpose) -> int:
        ticket = next(iter(self._queues[purpose]))
        del self._queues[purpose][ticket]
        self._turn = self._turns[purpose]
        self._account_for(purpose)
        return ticket

    def _account_for(self, purpose: Purpose) -> None:
        """Let a call in at `_turn`."""
        self._turns[purpose] = self._turn + 1 / SHARES[purpose]
        self._places -= 1
        if self._rate:
            self._tokens -= 1

    def _waiting(self) -> list[Purpose]:
        return [purpose for purpose, queue in self._queues.items() if queue]

    def _has_token(self) -> bool:
        return not self._rate or self._tokens >= _ALMOST_ONE

    def _count_tokens(self, now: float) -> None:
        earned = max(0.0, now - self._counted_at) * self._rate
        self._tokens = min(self._burst, self._tokens + earned)
        self._counted_at = now
