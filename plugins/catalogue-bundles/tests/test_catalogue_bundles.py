"""A sku becomes the tickets of its bundle, as often as it was bought, dated from the day of payment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from catalogue_bundles import CatalogueBundles, Settings

from adapter import InvalidOrder, IssueType, Line, Order, SettingsError, TicketItem, Voucher
from adapter.testing import ConformanceCheck, MemoryStreamFactory, Orders

BUNDLES = """
FAMILY-DAY:
  - {item_no: VQT04959, quantity: 2}
  - {item_no: VNS21400, quantity: 3}
SUMMER-PASS:
  - {item_no: VQT04959, valid_from_days: 7}
GIFT-BOX:
  - {item_no: GFT00001, voucher: gift, valid_for_days: 90}
  - {name: SPA課程體驗券, price: 3200, issue_type: serial_number}
"""
Bundles = Callable[[str], CatalogueBundles]


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    """Makes the plugin with a file of this content."""

    def make(content: str) -> CatalogueBundles:
        written = tmp_path / "bundles.yaml"
        written.write_text(content, encoding="utf-8")
        plugin = CatalogueBundles()
        plugin.configure(Settings(file=written))
        return plugin

    return make


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    """The plugin's section, with a file of the bundles above."""
    file = tmp_path / "settings-bundles.yaml"
    file.write_text(BUNDLES, encoding="utf-8")
    return {"file": str(file)}


def mapped(plugin: CatalogueBundles, order: Order) -> list[TicketItem]:
    """The tickets of the order's only line."""
    (line,) = order.lines
    found = plugin.map_item(order, line)
    assert found is not None
    return found


def test_a_bundle_becomes_its_tickets_as_often_as_it_was_bought(bundles: Bundles, orders: Orders) -> None:
    """Two family days are four adults and six children."""
    found = mapped(bundles(BUNDLES), orders.electronic(Line(sku="FAMILY-DAY", quantity=2)))

    assert [(item.item_no, item.quantity) for item in found] == [("VQT04959", 4), ("VNS21400", 6)]


def test_an_unknown_sku_is_left_to_others(bundles: Bundles, orders: Orders) -> None:
    """None, and no empty list."""
    order = orders.electronic()

    assert bundles(BUNDLES).map_item(order, order.lines[0]) is None


def test_the_first_day_is_counted_from_payment_in_taipei(bundles: Bundles, orders: Orders) -> None:
    """Paid on the evening of the 1st in UTC is paid on the 2nd in Taipei."""
    late = datetime(2026, 3, 1, 16, 30, tzinfo=UTC)
    order = orders.presale(Line(sku="SUMMER-PASS", quantity=1), paid_at=late)

    assert mapped(bundles(BUNDLES), order)[0].start_date == date(2026, 3, 9)


def test_a_date_on_the_line_goes_before_the_rule(bundles: Bundles, orders: Orders) -> None:
    """It is nearer to the purchase."""
    chosen = date(2026, 5, 1)
    order = orders.presale(Line(sku="SUMMER-PASS", quantity=1, start_date=chosen))

    assert mapped(bundles(BUNDLES), order)[0].start_date == chosen


def test_only_electronic_tickets_have_a_first_day(
    bundles: Bundles, orders: Orders, memory_stream: MemoryStreamFactory, settings: dict[str, object]
) -> None:
    """One makes them presale tickets, whatever the order says; ECTicket takes none for other kinds."""
    line = Line(sku="SUMMER-PASS", quantity=1)
    stream = memory_stream(bundles=CatalogueBundles(), settings={"bundles": settings})

    assert stream.run(orders.electronic(line)).types == ["submitted", "issued"]
    (request,) = stream.ecticket.requests
    assert (request.ticket_info[0].start_date, request.is_immediate) == (date(2026, 3, 8), False)
    assert mapped(bundles(BUNDLES), orders.paper(line))[0].start_date is None


