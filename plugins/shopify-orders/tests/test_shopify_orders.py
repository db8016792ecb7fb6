"""A webhook of the topic `orders/paid` becomes an order; whatever else is on the topic is left to others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from shopify_orders import Settings, ShopifyOrders

from adapter import DoesNotFit, Ignore, InvalidOrder, IssueType, Order, OrderRecord, Skip, Unreadable
from adapter.testing import ConformanceCheck, MemoryStreamFactory, Orders, order_record

SHOP = "park.myshopify.com"
CASES = Path(__file__).parent / "cases"
TIP: Mapping[str, object] = {
    "title": "Tip",
    "quantity": 1,
    "price": "60.00",
    "sku": None,
    "product_id": None,
    "tip_payment_gateway": None,
}
CUSTOM_ITEM: Mapping[str, object] = {
    "title": "Service fee",
    "quantity": 1,
    "price": "30.00",
    "sku": None,
    "product_id": None,
    "product_exists": False,
}
GIFT_CARD: Mapping[str, object] = {
    "title": "Gift card",
    "quantity": 1,
    "price": "500.00",
    "sku": "GIFT-500",
    "product_id": 7,
    "gift_card": True,
}
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


def answer(record: OrderRecord, **settings: object) -> Order | Ignore | None:
    """What the plugin makes of a record."""
    plugin = ShopifyOrders()
    plugin.configure(Settings.model_validate(settings))
    return plugin.parse_order(record)


def parsed(record: OrderRecord, **settings: object) -> Order:
    """The order it becomes."""
    order = answer(record, **settings)
    assert isinstance(order, Order)
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


@pytest.mark.parametrize("found", [order_record(b"{}"), order_record(None), record(b"{}", "")])
def test_records_of_others_are_left_to_them(found: OrderRecord) -> None:
    """Without the header they are not Shopify's."""
    assert ShopifyOrders().parse_order(found) is None


@pytest.mark.parametrize("topic", ["orders/create", "orders/cancelled", "draft_orders/create", "refunds/create"])
def test_webhooks_of_other_topics_are_ignored(topic: str) -> None:
    """A shop that forwards all its webhooks gets no dead letters for them; a setting leaves them to other plugins."""
    assert answer(record(b"{}", topic)) == Ignore(f"topic {topic}")
    assert answer(record(None, topic), other_topics="pass_on") is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cancelled_at": "2026-03-01T12:30:00+08:00"}, "cancelled"),
        ({"financial_status": "refunded"}, "refunded"),
        ({"financial_status": "voided", "currency": "USD"}, "voided"),
        ({"line_items": [{**LINE, "current_quantity": 0}]}, "no line is a ticket"),
        ({"line_items": [TIP, CUSTOM_ITEM, GIFT_CARD]}, "no line is a ticket"),
        ({"line_items": []}, "no line is a ticket"),
    ],
)
def test_orders_that_get_no_tickets_are_ignored(changes: dict[str, object], reason: str) -> None:
    """Cancelled, given back, or of nothing that ECPay sells as a ticket."""
    assert answer(webhook(**changes)) == Ignore(reason)


@pytest.mark.parametrize("line", [TIP, {**TIP, "tip_payment_gateway": "shopify_payments"}, CUSTOM_ITEM, GIFT_CARD])
def test_lines_that_are_never_tickets_are_left_out(line: Mapping[str, object]) -> None:
    """The rest of the order gets its tickets."""
    order = parsed(webhook(line, LINE, line))

    assert [(line.sku, line.quantity) for line in order.lines] == [("VQT04959", 2)]


def test_an_item_typed_in_by_hand_with_a_sku_is_a_ticket() -> None:
    """A draft order's custom item may have one, and so may a product that was deleted since."""
    order = parsed(webhook({**CUSTOM_ITEM, "sku": "VQT04959"}))

    assert [line.sku for line in order.lines] == ["VQT04959"]


def test_a_product_without_a_sku_is_parked_unless_a_setting_leaves_it_out() -> None:
    """It may be a ticket whose SKU was forgotten, so a person looks first."""
    product = {**LINE, "sku": None, "product_id": 8222223204662, "product_exists": True}

    with pytest.raises(InvalidOrder, match=r"line 1 .* has no SKU"):
        parsed(webhook(product, LINE))
    assert len(parsed(webhook(product, LINE), without_sku="leave_out").lines) == 1
    assert answer(webhook(product), without_sku="leave_out") == Ignore("no line is a ticket")


