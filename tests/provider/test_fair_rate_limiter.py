"""The rate is kept, and every waiting purpose gets at least its share of it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.provider.call_limiter import BURST_SECONDS, SHARES, FairRateLimiter, Purpose


def _run(
    limiter: FairRateLimiter, waiting: dict[Purpose, int], *, until: float, step: float = 0.01
) -> Counter[Purpose]:
    """Queue calls from the start, each ending at once when admitted; count them."""
    purpose_of = {limiter.enqueue(purpose): purpose for purpose, many in waiting.items() for _ in range(many)}
    went: Counter[Purpose] = Counter()
    for tick in range(round(until / step) + 1):
        for request_id in limiter.admit(tick * step):
            went[purpose_of[request_id]] += 1
            limiter.release(purpose_of[request_id])
    return went


def test_no_limit_lets_everything_through_at_once() -> None:
    """0 calls per second is unlimited."""
    limiter = FairRateLimiter(calls_per_second=0, concurrent_calls=1000, now=0)

    assert _run(limiter, {Purpose.SUBMIT: 500}, until=0)[Purpose.SUBMIT] == 500
    assert limiter.expected_wait(Purpose.SUBMIT, 0) == 0


def test_the_rate_is_kept_with_a_tenth_of_a_second_of_burst() -> None:
    """50 a second for 2 seconds: 5 saved up and 100 earned."""
    limiter = FairRateLimiter(calls_per_second=50, concurrent_calls=1000, now=0)

    assert _run(limiter, {Purpose.SUBMIT: 1000}, until=2)[Purpose.SUBMIT] == 105


def test_a_slow_rate_lets_single_calls_through() -> None:
    """One call in two seconds needs no burst of its own."""
    limiter = FairRateLimiter(calls_per_second=0.5, concurrent_calls=1, now=0)

    assert _run(limiter, {Purpose.CONFIRM: 10}, until=4, step=0.1)[Purpose.CONFIRM] == 3
    assert limiter.wake_at(4.1) == pytest.approx(6, abs=0.2)


def test_a_purpose_alone_borrows_everything() -> None:
    """Idle shares are free to use."""
    limiter = FairRateLimiter(calls_per_second=100, concurrent_calls=1000, now=0)

    assert _run(limiter, {Purpose.CONFIRM: 1000}, until=1)[Purpose.CONFIRM] == 110


def test_a_rush_of_orders_leaves_doubts_and_confirmations_their_shares() -> None:
    """A half, a quarter and a quarter while all three wait."""
    limiter = FairRateLimiter(calls_per_second=100, concurrent_calls=1000, now=0)

    went = _run(limiter, dict.fromkeys((Purpose.SUBMIT, Purpose.DOUBT, Purpose.CONFIRM), 1000), until=3.9)

    assert went[Purpose.SUBMIT] == pytest.approx(200, abs=1)
    assert went[Purpose.DOUBT] == pytest.approx(100, abs=1)
    assert went[Purpose.CONFIRM] == pytest.approx(100, abs=1)


def test_queries_for_products_get_a_ninth_while_all_others_wait() -> None:
    """However many products are queried, orders, doubts and results keep eight ninths of the pace."""
    limiter = FairRateLimiter(calls_per_second=100, concurrent_calls=1000, now=0)

    went = _run(limiter, dict.fromkeys(Purpose, 1000), until=8.9)

    assert went[Purpose.ITEM] == pytest.approx(100, abs=1)
    assert went[Purpose.SUBMIT] == pytest.approx(400, abs=1)
    assert went[Purpose.DOUBT] == went[Purpose.CONFIRM] == pytest.approx(200, abs=1)


def test_slow_queries_for_products_leave_seven_eighths_of_the_slots() -> None:
    """Queries that are never answered do not keep an order waiting; the next one starts when one of them ends."""
    limiter = FairRateLimiter(calls_per_second=0, concurrent_calls=256, now=0)
    queries = [limiter.enqueue(Purpose.ITEM) for _ in range(100)]

    assert list(limiter.admit(0)) == queries[:32]
    assert not limiter.admit_at_once(Purpose.ITEM, 0)
    assert all(limiter.admit_at_once(Purpose.SUBMIT, 0) for _ in range(224))
    assert not limiter.admit_at_once(Purpose.SUBMIT, 0)
    limiter.release(Purpose.SUBMIT)
    assert list(limiter.admit(0)) == []
    limiter.release(Purpose.ITEM)
    assert list(limiter.admit(0)) == [queries[32]]


def test_an_idle_purpose_saves_up_no_credit() -> None:
    """A purpose that comes late gets its share from now on, and nothing for the past."""
    limiter = FairRateLimiter(calls_per_second=100, concurrent_calls=1000, now=0)
    assert _run(limiter, {Purpose.SUBMIT: 100}, until=1)[Purpose.SUBMIT] == 100

    purpose_of = {limiter.enqueue(purpose): purpose for purpose in (Purpose.SUBMIT, Purpose.DOUBT) for _ in range(100)}
    went = Counter(purpose_of[request_id] for request_id in limiter.admit(2))

    assert went[Purpose.SUBMIT] > went[Purpose.DOUBT] > 0


def test_places_bound_what_is_on_the_wire() -> None:
    """At any rate, there are no more calls at once than slots; one that ends admits the next."""
    limiter = FairRateLimiter(calls_per_second=0, concurrent_calls=2, now=0)
    tickets = [limiter.enqueue(Purpose.SUBMIT) for _ in range(3)]

    assert list(limiter.admit(0)) == tickets[:2]
    assert limiter.wake_at(0) is None
    limiter.release(Purpose.SUBMIT)
    assert list(limiter.admit(0)) == tickets[2:]


def test_freed_places_are_shared_like_tokens() -> None:
    """Slow submits that hold all slots do not keep a waiting doubt out when one becomes free."""
    limiter = FairRateLimiter(calls_per_second=0, concurrent_calls=2, now=0)
    for _ in range(10):
        limiter.enqueue(Purpose.SUBMIT)
    list(limiter.admit(0))
    doubt = limiter.enqueue(Purpose.DOUBT)
    freed = []
    for _ in range(3):
        limiter.release(Purpose.SUBMIT)
        freed += list(limiter.admit(0))

    assert doubt in freed


def test_who_withdraws_is_not_granted() -> None:
    """A cancelled call takes no other call's turn."""
    limiter = FairRateLimiter(calls_per_second=0, concurrent_calls=5, now=0)
    first, second = limiter.enqueue(Purpose.SUBMIT), limiter.enqueue(Purpose.SUBMIT)
    limiter.cancel(first)

    assert list(limiter.admit(0)) == [second]


