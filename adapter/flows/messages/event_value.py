"""Finds the JSON object in a record's value, or names what the value is instead.

Shops send more than bare JSON: a byte order mark, the framing of a schema registry, a structured CloudEvent. This
module reads those. Everything else is `Unreadable` with its real cause (Avro, gzip, UTF-16, XML, a list) and the cure,
because a person finds the producer by this text. No text quotes the value, which may be personal data.

Does not know the fields of an order: `order_paid` has them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from adapter.errors import Unreadable

Headers = tuple[tuple[str, bytes | None], ...]

BOM: Final = b"\xef\xbb\xbf"
_WHITE_SPACE: Final = b" \t\r\n"
_INT_DIGITS_MAX: Final = 4000
"""Python does not convert longer numbers from text; a longer one is read as infinity, which no field accepts."""
_PLUGIN: Final = "Let the shop write JSON, or read it with a parse_order plugin (docs/own-formats.md)."
_JSON: Final = "Let the shop write the order as one JSON object."

_WIDE_TEXTS: Final = (
    (re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff|\0{3}[{\[]\0{3}[\"{\[\]}\s]|[{\[]\0{3}[\"{\[\]}\s]\0{3}"), "UTF-32"),
    (re.compile(rb"\xff\xfe|\xfe\xff|\0[{\[]\0[\"{\[\]}\s]|[{\[]\0[\"{\[\]}\s]\0"), "UTF-16"),
)
"""With a byte order mark, or how a JSON object or list begins without one."""
_COMPRESSIONS: Final = (
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "Zstandard"),
    (re.compile(rb"\x04\x22\x4d\x18"), "LZ4"),
    (re.compile(rb"\xff\x06\0\0sNaPpY|\x82SNAPPY\0"), "snappy"),
    (re.compile(rb"BZh[1-9]"), "bzip2"),
    (re.compile(rb"\xfd7zXZ\0"), "xz"),
    (re.compile(rb"PK\x03\x04"), "ZIP"),
    (re.compile(rb"\x78[\x01\x5e\x9c\xda]"), "zlib"),
)
_BINARY_FORMATS: Final = (
    (re.compile(rb"Obj\x01"), "an Avro container file"),
    (re.compile(rb"\xc3\x01"), "an Avro message (single-object encoding)"),
    (re.compile(rb"\xac\xed\0\x05"), "a serialized Java object"),
    (re.compile(rb":\)\n"), "Smile, a binary form of JSON"),
    (re.compile(rb"\xd9\xd9\xf7"), "CBOR"),
    (re.compile(rb"[\x81-\x8f][\xa1-\xbf\xd9]|\xde..[\xa1-\xbf\xd9]", re.DOTALL), "MessagePack"),
    (re.compile(rb"PAR1"), "a Parquet file"),
    (re.compile(rb"\x80[\x02-\x05]"), "a Python pickle"),
)
_CONTROL: Final = re.compile(rb"[\0-\x08\x0e-\x1f]")
"""What text does not hold."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CONTENT_TYPES: Final[tuple[tuple[str, str], ...]] = (
    ("avro", "Avro"),
    ("protobuf", "Protobuf"),
    ("msgpack", "MessagePack"),
    ("cbor", "CBOR"),
    ("xml", "XML"),
)
_SCHEMA_ID_HEADERS: Final = frozenset({"__value_schema_id", "apicurio.value.globalid", "apicurio.value.contentid"})
_ENVELOPE: Final = "Read it with a parse_order plugin, such as plugins/outbox-orders."


def not_an_order(what: str, cure: str = _JSON) -> Unreadable:
    """The error for a value that holds no order: what it is instead, and what to do."""
    return Unreadable(f"Not an order-paid event: {what}. {cure} See schemas/order-paid.v1.json.")


def is_structured(value: bytes, headers: Headers) -> bool:
    """Whether the value may be a structured CloudEvent; cheap enough for every record."""
    return b'"specversion"' in value or _media_type(headers).startswith("application/cloudevents")


def find_document(value: bytes | None, headers: Headers) -> dict[str, object]:
    """The JSON object that should be an order, without framing and CloudEvent.

    Raises Unreadable, which names what the value is instead.
    """
    if not value:
        raise _no_value(value, headers)
    return _order_in(_json_in(value, headers), headers)


def surrogate_in(value: object, path: str = "") -> str | None:
    """The path of the first text with a lone surrogate, which is not Unicode text and cannot be passed on."""
    if isinstance(value, str):
        return path if _has_surrogate(value) else None
    inner = _inner(value, path)
    return next((found for name, each in inner if (found := surrogate_in(each, name)) is not None), None)


