"""What can be seen of the calls from outside, for metrics and logs.

Exists so that counting has one door and the client no metrics library. Refuses to know who counts, and what.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Protocol

from adapter.protocol.endpoints import Endpoint
from adapter.provider.breaker import BreakerState


@unique
class CallOutcome(StrEnum):
    """How a call ended."""

    ANSWERED = "answered"
    """An answer to act on, refusals (RtnCode ≠ 1) included."""
    BREAKER_OPEN = "breaker_open"
    """Not tried: the merchant's breaker is open."""
    NOT_SENT = "not_sent"
    """Nothing was written: no connection, or no turn in time."""
    THROTTLED = "throttled"
    NOT_ACCEPTED = "not_accepted"
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"
    """The caller gave up: cancelled, or the lease on its partition was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished:
    """One finished call.

    `waited_seconds` went by before it was the call's turn, `seconds` from then until it ended (0 when its turn never
    came). Calls of the breaker's own probe are told like any other.
    """

    merchant_id: str
    endpoint: Endpoint
    outcome: CallOutcome
    waited_seconds: float
    seconds: float


class ProviderObserver(Protocol):
    """Is told what happened. Called on the event loop: quick, and never raising."""

    def call_finished(self, call: CallFinished) -> None:
        """A call ended, one way or another."""

    def breaker_changed(self, merchant_id: str, state: BreakerState) -> None:
        """A merchant's breaker went to another state."""


class NullProviderObserver:
    """Nobody looks."""

    def call_finished(self, call: CallFinished) -> None:
        """Let it pass."""

    def breaker_changed(self, merchant_id: str, state: BreakerState) -> None:
        """Let it pass."""
