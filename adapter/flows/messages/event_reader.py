"""Events read back from their topics: for sinks, for commands, and for the history of trade numbers.

    cloud_event(record)            attributes and data of a CloudEvent in Kafka's binary mode
    decode_event(record)           an event of the adapter's as sinks get it, also of a type that is not known here
    read_published_event(record)   an event of a known type, with the fields by which commands find orders

Every reading makes new objects, so that what a sink does to an event's data reaches no other sink. A newer adapter may
write beside this one while it is rolled out, so unknown types are events too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from msgspec import Struct

from adapter.extensions.sinks import Event
from adapter.flows.messages.events import EVENTS, MERCHANT_SOURCE, SOURCE
from adapter.stream.records import ProducerRecord, Record
from adapter.strict_json import parse_json
from adapter.trace_context import TRACEPARENT, traceparent_of

_PREFIX = "ce_"
_NAME = re.compile(r"[!-~]{1,255}")
"""An id or a type: the adapter's own are ASCII without blanks, and sinks put them into the headers of protocols."""
_NOT_EXTENSIONS = frozenset(
    {"specversion", "id", "type", "source", "subject", "time", "datacontenttype", "dataschema", "partitionkey"}
)


def cloud_event(record: Record | ProducerRecord) -> tuple[Mapping[str, str], dict[str, object] | None]:
    """The attributes and the data of a CloudEvent; the data are None where the value is no JSON object."""
    attributes = {
        name.removeprefix(_PREFIX): (value or b"").decode("utf-8", "replace")
        for name, value in record.headers
        if name.startswith(_PREFIX)
    }
    try:
        data = parse_json(record.value or b"")
    except ValueError:
        data = None
    return attributes, data if isinstance(data, dict) else None


def is_event(record: Record, event_type: str) -> bool:
    """Whether a record says that it is an event of this type; cheap."""
    return (f"{_PREFIX}type", event_type.encode()) in record.headers


def decode_event(record: Record) -> Event | None:
    """The event in a record; None for a record that is no CloudEvent of the adapter."""
    attributes, data = cloud_event(record)
    source, time = attributes.get("source", ""), _time(attributes.get("time"))
    is_adapter_event = attributes.get("specversion") == "1.0" and (source == SOURCE or source.startswith(f"{SOURCE}/"))
    is_named = _NAME.fullmatch(attributes.get("id", "")) and _NAME.fullmatch(attributes.get("type", ""))
    if not is_adapter_event or not is_named or time is None or data is None:
        return None
    extensions = {name: text for name, text in attributes.items() if name not in _NOT_EXTENSIONS}
    return Event(
        id=attributes["id"],
        type=attributes["type"],
        source=source,
        subject=attributes.get("subject"),
        time=time,
        data=MappingProxyType(data),
        extensions=MappingProxyType(extensions),
        trace_headers=_trace_headers(record),
    )


def _trace_headers(record: Record) -> Mapping[str, str]:
    traceparent = traceparent_of(record.headers)
    return MappingProxyType({} if traceparent is None else {TRACEPARENT: traceparent})


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


_NAMES: Mapping[str, str] = {event.TYPE: event.TYPE.split(".")[-2] for event in EVENTS}


class PublishedEvent(Struct, frozen=True, kw_only=True):
    """One event: `name` is its type's last word but one; `order_record` the order's coordinates, `at` its time.

    `trade_no` is None for an event about an order as a whole.
    """

    name: str
    merchant_id: str | None
    """None if the adapter did not know it: an order that was parked before its merchant was found."""
    order_id: str | None
    trade_no: str | None
    order_record: str | None
    at: datetime
    data: Mapping[str, object]


def read_published_event(record: Record) -> PublishedEvent | None:
    """The event in a record; None for a record that is no event of the adapter, or of an unknown type."""
    attributes, data = cloud_event(record)
    name = _NAMES.get(attributes.get("type", ""))
    if name is None or data is None:
        return None
    return PublishedEvent(
        name=name,
        merchant_id=_text(data, "merchant_id") or _merchant_of(attributes.get("source", "")),
        order_id=_text(data, "order_id"),
        trade_no=_text(data, "trade_no"),
        order_record=attributes.get("orderref"),
        at=record.timestamp,
        data=data,
    )


def may_concern(record: Record, text: str) -> bool:
    """Whether an event may be about an order id or a trade number; cheap, and a False is always right."""
    wanted = text.encode()
    key = record.key or b""
    return key == wanted or key.endswith(b"/" + wanted) or ("ce_orderid", wanted) in record.headers


def _merchant_of(source: str) -> str | None:
    """The merchant that an event's source names; the data of an event about an order as a whole have none."""
    return source.removeprefix(MERCHANT_SOURCE) if source.startswith(MERCHANT_SOURCE) else None


def _text(data: Mapping[str, object], name: str) -> str | None:
    found = data.get(name)
    return found if isinstance(found, str) else None
