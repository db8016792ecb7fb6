"""Decodes an event from its topic, as sinks get it.

Every call makes a new event, so a sink that changes an event's data affects no other sink. Unknown types are events
too: during a roll-out a newer adapter may write beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from adapter.extensions.sinks import Event
from adapter.flows.messages.events import SOURCE
from adapter.stream.records import Record

_PREFIX = "ce_"
_NOT_EXTENSIONS = frozenset(
    {"specversion", "id", "type", "source", "subject", "time", "datacontenttype", "dataschema", "partitionkey"}
)


def decode_event(record: Record) -> Event | None:
    """The event in a record; None for a record that is no CloudEvent of the adapter."""
    attributes = _attributes(record)
    source, time, data = attributes.get("source", ""), _time(attributes.get("time")), _data(record.value)
    is_adapter_event = attributes.get("specversion") == "1.0" and (source == SOURCE or source.startswith(f"{SOURCE}/"))
    if not is_adapter_event or time is None or data is None or not (attributes.get("id") and attributes.get("type")):
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
    )


def _attributes(record: Record) -> Mapping[str, str]:
    return {
        name.removeprefix(_PREFIX): (value or b"").decode("utf-8", "replace")
        for name, value in record.headers
        if name.startswith(_PREFIX)
    }


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


def _data(value: bytes | None) -> dict[str, object] | None:
    try:
        data = json.loads(value or b"")
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
