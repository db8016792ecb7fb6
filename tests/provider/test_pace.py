"""The pace is kept, and everybody who waits gets at least a share of it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.provider.pace import BURST_SECONDS, SHARES, Pace, Purpose


def _run(pace: Pace, waiting: dict[Purpose, int], *, until: float, step: float = 0.01) -> Counter[Purpose]:
    """Let calls stand in line from the start, each over at once when granted; count what went through."""
    whose = {pace.ask(purpose): purpose for purpose, many in waiting.items() for _ in range(many)}
    went: Counter[Purpose] = Counter()
    for tick in range(round(until / step) + 1):
        for ticket in pace.grant(tick * step):
            went[whose[ticket]] += 1
            pace.give_back()
    return went


def test_no_limit_lets_everything_through_at_once() -> None:
    """0 calls per second is unlimited."""
    pace = Pace(calls_per_second=0, concurrent_calls=1000, now=0)

    assert _run(pace, {Purpose.SUBMIT: 500}, until=0)[Purpose.SUBMIT] == 500
    assert pace.expected_wait(Purpose.SUBMIT, 0) == 0


def test_the_rate_is_kept_with_a_tenth_of_a_second_of_burst() -> None:
    """50 a second for 2 seconds: 5 saved up and 100 earned."""
    pace = Pace(calls_per_second=50, concurrent_calls=1000, now=0)

    assert _run(pace, {Purpose.SUBMIT: 1000}, until=2)[Purpose.SUBMIT] == 105


def test_a_slow_rate_lets_single_calls_through() -> None:
    """One call in two seconds needs no burst of its own."""
    pace = Pace(calls_per_second=0.5, concurrent_calls=1, now=0)

    assert _run(pace, {Purpose.CONFIRM: 10}, until=4, step=0.1)[Purpose.CONFIRM] == 3
    assert pace.wake_at(4.1) == pytest.approx(6, abs=0.2)


def test_a_purpose_alone_borrows_everything() -> None:
    """Idle shares are nobody's."""
    pace = Pace(calls_per_second=100, concurrent_calls=1000, now=0)

    assert _run(pace, {Purpose.CONFIRM: 1000}, until=1)[Purpose.CONFIRM] == 110


def test_a_rush_of_orders_leaves_doubts_and_confirmations_their_shares() -> None:
    """A half, a quarter and a quarter while all wait."""
    pace = Pace(calls_per_second=100, concurrent_calls=1000, now=0)

    went = _run(pace, dict.fromkeys(Purpose, 1000), until=3.9)

    assert went[Purpose.SUBMIT] == pytest.approx(200, abs=1)
    assert went[Purpose.DOUBT] == pytest.approx(100, abs=1)
    assert went[Purpose.CONFIRM] == pytest.approx(100, abs=1)


def test_nobody_saves_up_credit_by_sleeping() -> None:
    """A purpose that comes late gets its share from now on, not what it did not ask for."""
    pace = Pace(calls_per_second=100, concurrent_calls=1000, now=0)
    assert _run(pace, {Purpose.SUBMIT: 100}, until=1)[Purpose.SUBMIT] == 100

    whose = {pace.ask(purpose): purpose for purpose in (Purpose.SUBMIT, Purpose.DOUBT) for _ in range(100)}
    went = Counter(whose[ticket] for ticket in pace.grant(2))

    assert went[Purpose.SUBMIT] > went[Purpose.DOUBT] > 0


def test_places_bound_what_is_on_the_wire() -> None:
    """Whatever the rate, no more calls at once than there are places; one that ends lets the next in."""
    pace = Pace(calls_per_second=0, concurrent_calls=2, now=0)
    tickets = [pace.ask(Purpose.SUBMIT) for _ in range(3)]

    assert list(pace.grant(0)) == tickets[:2]
    assert pace.wake_at(0) is None
    pace.give_back()
    assert list(pace.grant(0)) == tickets[2:]


def test_freed_places_are_shared_like_tokens() -> None:
    """Slow submits that hold all places do not keep a waiting doubt out when one becomes free."""
    pace = Pace(calls_per_second=0, concurrent_calls=2, now=0)
    for _ in range(10):
        pace.ask(Purpose.SUBMIT)
    list(pace.grant(0))
    doubt = pace.ask(Purpose.DOUBT)
    freed = []
    for _ in range(3):
        pace.give_back()
        freed += list(pace.grant(0))

    assert doubt in freed


