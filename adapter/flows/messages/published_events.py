"""Published events, read back from the issuances topic for a person's commands, not for the flows.

The flows do not rely on published events, because their records hold all they need. A person's command has no record,
and starts from what has been published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from adapter.flows.messages.events import EVENTS
from adapter.stream.records import Record

_NAMES: Mapping[str, str] = {event.TYPE: event.TYPE.split(".")[-2] for event in EVENTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEvent:
    """One event: `name` is its type's last word but one; `order_record` the order's coordinates, `at` its time.

    `trade_no` is None for an event about an order as a whole.
    """

    name: str
    merchant_id: str | None
    order_id: str | None
    trade_no: str | None
    order_record: str | None
    at: datetime
    data: Mapping[str, object]


def read_published_event(record: Record) -> PublishedEvent | None:
    """The event in a record; None for a record that is no event of the adapter, or of an unknown type."""
    texts = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    name = _NAMES.get(texts.get("ce_type", ""))
    if name is None:
        return None
    try:
        data = json.loads(record.value or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    return PublishedEvent(
        name=name,
        merchant_id=_text(data, "merchant_id"),
        order_id=_text(data, "order_id"),
        trade_no=_text(data, "trade_no"),
        order_record=texts.get("ce_orderref"),
        at=record.timestamp,
        data=data,
    )


def may_concern(record: Record, text: str) -> bool:
    """Whether an event may be about an order id or a trade number; cheap, and a False is always right."""
    wanted = text.encode()
    key = record.key or b""
    return key == wanted or key.endswith(b"/" + wanted) or ("ce_orderid", wanted) in record.headers


def _text(data: Mapping[str, object], name: str) -> str | None:
    found = data.get(name)
    return found if isinstance(found, str) else None
