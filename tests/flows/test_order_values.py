"""The published schema and the reader agree, and what holds no order is named for what it is.

docs/orders.md, "The record": unknown fields are passed over, `null` means absent, 2.0 is an integer, a byte order mark
is ignored. `unreadable` names the real cause, because a person has to find the producer by it.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import pickle
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from key_words import mentions

from adapter.errors import Unreadable
from adapter.flows.messages.event_value import BOM, Headers
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.issuance.order import Customer, Line, Order, Voucher
from flows.from_schema import values_of

SCHEMA: Mapping[str, Any] = json.loads(
    (Path(__file__).parents[2] / "schemas" / "order-paid.v1.json").read_text(encoding="utf-8")
)
ACCEPTS = Draft202012Validator(SCHEMA)
LEAST: Mapping[str, object] = {
    "order_id": "A-1",
    "merchant_id": "3085676",
    "lines": [{"sku": "VQT04959", "quantity": 2}],
}
READ = Order(order_id="A-1", merchant_id="3085676", lines=(Line(sku="VQT04959", quantity=2),))
STRUCTURED = {"specversion": "1.0", "type": "shop.order.paid.v1", "id": "1", "source": "/shop"}
SECRET = "王小明0912345678"


def _bytes(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def _refusal(value: bytes | None, headers: Headers = ()) -> str:
    with pytest.raises(Unreadable) as caught:
        parse_order_paid(value, headers, None)
    message = str(caught.value)
    assert "王" not in message
    assert "0912" not in message
    assert "VQT04959" not in message
    assert len(message) < 500
    return message


# --- the schema and the reader ----------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
"""Small enough for a `reference`, whose size and depth a schema cannot say."""
DOCUMENTS: st.SearchStrategy[dict[str, Any]] = values_of(SCHEMA, anything=ANYTHING)


def _structured(document: object) -> bytes:
    return _bytes({**STRUCTURED, "data": document})


def _in_base64(document: object) -> bytes:
    return _bytes({**STRUCTURED, "data_base64": base64.b64encode(BOM + _bytes(document)).decode()})


FORMS: Mapping[str, Callable[[object], bytes]] = {
    "bare": _bytes,
    "ascii": lambda document: json.dumps(document).encode(),
    "indented": lambda document: json.dumps(document, indent=4).replace("\n", "\r\n").encode(),
    "byte order mark": lambda document: BOM + _bytes(document),
    "confluent": lambda document: b"\x00\x00\x00\x30\x39" + _bytes(document),
    "confluent with a byte order mark": lambda document: b"\x00\x00\x00\x30\x39" + BOM + _bytes(document),
    "structured": _structured,
    "structured with a byte order mark": lambda document: BOM + _structured(document),
    "structured in confluent": lambda document: b"\x00\x00\x00\x00\x01" + _structured(document),
    "base64": _in_base64,
}


@settings(deadline=None)  # a loaded machine must not fail it
@given(DOCUMENTS, st.sampled_from(sorted(FORMS)))
def test_the_reader_reads_what_the_schema_accepts(document: dict[str, Any], form: str) -> None:
    """In every form in which an event may come, and the same order in each."""
    assert ACCEPTS.is_valid(document)

    order = parse_order_paid(FORMS[form](document), (), "3085676")

    assert order == parse_order_paid(_bytes(document), (), "3085676")
    assert (order.order_id, order.reference) == (document["order_id"], document.get("reference"))
    assert [(line.sku, line.quantity) for line in order.lines] == [
        (line["sku"], line["quantity"]) for line in document["lines"]
    ]


def _locations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = [line for line in document["lines"] if isinstance(line, dict)]
    customer = document.get("customer")
    return [document, *lines, *([customer] if isinstance(customer, dict) else [])]  # type: ignore[list-item]


ODD = ANYTHING | st.sampled_from(
    ["2026-02-30", "1700000000", "2026-03-01T20:00+08:00", "2026-03-01 20:00:00+08", 2.5, 2.0, 1e300, True, "", "gift"]
)


@settings(deadline=None)
@given(DOCUMENTS, st.data())
def test_the_schema_accepts_what_the_reader_reads(document: dict[str, Any], data: st.DataObject) -> None:
    """As far as a schema can say it: a field becomes something else, and the two say the same of it."""
    location = data.draw(st.sampled_from(_locations(document)))
    name = data.draw(st.sampled_from(sorted({*location, "paid_at", "start_date", "immediate", "order_id", "quantity"})))
    location[name] = data.draw(ODD)
    try:
        parse_order_paid(_bytes(document), (), "3085676")
    except Unreadable:
        return

    assert ACCEPTS.is_valid(document)


def _nullable(schema: Mapping[str, Any], name: str) -> bool:
    allowed = schema["properties"][name]
    return "$ref" in allowed or {"type": "null"} in allowed.get("anyOf", ())


def test_null_means_absent_in_every_field_that_may_be_absent() -> None:
    """At every level; in a required field it is as wrong as its absence."""
    for schema in (SCHEMA, *(SCHEMA["$defs"][name] for name in ("CustomerData", "LineData"))):
        optional = set(schema["properties"]) - set(schema.get("required", ()))
        assert {name for name in schema["properties"] if _nullable(schema, name)} == optional
    nulls = dict.fromkeys(SCHEMA["properties"])
    line = dict.fromkeys(SCHEMA["$defs"]["LineData"]["properties"]) | {"sku": "VQT04959", "quantity": 2}
    customer = dict.fromkeys(SCHEMA["$defs"]["CustomerData"]["properties"])

    assert parse_order_paid(_bytes({**nulls, **LEAST, "lines": [line]}), (), None) == READ
    assert parse_order_paid(_bytes({**LEAST, "customer": customer}), (), None) == READ
    for required in ("order_id", "lines"):
        assert f"{required}: " in _refusal(_bytes({**LEAST, required: None}))


@pytest.mark.parametrize(
    ("written", "quantity"), [("2.0", 2), ("2e0", 2), ("20e-1", 2), ("2.000", 2), ("1E6", 1_000_000), ("2", 2)]
)
def test_a_whole_number_is_an_integer_however_it_is_written(written: str, quantity: int) -> None:
    """JSON Schema, section 6.1.1; JavaScript and PHP write all of these."""
    value = _bytes(LEAST).replace(b'"quantity": 2', f'"quantity": {written}, "unit_price": {written}'.encode())

    (line,) = parse_order_paid(value, (), None).lines
    assert (line.quantity, line.unit_price) == (quantity, quantity)
    assert type(line.quantity) is type(line.unit_price) is int


@pytest.mark.parametrize("written", ["2.5", "1e400", "-1e400", "NaN", "true", '"2"', "[2]", "1e7", "9" * 5000, "0.0"])
def test_what_is_no_whole_number_is_named(written: str) -> None:
    """Nothing is rounded or guessed."""
    message = _refusal(_bytes(LEAST).replace(b'"quantity": 2', f'"quantity": {written}'.encode()))

    assert mentions(message, "lines.0.quantity:")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-03-01T20:00:00+08:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01t12:00:00z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01 12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01T20:00+08:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01T20:00:00+0800", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01 20:00:00.5+08", datetime(2026, 3, 1, 12, 0, 0, 500000, tzinfo=UTC)),
        ("2026-03-01T12:00:00.123456789Z", datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_shops_write_them(written: str, read: datetime) -> None:
    """RFC 3339, and what Java, PHP and PostgreSQL write beside it."""
    assert parse_order_paid(_bytes({**LEAST, "paid_at": written}), (), None).paid_at == read
    assert ACCEPTS.is_valid({**LEAST, "paid_at": written})


@pytest.mark.parametrize(
    "unknown", ["1" * 5000, "[" * 400 + "]" * 400, '"\\ud83d"', "NaN", "1e999", '{"\\ud83d": {"lines": 5}}']
)
@pytest.mark.parametrize("inside", ["{", '"lines": [{'], ids=["order", "line"])
def test_nothing_in_an_unknown_field_is_wrong(unknown: str, inside: str) -> None:
    """Unknown fields are passed over, whatever is in them."""
    text = json.dumps(LEAST).replace(inside, f'{inside}"extra": {unknown}, ', 1)

    assert parse_order_paid(text.encode(), (), None) == READ


def test_a_bare_order_may_have_fields_called_as_those_of_cloudevents() -> None:
    """Unknown fields; a CloudEvent's attribute cannot be called `order_id`."""
    order = {**LEAST, "specversion": "2", "data": {"order_id": "B"}, "schema": {}, "payload": {}, "op": "c", "after": 1}

    assert parse_order_paid(_bytes(order), (), None) == READ