def test_a_gift_box_is_a_voucher_with_a_last_day_and_a_serial_number(bundles: Bundles, orders: Orders) -> None:
    """One line, two issue types."""
    gift, serial = mapped(bundles(BUNDLES), orders.electronic(Line(sku="GIFT-BOX", quantity=1)))

    assert (gift.voucher, gift.expire_date) == (Voucher.GIFT, date(2026, 5, 30))
    assert (serial.issue_type, serial.price, serial.item_no) == (IssueType.SERIAL_NUMBER, 3200, None)


@pytest.mark.parametrize("fields", [{"paid_at": None}, {"paid_at": datetime.max.replace(tzinfo=UTC)}])
def test_what_cannot_be_dated_is_an_invalid_order(bundles: Bundles, orders: Orders, fields: dict[str, object]) -> None:
    """Without a day of payment, or with one at the end of the calendar."""
    order = orders.electronic(Line(sku="GIFT-BOX", quantity=1), **fields)

    with pytest.raises(InvalidOrder, match="GIFT-BOX"):
        mapped(bundles(BUNDLES), order)


def test_an_order_without_an_issue_type_is_an_invalid_order(bundles: Bundles, orders: Orders) -> None:
    """Where the bundle does not say it either."""
    order = orders.electronic(Line(sku="FAMILY-DAY", quantity=1), issue_type=None)

    with pytest.raises(InvalidOrder, match="issue_type"):
        mapped(bundles(BUNDLES), order)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A: [{item_no: VQT04959, quantty: 2}]", "A.0.quantty"),
        ("A: [{quantity: 2}]", "item_no is missing"),
        ("A: [{item_no: '!'}]", "A.0.item_no"),
        ("A: []", "A"),
        ("A: [{item_no: GFT00001, voucher: gift}]", "gift vouchers have a last day"),
        ("A: [{item_no: GFT00001, valid_for_days: 1}]", "others have none"),
        ("A: [{item_no: VQT04959, valid_from: 2026-05-01, valid_from_days: 1}]", "keep one"),
        ("A: [{name: SPA, issue_type: serial_number}]", "name and price"),
        ("A: {", "no YAML"),
        ("A: [{item_no: X}]\nB: []\nA: [{item_no: Y}]\n", "lines 1 and 3 have the same key"),
        ("A: [{item_no: X,\n item_no: Y}]\n", "lines 1 and 2 have the same key"),
    ],
)
def test_a_mistake_in_the_file_is_reported(bundles: Bundles, content: str, message: str) -> None:
    """With the place."""
    with pytest.raises(SettingsError, match=message):
        bundles(content)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(SettingsError, match=r"missing\.yaml cannot be read"):
        CatalogueBundles().configure(Settings(file=tmp_path / "missing.yaml"))


def test_the_fingerprint_changes_with_the_content_and_not_with_its_spelling(bundles: Bundles) -> None:
    """A comment is no other mapping."""
    before, spelt, other = (
        bundles(content).content_fingerprint
        for content in (BUNDLES, f"# ours\n{BUNDLES}", BUNDLES.replace("quantity: 3", "quantity: 4"))
    )

    assert before == spelt
    assert before != other


def test_a_family_day_is_issued(
    settings: dict[str, object], orders: Orders, memory_stream: MemoryStreamFactory
) -> None:
    """All the way to the event."""
    stream = memory_stream(bundles=CatalogueBundles(), settings={"bundles": settings})
    result = stream.run(orders.electronic(Line(sku="FAMILY-DAY", quantity=1)))

    assert result.event("issued").data["ticket_count"] == 5


def test_it_keeps_the_rules_of_plugins(settings: dict[str, object], orders: Orders, conforms: ConformanceCheck) -> None:
    """The conformance suite, with orders of its own skus."""
    own = [orders.electronic(Line(sku=sku, quantity=3)) for sku in ("FAMILY-DAY", "SUMMER-PASS", "GIFT-BOX")]

    conforms(CatalogueBundles(), settings=settings, orders=own)
