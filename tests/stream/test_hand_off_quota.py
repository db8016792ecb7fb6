"""How often records that wait for long are handed on: a log of nothing else must not be rewritten without a pause."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapter.stream.hand_off_quota import REWRITE_SECONDS, HandOffQuota


def test_as_many_as_may_wait_are_handed_on_at_once() -> None:
    """So that what is behind a first heap of them is read without delay."""
    moves = HandOffQuota(100)

    assert moves.allowed(0.0, 5000) == 100
    moves.made(100)
    assert moves.allowed(0.0, 5000) == 0


def test_after_that_reading_comes_round_once_in_five_minutes() -> None:
    """Whether a hundred records are not read yet or a hundred thousand."""
    for lag in (100, 100_000):
        moves = HandOffQuota(4096)
        moves.allowed(0.0, lag)
        moves.made(4096)
        made = 0
        for second in range(1, int(REWRITE_SECONDS) + 1):
            allowed = moves.allowed(float(second), lag)
            moves.made(allowed)
            made += allowed

        assert lag - 1 <= made <= lag


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 10**6)), max_size=30), st.integers(1, 5000))
def test_no_pause_saves_up_more_than_at_once(steps: list[tuple[float, int]], at_once: int) -> None:
    """And a clock that goes back gives nothing."""
    moves, now = HandOffQuota(at_once), 0.0
    for pause, lag in steps:
        now += pause
        assert 0 <= moves.allowed(now, lag) <= at_once
        left = moves.allowed(now - 5, lag)
        moves.made(left)
        assert moves.allowed(now - 5, lag) == 0


def test_a_search_without_result_is_followed_by_a_pause() -> None:
    """Fifty thousand records that are due soon are not gone through thirty times a second."""
    moves = HandOffQuota(100)
    assert moves.may_search(0.0)
    moves.found_nothing(0.0)

    assert not moves.may_search(0.5)
    assert moves.may_search(1.0)