# --- CloudEvents ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"application/cloudevents+json; charset=utf-8",
        b"Application/CloudEvents+JSON;charset=UTF-8",
        b" application/cloudevents+json ",
        b"application/cloudevents",
        b"application/json",
        b"",
        None,
    ],
)
@pytest.mark.parametrize(
    "more",
    [
        {"data": LEAST},
        {"data": LEAST, "datacontenttype": "application/json"},
        {"data": LEAST, "datacontenttype": "application/vnd.shop.order+json; charset=utf-8"},
        {"data": LEAST, "data_base64": None},
        {"data": None, "data_base64": base64.b64encode(_bytes(LEAST)).decode()},
        {"data_base64": base64.encodebytes(_bytes(LEAST)).decode(), "datacontenttype": "text/json"},
    ],
)
def test_a_structured_cloudevent_is_read(content_type: bytes | None, more: dict[str, object]) -> None:
    """Whatever its content type says, and also without one."""
    headers = (("Content-Type", content_type),)

    assert parse_order_paid(_bytes({**STRUCTURED, **more}), headers, None) == READ


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"application/json; charset=utf-8", b"application/vnd.shop+json", b"text/json"],
)
def test_a_binary_cloudevent_is_read(content_type: bytes) -> None:
    """Its value is the order, its headers are the rest."""
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("content-type", content_type))

    assert parse_order_paid(BOM + _bytes(LEAST), headers, None) == READ


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (STRUCTURED, "CloudEvent without data"),
        ({**STRUCTURED, "data": None}, "CloudEvent without data"),
        ({**STRUCTURED, "data_base64": None}, "CloudEvent without data"),
        ({**STRUCTURED, "data_base64": ""}, "CloudEvent without data"),
        ({**STRUCTURED, "data_base64": 5}, "data_base64 not base64"),
        ({**STRUCTURED, "data_base64": "not base64!"}, "data_base64 not base64"),
        ({**STRUCTURED, "data": json.dumps(LEAST)}, "encoded twice"),
        ({**STRUCTURED, "data": SECRET}, "data text"),
        ({**STRUCTURED, "data": [LEAST]}, "data not object"),
        ({**STRUCTURED, "data_base64": base64.b64encode(b"Obj\x01avro").decode()}, "Avro container"),
        ({**STRUCTURED, "data_base64": base64.b64encode(b"[]").decode()}, "a list"),
        ([{**STRUCTURED, "data": LEAST}], "a list"),
    ],
)
def test_a_cloudevent_that_holds_no_order_is_named(event: object, cause: str) -> None:
    """The event's frame is right; what is missing or wrong is its data."""
    headers = (("content-type", b"application/cloudevents+json"),)

    assert mentions(_refusal(_bytes(event), headers), cause)
    assert mentions(_refusal(_bytes(event)), cause)


