"""How long a sink is waited for: when a delivery that failed is tried again, and when it is given up. Pure.

The clock of giving up begins when the event was told, so that restarts do not begin it anew. An event that is older
than that when it is first tried, because the adapter was away, is still tried for a while: the sink may have been away
with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from adapter.backoff import backoff_seconds

MIN_RETRY_SECONDS = 3600.0
"""How long any event is tried, however old it is."""
LONGEST_PAUSE_SECONDS = 3600.0
"""How long a sink that asked to be left alone is, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The settings under `deliver` that say when; all in seconds."""

    first_retry_seconds: float = 1.0
    longest_retry_seconds: float = 300.0
    give_up_after_seconds: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class RetryState:
    """What is remembered of an event that waits: how often it was tried, since when, and why it failed last."""

    attempts: int = 0
    since: datetime | None = None
    reason: str = ""

    def after_attempt(self, now: datetime, reason: str) -> RetryState:
        """The same, tried once more."""
        return RetryState(self.attempts + 1, self.since or now, reason)


def next_retry_at(
    retry_state: RetryState, *, published_at: datetime, now: datetime, retry_policy: RetryPolicy, jitter: float
) -> datetime | None:
    """When an event is tried again that has failed; None: it is given up. `fraction` from 0 to 1 is the jitter.

    The last attempt is made when its time is over, and not before.
    """
    first = retry_state.since or now
    at_least = min(MIN_RETRY_SECONDS, retry_policy.give_up_after_seconds)
    until = max(_later(published_at, retry_policy.give_up_after_seconds), _later(first, at_least))
    if now >= until:
        return None
    pause = backoff_seconds(
        retry_state.attempts, first=retry_policy.first_retry_seconds, longest=retry_policy.longest_retry_seconds
    )
    wait = pause * (0.5 + 0.5 * jitter)
    return min(_later(now, wait), until)


def pause_until(seconds: float, *, now: datetime, paused: datetime | None, retry_policy: RetryPolicy) -> datetime:
    """Until when a sink is left alone that asked for it; `paused` is until when it is already.

    At least as long as after any other first failure: `Retry-After: 0` must not become a loop without rest. And no
    answer to what was under way takes back what an earlier one has asked for.
    """
    until = _later(now, min(max(seconds, retry_policy.first_retry_seconds), LONGEST_PAUSE_SECONDS))
    return until if paused is None else max(until, paused)


def _later(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)
