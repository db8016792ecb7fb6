"""The way in: an order-paid event is read whole and as it is, or refused with a sentence that quotes nothing."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_words import mentions
from pydantic import JsonValue, TypeAdapter

from adapter.errors import Unreadable
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.issuance.order import LINES_MAX, REFERENCE_MAX_BYTES, Customer, Line, Order, Voucher
from adapter.protocol.issue import IssueType, PrintType

LEAST: Mapping[str, object] = {
    "order_id": "A-1",
    "merchant_id": "3085676",
    "lines": [{"sku": "VQT04959", "quantity": 2}],
}
READ = Order(order_id="A-1", merchant_id="3085676", lines=(Line(sku="VQT04959", quantity=2),))
Headers = tuple[tuple[str, bytes | None], ...]


def _parse(event: object, headers: Headers = (), only_merchant: str | None = None) -> Order:
    value = event if isinstance(event, bytes) else json.dumps(event).encode()
    return parse_order_paid(value, headers, only_merchant)


def _refusal(event: object, headers: Headers = ()) -> str:
    with pytest.raises(Unreadable) as caught:
        _parse(event, headers)
    return str(caught.value)


def test_the_least_event_is_an_order() -> None:
    """Order id, lines and, among several merchants, the merchant are all that is needed."""
    assert _parse(LEAST) == READ


def test_every_field_arrives() -> None:
    """What the schema names is in the order."""
    event = {
        "order_id": "A-2",
        "merchant_id": "3085676",
        "trade_no": "CBX20220302153064851",
        "paid_at": "2026-03-01T20:00:00+08:00",
        "reference": {"channel": "web"},
        "issue_type": "paper",
        "print_by": "merchant",
        "immediate": False,
        "store_id": "TPE01",
        "operator": "web",
        "customer": {"name": "n", "phone": "p", "email": "e", "address": "a"},
        "lines": [
            {
                "sku": "s",
                "quantity": 1,
                "name": "兩人套票",
                "unit_price": 990,
                "voucher": "gift",
                "start_date": "2026-04-01",
                "expire_date": "2026-12-31",
                "issue_type": "serial_number",
            }
        ],
    }

    assert _parse(event) == Order(
        order_id="A-2",
        merchant_id="3085676",
        trade_no="CBX20220302153064851",
        paid_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        reference={"channel": "web"},
        issue_type=IssueType.PAPER,
        print_type=PrintType.MERCHANT,
        immediate=False,
        store_id="TPE01",
        operator="web",
        customer=Customer(name="n", phone="p", email="e", address="a"),
        lines=(
            Line(
                sku="s",
                quantity=1,
                name="兩人套票",
                unit_price=990,
                voucher=Voucher.GIFT,
                start_date=date(2026, 4, 1),
                expire_date=date(2026, 12, 31),
                issue_type=IssueType.SERIAL_NUMBER,
            ),
        ),
    )


def test_the_only_merchant_may_stay_unsaid() -> None:
    """With one merchant configured the event needs none; a named one counts all the same."""
    unnamed = {"order_id": "A-1", "lines": LEAST["lines"]}

    assert _parse(unnamed, only_merchant="1").merchant_id == "1"
    assert _parse(LEAST, only_merchant="1").merchant_id == "3085676"
    assert _parse(unnamed).merchant_id == ""


def test_unknown_fields_are_passed_over() -> None:
    """A shop may say more than we need, at any level, even in words that JSON does not know."""
    text = json.dumps(LEAST).replace('"sku"', '"weight": NaN, "sku"').replace("{", '{"extra": [{}], ', 1)

    assert _parse(text.encode()) == READ


BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"shop.order.paid.v1"),
    ("ce_id", b"1"),
    ("ce_source", b"/shop"),
    ("content-type", b"application/json"),
)
STRUCTURED = {"specversion": "1.0", "type": "shop.order.paid.v1", "id": "1", "source": "/shop"}


@pytest.mark.parametrize(
    ("event", "headers"),
    [
        (LEAST, ()),
        (LEAST, (("content-type", None),)),
        (LEAST, BINARY),
        ({**STRUCTURED, "data": LEAST}, (("content-type", b"application/cloudevents+json; charset=utf-8"),)),
        ({**STRUCTURED, "data": LEAST}, (("Content-Type", b"Application/CloudEvents+JSON"),)),
        ({**STRUCTURED, "data": LEAST}, ()),
        ({**STRUCTURED, "data_base64": base64.b64encode(json.dumps(LEAST).encode()).decode()}, ()),
        ({**LEAST, "note": 'a "specversion" of nothing'}, ()),
        ({**LEAST, "meta": {"specversion": "1.0"}}, ()),
    ],
    ids=["bare", "no type", "binary", "structured", "letter case", "unlabelled", "base64", "quoted", "nested"],
)
def test_every_form_of_the_event_is_read(event: object, headers: Headers) -> None:
    """Bare JSON, or a CloudEvent in either mode, labelled or not."""
    assert _parse(event, headers) == READ


@pytest.mark.parametrize("data", ["not base64!", 5, None, ["x"], {}])
def test_base64_that_is_none_is_refused(data: object) -> None:
    """The cure is in the sentence."""
    assert "data_base64 is not base64" in _refusal({**STRUCTURED, "data_base64": data})


@pytest.mark.parametrize("value", [None, b""])
def test_a_tombstone_is_refused(value: bytes | None) -> None:
    """An empty record holds no order."""
    with pytest.raises(Unreadable, match="tombstone"):
        parse_order_paid(value, (), None)


DEEP = 100_000


@pytest.mark.parametrize(
    "value",
    [
        b"{",
        b"\x00",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"x"',
        b"{}{}",
        b'{"order_id":"\xff","lines":[{"sku":"x","quantity":1}]}',
        b'{"order_id":"\\ud800","lines":[{"sku":"x","quantity":1}]}',
        b'{"order_id":"A","reference":' + b"9" * 5000 + b',"lines":[{"sku":"x","quantity":1}]}',
        b'{"order_id":"A","reference":' + b"[" * DEEP + b"]" * DEEP + b',"lines":[{"sku":"x","quantity":1}]}',
        b'{"specversion":"1.0","data":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"specversion":"1.0","data":' + b"[" * 900 + b"]" * 900 + b"}",
        json.dumps([STRUCTURED]).encode(),
        json.dumps({**STRUCTURED, "data": json.dumps(LEAST)}).encode(),
        json.dumps(STRUCTURED).encode(),
        b"x" * 1024 * 1024,
        b'{"order_id": "' + b"x" * 1024 * 1024 + b'"}',
    ],
    ids=lambda value: repr(value[:30]),
)
def test_what_is_no_order_is_refused(value: bytes) -> None:
    """However broken, deep or large: one sentence that is short and names the schema."""
    message = _refusal(value)

    assert mentions(message, "order-paid schemas/order-paid.v1.json")
    assert len(message) < 700


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", '{"a": [NaN]}'])
def test_a_reference_that_json_cannot_write_is_refused(number: str) -> None:
    """It could not be passed on untouched."""
    event = json.dumps({**LEAST, "reference": 0}).replace('"reference": 0', f'"reference": {number}')

    assert mentions(_refusal(event.encode()), "reference: NaN infinity")
    assert mentions(_refusal(b'{"specversion": "1.0", "data": ' + event.encode() + b"}"), "reference: NaN")


def test_a_reference_may_be_one_kibibyte() -> None:
    """Counted as compact JSON in UTF-8, and not a byte more."""
    fits = "票" * ((REFERENCE_MAX_BYTES - 2) // 3)

    assert _parse({**LEAST, "reference": fits}).reference == fits
    assert "longer than 1024 bytes" in _refusal({**LEAST, "reference": fits + "票"})
    assert _parse({**LEAST, "reference": [1] * 511}).reference == [1] * 511


def test_a_reference_is_nested_no_deeper_than_every_record_with_it_can_be_read() -> None:
    """A confirmation that holds it must be readable: pydantic gives up at 200 levels."""

    def nested(levels: int) -> dict[str, object]:
        return json.loads('{"a":' * levels + "1" + "}" * levels)  # type: ignore[no-any-return]

    deepest = _parse({**LEAST, "reference": nested(64)}).reference
    assert deepest == nested(64)
    assert TypeAdapter(JsonValue).validate_json(json.dumps([[[[deepest]]]])) == [[[[deepest]]]]
    assert mentions(_refusal({**LEAST, "reference": nested(65)}), "reference: 64")
    assert mentions(_refusal({**LEAST, "reference": [nested(64)]}), "reference: 64")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"order_id": None}, "order_id"),
        ({"order_id": ""}, "order_id"),
        ({"order_id": "x" * 65}, "order_id"),
        ({"order_id": 5}, "order_id"),
        ({"merchant_id": 3085676}, "merchant_id"),
        ({"trade_no": ""}, "trade_no"),
        ({"paid_at": "2026-03-01T20:00:00"}, "paid_at"),
        ({"paid_at": "1700000000"}, "paid_at"),
        ({"paid_at": "-1700000000.5"}, "paid_at"),
        ({"paid_at": 1700000000}, "paid_at"),
        ({"paid_at": "yesterday"}, "paid_at"),
        ({"issue_type": "1"}, "issue_type"),
        ({"print_by": "ECPAY"}, "print_by"),
        ({"immediate": "true"}, "immediate"),
        ({"immediate": 1}, "immediate"),
        ({"customer": []}, "customer"),
        ({"customer": {"phone": 912345678}}, "customer.phone"),
        ({"lines": []}, "lines"),
        ({"lines": {}}, "lines"),
        ({"lines": [5]}, "lines.0"),
        ({"lines": [{"quantity": 1}]}, "lines.0.sku"),
        ({"lines": [{"sku": "x"}]}, "lines.0.quantity"),
        ({"lines": [{"sku": "x", "quantity": 0}]}, "lines.0.quantity"),
        ({"lines": [{"sku": "x", "quantity": "1"}]}, "lines.0.quantity"),
        ({"lines": [{"sku": "x", "quantity": True}]}, "lines.0.quantity"),
        ({"lines": [{"sku": "x", "quantity": 1, "unit_price": 9.5}]}, "lines.0.unit_price"),
        ({"lines": [{"sku": "x", "quantity": 1, "voucher": "free"}]}, "lines.0.voucher"),
        ({"lines": [{"sku": "x", "quantity": 1, "start_date": "2026-02-30"}]}, "lines.0.start_date"),
        ({"lines": [{"sku": "x", "quantity": 1, "expire_date": "2026-02-01T00:00:00Z"}]}, "lines.0.expire_date"),
        ({"lines": [{"sku": "x", "quantity": 1}] * (LINES_MAX + 1)}, "lines"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], field: str) -> None:
    """Types are strict: a shop that writes numbers as text gets an error, and nothing is guessed."""
    assert mentions(_refusal({**LEAST, **change}), f"{field}:")


def test_an_unreadable_line_is_one_mistake() -> None:
    """It does not also make the order one without lines."""
    message = _refusal({**LEAST, "lines": [{"sku": "x", "quantity": 0}]})

    assert ";" not in message


def test_a_java_shop_may_leave_out_the_seconds() -> None:
    """Java's OffsetDateTime writes no `:00`; one order in sixty must not be parked for it."""
    assert _parse({**LEAST, "paid_at": "2026-03-01T20:00+08:00"}).paid_at == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_many_mistakes_are_counted() -> None:
    """Five are reported, so that the message stays short."""
    message = _refusal({**LEAST, "lines": [{"sku": "", "quantity": 0}] * 100})

    assert message.count(";") == 4
    assert "(and 195 more)" in message


SECRET = "王小明0912345678"


@pytest.mark.parametrize(
    "change",
    [
        {"customer": {"name": [SECRET]}},
        {"customer": SECRET},
        {"paid_at": SECRET},
        {"issue_type": SECRET},
        {"reference": {SECRET: SECRET * 100}},
        {"trade_no": SECRET * 9},
        {"lines": [{"sku": "x", "quantity": SECRET}]},
        {"lines": [{"sku": "x", "quantity": 1, "start_date": SECRET}]},
    ],
)
def test_no_value_is_ever_quoted(change: dict[str, object]) -> None:
    """Nearly every field may be personal, and messages go into events and logs."""
    message = _refusal({**LEAST, **change})

    assert SECRET not in message
    assert "0912" not in message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*LEAST, "trade_no", "paid_at", "reference", "customer", "specversion", "data", "data_base64"])


@given(st.dictionaries(FIELDS, JSON, max_size=4), st.binary(max_size=20))
def test_nothing_raises_anything_but_unreadable(changes: dict[str, object], junk: bytes) -> None:
    """An order, or Unreadable: there is no third thing."""
    for value in (json.dumps({**LEAST, **changes}).encode(), junk):
        with contextlib.suppress(Unreadable):
            assert _parse(value).order_id