@pytest.mark.parametrize(
    ("case", "trade_no"),
    [
        ("tip", "CBX20260302153064851"),
        ("custom-item", "CBX20260302153064851"),
        ("numeric-note-attribute", "20260302153064851"),
        ("partially-refunded", "CBX20260302153064851"),
    ],
)
def test_orders_of_real_shops_get_their_tickets(case: str, trade_no: str, memory_stream: MemoryStreamFactory) -> None:
    """A tip, a fee typed in by hand, a note attribute that is a number, a partial refund."""
    found = record((CASES / f"{case}.json").read_bytes())
    order = parsed(found)
    result = memory_stream(ShopifyOrders()).run(found)

    assert [(line.sku, line.quantity) for line in order.lines] == [("VQT04959", 1)]
    assert (order.trade_no, order.customer.name) == (trade_no, "王小明")
    assert result.types == ["submitted", "issued"]
    assert result.event("issued").data["trade_no"] == trade_no


def test_what_was_refunded_gets_no_ticket() -> None:
    """`current_quantity` says it; older API versions have only the refunds."""
    refund = {"refund_line_items": [{"line_item_id": 1, "quantity": 1}, {"line_item_id": 2, "quantity": 2}]}
    lines = [{**LINE, "id": 1, "quantity": 3}, {**LINE, "id": 2, "quantity": 2}]
    older = [{name: value for name, value in line.items() if name != "current_quantity"} for line in lines]
    newer = [{**lines[0], "current_quantity": 2}, {**lines[1], "current_quantity": 0}]
    status = {"financial_status": "partially_refunded", "refunds": [refund]}

    for found in (older, newer):
        assert [line.quantity for line in parsed(webhook(*found, **status)).lines] == [2]


def test_a_refund_of_money_alone_leaves_all_tickets() -> None:
    """A refund without lines says of no line that it is not wanted."""
    order = parsed(webhook(financial_status="partially_refunded", refunds=[{"refund_line_items": []}]))

    assert order.lines[0].quantity == 2


@pytest.mark.parametrize("skipped", [True, False])
def test_test_orders_are_skipped_where_a_setting_says_so(skipped: bool, memory_stream: MemoryStreamFactory) -> None:
    """They are orders, so the event says that they got no tickets."""
    stream = memory_stream(shopify_orders=ShopifyOrders(), settings={"shopify_orders": {"skip_test_orders": skipped}})

    result = stream.run(webhook(test=True))

    assert result.types == (["skipped"] if skipped else ["submitted", "issued"])
    assert stream.run(webhook(id=7)).types == ["submitted", "issued"]


def test_other_orders_are_not_taken_for_test_orders(orders: Orders) -> None:
    """Their reference may hold anything."""
    plugin = ShopifyOrders()
    plugin.configure(Settings(skip_test_orders=True))

    for reference in ({"test": True}, ["test"], None, {"shop": SHOP, "name": "#1", "test": 1}):
        assert plugin.accept_order(orders.electronic(reference=reference)) is None
    assert plugin.accept_order(parsed(webhook(test=True))) == Skip("a test order of Shopify's")


def test_the_headers_are_known_in_any_case() -> None:
    """HTTP does not care, and forwarders write them as they like."""
    headers = {"x-shopify-topic": "orders/paid"}

    assert isinstance(ShopifyOrders().parse_order(order_record(dict(PAID), headers=headers)), Order)


@pytest.mark.parametrize("value", [None, b"", b"[]", b"not JSON", b'{"id": 1}', b"\xff\xfe", b"{" * 5000])
def test_what_is_no_order_is_unreadable(value: bytes | None) -> None:
    """With the fields that are missing, and no value."""
    with pytest.raises(Unreadable, match="Not an order of Shopify's"):
        parsed(record(value))