def _inner(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Lists and objects by path; a field name with a lone surrogate is reported for its object."""
    if isinstance(value, dict):
        for name, each in value.items():
            if _has_surrogate(name):
                yield path, name
            else:
                yield f"{path}.{name}".lstrip("."), each
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield f"{path}.{number}".lstrip("."), each


def _has_surrogate(text: str) -> bool:
    return _SURROGATE.search(text) is not None


def _no_value(value: bytes | None, headers: Headers) -> Unreadable:
    size = "null (a tombstone)" if value is None else "0 bytes long (a tombstone has null)"
    what = f"the record is empty, its value is {size}"
    if any(name.lower() == "ce_specversion" for name, _ in headers):
        what = f"a CloudEvent without data, {what}"
    return not_an_order(what, "The value must hold the order, or a parse_order plugin may ignore such records.")


def _media_type(headers: Headers) -> str:
    """The content type without its parameters, in lower case; empty if there is none."""
    content_type = next((text for name, text in headers if name.lower() == "content-type"), None) or b""
    return content_type.decode("latin-1").partition(";")[0].strip().lower()


# --- from bytes to JSON -----------------------------------------------------------------------------------------------


def _json_in(value: bytes, headers: Headers) -> object:
    """The decoded JSON, also from below the framing of a schema registry."""
    try:
        return _load(value)
    except RecursionError:
        raise not_an_order("its JSON is nested too deeply", "Send fewer levels of lists and objects.") from None
    except ValueError as error:
        mistake = error
    for payload in _below_framing(value):
        try:
            return _load(payload)
        except (ValueError, RecursionError):
            continue
    raise _no_json(value, headers, mistake)


def _load(value: bytes) -> object:
    """Raises ValueError, RecursionError."""
    text = value.removeprefix(BOM).decode("utf-8")
    return json.loads(text, parse_int=_int)


def _int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INT_DIGITS_MAX else float("inf")


def _below_framing(value: bytes) -> Iterator[bytes]:
    """What may be JSON behind a schema's id.

    Confluent: 0, then 4 bytes of id (Apicurio also 8), for Protobuf an index of the message; 1, then 16 bytes of GUID.
    AWS Glue: 3, a byte for the compression, then 16 bytes of id.
    """
    lengths = {b"\x00": (5, 6, 9), b"\x01": (17,), b"\x03": (18,)}.get(value[:1], ())
    for length in lengths:
        payload = value[length:].lstrip(_WHITE_SPACE)
        if payload.removeprefix(BOM)[:1] in (b"{", b"["):
            yield payload


def _no_json(value: bytes, headers: Headers, mistake: ValueError) -> Unreadable:
    """The kind of the value, as far as its first bytes show it."""
    return (
        _by_first_bytes(value)
        or _by_framing(value)
        or _by_headers(headers)
        or _by_text(value, mistake)
        or not_an_order("it is binary data, not JSON", _PLUGIN)
    )


def _by_first_bytes(value: bytes) -> Unreadable | None:
    wide = _name_of(value, _WIDE_TEXTS)
    if wide:
        return not_an_order(f"its text is {wide}, but JSON is UTF-8", "Let the shop write UTF-8.")
    compression = _name_of(value, _COMPRESSIONS)
    if compression:
        cure = "Let the producer compress its batches instead (compression.type), which the adapter reads."
        return not_an_order(f"the value itself is compressed ({compression})", cure)
    binary = _name_of(value, _BINARY_FORMATS)
    return not_an_order(f"it is {binary}", _PLUGIN) if binary else None


def _name_of(value: bytes, known: tuple[tuple[re.Pattern[bytes], str], ...]) -> str | None:
    return next((name for start, name in known if start.match(value)), None)


def _by_framing(value: bytes) -> Unreadable | None:
    if value[:1] == b"\x00" and len(value) > 5:
        schema_id = int.from_bytes(value[1:5], "big")
        return _framed(f"magic byte 0, schema id {schema_id}", value[5:])
    if value[:1] == b"\x01" and len(value) > 17:
        return _framed("magic byte 1, a schema GUID", value[17:])
    if value[:1] == b"\x03" and len(value) > 18 and value[1] in (0, 5):
        return _framed("the header of AWS Glue", value[18:])
    return None


def _framed(framing: str, payload: bytes) -> Unreadable:
    if payload.lstrip(_WHITE_SPACE)[:2] in (b'{"', b"{}", b"{ ", b"{\n", b"{\r"):
        return not_an_order(f"it has a schema registry's framing ({framing}), and the JSON behind it is broken")
    return not_an_order(
        f"it has a schema registry's framing ({framing}), and no JSON behind it: probably Avro or Protobuf", _PLUGIN
    )


def _by_headers(headers: Headers) -> Unreadable | None:
    media_type = _media_type(headers)
    named = next((name for part, name in _CONTENT_TYPES if part in media_type), None)
    if named:
        return not_an_order(f"its content-type says that it is {named}", _PLUGIN)
    if any(name.lower() in _SCHEMA_ID_HEADERS for name, _ in headers):
        what = "its headers hold a schema registry's id, and the value is no JSON: probably Avro or Protobuf"
        return not_an_order(what, _PLUGIN)
    return None


def _by_text(value: bytes, mistake: ValueError) -> Unreadable | None:
    text = value.removeprefix(BOM).strip(_WHITE_SPACE)
    looks_like_json = text[:1] in (b"{", b"[")
    if _CONTROL.search(value) and not looks_like_json:
        return None
    if isinstance(mistake, UnicodeDecodeError):
        cure = "Let the shop write UTF-8 (not Big5, for example)."
        return not_an_order(f"its text is not UTF-8 at byte {mistake.start}", cure)
    if not text:
        return not_an_order("the value is nothing but white space")
    if looks_like_json:
        return not_an_order(_broken_json(mistake))
    return not_an_order(_name_of(text, _TEXTS) or "it is text that is not JSON")


def _broken_json(mistake: ValueError) -> str:
    if not isinstance(mistake, json.JSONDecodeError):
        return "its JSON is broken"
    if mistake.pos >= len(mistake.doc.rstrip()) or mistake.msg.startswith("Unterminated"):
        return f"its JSON ends in the middle, after {len(mistake.doc)} characters"
    if mistake.msg == "Extra data":
        return f"behind its JSON comes more, at character {mistake.pos}; a record holds one order"
    if mistake.doc[mistake.pos : mistake.pos + 1] == "'":
        return f"it is not JSON: at character {mistake.pos} are single quotes instead of double quotes"
    return f"it is not JSON: it is broken at character {mistake.pos}"


_TEXTS: Final = (
    (re.compile(rb"<"), "it is XML or HTML, not JSON"),
    (re.compile(rb"eyJ[\w-]+\.[\w-]+\.[\w-]*"), "it is a signed or encrypted token (JWT), not JSON"),
    (re.compile(rb"(?:77u/)?e[yw1][A-Za-z0-9+/_\r\n-]{6,}={0,2}\Z"), "it is base64 text, not JSON"),
    (re.compile(rb"[aO]:[0-9]+:"), "it is a serialized PHP value, not JSON"),
    (re.compile(rb"[\w.%\[\]-]+=[^\n&]*(?:&[\w.%\[\]-]+=|\Z)"), "it is a submitted HTML form, not JSON"),
    (re.compile(rb"(?:---|[\w-]+:(?: |\n))"), "it is YAML or other text, not JSON"),
    (re.compile(rb"[^\n]*[,;\t]"), "it is CSV or other text, not JSON"),
)

# --- from JSON to the order's object ----------------------------------------------------------------------------------


def _order_in(document: object, headers: Headers) -> dict[str, object]:
    if not isinstance(document, dict):
        raise _no_object(document)
    if document.get("order_id") is not None and not _media_type(headers).startswith("application/cloudevents"):
        return document
    if "specversion" in document:
        return _data_of(document)
    if document.get("order_id") is None:
        _refuse_envelope(document)
    return document


def _no_object(document: object) -> Unreadable:
    if isinstance(document, list):
        return not_an_order("it is a list", "Let the shop write one record for each order, not a batch.")
    if isinstance(document, str):
        return not_an_order(f"it is a JSON text{_text_problem(document)}", "Let the shop write the object itself.")
    names: Mapping[type, str] = {type(None): "null", bool: "true or false", int: "a number", float: "a number"}
    return not_an_order(f"its JSON is {names[type(document)]}, not an object")


def _text_problem(text: str) -> str:
    return " that holds JSON, so it was encoded twice" if text.lstrip()[:1] in ("{", "[") else ", not an object"


def _data_of(event: Mapping[str, object]) -> dict[str, object]:
    """The object in a structured CloudEvent's `data`, or in its `data_base64`."""
    data = event.get("data")
    if isinstance(data, dict):
        return data
    if isinstance(data, str):
        raise not_an_order(
            f"the CloudEvent's data is a text{_text_problem(data)}", "Send the order as an object in `data`."
        )
    if data is not None:
        raise not_an_order("the CloudEvent's data is not an object", "Send the order as an object in `data`.")
    if "data_base64" not in event:
        raise not_an_order("a CloudEvent without data", "Send the order as an object in `data`.")
    document = _json_in(_decoded(event["data_base64"]), ())
    if isinstance(document, dict):
        return document
    raise _no_object(document)


def _decoded(encoded: object) -> bytes:
    try:
        if isinstance(encoded, str):
            decoded = base64.b64decode("".join(encoded.split()), validate=True)
            if decoded:
                return decoded
            raise not_an_order("a CloudEvent without data: its data_base64 is empty")
    except (binascii.Error, ValueError):
        pass
    what = "a CloudEvent without data: its data_base64 is not base64" + (" but null" if encoded is None else "")
    raise not_an_order(what, "Send the order as an object in `data`.") from None


def _refuse_envelope(document: Mapping[str, object]) -> None:
    """Raise Unreadable for a known envelope around events, which no order looks like."""
    if {"schema", "payload"} <= document.keys():
        what = "it is an envelope of Kafka Connect (`schema` and `payload`)"
        raise not_an_order(what, f"Set value.converter.schemas.enable=false, or: {_ENVELOPE}")
    if "op" in document and {"before", "after"} & document.keys():
        raise not_an_order("it is a change event of Debezium (`before`, `after`, `op`)", _ENVELOPE)
