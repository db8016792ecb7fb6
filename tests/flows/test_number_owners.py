"""Which order a trade number belongs to, as far as this process knows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.flows.messages.events import Origin
from adapter.flows.number_history import NumberOwners
from adapter.testing.orders import MERCHANT

N, A, B = "CBX1", "A-1", "B-1"
Step = tuple[str, str]


def at(offset: int, partition: int = 0) -> Origin:
    """An order record."""
    return Origin(topic="orders.paid", partition=partition, offset=offset)


def owners_after(*steps: Step) -> NumberOwners:
    """What happened with the number, in order: which order did what."""
    owners = NumberOwners()
    does: dict[str, Callable[[str], object]] = {
        "sends": lambda order: owners.may_have_sent(MERCHANT, N, order),
        "did not send": lambda order: owners.never_sent(MERCHANT, N, order),
        "accepted": lambda order: owners.submitted(MERCHANT, N, order, at(0), recovered=False),
        "recovered": lambda order: owners.submitted(MERCHANT, N, order, at(0), recovered=True),
        "failed": lambda order: owners.failed(MERCHANT, N, order),
    }
    for order, what in steps:
        does[what](order)
    return owners


@pytest.mark.parametrize(
    ("steps", "for_a", "for_b"),
    [
        ([], None, None),
        ([(A, "sends")], None, A),
        ([(A, "sends"), (A, "did not send")], None, None),
        ([(A, "sends"), (B, "sends")], B, A),
        ([(A, "sends"), (B, "sends"), (A, "accepted")], None, A),
        ([(A, "sends"), (B, "sends"), (A, "recovered")], None, A),
        ([(A, "recovered"), (B, "recovered")], None, A),
        ([(A, "recovered"), (B, "accepted")], B, None),
        ([(A, "accepted"), (B, "recovered")], None, A),
        ([(A, "accepted"), (B, "accepted")], None, A),
        ([(A, "sends"), (A, "failed")], None, None),
        ([(A, "accepted"), (A, "failed")], None, None),
        ([(A, "accepted"), (B, "failed")], None, A),
        ([(A, "accepted"), (A, "did not send")], None, A),
    ],
)
def test_a_number_is_one_orders(steps: list[Step], for_a: str | None, for_b: str | None) -> None:
    """RtnCode 1 of its own Issue counts most, then who was submitted first, then who may have sent it."""
    owners = owners_after(*steps)

    assert owners.other_order(MERCHANT, N, A) == for_a
    assert owners.other_order(MERCHANT, N, B) == for_b


def test_letter_case_makes_no_other_number() -> None:
    """ECTicket may compare numbers without it."""
    owners = owners_after((A, "accepted"))

    assert owners.other_order(MERCHANT, N.lower(), B) == A


def test_merchants_do_not_share_numbers() -> None:
    """The same text of another merchant is another number."""
    assert owners_after((A, "accepted")).other_order("3002607", N, B) is None


def test_a_sender_is_new_once() -> None:
    """So that who registers it knows whether to take it back."""
    owners = NumberOwners()

    assert owners.may_have_sent(MERCHANT, N, A)
    assert not owners.may_have_sent(MERCHANT, N, A)


def test_the_numbers_used_longest_ago_are_forgotten() -> None:
    """Memory is bounded."""
    owners = NumberOwners(kept=3)
    for number in ("N1", "N2", "N3"):
        owners.submitted(MERCHANT, number, A, at(0), recovered=False)
    owners.may_have_sent(MERCHANT, "N1", A)
    owners.submitted(MERCHANT, "N4", A, at(0), recovered=False)

    assert len(owners) == 3
    assert [owners.other_order(MERCHANT, number, B) for number in ("N1", "N2", "N3", "N4")] == [A, None, A, A]


@pytest.mark.parametrize(
    ("first", "then", "mine", "expected"),
    [
        (None, None, at(5), False),
        ((at(5), False), None, at(5), False),
        ((at(3), False), None, at(5), True),
        ((at(3), True), None, at(5), True),
        ((at(7), False), None, at(5), True),
        ((at(7), True), None, at(5), False),
        ((at(7, partition=1), True), None, at(5), True),
        ((None, False), None, at(5), False),
        ((at(3), True), (at(5), False), at(5), False),
        ((at(5), False), (at(7), True), at(5), False),
        ((at(7), True), (at(5), True), at(5), False),
        ((at(5), True), (at(7), False), at(5), True),
    ],
)
def test_a_number_is_of_one_record_of_its_order(
    first: tuple[Origin | None, bool] | None, then: tuple[Origin, bool] | None, mine: Origin, expected: bool
) -> None:
    """A record that was published is another one, unless it comes later and only found the number: perhaps mine."""
    owners = NumberOwners()
    for record, recovered in filter(None, (first, then)):
        owners.submitted(MERCHANT, N, A, record, recovered=recovered)

    assert owners.of_other_record(MERCHANT, N, A, mine) is expected
    assert owners.of_other_record(MERCHANT, N, B, mine) is False


def test_a_number_that_failed_is_of_no_record() -> None:
    """ECTicket does not know it, so the order may use it."""
    assert not owners_after((A, "accepted"), (A, "failed")).of_other_record(MERCHANT, N, A, at(5))


def test_many_orders_with_one_number_cost_no_memory() -> None:
    """And each of them learns of another one."""
    owners = owners_after(*((f"O-{index}", "sends") for index in range(1_000)))

    assert owners.other_order(MERCHANT, N, "O-0") == "O-1"
    assert owners.other_order(MERCHANT, N, "O-999") == "O-0"


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.sampled_from(["sends", "accepted", "recovered"])), max_size=8))
def test_two_orders_never_both_have_a_number(steps: list[Step]) -> None:
    """Whatever came, at most one of two orders that may have sent it can be published under it."""
    owners = owners_after(*steps)
    involved = {order for order, _ in steps}

    if involved == {A, B}:
        assert owners.other_order(MERCHANT, N, A) is not None or owners.other_order(MERCHANT, N, B) is not None
