"""How tickets are packed into Issue calls (docs/orders.md, "Calls and numbers")."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import DoesNotFit, InvalidOrder
from adapter.issuance.order import TicketItem
from adapter.issuance.packing import MAX_CALLS, merge, pack
from adapter.protocol.issue import IssueType
from adapter.protocol.rules import MAX_TICKETS

from .samples import CVS, ELECTRONIC, GIFT, PAPER, SERIAL, item

JUNE, JULY = date(2024, 6, 1), date(2024, 7, 1)


def dealt(*items: TicketItem) -> list[list[tuple[str | None, int]]]:
    """The calls as lists of product and quantity."""
    return [[(each.item_no or each.name, each.quantity) for each in call] for call in pack(items)]


@pytest.mark.parametrize(
    ("reason", "items", "calls"),
    [
        ("one item, one call", [item("A", 3)], [[("A", 3)]]),
        ("by issue type, as they first appear", [item("A"), item("B", 1, CVS), item("C")],
         [[("A", 1), ("C", 1)], [("B", 1)]]),
        ("8 for convenience stores", [item("A", 8, CVS)], [[("A", 8)]]),
        ("... and not 9; a line's quantity may itself be split", [item("A", 9, CVS)], [[("A", 8)], [("A", 1)]]),
        ("100 otherwise: paper", [item("A", 101, PAPER)], [[("A", 100)], [("A", 1)]]),
        ("100 otherwise: electronic", [item("A", 101)], [[("A", 100)], [("A", 1)]]),
        ("100 otherwise: serial numbers", [item("A", 101, SERIAL)], [[("假日票券A", 100)], [("假日票券A", 1)]]),
        ("room is filled, so that calls are few", [item("A", 6, CVS), item("B", 6, CVS), item("C", 4, CVS)],
         [[("A", 6), ("B", 2)], [("B", 4), ("C", 4)]]),
        ("equal items are merged", [item("A", 2), item("B"), item("A", 3)], [[("A", 5), ("B", 1)]]),
        ("the same ItemNo with other dates goes to another part",
         [item("A", 2, start_date=JUNE), item("A", 3, start_date=JULY), item("B", 1, start_date=JUNE)],
         [[("A", 2), ("B", 1)], [("A", 3)]]),
        ("... also for the last day of a gift",
         [item("A", 1, voucher=GIFT, expire_date=JUNE), item("A", 1, voucher=GIFT, expire_date=JULY)],
         [[("A", 1)], [("A", 1)]]),
        ("presale and other tickets go into separate calls",
         [item("A"), item("B", start_date=JUNE), item("C")], [[("A", 1), ("C", 1)], [("B", 1)]]),
        ("a first day means nothing to other types than electronic ones",
         [item("A", 1, CVS), item("B", 1, CVS, start_date=JUNE)], [[("A", 1), ("B", 1)]]),
        ("gifts take no room from pickup vouchers", [item("G", 6, CVS, voucher=GIFT), item("A", 6, CVS)],
         [[("G", 2), ("A", 6)], [("G", 4)]]),
        ("calls of gifts alone come last", [item("G", 1, CVS, voucher=GIFT), item("A")], [[("A", 1)], [("G", 1)]]),
        ("pickup and gift vouchers share a call", [item("A", 2), item("G", 1, voucher=GIFT)], [[("A", 2), ("G", 1)]]),
        ("one ItemNo as both kinds of voucher is no call's", [item("A"), item("A", voucher=GIFT)],
         [[("A", 1)], [("A", 1)]]),
        ("a listed product's name and price are the shop's own words",
         [item("A", 1, name="red"), item("A", 1, name="blue", price=5)], [[("A", 2)]]),
        ("a serial number's name and price are the product",
         [item("A", 1, SERIAL, price=5), item("A", 1, SERIAL, price=6)], [[("假日票券A", 1), ("假日票券A", 1)]]),
    ],
)  # fmt: skip
def test_items_are_dealt_out(reason: str, items: list[TicketItem], calls: list[list[tuple[str, int]]]) -> None:
    """The sentences of docs/orders.md, "Calls and numbers", one by one."""
    assert dealt(*items) == calls, reason


def test_twenty_calls_fit_and_one_more_does_not() -> None:
    """At most 20 parts; the message says what the order would have needed."""
    assert len(pack([item("A", 160, CVS)])) == MAX_CALLS

    with pytest.raises(DoesNotFit, match=r"\b161 convenience store .*\b8\b"):
        pack([item("A", 161, CVS)])


def test_dates_count_among_the_twenty() -> None:
    """21 gifts of one product with 21 last days need 21 calls, however few they are."""
    gifts = [item("A", 1, voucher=GIFT, expire_date=date(2024, 6, day)) for day in range(1, 22)]

    with pytest.raises(DoesNotFit):
        pack(gifts)


def test_an_absurd_quantity_is_refused_at_once() -> None:
    """A billion tickets are counted, not packed."""
    with pytest.raises(DoesNotFit, match="1000000000"):
        pack([item("A", 10**9)])


def test_nothing_to_issue_is_no_order() -> None:
    """Lines that stand for no ticket do not make a plan of no calls."""
    with pytest.raises(InvalidOrder, match="nothing to issue"):
        pack([])


ITEMS = st.lists(
    st.builds(
        item,
        st.sampled_from(["A", "B", "C"]),
        st.integers(1, 40),
        st.sampled_from([CVS, PAPER, ELECTRONIC, SERIAL]),
        voucher=st.sampled_from([None, GIFT]).map(lambda voucher: voucher or item().voucher),
        start_date=st.sampled_from([None, JUNE]),
    ),
    min_size=1,
    max_size=8,
)


@given(items=ITEMS)
def test_every_ticket_is_in_exactly_one_call(items: list[TicketItem]) -> None:
    """Nothing is lost or added, no call breaks a limit or repeats an item number, and the next time is the same."""
    try:
        calls = pack(items)
    except DoesNotFit:
        return

    assert calls == pack(items)
    assert _quantities(each for call in calls for each in call) == _quantities(items)
    for call in calls:
        kinds: set[IssueType] = {each.issue_type for each in call}
        assert len(kinds) == 1
        assert sum(each.quantity for each in call) <= MAX_TICKETS[kinds.pop()]
        numbers = [each.item_no for each in call if each.item_no]
        assert len(numbers) == len(set(numbers))


def _quantities(items: object) -> dict[object, int]:
    return {
        (each.issue_type, each.item_no, each.name, each.price, each.voucher, each.start_date): each.quantity
        for each in merge(items)  # type: ignore[arg-type]
    }