def test_who_withdraws_is_not_granted() -> None:
    """A call that was cancelled takes nobody's turn."""
    pace = Pace(calls_per_second=0, concurrent_calls=5, now=0)
    first, second = pace.ask(Purpose.SUBMIT), pace.ask(Purpose.SUBMIT)
    pace.withdraw(first)

    assert list(pace.grant(0)) == [second]


def test_the_expected_wait_counts_who_else_waits() -> None:
    """10 a second: ten before me take a second; a doubt's queue beside mine makes my half of it two thirds."""
    pace = Pace(calls_per_second=10, concurrent_calls=100, now=0)
    for _ in range(11):
        pace.ask(Purpose.SUBMIT)
    list(pace.grant(0))

    assert pace.expected_wait(Purpose.SUBMIT, 0) == pytest.approx(1.1)
    pace.ask(Purpose.DOUBT)
    assert pace.expected_wait(Purpose.SUBMIT, 0) == pytest.approx(1.1 * 3 / 2)


_calls = st.lists(st.tuples(st.sampled_from(Purpose), st.floats(0, 0.2, allow_nan=False)), min_size=1, max_size=150)


@given(_calls, st.integers(1, 100))
def test_in_no_window_does_more_go_out_than_rate_and_burst_allow(calls: list[tuple[Purpose, float]], rate: int) -> None:
    """Whoever comes when, the rate holds over every window, and nobody is forgotten."""
    pace, now, went = Pace(calls_per_second=rate, concurrent_calls=1000, now=0), 0.0, []
    for purpose, later in calls:
        now += later
        pace.ask(purpose)
        went += [now for _ in pace.grant(now)]
    while (wake_at := pace.wake_at(now)) is not None:
        now = max(wake_at, now + 1e-6)
        went += [now for _ in pace.grant(now)]

    assert len(went) == len(calls)
    burst = max(1.0, rate * BURST_SECONDS)
    for first in range(len(went)):
        for last in range(first, len(went)):
            assert last - first + 1 <= burst + rate * (went[last] - went[first]) + 1e-3


@given(st.sets(st.sampled_from(Purpose), min_size=1), st.integers(5, 60))
def test_whoever_waits_all_the_time_gets_at_least_a_share(busy: set[Purpose], grants: int) -> None:
    """Among those who always wait, turns are dealt by share, to within one."""
    pace = Pace(calls_per_second=0, concurrent_calls=1, now=0)
    whose = {pace.ask(purpose): purpose for purpose in sorted(busy) for _ in range(grants)}
    went: Counter[Purpose] = Counter()
    for _ in range(grants):
        (ticket,) = pace.grant(0)
        went[whose[ticket]] += 1
        pace.give_back()

    whole = sum(SHARES[purpose] for purpose in busy)
    for purpose in busy:
        assert went[purpose] >= grants * SHARES[purpose] // whole - 1


@given(
    st.sampled_from([0.0, 5.0, 100.0]),
    st.integers(min_value=1, max_value=4),
    st.lists(st.tuples(st.sampled_from(Purpose), st.floats(0, 0.3), st.booleans()), max_size=40),
)
def test_entering_at_once_is_asking_and_being_granted(
    rate: float, places: int, calls: list[tuple[Purpose, float, bool]]
) -> None:
    """The short way in is open exactly where the queue would let the call in, and leaves everybody's turn the same."""
    short, long = (Pace(calls_per_second=rate, concurrent_calls=places, now=0) for _ in range(2))
    now = 0.0
    for purpose, later, ends in calls:
        now += later
        entered = short.enter_at_once(purpose, now)
        ticket = long.ask(purpose)
        granted = list(long.grant(now))

        assert granted == ([ticket] if entered else [])
        if not entered:
            long.withdraw(ticket)
        elif ends:
            short.give_back()
            long.give_back()
    whose = [{pace.ask(purpose): purpose for purpose in (*Purpose, *Purpose)} for pace in (short, long)]
    for pace in (short, long):
        pace.give_back()
    next_ones = [
        [names[ticket] for ticket in pace.grant(now + 1)] for names, pace in zip(whose, (short, long), strict=True)
    ]
    assert next_ones[0] == next_ones[1]
    assert short.wake_at(now + 1) == long.wake_at(now + 1)
