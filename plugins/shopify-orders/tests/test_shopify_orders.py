"""A webhook of the topic `orders/paid` becomes an order; whatever else is on the topic is left to others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime

import pytest
from shopify_orders import Settings, ShopifyOrders

from adapter import DoesNotFit, InvalidOrder, IssueType, Order, OrderRecord, Unreadable
from adapter.testing import Conforms, MakesStreams, order_record

SHOP = "park.myshopify.com"
LINE: Mapping[str, object] = {
    "id": 866550311766439020,
    "sku": "VQT04959",
    "title": "主題樂園一日券",
    "quantity": 2,
    "current_quantity": 2,
    "price": "1200.00",
    "properties": [],
}
PAID: Mapping[str, object] = {
    "id": 820982911946154508,
    "name": "#1001",
    "test": False,
    "currency": "TWD",
    "financial_status": "paid",
    "processed_at": "2026-03-01T12:00:00+08:00",
    "email": "ming@example.com",
    "phone": None,
    "customer": {"first_name": "小明", "last_name": "王", "email": "ming@example.com", "phone": "+886912345678"},
    "billing_address": None,
    "shipping_address": {
        "name": "王小明",
        "phone": "02-2655-1775",
        "province": None,
        "city": "臺北市",
        "address1": "南港區三重路19之2號",
        "address2": "6樓",
    },
    "note_attributes": [],
    "line_items": [LINE],
}


def webhook(*lines: Mapping[str, object], **changes: object) -> OrderRecord:
    """The record of a webhook, with these lines and changes."""
    content = {**PAID, **({"line_items": lines} if lines else {}), **changes}
    return record(json.dumps(content, ensure_ascii=False).encode())


def record(value: bytes | None, topic: str = "orders/paid") -> OrderRecord:
    """A record with the headers of a webhook."""
    return order_record(value, headers={"X-Shopify-Topic": topic, "X-Shopify-Shop-Domain": SHOP})


def parsed(record: OrderRecord, **settings: object) -> Order:
    """The order it becomes."""
    plugin = ShopifyOrders()
    plugin.configure(Settings.model_validate(settings))
    order = plugin.parse_order(record)
    assert order is not None
    return order


def test_an_order_is_read() -> None:
    """Its number, its day, its lines in whole dollars, and whom it is for."""
    order = parsed(webhook())

    assert (order.order_id, order.paid_at) == ("820982911946154508", datetime(2026, 3, 1, 4, tzinfo=UTC))
    (line,) = order.lines
    assert (line.sku, line.quantity, line.unit_price, line.name) == ("VQT04959", 2, 1200, "主題樂園一日券")
    customer = order.customer
    assert (customer.name, customer.phone, customer.email) == ("王小明", "0912345678", "ming@example.com")
    assert customer.address == "臺北市南港區三重路19之2號6樓"
    assert order.reference == {"shop": SHOP, "name": "#1001", "test": False}


@pytest.mark.parametrize(
    "found", [order_record(b"{}"), record(b"{}", "orders/create"), record(None, "products/update")]
)
def test_other_records_are_left_to_others(found: OrderRecord) -> None:
    """Without the header, or of another topic."""
    assert ShopifyOrders().parse_order(found) is None


def test_the_headers_are_known_in_any_case() -> None:
    """HTTP does not care, and forwarders write them as they like."""
    headers = {"x-shopify-topic": "orders/paid"}

    assert ShopifyOrders().parse_order(order_record(dict(PAID), headers=headers)) is not None


@pytest.mark.parametrize("value", [None, b"", b"[]", b"not JSON", b'{"id": 1}', b"\xff\xfe", b"{" * 5000])
def test_what_is_no_order_is_unreadable(value: bytes | None) -> None:
    """With the fields that are missing, and no value."""
    with pytest.raises(Unreadable, match="Not an order of Shopify's"):
        parsed(record(value))


def test_no_value_of_the_webhook_is_told() -> None:
    """Nearly all of them may be personal."""
    with pytest.raises(Unreadable) as told:
        parsed(webhook(email=["ming@example.com"], line_items="0912345678"))

    assert "ming" not in str(told.value)
    assert "0912" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("+886912345678", "0912345678"),
        ("+886 912-345-678", "0912345678"),
        ("886912345678", "0912345678"),
        ("+886 (0)912 345 678", "0912345678"),
        ("00886912345678", "0912345678"),
        ("0912 345 678", "0912345678"),
        ("+1 555 0100", "+1 555 0100"),
        ("02-2655-1775", "02-2655-1775"),
        (None, None),
    ],
)
def test_phones_are_taiwanese_mobile_numbers_where_they_can_be(given: str | None, expected: str | None) -> None:
    """What is none is passed on as it is, and ECPay's rule then says what is wrong with it."""
    order = parsed(webhook(phone=given, customer=None, shipping_address=None))

    assert order.customer.phone == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [("小明", "王", "王小明"), ("Alice", "Chen", "Alice Chen"), (None, "Chen", "Chen"), (None, None, None)],
)
def test_names_are_put_together_as_they_are_said(first: str | None, last: str | None, expected: str | None) -> None:
    """Where no address has one."""
    person = {"first_name": first, "last_name": last}

    assert parsed(webhook(customer=person, shipping_address=None)).customer.name == expected


