"""Counters: calls by endpoint and outcome, refusals by reason, late effects. The names are fixed, so it is bounded.

An outcome is what the client got, not what happened: a call whose answer was lost counts as `connection_closed`,
whether or not it issued tickets. The order store holds what happened.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from adapter.dev.sandbox.codes import Reason
from adapter.protocol.endpoints import Endpoint

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
NOT_ACCEPTED: Final = "not_accepted"
CONNECTION_CLOSED: Final = "connection_closed"
GARBAGE: Final = "garbage"
WRONG_CHECKSUM: Final = "wrong_checksum"


def http_outcome(status: int) -> str:
    """The outcome of a call answered with a bare HTTP status."""
    return f"http_{status}"


@dataclass(slots=True)
class Stats:
    """Counters since the start."""

    calls: dict[Endpoint, Counter[str]] = field(default_factory=lambda: {each: Counter() for each in Endpoint})
    refusals: Counter[Reason] = field(default_factory=Counter)
    late_effects: Counter[str] = field(default_factory=Counter)

    def describe(self) -> dict[str, object]:
        """The counters as `/_/stats` shows them."""
        return {
            "calls": {each.name.lower(): dict(outcomes) for each, outcomes in self.calls.items()},
            "refusals": {reason.value: count for reason, count in self.refusals.items()},
        }

    def late_effects_described(self) -> dict[str, int]:
        """How late effects ended."""
        return {name: self.late_effects[name] for name in ("done", "refused")}
