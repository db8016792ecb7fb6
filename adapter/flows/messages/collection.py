"""An issuance whose tickets are to be collected: the record on the confirmations topic that stage collect works on.

Internal to the adapter, like a confirmation (`confirmation`), and readable by older and newer versions in the same way.
Its key is the merchant's id, and not the issuance's key: so all of a merchant's records are in one partition, one
process reads them, and one report per round serves them all. It holds no customer data and no ticket number.

The confirm stage reads the same topic and settles these records without an outcome (`is_for_collecting`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapter.errors import Unreadable
from adapter.flows.messages.confirmation import AwaitedIssuance, OriginData, trace_header
from adapter.flows.messages.event_reader import decode_event, is_event
from adapter.flows.messages.events import IssuanceIssued, Moment, Origin, record_origin
from adapter.flows.messages.record_history import read_coordinates
from adapter.stream.records import ProducerRecord, Record

_MARK = b'{"collection":'
"""How the value of every such record begins. Copies of a record keep its value, but not always its headers."""


class Collection(BaseModel):
    """One issuance whose tickets are awaited."""

    model_config = ConfigDict(frozen=True)
    collection: Literal[1] = 1
    """Marks the record, and its form."""
    issuance: AwaitedIssuance
    recovered: bool
    submitted_at: Moment
    issued_at: Moment
    since: Moment
    """When its tickets were first awaited."""
    reports: Annotated[int, Field(ge=0)] = 0
    """Reports of its days that were read to their end."""
    not_before: Moment
    origin: OriginData

    @property
    def order_record(self) -> Origin:
        """The coordinates of the order's record."""
        return Origin(topic=self.origin.topic, partition=self.origin.partition, offset=self.origin.offset)

    def updated(self, *, since: datetime, reports: int, not_before: datetime) -> Collection:
        """The same issuance after further reports."""
        return self.model_copy(update={"since": since, "reports": reports, "not_before": not_before})


class _IssuedData(AwaitedIssuance):
    """What collecting needs of the event `issued`."""

    recovered: bool
    submitted_at: Moment


def is_collection(value: bytes | None) -> bool:
    """Whether a record on the confirmations topic is a collection; cheap."""
    return value is not None and value.startswith(_MARK)


def is_issued_event(record: Record) -> bool:
    """Whether a record is an event `issued`; cheap. It is on the confirmations topic only after a replay."""
    return is_event(record, IssuanceIssued.TYPE)


def is_for_collecting(record: Record) -> bool:
    """Whether a record on the confirmations topic is none of the confirm stage's."""
    return is_collection(record.value) or is_issued_event(record)


def collection_of_event(record: Record, now: datetime) -> Collection:
    """The collection that begins with an event `issued`.

    Raises Unreadable if the record is no such event of this adapter.
    """
    event = decode_event(record)
    try:
        issued = _IssuedData.model_validate_json(record.value or b"")
    except ValidationError as error:
        raise Unreadable(_unreadable("event `issued`", error)) from None
    if event is None:
        raise Unreadable("Not an event of this adapter: its CloudEvents headers are incomplete.")
    origin = read_coordinates(event.extensions.get("orderref")) or record_origin(record)
    return Collection(
        issuance=AwaitedIssuance(**{name: getattr(issued, name) for name in AwaitedIssuance.model_fields}),
        recovered=issued.recovered,
        submitted_at=issued.submitted_at,
        issued_at=event.time,
        since=now,
        not_before=now,
        origin=OriginData(topic=origin.topic, partition=origin.partition, offset=origin.offset),
    )


def collection_record(
    collection: Collection,
    *,
    topic: str,
    traceparent: str | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> ProducerRecord:
    """The collection as a record for `topic`; `headers` are those it keeps from the dead letters."""
    return ProducerRecord(
        topic=topic,
        key=collection.issuance.merchant_id.encode(),
        value=collection.model_dump_json().encode(),
        headers=(("content-type", b"application/json"), *trace_header(traceparent), *headers),
    )


def read_collection(value: bytes | None) -> Collection:
    """The collection in a record's value.

    Raises Unreadable if there is none.
    """
    try:
        return Collection.model_validate_json(value or b"")
    except ValidationError as error:
        raise Unreadable(_unreadable("collection", error)) from None


def _unreadable(what: str, error: ValidationError) -> str:
    fields = ", ".join(".".join(map(str, mistake["loc"])) or mistake["type"] for mistake in error.errors())
    return (
        f"Not a readable {what} of this adapter ({fields}). Find the program that wrote it, and remove its permission "
        "to write to the topic."
    )