def test_what_was_taken_out_of_the_order_gets_no_tickets() -> None:
    """`current_quantity` counts."""
    order = parsed(webhook({**LINE, "current_quantity": 1}, {**LINE, "sku": "VNS21400", "current_quantity": 0}))

    assert [(line.sku, line.quantity) for line in order.lines] == [("VQT04959", 1)]


def test_properties_of_a_line_say_its_day_and_kind() -> None:
    """Names are settings; an order with a day is not immediate."""
    chosen = [{"name": "day", "value": "2026-05-01"}, {"name": "ticket_type", "value": "paper"}]
    order = parsed(webhook({**LINE, "properties": chosen}), date_property="day")

    assert (order.lines[0].start_date, order.lines[0].issue_type) == (date(2026, 5, 1), IssueType.PAPER)
    assert not order.immediate


def test_the_number_of_ecpays_payment_is_a_note_attribute() -> None:
    """Tickets are issued under it."""
    attributes = [{"name": "ecpay_trade_no", "value": "CBX20260302153064851"}]

    assert parsed(webhook(note_attributes=attributes)).trade_no == "CBX20260302153064851"


def test_each_shop_has_its_merchant() -> None:
    """By domain; without settings the only merchant is meant."""
    assert parsed(webhook(), merchants={SHOP: "3085676"}).merchant_id == "3085676"
    assert parsed(webhook()).merchant_id == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"currency": "USD"}, "TWD"),
        ({"financial_status": "refunded"}, "refunded, not paid"),
        ({"line_items": [{**LINE, "sku": None}]}, "no SKU"),
        ({"line_items": [{**LINE, "price": "12.50"}]}, "cents"),
        ({"line_items": [{**LINE, "price": "NaN"}]}, "no number"),
        ({"line_items": [{**LINE, "price": "free"}]}, "no number"),
        ({"line_items": [{**LINE, "properties": [{"name": "ticket_date", "value": "May"}]}]}, "no day"),
        ({"line_items": [{**LINE, "properties": [{"name": "ticket_type", "value": "gold"}]}]}, "none of"),
        ({"line_items": [{**LINE, "current_quantity": 0}]}, "nothing is wanted"),
    ],
)
def test_what_cannot_become_tickets_is_an_invalid_order(changes: dict[str, object], said: str) -> None:
    """With the line and what to do."""
    with pytest.raises(InvalidOrder, match=said):
        parsed(webhook(**changes))


def test_too_many_lines_do_not_fit() -> None:
    """An order has at most 200."""
    with pytest.raises(DoesNotFit):
        parsed(webhook(*[LINE] * 201))


def test_a_webhook_is_issued(memory_stream: MakesStreams) -> None:
    """All the way to the event, with the reference in it."""
    told = memory_stream(ShopifyOrders()).finish(webhook())

    assert told.kinds == ["submitted", "issued"]
    assert told.event("issued").data["reference"] == {"shop": SHOP, "name": "#1001", "test": False}


def test_it_keeps_the_rules_of_plugins(conforms: Conforms) -> None:
    """The conformance suite, with webhooks."""
    conforms(ShopifyOrders(), records=[webhook(), webhook(*[LINE] * 200), record(None), record(b"[]")])