@pytest.mark.parametrize("value", [None, b""])
def test_a_binary_cloudevent_without_data_is_named(value: bytes | None) -> None:
    """Its attributes came, and its data did not."""
    assert mentions(_refusal(value, (("ce_specversion", b"1.0"),)), "CloudEvent without data")


# --- what a value is instead ------------------------------------------------------------------------------------------


def _zip(content: bytes) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("order.json", content)
    return file.getvalue()


JSON = _bytes({**LEAST, "customer": {"name": SECRET}})
TEXT = JSON.decode()
SCHEMA_ID = (12345).to_bytes(4, "big")
AVRO = b"\x06A-1\x0e3085676\x02\x10VQT04959\x04\x00"
PROTOBUF = b"\x0a\x03A-1\x12\x073085676"
CAUSES: Mapping[str, tuple[bytes | None, str]] = {
    "null": (None, "null tombstone"),
    "empty": (b"", "0 bytes"),
    "blank": (b" \r\n\t", "white space"),
    "only a mark": (BOM, "white space"),
    "confluent avro": (b"\x00" + SCHEMA_ID + AVRO, "schema id 12345"),
    "confluent protobuf": (b"\x00" + SCHEMA_ID + b"\x00" + PROTOBUF, "schema id 12345"),
    "confluent protobuf, nested message": (b"\x00" + SCHEMA_ID + b"\x04\x02\x00" + PROTOBUF, "schema id 12345"),
    "confluent protobuf like JSON": (b"\x00" + SCHEMA_ID + b"\n{" + b"x" * 123, "schema id 12345"),
    "confluent broken JSON": (b"\x00" + SCHEMA_ID + JSON[:-5], "JSON broken"),
    "confluent GUID": (b"\x01" + uuid.uuid4().bytes + AVRO, "schema GUID"),
    "glue": (b"\x03\x00" + uuid.uuid4().bytes + AVRO, "AWS Glue"),
    "glue, compressed": (b"\x03\x05" + uuid.uuid4().bytes + zlib.compress(JSON), "AWS Glue"),
    "avro file": (b"Obj\x01\x04\x14avro.codec\x08null", "Avro container"),
    "avro single object": (b"\xc3\x01" + bytes(8) + AVRO, "single-object"),
    "avro alone": (AVRO, "binary data"),
    "protobuf alone": (PROTOBUF, "binary data"),
    "java": (b"\xac\xed\x00\x05sr\x00\x05Order", "serialized Java"),
    "pickle": (pickle.dumps({"order_id": SECRET}), "Python pickle"),
    "msgpack": (b"\x83\xa8order_id\xa3A-1", "MessagePack"),
    "smile": (b":)\n\x01", "Smile"),
    "gzip": (gzip.compress(JSON), "compressed (gzip)"),
    "zstd": (bytes(cramjam.zstd.compress(JSON)), "compressed (Zstandard)"),
    "lz4": (bytes(cramjam.lz4.compress(JSON)), "compressed (LZ4)"),
    "snappy": (bytes(cramjam.snappy.compress(JSON)), "compressed (snappy)"),
    "zlib": (zlib.compress(JSON), "compressed (zlib)"),
    "bzip2": (bz2.compress(JSON), "compressed (bzip2)"),
    "xz": (lzma.compress(JSON), "compressed (xz)"),
    "zip": (_zip(JSON), "compressed (ZIP)"),
    "UTF-16": (TEXT.encode("utf-16"), "UTF-16"),
    "UTF-16 LE": (TEXT.encode("utf-16-le"), "UTF-16"),
    "UTF-16 BE": (TEXT.encode("utf-16-be"), "UTF-16"),
    "UTF-32": (TEXT.encode("utf-32"), "UTF-32"),
    "UTF-32 LE": (TEXT.encode("utf-32-le"), "UTF-32"),
    "UTF-32 BE": (TEXT.encode("utf-32-be"), "UTF-32"),
    "Big5": (TEXT.encode("big5"), "not UTF-8 byte"),
    "Big5 text": (SECRET.encode("big5"), "not UTF-8 byte 0"),
    "XML": (f"<?xml version='1.0'?><order>{SECRET}</order>".encode(), "XML"),
    "XML with a mark": (BOM + b"<order/>", "XML"),
    "CSV": (f"A-1;VQT04959;2;{SECRET}\r\n".encode(), "CSV"),
    "form": (f"order_id=A-1&name={SECRET}".encode(), "HTML form"),
    "YAML": (f"order_id: A-1\nname: {SECRET}\n".encode(), "YAML"),
    "PHP": (b'a:1:{s:8:"order_id";s:3:"A-1";}', "PHP"),
    "text": (SECRET.encode(), "text not JSON"),
    "base64": (base64.b64encode(JSON), "base64"),
    "JWT": (b"eyJhbGciOiJIUzI1NiJ9.eyJvcmRlcl9pZCI6IkEtMSJ9.c2lnbmF0dXJl", "JWT"),
    "cut off": (JSON[:-3], "ends"),
    "cut off in a text": (JSON[:15], "ends"),
    "single quotes": (str(dict(LEAST)).encode(), "single quotes"),
    "comma": (JSON[:-1] + b",}", "broken character"),
    "line break in a text": (JSON.replace(b"A-1", b"A\n1"), "broken character"),
    "two orders": (JSON + b"\n" + JSON, "behind JSON more"),
    "a NUL behind it": (JSON + b"\x00", "behind JSON more"),
    "a list": (_bytes([LEAST]), "a list"),
    "JSON null": (b"null", "null not object"),
    "number": (b"5", "a number"),
    "boolean": (b"true", "true false"),
    "text in JSON": (_bytes(SECRET), "JSON text not object"),
    "encoded twice": (_bytes(TEXT), "encoded twice"),
    "connect": (_bytes({"schema": {"type": "struct"}, "payload": dict(LEAST)}), "Kafka Connect"),
    "debezium": (_bytes({"before": None, "after": dict(LEAST), "op": "c"}), "Debezium"),
    "nested": (b'{"order_id":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_real_cause_is_named(name: str) -> None:
    """What the value is, what to do, and nothing of what is in it."""
    value, cause = CAUSES[name]

    message = _refusal(value)

    assert mentions(message, f"{cause} order-paid schemas/order-paid.v1.json")


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        (("content-type", b"application/vnd.apache.avro+binary"), "Avro"),
        (("Content-Type", b"application/x-protobuf"), "Protobuf"),
        (("content-type", b"application/cloudevents+avro"), "Avro"),
        (("__value_schema_id", b"\x01" + bytes(16)), "schema registry"),
        (("apicurio.value.globalId", bytes(8)), "schema registry"),
    ],
)
def test_headers_help_to_name_it(header: tuple[str, bytes], cause: str) -> None:
    """Confluent's newer serializers and Apicurio's put the schema's id there."""
    assert cause in _refusal(AVRO, (header,))
    assert parse_order_paid(_bytes(LEAST), (header,), None) == READ


