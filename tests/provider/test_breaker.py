"""A breaker opens for a merchant in trouble, not for a bad order, and closes only when a probe was accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.provider.breaker import Admission, Breaker, BreakerState


@pytest.fixture
def breaker() -> Breaker:
    """A closed one: probes after 5 s, then 10, 20, and at most 30."""
    return Breaker(first_wait=5, longest_wait=30)


def _open(breaker: Breaker, now: float = 0.0) -> None:
    breaker.control_not_accepted(now)
    assert breaker.state is BreakerState.OPEN


def test_one_order_alone_opens_nothing(breaker: Breaker) -> None:
    """However often one order's envelope is refused, the others go on."""
    for _ in range(10):
        breaker.not_accepted("Issue", "order-1", 0)

    assert breaker.admit(0) is Admission.GO


def test_two_different_orders_open_it(breaker: Breaker) -> None:
    """Two refused orders are a merchant in trouble."""
    breaker.not_accepted("Issue", "order-1", 0)
    breaker.not_accepted("Issue", "order-2", 0)

    assert breaker.admit(4.9) is Admission.REFUSED
    assert breaker.retry_at == 5


def test_an_accepted_call_between_clears_the_suspicion(breaker: Breaker) -> None:
    """Two bad orders with a good one between are two bad orders."""
    breaker.not_accepted("Issue", "order-1", 0)
    breaker.accepted()
    breaker.not_accepted("Issue", "order-2", 0)

    assert breaker.admit(0) is Admission.GO


def test_an_order_and_its_own_query_are_one_suspect_each(breaker: Breaker) -> None:
    """An order is named by its id and its query by a number: that they differ means nothing."""
    breaker.not_accepted("Issue", "order-1", 0)
    breaker.not_accepted("QueryIssueResult", "CBX1", 0)

    assert breaker.admit(0) is Admission.GO


def test_a_refused_control_query_opens_it_at_once(breaker: Breaker) -> None:
    """A random number has no content that could be at fault."""
    breaker.control_not_accepted(0)

    assert breaker.admit(0) is Admission.REFUSED


def test_a_lock_out_lasts_until_its_time(breaker: Breaker) -> None:
    """HTTP 403: thirty minutes, and then a probe."""
    breaker.lock_out(1800)

    assert breaker.admit(1799) is Admission.REFUSED
    assert breaker.admit(1800) is Admission.PROBE


def test_another_lock_out_prolongs_and_never_shortens(breaker: Breaker) -> None:
    """Answers of calls that were on the wire together come in any order."""
    breaker.lock_out(1800)
    breaker.lock_out(60)

    assert breaker.retry_at == 1800


def test_a_lock_out_outlasts_a_shorter_opening_and_not_the_other_way_round(breaker: Breaker) -> None:
    """An open breaker takes a lock-out seriously, and no lock-out lets it forget its own waiting time."""
    _open(breaker)
    breaker.lock_out(1)

    assert breaker.retry_at == 5


def test_there_is_one_probe_at_a_time(breaker: Breaker) -> None:
    """While one control query is in progress, all other calls are refused."""
    _open(breaker)
    breaker.begin_probe(5)

    assert breaker.admit(5) is Admission.REFUSED
    assert breaker.admit(1000) is Admission.REFUSED


def test_an_accepted_probe_closes_it_and_forgets(breaker: Breaker) -> None:
    """Suspicion and waiting times start again."""
    _open(breaker)
    breaker.probe_failed(breaker.begin_probe(5), 5)
    breaker.probe_accepted(breaker.begin_probe(15))
    breaker.not_accepted("Issue", "order-1", 20)

    assert breaker.admit(20) is Admission.GO
    _open(breaker, 20)
    assert breaker.retry_at == 25


def test_failed_probes_wait_longer_each_time_up_to_a_limit(breaker: Breaker) -> None:
    """5, 10, 20, 30, 30 seconds."""
    _open(breaker)
    waits, now = [breaker.retry_at], breaker.retry_at
    for _ in range(4):
        breaker.probe_failed(breaker.begin_probe(now), now)
        waits.append(breaker.retry_at - now)
        now = breaker.retry_at

    assert waits == [5, 10, 20, 30, 30]


def test_an_abandoned_probe_lets_the_next_caller_probe(breaker: Breaker) -> None:
    """A cancelled probe says nothing."""
    _open(breaker)
    breaker.probe_abandoned(breaker.begin_probe(5), 6)

    assert breaker.admit(6) is Admission.PROBE


def test_a_lock_out_during_a_probe_counts_more_than_the_probe(breaker: Breaker) -> None:
    """A probe's verdict that comes after a lock-out is no longer asked for."""
    _open(breaker)
    probe = breaker.begin_probe(5)
    breaker.lock_out(1800)
    breaker.probe_accepted(probe)

    assert breaker.admit(1799) is Admission.REFUSED


def test_late_answers_change_nothing_while_it_is_open(breaker: Breaker) -> None:
    """Calls that left before it opened say nothing about now."""
    _open(breaker)
    breaker.accepted()
    breaker.not_accepted("Issue", "order-1", 3)
    breaker.not_accepted("Issue", "order-2", 3)
    breaker.control_not_accepted(3)

    assert breaker.retry_at == 5


def test_a_probe_cannot_begin_while_closed(breaker: Breaker) -> None:
    """The table has no such step."""
    with pytest.raises(AssertionError, match="closed to probing"):
        breaker.begin_probe(0)


_happenings = st.lists(
    st.tuples(
        st.sampled_from(["accepted", "order-1", "order-2", "control", "lock", "probe", "yes", "no", "never"]),
        st.floats(0, 20, allow_nan=False),
    ),
    max_size=60,
)


@given(_happenings)
def test_whatever_happens_it_closes_by_a_probe_alone_and_never_stays_shut_for_good(
    happenings: list[tuple[str, float]],
) -> None:
    """Random lives: no step outside the table, closing only by an accepted probe, and a probe is always in reach."""
    breaker, now, probe = Breaker(first_wait=5, longest_wait=30), 0.0, 0
    for what, later in happenings:
        now += later
        before = breaker.state
        if what == "accepted":
            breaker.accepted()
        elif what.startswith("order"):
            breaker.not_accepted("Issue", what, now)
        elif what == "control":
            breaker.control_not_accepted(now)
        elif what == "lock":
            breaker.lock_out(now + 100)
        elif what == "probe" and breaker.admit(now) is Admission.PROBE:
            probe = breaker.begin_probe(now)
        elif what == "yes":
            breaker.probe_accepted(probe)
        elif what == "no":
            breaker.probe_failed(probe, now)
        elif what == "never":
            breaker.probe_abandoned(probe, now)

        closed_now = breaker.state is BreakerState.CLOSED and before is not BreakerState.CLOSED
        assert not closed_now or what == "yes"
    if breaker.state is BreakerState.OPEN:
        assert breaker.admit(now + 101) is Admission.PROBE