def test_no_value_of_the_webhook_is_in_the_message() -> None:
    """Nearly all of them may be personal."""
    with pytest.raises(Unreadable) as caught:
        parsed(webhook(email=["ming@example.com"], line_items="0912345678"))

    assert "ming" not in str(caught.value)
    assert "0912" not in str(caught.value)


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
    [
        ("小明", "王", "王小明"),
        (" 小明 ", "王", "王小明"),
        ("娜娜", "歐陽", "歐陽娜娜"),
        ("Alice", "Chen", "Alice Chen"),
        ("小明", "Wang", "小明 Wang"),
        (None, "王小明", "王小明"),
        (None, "Chen", "Chen"),
        (None, None, None),
    ],
)
def test_names_are_joined_in_spoken_order(first: str | None, last: str | None, expected: str | None) -> None:
    """Of the customer, and of an address, whose `name` Shopify makes of the same two with the given name first."""
    person = {"first_name": first, "last_name": last}
    name = f"{first or ''} {last or ''}".strip() or None

    assert parsed(webhook(customer=person, shipping_address=None)).customer.name == expected
    assert parsed(webhook(customer=None, shipping_address={**person, "name": name})).customer.name == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("小明 王", "王小明"), ("王 小明", "王小明"), ("王小明", "王小明"), ("Alice Chen", "Alice Chen"), ("", None)],
)
def test_a_chinese_name_in_one_field_begins_with_the_family(name: str, expected: str | None) -> None:
    """An address without first and last name has Shopify's joined one, or what the customer typed."""
    assert parsed(webhook(customer=None, shipping_address={"name": name})).customer.name == expected


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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("CBX20260302153064851", "CBX20260302153064851"),
        (" CBX20260302153064851 ", "CBX20260302153064851"),
        (20260302153064851, "20260302153064851"),
        (10**19 + 7, "10000000000000000007"),
        (20260302.0, "20260302"),
        ("", None),
        (None, None),
    ],
)
def test_the_number_of_ecpays_payment_is_a_note_attribute(value: object, expected: str | None) -> None:
    """Tickets are issued under it; scripts in the shop write it as a number, too."""
    attributes = [{"name": "gift", "value": True}, {"name": 5}, {"name": "ecpay_trade_no", "value": value}]

    assert parsed(webhook(note_attributes=attributes)).trade_no == expected


@pytest.mark.parametrize("value", [True, False, 2026030215306485.5, 2.0260302153064851e19, ["CBX1"], {"no": "CBX1"}])
def test_a_number_that_lost_digits_is_none(value: object) -> None:
    """Under a wrong number the tickets would not be found."""
    with pytest.raises(InvalidOrder, match="ecpay_trade_no of order 820982911946154508"):
        parsed(webhook(note_attributes=[{"name": "ecpay_trade_no", "value": value}]))


@pytest.mark.parametrize("attributes", [None, []])
def test_an_order_may_have_no_attributes(attributes: object) -> None:
    """Null is an empty list."""
    order = parsed(webhook({**LINE, "properties": attributes}, note_attributes=attributes, refunds=attributes))

    assert order.trade_no is None


def test_each_shop_has_its_merchant() -> None:
    """By domain; without settings the only merchant is meant."""
    assert parsed(webhook(), merchants={SHOP: "3085676"}).merchant_id == "3085676"
    assert parsed(webhook()).merchant_id == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"currency": "USD"}, "TWD"),
        ({"financial_status": "pending"}, "not paid"),
        ({"financial_status": "partially_paid"}, "not paid"),
        ({"line_items": [{**LINE, "sku": None}]}, "no SKU"),
        ({"line_items": [{**LINE, "price": "12.50"}]}, "cents"),
        ({"line_items": [{**LINE, "price": "NaN"}]}, "no number"),
        ({"line_items": [{**LINE, "price": "free"}]}, "no number"),
        ({"line_items": [{**LINE, "properties": [{"name": "ticket_date", "value": "May"}]}]}, "no day"),
        ({"line_items": [{**LINE, "properties": [{"name": "ticket_type", "value": "gold"}]}]}, "none of"),
    ],
)
def test_what_cannot_become_tickets_is_an_invalid_order(changes: dict[str, object], message: str) -> None:
    """With the line and what to do."""
    with pytest.raises(InvalidOrder, match=message):
        parsed(webhook(**changes))


def test_too_many_lines_do_not_fit() -> None:
    """An order has at most 200."""
    with pytest.raises(DoesNotFit):
        parsed(webhook(*[LINE] * 201))


def test_a_webhook_is_issued(memory_stream: MemoryStreamFactory) -> None:
    """All the way to the event, with the reference in it."""
    result = memory_stream(ShopifyOrders()).run(webhook())

    assert result.types == ["submitted", "issued"]
    assert result.event("issued").data["reference"] == {"shop": SHOP, "name": "#1001", "test": False}


def test_it_keeps_the_rules_of_plugins(conforms: ConformanceCheck) -> None:
    """The conformance suite, with webhooks."""
    conforms(ShopifyOrders(), records=[webhook(), webhook(*[LINE] * 200), record(None), record(b"[]")])
