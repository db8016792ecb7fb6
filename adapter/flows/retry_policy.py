"""Decides when a failed delivery is retried, and when it is given up. Pure.

The time until giving up counts from the event's publication, so a restart does not extend it. An event that is already
older when it is first tried, because the adapter was down, is still tried for a while: the sink may have been down too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from adapter.backoff import backoff_seconds

MIN_RETRY_SECONDS = 3600.0
"""The minimum time for which any event is tried, however old it is."""
LONGEST_PAUSE_SECONDS = 3600.0
"""The longest pause that a sink can ask for."""


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """The settings under `deliver` for retries; all in seconds."""

    first_retry_seconds: float = 1.0
    longest_retry_seconds: float = 300.0
    give_up_after_seconds: float = 24 * 3600.0


class RetryState(Struct, frozen=True):
    """The state of a waiting event: number of attempts, time of the first one, and the last failure."""

    attempts: int = 0
    since: datetime | None = None
    reason: str = ""

    def after_attempt(self, now: datetime, reason: str) -> RetryState:
        """The state after one more attempt."""
        return RetryState(self.attempts + 1, self.since or now, reason)


def next_retry_at(
    retry_state: RetryState, *, published_at: datetime, now: datetime, retry_policy: RetryPolicy, jitter: float
) -> datetime | None:
    """When a failed event is retried; None: it is given up. `jitter` is from 0 to 1.

    The last attempt is made at the end of the time, not before.
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
    """Until when the sink pauses that asked for it; `paused` is the end of its present pause.

    The pause is at least as long as after any other first failure: `Retry-After: 0` must not become a busy loop. A
    later answer never shortens a pause that an earlier one asked for.
    """
    until = _later(now, min(max(seconds, retry_policy.first_retry_seconds), LONGEST_PAUSE_SECONDS))
    return until if paused is None else max(until, paused)


def _later(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)
