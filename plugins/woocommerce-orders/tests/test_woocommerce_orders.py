"""A webhook of a paid order becomes an order; a status that is not paid, and whatever else comes, is ignored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime

import pytest
from woocommerce_orders import Settings, WooCommerceOrders

from adapter import DoesNotFit, Ignore, InvalidOrder, IssueType, Order, OrderRecord, Unreadable
from adapter.testing import ConformanceCheck, MemoryStreamFactory, order_record

SHOP = "park.example"
TRADE_NO = "_wooecpay_payment_merchant_trade_no"
LINE: Mapping[str, object] = {
    "id": 315,
    "name": "主題樂園一日券 &ndash; 成人",
    "product_id": 93,
    "variation_id": 0,
    "quantity": 2,
    "tax_class": "",
    "subtotal": "2400.00",
    "subtotal_tax": "0.00",
    "total": "2160.00",
    "total_tax": "0.00",
    "taxes": [],
    "meta_data": [],
    "sku": "VQT04959",
    "price": 1080,
}
ADDRESS: Mapping[str, object] = {
    "first_name": "小明",
    "last_name": "王",
    "company": "",
    "address_1": "南港區三重路19之2號",
    "address_2": "6樓",
    "city": "臺北市",
    "state": "",
    "postcode": "115",
    "country": "TW",
    "email": "ming@example.com",
    "phone": "0912345678",
}
PAID: Mapping[str, object] = {
    "id": 727,
    "parent_id": 0,
    "number": "W-727",
    "status": "processing",
    "currency": "TWD",
    "date_created": "2026-03-01T12:00:00",
    "date_created_gmt": "2026-03-01T04:00:00",
    "total": "2190.00",
    "billing": ADDRESS,
    "shipping": dict.fromkeys(ADDRESS, ""),
    "payment_method": "Wooecpay_Gateway_Credit",
    "transaction_id": "2603011200001234",
    "date_paid": "2026-03-01T12:01:00",
    "date_paid_gmt": "2026-03-01T04:01:00",
    "meta_data": [{"id": 13106, "key": "_download_permissions_granted", "value": "yes"}],
    "line_items": [LINE],
    "tax_lines": [],
    "shipping_lines": [{"id": 317, "method_title": "Flat Rate", "total": "0.00"}],
    "fee_lines": [{"id": 318, "name": "小費", "total": "30.00"}],
    "coupon_lines": [{"id": 319, "code": "spring", "discount": "240"}],
    "refunds": [],
}


def webhook(*lines: Mapping[str, object], **changes: object) -> OrderRecord:
    """The record of a webhook, with these lines and changes."""
    content = {**PAID, **({"line_items": lines} if lines else {}), **changes}
    return record(json.dumps(content, ensure_ascii=False).encode())


def record(value: bytes | None, topic: str = "order.updated") -> OrderRecord:
    """A record with the headers of a webhook."""
    return order_record(value, headers={"X-WC-Webhook-Topic": topic, "X-WC-Webhook-Source": f"https://{SHOP}/"})


def answer(record: OrderRecord, **settings: object) -> Order | Ignore | None:
    """What the plugin makes of a record."""
    plugin = WooCommerceOrders()
    plugin.configure(Settings.model_validate(settings))
    return plugin.parse_order(record)


def parsed(record: OrderRecord, **settings: object) -> Order:
    """The order it becomes."""
    order = answer(record, **settings)
    assert isinstance(order, Order)
    return order


def test_an_order_is_read() -> None:
    """Its number, its day, its lines in whole dollars before discounts, and whom it is for; fees are no tickets."""
    order = parsed(webhook())

    assert (order.order_id, order.paid_at) == ("727", datetime(2026, 3, 1, 4, 1, tzinfo=UTC))
    (line,) = order.lines
    assert (line.sku, line.quantity, line.unit_price) == ("VQT04959", 2, 1200)
    assert line.name == "主題樂園一日券 – 成人"
    customer = order.customer
    assert (customer.name, customer.phone, customer.email) == ("王小明", "0912345678", "ming@example.com")
    assert customer.address == "臺北市南港區三重路19之2號6樓"
    assert order.reference == {"shop": SHOP, "number": "W-727"}


@pytest.mark.parametrize("topic", ["order.created", "order.updated", "order.restored"])
def test_webhooks_of_orders_are_read(topic: str) -> None:
    """A guest who pays at once is only ever created."""
    assert isinstance(answer(record(json.dumps(PAID).encode(), topic)), Order)


@pytest.mark.parametrize("found", [order_record(b"{}"), order_record(None), record(b"{}", "")])
def test_records_of_others_are_left_to_them(found: OrderRecord) -> None:
    """Without the header they are not WooCommerce's."""
    assert WooCommerceOrders().parse_order(found) is None


