"""When a delivery that failed is tried again, and when it is given up: a table, and what holds for all of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.flows.retry_policy import MIN_RETRY_SECONDS, RetryPolicy, RetryState, next_retry_at, pause_until
from adapter.testing.clock import NOON

DAY = 24 * 3600.0


def seconds_until_again(
    attempts: int, *, published_ago: float = 0.0, tried_for: float = 0.0, jitter: float = 1.0, **retry_policy: float
) -> float | None:
    """The wait after so many attempts, in seconds from now."""
    at = next_retry_at(
        RetryState(attempts, ago(tried_for)),
        published_at=ago(published_ago),
        now=NOON,
        retry_policy=RetryPolicy(**retry_policy),
        jitter=jitter,
    )
    return None if at is None else (at - NOON).total_seconds()


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("attempts", "wait"), [(1, 1), (2, 2), (3, 4), (8, 128), (9, 256), (10, 300), (1000, 300), (1_000_000, 300)]
)
def test_waits_double_up_to_the_longest(attempts: int, wait: float) -> None:
    """However often it was tried."""
    assert seconds_until_again(attempts) == wait


def test_half_of_a_wait_is_chance() -> None:
    """So that what failed together does not come back together."""
    assert seconds_until_again(3, jitter=0.0) == 2.0
    assert seconds_until_again(3, jitter=0.5) == 3.0


@pytest.mark.parametrize(
    ("published_ago", "tried_for", "wait"),
    [
        (DAY - 10, DAY - 10, 10.0),  # the last attempt is made when the time is over
        (DAY, DAY, None),
        (DAY, MIN_RETRY_SECONDS - 10, 10.0),  # it was old when it was first tried
        (30 * DAY, 0.0, 300.0),
        (30 * DAY, MIN_RETRY_SECONDS, None),
        (0.0, DAY, 300.0),  # a wrong clock gives no event up early
    ],
)
def test_an_event_is_given_up_when_its_time_is_over(published_ago: float, tried_for: float, wait: float | None) -> None:
    """Its own day, and an hour at least."""
    assert seconds_until_again(20, published_ago=published_ago, tried_for=tried_for) == wait


def test_a_short_retry_time_is_short_for_old_events_too() -> None:
    """With a setting of one minute, no event waits for an hour."""
    assert seconds_until_again(5, published_ago=DAY, tried_for=60, give_up_after_seconds=60) is None
    assert seconds_until_again(5, published_ago=DAY, tried_for=50, give_up_after_seconds=60) == 10


@given(
    attempts=st.integers(1, 10_000),
    published_ago=st.floats(-100, 100 * DAY),
    tried_for=st.floats(0, 100 * DAY),
    jitter=st.floats(0, 1),
)
def test_a_wait_is_never_over_already_and_never_too_long(
    attempts: int, published_ago: float, tried_for: float, jitter: float
) -> None:
    """Whatever the times."""
    wait = seconds_until_again(attempts, published_ago=published_ago, tried_for=tried_for, jitter=jitter)

    assert wait is None or 0 < wait <= 300


def test_a_sink_is_left_alone_as_long_as_it_asks_and_not_for_days() -> None:
    """An hour at most; and never without any rest, or it would be asked again as fast as it answers."""

    def seconds(asked: float, *, paused: float | None = None) -> float:
        already = None if paused is None else ago(-paused)
        return (pause_until(asked, now=NOON, paused=already, retry_policy=RetryPolicy()) - NOON).total_seconds()

    assert [seconds(asked) for asked in (30, 1e9, 0, 0.01)] == [30, 3600, 1, 1]
    assert [seconds(5, paused=paused) for paused in (-10, 3, 30)] == [5, 5, 30]


def test_what_is_remembered_begins_with_the_first_attempt() -> None:
    """The later ones only count."""
    later = NOON + timedelta(seconds=5)

    assert RetryState().after_attempt(NOON, "was full").after_attempt(later, "was busy") == RetryState(
        2, NOON, "was busy"
    )
