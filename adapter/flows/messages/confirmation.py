"""A submitted issuance whose result is awaited: the record on the confirmations topic.

Internal to the adapter, but stored for days. Records of an older version must be readable, so fields are only added,
with defaults. Records of a newer version must be readable too, because both run during a roll-out, so unknown fields
are ignored. It holds no customer data.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapter.errors import Unreadable
from adapter.flows.messages.events import (
    IssuanceData,
    IssuanceFields,
    Moment,
    Origin,
    issuance_key,
    rfc3339,
    write_json,
)
from adapter.issuance.plan_codec import Reference
from adapter.stream.records import ProducerRecord
from adapter.trace_context import TRACEPARENT


class OriginData(BaseModel):
    """Coordinates of the order record, and when it was written; None if that is not known."""

    model_config = ConfigDict(frozen=True)
    topic: str
    partition: int
    offset: int
    timestamp: Moment | None = None


class AwaitedIssuance(IssuanceData):
    """The data of the issuance's later events; unlike theirs, unknown fields are allowed."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    reference: Reference


class Confirmation(BaseModel):
    """One awaited issuance."""

    model_config = ConfigDict(frozen=True)
    issuance: AwaitedIssuance
    recovered: bool
    submitted_at: Moment
    queries: Annotated[int, Field(ge=0)] = 0
    delayed: bool = False
    not_before: Moment
    origin: OriginData
    paid_at: Moment | None = None
    """The order's own time of payment."""

    @property
    def order_record(self) -> Origin:
        """The coordinates of the order's record."""
        return Origin(topic=self.origin.topic, partition=self.origin.partition, offset=self.origin.offset)

    def updated(self, *, queries: int, delayed: bool, not_before: datetime) -> Confirmation:
        """The same issuance after another query."""
        return self.model_copy(update={"queries": queries, "delayed": delayed, "not_before": not_before})


def confirmation_record(
    confirmation: Confirmation,
    *,
    topic: str,
    traceparent: str | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> ProducerRecord:
    """The confirmation as a record for `topic`; `headers` are those it keeps from the dead letters."""
    issuance = confirmation.issuance
    return _record(
        confirmation.model_dump_json().encode(),
        key=issuance_key(issuance.merchant_id, issuance.trade_no),
        topic=topic,
        traceparent=traceparent,
        headers=headers,
    )


def first_confirmation_record(
    issuance: IssuanceFields,
    *,
    recovered: bool,
    submitted_at: datetime,
    not_before: datetime,
    origin: Origin,
    origin_timestamp: datetime | None,
    paid_at: datetime | None,
    topic: str,
    traceparent: str | None,
) -> ProducerRecord:
    """A new issuance's `Confirmation` as a record for `topic`; without its model, because every order makes one."""
    value = write_json(
        {
            "issuance": issuance,
            "recovered": recovered,
            "submitted_at": rfc3339(submitted_at),
            "queries": 0,
            "delayed": False,
            "not_before": rfc3339(not_before),
            "origin": {
                "topic": origin.topic,
                "partition": origin.partition,
                "offset": origin.offset,
                "timestamp": origin_timestamp and rfc3339(origin_timestamp),
            },
            "paid_at": paid_at and rfc3339(paid_at),
        }
    )
    key = issuance_key(issuance["merchant_id"], issuance["trade_no"])
    return _record(value, key=key, topic=topic, traceparent=traceparent)


def _record(
    value: bytes, *, key: str, topic: str, traceparent: str | None, headers: tuple[tuple[str, bytes], ...] = ()
) -> ProducerRecord:
    return ProducerRecord(
        topic=topic,
        key=key.encode(),
        value=value,
        headers=(("content-type", b"application/json"), *trace_header(traceparent), *headers),
    )


def trace_header(traceparent: str | None) -> tuple[tuple[str, bytes], ...]:
    """The trace of the order as a header of a waiting record; none without one."""
    return () if traceparent is None else ((TRACEPARENT, traceparent.encode()),)


def read_confirmation(value: bytes | None) -> Confirmation:
    """The confirmation in a record's value.

    Raises Unreadable if there is none.
    """
    try:
        return Confirmation.model_validate_json(value or b"")
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, mistake["loc"])) or mistake["type"] for mistake in error.errors())
        raise _unreadable(fields) from None


def _unreadable(fields: str) -> Unreadable:
    return Unreadable(
        f"Not a confirmation of this adapter ({fields}). Another program wrote to the confirmations topic; "
        f"find it and remove its permission to write."
    )