@pytest.mark.parametrize("topic", ["order.deleted", "product.updated", "action.woocommerce_add_to_cart"])
def test_webhooks_of_other_topics_are_ignored(topic: str) -> None:
    """Their body is another one: a deleted order is only its number."""
    assert answer(record(b'{"id": 727}', topic)) == Ignore(f"topic {topic}")


def test_the_ping_of_a_new_webhook_is_ignored() -> None:
    """WooCommerce sends it without the headers."""
    assert answer(order_record(b"webhook_id=142")) == Ignore("ping of a new webhook")


@pytest.mark.parametrize("status", ["pending", "on-hold", "cancelled", "refunded", "failed", "trash", "checkout-draft"])
def test_orders_that_are_not_paid_are_ignored(status: str) -> None:
    """Of an order whose money comes later there is a later webhook."""
    assert answer(webhook(status=status)) == Ignore(f"status {status}")


def test_paid_statuses_are_a_setting() -> None:
    """Plugins of WooCommerce add their own."""
    assert isinstance(answer(webhook(status="packed"), paid_statuses=["processing", "packed"]), Order)


def test_old_orders_can_be_ignored() -> None:
    """An order of years ago that is edited today comes as `order.updated`."""
    assert answer(webhook(), paid_from="2026-03-02") == Ignore("paid before paid_from")
    assert isinstance(answer(webhook(), paid_from="2026-03-01"), Order)


def test_an_order_with_refunds_is_parked_unless_a_setting_says_otherwise() -> None:
    """WooCommerce's order holds the sum of each refund and no lines."""
    refunds = [{"id": 726, "reason": "", "total": "-1080.00"}]

    with pytest.raises(InvalidOrder, match="refunds"):
        parsed(webhook(refunds=refunds))
    assert parsed(webhook(refunds=refunds), partially_refunded="issue").lines[0].quantity == 2


def test_a_product_without_a_sku_is_parked_unless_a_setting_leaves_it_out() -> None:
    """It may be a ticket whose SKU was forgotten, so a person looks first."""
    for sku in ("", None):
        product = {**LINE, "sku": sku}
        with pytest.raises(InvalidOrder, match=r"line 2 .* has no SKU"):
            parsed(webhook(LINE, product))
        assert len(parsed(webhook(LINE, product), without_sku="leave_out").lines) == 1
        assert answer(webhook(product), without_sku="leave_out") == Ignore("no line is a ticket")


@pytest.mark.parametrize("value", [None, b"", b"[]", b"not JSON", b'{"id": 1}', b"\xff\xfe", b"{" * 5000])
def test_what_is_no_order_is_unreadable(value: bytes | None) -> None:
    """With the fields that are missing, and no value."""
    with pytest.raises(Unreadable, match="Not an order of WooCommerce's"):
        parsed(record(value))


def test_no_value_of_the_webhook_is_shown() -> None:
    """Nearly all of them may be personal."""
    with pytest.raises(Unreadable) as raised:
        parsed(webhook(billing={"email": ["ming@example.com"]}, line_items="0912345678"))

    assert "ming" not in str(raised.value)
    assert "0912" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("CBX20260302153064851", "CBX20260302153064851"), (20260302153064851, "20260302153064851"), ("", None)],
)
def test_the_number_of_ecpays_payment_is_in_the_orders_meta(value: object, expected: str | None) -> None:
    """ECPay's own plugin for WooCommerce writes it there; of two attempts to pay the last one counts."""
    meta = [{"id": 1, "key": TRADE_NO, "value": "FIRSTATTEMPT"}, {"id": 2, "key": TRADE_NO, "value": value}]

    assert parsed(webhook(meta_data=meta)).trade_no == expected


def test_an_abandoned_payment_is_not_the_orders() -> None:
    """The customer began to pay with ECPay, and then paid otherwise."""
    meta = [{"id": 1, "key": TRADE_NO, "value": "CBX1"}]

    assert parsed(webhook(meta_data=meta, payment_method="bacs")).trade_no is None
    assert parsed(webhook(meta_data=meta, payment_method="bacs"), trade_no_payments="").trade_no == "CBX1"


