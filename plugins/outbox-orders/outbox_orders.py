"""Orders that a shop writes to an outbox table, and Debezium to Kafka, become orders of the adapter.

Written from Debezium's public documentation. The shop inserts a row for each event in the transaction that changes the
order; the row's payload is the order in the adapter's own format (`schemas/order-paid.v1.json`). What arrives depends
on how the connector is configured, and all of these are read:

    the outbox event router   the payload, as JSON or as JSON in a text; or an envelope of the payload and other columns
    a change event            before, after and op around the row; only rows that are inserted or snapshotted are read
    a flattened change event  the row itself

each of them with or without Kafka Connect's schema around it. Tombstones, deletes, heartbeats, transaction marks and
schema changes are ignored. All other records are left to the next plugin.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from adapter import Ignore, Order, OrderRecord, Unreadable, hookimpl, read_order

READ = frozenset({"c", "r"})
"""Debezium's operations for an existing row: created, and read during a snapshot."""


class Settings(BaseModel):
    """The section `plugins.settings.outbox_orders`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_types: Annotated[
        frozenset[str], Field(description="types of events that are paid orders, others are ignored; empty: all are")
    ] = frozenset()
    event_type_header: Annotated[
        str, Field(description="record header, or field of the router's envelope, with the event's type")
    ] = "eventType"
    type_column: Annotated[str, Field(description="column of the outbox table with the event's type")] = "type"
    payload_column: Annotated[str, Field(description="column of the outbox table with the order")] = "payload"


@dataclass(frozen=True, slots=True)
class _Event:
    """A row of the outbox: its type, if there is one, and its payload."""

    type: str | None
    payload: object


class OutboxOrders:
    """The plugin; without settings every event of the outbox is a paid order."""

    settings_model = Settings

    def __init__(self) -> None:
        self._settings = Settings()

    @hookimpl
    def configure(self, settings: Settings) -> None:
        """Remember them."""
        self._settings = settings

    @hookimpl
    def parse_order(self, record: OrderRecord) -> Order | Ignore | None:
        """The order in an event of the outbox, or why the record holds none.

        Raises Unreadable.
        """
        if record.value is None:
            return Ignore("tombstone")
        header = _header(record, self._settings.event_type_header)
        if header is not None and self._settings.event_types and header not in self._settings.event_types:
            return Ignore(f"event type {header}")
        event = self._event(record.value, header)
        if not isinstance(event, _Event):
            return event
        if self._settings.event_types and event.type not in self._settings.event_types:
            if event.type is None:
                raise Unreadable(
                    f"The outbox event has no type. Let Debezium add it to the header "
                    f"{self._settings.event_type_header} (table.fields.additional.placement)."
                )
            return Ignore(f"event type {event.type}")
        if event.payload is None:
            return Ignore("empty payload")
        return read_order(json.dumps(_object(event.payload)).encode())

    def _event(self, value: bytes, header: str | None) -> _Event | Ignore | None:
        """The event in the value; None if the value is no event of an outbox."""
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            return None  # the adapter reports what it is instead
        if isinstance(document, dict) and document.keys() == {"schema", "payload"}:
            document = document["payload"]
            if document is None:
                return Ignore("tombstone")
        if isinstance(document, str):
            return _Event(header, document)
        if not isinstance(document, dict):
            return None
        if "op" in document and {"before", "after"} & document.keys():
            return self._changed(document)
        if "order_id" not in document and self._settings.payload_column in document:
            return self._row(document, header)
        ignored = _other_record(document)
        if ignored is not None:
            return ignored
        return _Event(header, document) if header is not None or "order_id" in document else None

    def _changed(self, change: dict[str, object]) -> _Event | Ignore:
        """The row of a change event: an outbox only grows, so an update or delete is no new event."""
        if change["op"] not in READ:
            return Ignore(f"operation {change['op']}")
        row = change.get("after")
        if not isinstance(row, dict) or self._settings.payload_column not in row:
            raise Unreadable(
                f"The change event has no row with the column {self._settings.payload_column}. Capture the outbox "
                "table alone, or name its column in plugins.settings.outbox_orders.payload_column."
            )
        return self._row(row, None)

    def _row(self, row: dict[str, object], header: str | None) -> _Event | Ignore:
        """A row, also as Debezium's ExtractNewRecordState flattens it, or the router's envelope of some columns."""
        operation = "d" if str(row.get("__deleted")).lower() == "true" else row.get("__op", "c")
        if operation not in READ:
            return Ignore(f"operation {operation}")
        names = (self._settings.event_type_header, self._settings.type_column)
        kind = next((row[name] for name in names if isinstance(row.get(name), str)), header)
        return _Event(kind if isinstance(kind, str) else None, row[self._settings.payload_column])


def _other_record(document: dict[str, object]) -> Ignore | None:
    """The records that Debezium writes in addition to changes of rows."""
    if document.keys() == {"ts_ms"}:
        return Ignore("heartbeat")
    if document.get("status") in ("BEGIN", "END") and {"event_count", "data_collections"} & document.keys():
        return Ignore("transaction mark")
    if "source" in document and {"ddl", "tableChanges"} & document.keys():
        return Ignore("schema change")
    return None


def _header(record: OrderRecord, name: str) -> str | None:
    """The text of a header; Kafka Connect's JSON converter writes it in quotes."""
    value = next((value for each, value in record.headers if each == name and value is not None), None)
    return None if value is None else value.decode("utf-8", "replace").strip('"')


def _object(payload: object) -> object:
    """The payload's JSON, which is text in most databases' columns, and base64 in a column of bytes."""
    for _ in range(2):
        if not isinstance(payload, str):
            return payload
        try:
            payload = json.loads(
                payload if payload.lstrip()[:1] in ("{", '"') else base64.b64decode(payload, validate=True)
            )
        except (ValueError, binascii.Error, RecursionError):
            raise Unreadable("The payload of the outbox event is not JSON. See what the shop writes there.") from None
    return payload