def test_the_expected_wait_counts_who_else_waits() -> None:
    """10 a second: ten before me take a second; a doubt's queue beside mine makes my half of it two thirds."""
    limiter = FairRateLimiter(calls_per_second=10, concurrent_calls=100, now=0)
    for _ in range(11):
        limiter.enqueue(Purpose.SUBMIT)
    list(limiter.admit(0))

    assert limiter.expected_wait(Purpose.SUBMIT, 0) == pytest.approx(1.1)
    limiter.enqueue(Purpose.DOUBT)
    assert limiter.expected_wait(Purpose.SUBMIT, 0) == pytest.approx(1.1 * 3 / 2)


_calls = st.lists(st.tuples(st.sampled_from(Purpose), st.floats(0, 0.2, allow_nan=False)), min_size=1, max_size=150)


@given(_calls, st.integers(1, 100))
def test_in_no_window_does_more_go_out_than_rate_and_burst_allow(calls: list[tuple[Purpose, float]], rate: int) -> None:
    """For any arrivals, the rate holds over every window, and no call is lost."""
    limiter, now, went = FairRateLimiter(calls_per_second=rate, concurrent_calls=1000, now=0), 0.0, []
    for purpose, later in calls:
        now += later
        limiter.enqueue(purpose)
        went += [now for _ in limiter.admit(now)]
    while (wake_at := limiter.wake_at(now)) is not None:
        now = max(wake_at, now + 1e-6)
        went += [now for _ in limiter.admit(now)]

    assert len(went) == len(calls)
    burst = max(1.0, rate * BURST_SECONDS)
    for first in range(len(went)):
        for last in range(first, len(went)):
            assert last - first + 1 <= burst + rate * (went[last] - went[first]) + 1e-3


@given(st.sets(st.sampled_from(Purpose), min_size=1), st.integers(5, 60))
def test_a_purpose_that_always_waits_gets_at_least_its_share(busy: set[Purpose], grants: int) -> None:
    """Among those who always wait, turns are dealt by share, to within one."""
    limiter = FairRateLimiter(calls_per_second=0, concurrent_calls=1, now=0)
    purpose_of = {limiter.enqueue(purpose): purpose for purpose in sorted(busy) for _ in range(grants)}
    went: Counter[Purpose] = Counter()
    for _ in range(grants):
        (request_id,) = limiter.admit(0)
        went[purpose_of[request_id]] += 1
        limiter.release(purpose_of[request_id])

    whole = sum(SHARES[purpose] for purpose in busy)
    for purpose in busy:
        assert went[purpose] >= grants * SHARES[purpose] // whole - 1


@given(
    st.sampled_from([0.0, 5.0, 100.0]),
    st.integers(min_value=1, max_value=4),
    st.lists(st.tuples(st.sampled_from(Purpose), st.floats(0, 0.3), st.booleans()), max_size=40),
)
def test_entering_at_once_is_asking_and_being_granted(
    rate: float, slots: int, calls: list[tuple[Purpose, float, bool]]
) -> None:
    """Immediate admission succeeds exactly if the queue would admit the call, and changes no other turn."""
    short, long = (FairRateLimiter(calls_per_second=rate, concurrent_calls=slots, now=0) for _ in range(2))
    now = 0.0
    for purpose, later, ends in calls:
        now += later
        entered = short.admit_at_once(purpose, now)
        request_id = long.enqueue(purpose)
        granted = list(long.admit(now))

        assert granted == ([request_id] if entered else [])
        if not entered:
            long.cancel(request_id)
        elif ends:
            short.release(purpose)
            long.release(purpose)
    purpose_of = [{limiter.enqueue(purpose): purpose for purpose in (*Purpose, *Purpose)} for limiter in (short, long)]
    for limiter in (short, long):
        limiter.release(Purpose.SUBMIT)
    next_ones = [
        [names[request_id] for request_id in limiter.admit(now + 1)]
        for names, limiter in zip(purpose_of, (short, long), strict=True)
    ]
    assert next_ones[0] == next_ones[1]
    assert short.wake_at(now + 1) == long.wake_at(now + 1)