@pytest.mark.parametrize(
    ("framing", "text"),
    [
        (b"\x00" + SCHEMA_ID, JSON),
        (b"\x00" + SCHEMA_ID, b"\n " + JSON),
        (b"\x00" + SCHEMA_ID + b"\x00", JSON),
        (b"\x00" + bytes(4) + SCHEMA_ID, JSON),
        (b"\x01" + uuid.UUID(int=5).bytes, JSON),
        (b"\x03\x00" + uuid.UUID(int=5).bytes, JSON),
    ],
    ids=["confluent", "white space", "message index", "apicurio", "GUID", "glue"],
)
def test_json_behind_a_schema_registrys_framing_is_read(framing: bytes, text: bytes) -> None:
    """The registry's JSON Schema serializers write the same JSON behind an id."""
    assert parse_order_paid(framing + text, (), None).customer.name == SECRET


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"order_id": "A\ud83d"}, "order_id"),
        ({"customer": {"name": "王\udc00"}}, "customer.name"),
        ({"lines": [{"sku": "x", "quantity": 1}, {"sku": "x", "quantity": 1, "name": "\ud83d"}]}, "lines.1.name"),
        ({"reference": {"note": ["\ud83d"]}}, "reference.note.0"),
        ({"reference": {"\ud83d": 1}}, "reference"),
    ],
)
def test_a_lone_surrogate_is_named_by_its_field(change: dict[str, object], field: str) -> None:
    """Shops that cut a text to a length cut emojis in two; such a text cannot be written as UTF-8."""
    message = _refusal(json.dumps({**LEAST, **change}).encode())

    assert mentions(message, f"{field}: surrogate")


def test_a_whole_surrogate_pair_is_an_emoji() -> None:
    """JSON writes it in two halves where it escapes it."""
    value = json.dumps({**LEAST, "customer": {"name": "王👍"}}).encode()

    assert b"\\ud83d\\udc4d" in value
    assert parse_order_paid(value, (), None).customer == Customer(name="王👍")


def test_defaults_are_as_before() -> None:
    """Absent or null: left to the lines' dates, a pickup voucher, no customer."""
    order = parse_order_paid(_bytes({**LEAST, "immediate": None}), (), None)

    assert order.immediate is None
    assert order.lines[0].voucher is Voucher.PICKUP
    assert parse_order_paid(_bytes({**LEAST, "immediate": False}), (), None).immediate is False