@pytest.mark.parametrize("value", [True, 2.5, ["CBX1"], {"no": "CBX1"}])
def test_a_number_that_is_none_is_an_invalid_order(value: object) -> None:
    """Under a wrong number the tickets would not be found."""
    with pytest.raises(InvalidOrder, match=TRADE_NO):
        parsed(webhook(meta_data=[{"id": 1, "key": TRADE_NO, "value": value}]))


def test_meta_of_a_line_says_its_day_and_kind() -> None:
    """Keys are settings; values of other plugins may be anything."""
    meta = [
        {"id": 1, "key": "_tc_options", "value": {"a": [1]}},
        {"id": 2, "key": "day", "value": "2026/05/01"},
        {"id": 3, "key": "ticket_type", "value": "paper"},
    ]
    order = parsed(webhook({**LINE, "meta_data": meta}), date_meta="day")

    assert (order.lines[0].start_date, order.lines[0].issue_type) == (date(2026, 5, 1), IssueType.PAPER)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [("小明", "王", "王小明"), ("Alice", "Chen", "Alice Chen"), ("", "王小明", "王小明"), ("", "", None)],
)
def test_names_are_joined_in_spoken_order(first: str, last: str, expected: str | None) -> None:
    """Chinese names begin with the family's."""
    person = {**ADDRESS, "first_name": first, "last_name": last}

    assert parsed(webhook(billing=person)).customer.name == expected


def test_the_person_at_the_shipping_address_comes_first() -> None:
    """Where there is one; a state that is only a code is left out of the address."""
    shipping = {**ADDRESS, "first_name": "小美", "last_name": "林", "state": "TXG", "city": "臺中市", "phone": ""}
    customer = parsed(webhook(shipping=shipping)).customer

    assert (customer.name, customer.phone) == ("林小美", "0912345678")
    assert (customer.address or "").startswith("臺中市南港區")


@pytest.mark.parametrize(
    ("source", "merchant_id"),
    [("https://park.example/", "3085676"), ("https://PARK.example:443/shop", "3085676"), ("", ""), ("//[", "")],
)
def test_each_shop_has_its_merchant(source: str, merchant_id: str) -> None:
    """By host name; a shop that is not known is not guessed."""
    headers = {"x-wc-webhook-topic": "order.updated", "x-wc-webhook-source": source}
    order = parsed(order_record(dict(PAID), headers=headers), merchants={SHOP: "3085676"})

    assert order.merchant_id == merchant_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"currency": "USD"}, "TWD"),
        ({"line_items": [{**LINE, "subtotal": "2400.50"}]}, "cents"),
        ({"line_items": [{**LINE, "subtotal": "NaN"}]}, "no number"),
        ({"line_items": [{**LINE, "subtotal": "free"}]}, "no number"),
        ({"line_items": [{**LINE, "meta_data": [{"key": "ticket_date", "value": "May"}]}]}, "no day"),
        ({"line_items": [{**LINE, "meta_data": [{"key": "ticket_type", "value": "gold"}]}]}, "none of"),
    ],
)
def test_what_cannot_become_tickets_is_an_invalid_order(changes: dict[str, object], message: str) -> None:
    """With the line and what to do."""
    with pytest.raises(InvalidOrder, match=message):
        parsed(webhook(**changes))


def test_prices_are_with_tax() -> None:
    """A shop that keeps prices without tax sells at the sum of both."""
    order = parsed(webhook({**LINE, "subtotal": "2285.72", "subtotal_tax": "114.28"}))

    assert order.lines[0].unit_price == 1200


def test_too_many_lines_do_not_fit() -> None:
    """An order has at most 200."""
    with pytest.raises(DoesNotFit):
        parsed(webhook(*[LINE] * 201))


def test_a_webhook_is_issued(memory_stream: MemoryStreamFactory) -> None:
    """All the way to the event, with the reference in it; before it is paid, nothing is published."""
    stream = memory_stream(WooCommerceOrders())

    assert stream.run(webhook(status="on-hold")).ignored == "status on-hold"
    result = stream.run(webhook())
    assert result.types == ["submitted", "issued"]
    assert result.event("issued").data["reference"] == {"shop": SHOP, "number": "W-727"}


def test_it_keeps_the_rules_of_plugins(conforms: ConformanceCheck) -> None:
    """The conformance suite, with webhooks."""
    own = [webhook(), webhook(*[LINE] * 200), webhook(status="trash"), record(None), record(b"[]")]
    conforms(WooCommerceOrders(), records=own)
