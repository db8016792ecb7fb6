"""The arithmetic of the benchmarks, and the errors that their result check finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_words import mentions

from benchmarks.contenders import ADAPTER, GATHERED, ONE_BY_ONE, disagreements
from benchmarks.measuring import Moment, between, percentile, slope
from benchmarks.orders import order_id, trade_no, trade_no_of
from benchmarks.profiles import report
from benchmarks.stub import StubResults
from benchmarks.submit import planned

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


def test_rates_are_what_happened_in_between() -> None:
    """Everything is counted from the first moment to the second, and nothing before."""
    begin = Moment(at=10, submitted=500, cpu=3, others_cpu=1, stub_cpu=0.5, transactions=7, transaction_seconds=1)
    end = Moment(at=20, submitted=4500, cpu=7, others_cpu=3, stub_cpu=1.5, transactions=27, transaction_seconds=3)

    rates = between(begin, end)

    assert (rates.seconds, rates.orders, rates.orders_per_second) == (10, 4000, 400)
    assert (rates.cpu_per_1000, rates.core_share, rates.others_share) == (1.0, 0.4, 0.2)
    assert (rates.stub_cpu_per_1000, rates.transactions_per_second) == (0.25, 2)
    assert rates.transaction_seconds == pytest.approx(0.1)


def test_who_counts_no_transactions_has_no_time_for_one() -> None:
    """The plain loop makes none, and 0 / 0 is not 0."""
    begin = Moment(at=0, submitted=0, cpu=0, others_cpu=0, stub_cpu=0)
    end = Moment(at=1, submitted=1, cpu=1, others_cpu=1, stub_cpu=1)

    assert between(begin, end).transaction_seconds is None


@pytest.mark.parametrize(("seconds", "orders"), [(0, 5), (5, 0)])
def test_rates_of_nothing_are_refused(seconds: float, orders: int) -> None:
    """No figure is better than a wrong one."""
    begin = Moment(at=0, submitted=0, cpu=0, others_cpu=0, stub_cpu=0)
    end = Moment(at=seconds, submitted=orders, cpu=0, others_cpu=0, stub_cpu=0)

    with pytest.raises(ValueError, match="nothing to measure"):
        between(begin, end)


@given(values=NUMBERS, share=st.floats(0, 1))
def test_a_percentile_is_one_of_the_values_and_enough_are_no_larger(values: Sequence[float], share: float) -> None:
    """Nearest rank: nothing is invented between two values."""
    found = percentile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


@given(
    xs=st.lists(st.integers(-1000, 1000), min_size=2, max_size=20, unique=True),
    a=st.integers(-9, 9),
    b=st.integers(-9, 9),
)
def test_a_straight_line_has_its_own_slope(xs: list[int], a: int, b: int) -> None:
    """The least-squares line through points of a line is that line."""
    assert slope([(x, a * x + b) for x in xs]) == pytest.approx(a, abs=1e-6)


def test_results_that_agree_have_no_differences() -> None:
    """Each order issued once and published once."""
    submitted = Counter(order_id(number) for number in range(3))
    state = StubResults(numbers=[trade_no(number) for number in range(3)], refused=0)

    assert disagreements(submitted, state, Counter()) == []


@pytest.mark.parametrize(
    ("published", "issued", "refused", "others", "words"),
    [
        ([1, 2], [1, 2, 2], 0, [], "1 issued more once"),
        ([1, 2, 2], [1, 2], 0, [], "1 published more once"),
        ([1], [1, 2], 0, [], "1 issued not published"),
        ([1, 2], [1], 0, [], "1 published not issued"),
        ([1], [1], 4, [], "4 no Issue calls"),
        ([1], [1], 0, ["ecticket.order.parked.v1"], "1 events no submitted"),
    ],
)
def test_each_disagreement_is_noticed(
    published: list[int], issued: list[int], refused: int, others: list[str], words: str
) -> None:
    """A benchmark of something that issues twice or loses an order is worth nothing, and says so."""
    state = StubResults(numbers=[trade_no(number) for number in issued], refused=refused)

    (found,) = disagreements(Counter(map(order_id, published)), state, Counter(others))
    assert mentions(found, words)


def test_an_order_is_issued_under_the_number_of_its_payment() -> None:
    """The results of stub and topic are compared by it."""
    assert trade_no_of(order_id(123)) == trade_no(123)


def test_a_run_is_warm_only_when_all_that_can_be_in_hand_has_gone_by() -> None:
    """Otherwise orders are worked on before the measured part that are counted in it."""
    assert planned(ADAPTER, 50, 256, 15).warm_up == 6 * (2 * 256 + 100)
    assert planned(ADAPTER, 50, 256, 15).orders == 15_000
    assert planned(ADAPTER, 200, 64, 15).orders == 15 * 320
    assert planned(GATHERED, 0, 1024, 1).orders == 5 * 1024
    assert planned(ONE_BY_ONE, 50, 256, 15).in_flight == 1


def test_a_profile_shows_what_functions_take_with_and_without_what_they_call() -> None:
    """The way into the program, which is below everything, is left out."""
    stacks = "main:run;adapter/flows/submit.py:f;json/encoder.py:g 3\nmain:run;adapter/flows/submit.py:f 1\n"

    rows = [(row["of"], row["name"], row["percent"]) for row in report(stacks + "main:run;x.py:h 4\n").rows]

    assert ("package", "adapter/flows", 12.5) in rows
    assert ("function, by itself", "json/encoder.py:g", 37.5) in rows
    assert ("function, with what it calls", "adapter/flows/submit.py:f", 50.0) in rows
    assert "main:run" not in [name for _, name, _ in rows]
