"""The mapping without a catalogue: the sku is the item number."""

from __future__ import annotations

from datetime import date

import pytest

from adapter import InvalidOrder, IssueType, Line, Order, TicketItem, UnmappedItem, Voucher
from adapter.extensions.builtin.sku_is_item_no import SkuIsItemNo
from extensions.helpers import line, order

DAY, LAST = date(2026, 4, 1), date(2026, 12, 31)


def mapped(given: Order, of: Line) -> TicketItem:
    (item,) = SkuIsItemNo().map_item(given, of)
    return item


def test_sku_is_the_item_number() -> None:
    """Name and price come along for the events; quantity is the line's."""
    item = mapped(order(), line(quantity=3, name="Day ticket", unit_price=1200))

    assert item == TicketItem(
        item_no="VQT04959", name="Day ticket", price=1200, quantity=3, issue_type=IssueType.ELECTRONIC
    )


def test_issue_type_of_the_line_goes_before_the_orders() -> None:
    """The order's is only the default of its lines."""
    assert mapped(order(), line(issue_type=IssueType.PAPER)).issue_type is IssueType.PAPER


def test_serial_number_is_issued_under_name_and_price() -> None:
    """Its sku names nothing at ECTicket, so it may be any text."""
    item = mapped(order(issue_type=IssueType.SERIAL_NUMBER), line("spa/2h", name="SPA課程體驗券", unit_price=0))

    assert (item.item_no, item.name, item.price) == (None, "SPA課程體驗券", 0)


@pytest.mark.parametrize("immediate", [None, False])
def test_days_of_the_line_are_the_items(immediate: bool | None) -> None:
    """A line with a last day is a gift voucher, one with a first day a presale; `immediate` need not say so."""
    item = mapped(order(immediate=immediate), line(start_date=DAY, expire_date=LAST))

    assert (item.voucher, item.start_date, item.expire_date) == (Voucher.GIFT, DAY, LAST)
    assert item.is_presale
    assert not item.start_moves


@pytest.mark.parametrize("sku", ["TSHIRT-RED-L", "123456789", "票", "A B", "VQT04959\n"])
def test_sku_that_cannot_be_an_item_number_is_unmapped(sku: str) -> None:
    """The message says what to do, since every shop meets this first."""
    with pytest.raises(UnmappedItem, match=r"submit\.catalogue"):
        mapped(order(), line(sku))


def test_line_without_an_issue_type_is_invalid() -> None:
    """The words to choose from are in the message."""
    with pytest.raises(InvalidOrder, match="convenience_store, paper, electronic, serial_number"):
        mapped(order(issue_type=None), line())


@pytest.mark.parametrize(
    ("of", "expected_text"),
    [
        (line(), "without name and unit_price"),
        (line(name="SPA course"), "without unit_price"),
        (line(unit_price=100), "without name,"),
    ],
)
def test_serial_number_without_name_or_price_is_invalid(of: Line, expected_text: str) -> None:
    """It would be issued under nothing."""
    with pytest.raises(InvalidOrder, match=expected_text):
        mapped(order(issue_type=IssueType.SERIAL_NUMBER), of)
