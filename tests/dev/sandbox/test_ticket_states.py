"""What became of tickets: a table of legal steps, and sums that always come out."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_words import mentions

from adapter.dev.sandbox.order_store import Job, OrderStore, StoredOrder, tickets
from adapter.dev.sandbox.ticket_states import STEPS, Act, TicketStates
from adapter.protocol.order_detail import UseStatus

from .helpers import START
from .test_order_store import line, request

TODAY = START.date()
LAST_DAY = TODAY + timedelta(days=1)


def order_of(*quantities: int, gift: bool = False) -> StoredOrder:
    order = OrderStore(max_orders=1).add(
        request(),
        tuple(line(quantity, expire_date=LAST_DAY if gift else None) for quantity in quantities),
        received_at=START,
        visible_at=START,
        job=Job(ends_at=START),
    )
    assert order is not None
    return order


@pytest.mark.parametrize(("act", "status"), [(Act.REDEEM, UseStatus.REDEEMED), (Act.REFUND, UseStatus.REFUNDED)])
def test_a_used_ticket_says_what_was_done_with_it_and_when(act: Act, status: UseStatus) -> None:
    """The others of its order stay as they were."""
    order, ticket_states = order_of(2), TicketStates()
    first, second = tickets(order)

    ticket_states.record(act, order, first, START)

    assert ticket_states.status(order, first, TODAY) is status
    assert ticket_states.status(order, second, TODAY) is UseStatus.UNUSED
    use = ticket_states.of(order, first)
    assert use is not None
    assert use.at == START


@pytest.mark.parametrize("first", list(Act))
@pytest.mark.parametrize("second", list(Act))
def test_no_ticket_is_used_twice(first: Act, second: Act) -> None:
    """Neither in the same way nor in the other; the problem says what the ticket is."""
    order, ticket_states = order_of(1), TicketStates()
    (ticket,) = tickets(order)
    done = ticket_states.record(first, order, ticket, START)

    problem = ticket_states.problem(second, order, ticket, TODAY)

    assert problem is not None
    assert mentions(problem, f"{ticket.number} {done.status.value} unused {STEPS[UseStatus.UNUSED, second].value}")
    with pytest.raises(ValueError, match=str(ticket.number)):
        ticket_states.record(second, order, ticket, START)


def test_an_expired_gift_voucher_can_no_longer_be_used() -> None:
    """Its last day itself still counts."""
    order, ticket_states = order_of(1, gift=True), TicketStates()
    (ticket,) = tickets(order)

    assert ticket_states.problem(Act.REDEEM, order, ticket, LAST_DAY) is None
    assert "expired" in (ticket_states.problem(Act.REDEEM, order, ticket, LAST_DAY + timedelta(days=1)) or "")


def test_a_ticket_that_was_used_in_time_does_not_expire() -> None:
    """What was done stays done."""
    order, ticket_states = order_of(1, gift=True), TicketStates()
    (ticket,) = tickets(order)
    ticket_states.record(Act.REDEEM, order, ticket, START)

    assert ticket_states.status(order, ticket, date(2030, 1, 1)) is UseStatus.REDEEMED


def test_a_ticket_is_not_redeemed_before_its_first_day() -> None:
    """But its money can be given back."""
    order, ticket_states = order_of(1), TicketStates()
    (ticket,) = tickets(order)
    before = TODAY - timedelta(days=1)

    assert "2023-12-01" in (ticket_states.problem(Act.REDEEM, order, ticket, before) or "")
    assert ticket_states.problem(Act.REFUND, order, ticket, before) is None


@given(
    quantities=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    gift=st.booleans(),
    acts=st.lists(st.tuples(st.sampled_from(list(Act)), st.integers(0, 11)), max_size=12),
    days=st.integers(0, 3),
)
def test_every_ticket_is_counted_once_whatever_was_done(
    quantities: list[int], gift: bool, acts: list[tuple[Act, int]], days: int
) -> None:
    """The tally by lines agrees with looking at each ticket, and adds up to the order."""
    order, ticket_states = order_of(*quantities, gift=gift), TicketStates()
    held = list(tickets(order))
    for act, place in acts:
        ticket = held[place % len(held)]
        if ticket_states.problem(act, order, ticket, TODAY) is None:
            ticket_states.record(act, order, ticket, START)
    day = TODAY + timedelta(days=days)

    tally = ticket_states.tally(order, day)

    statuses = [ticket_states.status(order, ticket, day) for ticket in held]
    assert {status: tally.counts.get(status, 0) for status in UseStatus} == {
        status: statuses.count(status) for status in UseStatus
    }
    assert (sum(tally.counts.values()), sum(tally.amounts.values())) == (order.ticket_count, order.amount)
