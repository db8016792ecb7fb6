"""How long a sink is waited for: when a delivery that failed is tried again, and when it is given up. Pure.

The clock of giving up begins when the event was told, so that restarts do not begin it anew. An event that is older
than that when it is first tried, because the adapter was away, is still tried for a while: the sink may have been away
with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

LEAST_TRYING_SECONDS = 3600.0
"""How long any event is tried, however old it is."""
LONGEST_PAUSE_SECONDS = 3600.0
"""How long a sink that asked to be left alone is, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The settings under `deliver` that say when; all in seconds."""

    first_retry_seconds: float = 1.0
    longest_retry_seconds: float = 300.0
    give_up_after_seconds: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Tried:
    """What is remembered of an event that waits: how often it was tried, since when, and why it failed last."""

    attempts: int = 0
    since: datetime | None = None
    why: str = ""

    def again(self, now: datetime, why: str) -> Tried:
        """The same, tried once more."""
        return Tried(self.attempts + 1, self.since or now, why)


def try_again_at(
    tried: Tried, *, told_at: datetime, now: datetime, patience: Patience, fraction: float
) -> datetime | None:
    """When an event is tried again that has failed; None: it is given up. `fraction` from 0 to 1 is the jitter.

    The last attempt is made when its time is over, and not before.
    """
    first = tried.since or now
    trying = min(LEAST_TRYING_SECONDS, patience.give_up_after_seconds)
    until = max(_later(told_at, patience.give_up_after_seconds), _later(first, trying))
    if now >= until:
        return None
    doubled = patience.first_retry_seconds * 2.0 ** min(tried.attempts - 1, 30)
    wait = min(doubled, patience.longest_retry_seconds) * (0.5 + 0.5 * fraction)
    return min(_later(now, wait), until)


def pause_until(seconds: float, *, now: datetime, paused: datetime | None, patience: Patience) -> datetime:
    """Until when a sink is left alone that asked for it; `paused` is until when it is already.

    At least as long as after any other first failure: `Retry-After: 0` must not become a loop without rest. And no
    answer to what was under way takes back what an earlier one has asked for.
    """
    until = _later(now, min(max(seconds, patience.first_retry_seconds), LONGEST_PAUSE_SECONDS))
    return until if paused is None else max(until, paused)


def _later(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)
