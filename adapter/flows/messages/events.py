"""The events that the adapter publishes: CloudEvents 1.0 in Kafka's binary mode, one model for each type.

The models are the schemas: `schemas/*.v1.json` is generated from them. A fact has the same id however often it is
published, so readers can drop what they have seen. No model has room for customer data or a key. The flows decide when
an event is published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha1
from typing import Annotated, ClassVar, Literal, TypedDict, cast
from uuid import UUID

import msgspec
from msgspec import Struct
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticSerializationError

from adapter.issuance.order import ISSUE_TYPES, Order
from adapter.issuance.plan import Part
from adapter.issuance.plan_codec import DeferredPlan
from adapter.protocol.issue import TradeNoKind
from adapter.protocol.order_detail import UseStatus
from adapter.stream.records import ProducerRecord, Record, encode_headers

SOURCE = "/ecticket-adapter"
MERCHANT_SOURCE = f"{SOURCE}/merchants/"
"""With the merchant's id behind it, the source of every event whose merchant is known."""
NAMESPACE = UUID("6f0f3d0e-6a0c-5f52-9d3b-0d7c5a7f4b11")
"""Namespace of all event ids (UUIDv5). Part of the contract with readers: it never changes."""
_ENCODER = msgspec.json.Encoder()


def rfc3339(moment: datetime) -> str:
    """A moment as RFC 3339 text in UTC, milliseconds, ending in Z."""
    in_utc = moment.astimezone(UTC)
    text = _ENCODER.encode(in_utc).decode()  # "2026-03-01T12:00:00.123456Z" or "2026-03-01T12:00:00Z"
    return f"{text[1:24]}Z" if in_utc.microsecond else f"{text[1:20]}.000Z"


Moment = Annotated[
    AwareDatetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
TradeNoText = Annotated[str, Field(min_length=1, max_length=25, pattern=r"^[A-Za-z0-9]+$")]
IssueTypeName = Literal["convenience_store", "paper", "electronic", "serial_number"]
Stage = Literal["parse", "map", "submit", "confirm", "collect", "deliver"]
TopicRole = Literal["issuances", "tickets", "collected", "reconciliations"]
"""A topic of events, by the name of its setting below `topics`."""
ParkReason = Literal[
    "unreadable",
    "unknown-merchant",
    "unmapped-item",
    "invalid-order",
    "does-not-fit",
    "trade-no-missing",
    "plugin-error",
    "refused-envelope",
    "unresolved",
    "gave-up",
    "too-large",
    "sink-failed",
    "internal-error",
]


_CLOSED = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True)
"""A validator is built at its first use: a process publishes few types of events."""


class EventData(BaseModel):
    """The data of one event type: closed, frozen, snake_case."""

    model_config = _CLOSED
    TYPE: ClassVar[str]
    SCHEMA: ClassVar[str]
    TOPIC: ClassVar[TopicRole]


class Item(BaseModel):
    """Some tickets of one product."""

    model_config = _CLOSED
    item_no: str | None
    """ECTicket's product number; null for serial-number tickets, which have none."""
    name: str | None
    """Product name, where the order or the catalogue gave one."""
    quantity: Annotated[int, Field(ge=1)]
    """Number of tickets."""


class IssuanceData(EventData):
    """The fields of every event about an issuance."""

    TOPIC: ClassVar[TopicRole] = "issuances"
    merchant_id: str
    """MerchantID at ECPay."""
    order_id: str
    """The shop's order number."""
    reference: JsonValue
    """The order's `reference`, untouched; null when it had none."""
    trade_no: TradeNoText
    """MerchantTradeNo or FreeTradeNo of this issuance."""
    trade_no_kind: Literal["merchant", "free"]
    """Which of the two it is."""
    issue_type: IssueTypeName
    """What kind of tickets."""
    part: Annotated[int, Field(ge=1)]
    """Which part of the order this is, from 1."""
    parts: Annotated[int, Field(ge=1)]
    """Of how many parts the order consists."""
    items: tuple[Item, ...]
    """The products."""
    ticket_count: Annotated[int, Field(ge=1)]
    """Number of tickets in all."""
    ticket_trade_no: str | None
    """ECTicket's own number (TicketTradeNo); null where ECTicket did not say it, as for a recovered one."""


class IssuanceSubmitted(IssuanceData):
    """ECTicket has received the issuance; tickets follow when its job is done."""

    TYPE = "ecticket.issuance.submitted.v1"
    SCHEMA = "issuance-submitted.v1"
    recovered: bool
    """True when it was found at ECTicket by asking, after an answer was lost or a process died."""


class IssuanceIssued(IssuanceData):
    """The tickets exist."""

    TYPE = "ecticket.issuance.issued.v1"
    SCHEMA = "issuance-issued.v1"
    recovered: bool
    """As published when it was submitted."""
    submitted_at: Moment
    """When it was known to be submitted."""
    queries: Annotated[int, Field(ge=1)]
    """How often ECTicket was asked for the result."""


class IssuanceFailed(IssuanceData):
    """No tickets exist for this issuance, and none will."""

    TYPE = "ecticket.issuance.failed.v1"
    SCHEMA = "issuance-failed.v1"
    stage: Literal["submit", "confirm"]
    """`submit`: ECTicket refused it, or a person found that it never came there; `confirm`: its job failed."""
    rtn_code: int | None
    """ECTicket's code of the refusal; null at stage confirm, and where a person resolved it without a refusal."""
    rtn_msg: str | None
    """ECTicket's message of the refusal; null as the code is."""
    remark: str | None
    """Why the job failed, as ECTicket says, or why it is failed, as the person says who resolved it; else null."""


class IssuanceDelayed(IssuanceData):
    """The job takes longer than expected; published once."""

    TYPE = "ecticket.issuance.delayed.v1"
    SCHEMA = "issuance-delayed.v1"
    submitted_at: Moment
    """When it was known to be submitted."""
    queries: Annotated[int, Field(ge=0)]
    """How often ECTicket was asked for the result so far."""


class CollectedTicket(BaseModel):
    """One ticket of an issuance. Its numbers are worth its value, so they are in no `repr`, error or log line."""

    model_config = ConfigDict(**_CLOSED, hide_input_in_errors=True)
    ticket_no: Annotated[str, Field(min_length=1, repr=False)]
    """The ticket's number (TicketNo)."""
    redemption_code: Annotated[str | None, Field(min_length=1, repr=False)]
    """The code that redeems the ticket (WriteOffNo); ECTicket gives it for serial numbers, else it is null."""
    item_no: str | None
    """ECTicket's product number; null for serial-number tickets, which have none."""
    name: str | None
    """Product name."""
    face_value: int | None
    """Face value in NT$."""
    start_date: date | None
    """The first day on which the ticket can be used."""
    expire_date: date | None
    """The last day, for gift vouchers only."""
    status: str | None
    """`unused`, `redeemed`, `refunded` or `expired` when it was collected; another word as ECTicket wrote it."""


class TicketCollected(IssuanceData):
    """The numbers of all tickets of an issuance, from ECTicket's report. Published once, complete."""

    model_config = ConfigDict(**_CLOSED, hide_input_in_errors=True)
    TYPE = "ecticket.ticket.collected.v1"
    SCHEMA = "ticket-collected.v1"
    TOPIC = "collected"
    tickets: Annotated[tuple[CollectedTicket, ...], Field(min_length=1, repr=False)]
    """Every ticket: as many as `ticket_count`."""


class OrderNotIssued(EventData):
    """The fields of an event about an order that stops."""

    TOPIC = "issuances"
    order_id: str | None
    """The shop's order number; null when the record could not be read."""
    reason: str
    """Why; for a parked order the dead letter's reason."""
    stage: Stage
    """Where on its way the order stopped."""
    plugin: str | None
    """The plugin that decided or broke, if one did."""
    message: str
    """What happened and what to do, without customer data."""
    parts_done: Annotated[int, Field(ge=0)]
    """How many parts of the order had been settled with events of their own before."""


class OrderSkipped(OrderNotIssued):
    """A plugin said that this order is not to be issued here."""

    TYPE = "ecticket.order.skipped.v1"
    SCHEMA = "order-skipped.v1"


class OrderParked(OrderNotIssued):
    """The order is on the dead letters: a person must look at it."""

    TYPE = "ecticket.order.parked.v1"
    SCHEMA = "order-parked.v1"
    reason: ParkReason
    """The dead letter's reason."""


class Notified(EventData):
    """The fields of every event about a notification from ECTicket."""

    TOPIC = "tickets"

    merchant_id: str
    """MerchantID at ECPay, proven by the keys."""
    trade_no: TradeNoText | None
    """MerchantTradeNo or FreeTradeNo of the issuance; null where the notification did not say it."""
    trade_no_kind: Literal["merchant", "free"] | None
    """Which of the two it is."""
    ticket_trade_no: TradeNoText | None
    """ECTicket's own number of the order (TicketTradeNo); null where the notification did not say it."""
    raw: dict[str, str | int | float | bool | None]
    """The fields of the notification as they came, under ECPay's names; only those that identify no person."""
    withheld: tuple[str, ...]
    """Names of the fields that are left out of `raw`: the ticket's number, and unknown fields."""


class TicketStatusChanged(Notified):
    """ECTicket says that a ticket was redeemed or refunded. A hint: look the ticket up before acting on it."""

    TYPE = "ecticket.ticket.status-changed.v1"
    SCHEMA = "ticket-status-changed.v1"
    ticket_ref: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None
    """Stands for the ticket's number, always the same; only the merchant's keys show which number it is."""
    use_status: int | None
    """UseStatus as it came; null where it is missing or no whole number."""
    may_mean: tuple[UseStatus, ...]
    """Every meaning that ECPay's documents give this number; they disagree on 1 and 2. Empty: no document says."""


class OrderRefunded(Notified):
    """ECTicket says that money of an order was given back."""

    TYPE = "ecticket.order.refunded.v1"
    SCHEMA = "order-refunded.v1"
    trade_amount: int | None
    """Amount of the order in NT$ (TradeAmount)."""
    refund_amount: int | None
    """Amount given back this time, in NT$ (RefundAmount)."""
    total_refund_amount: int | None
    """Amount given back in all so far, in NT$ (TotalRefundAmount)."""


class PublishedSide(BaseModel):
    """An issuance as the events have it."""

    model_config = _CLOSED
    state: Literal["submitted", "issued", "failed"]
    """Its last state."""
    ticket_count: Annotated[int, Field(ge=1)]
    """Number of tickets in all."""


class ReportedSide(BaseModel):
    """An issuance as ECPay's order report has it."""

    model_config = _CLOSED
    state: Literal["issued", "failed", "in_progress"] | None
    """Its status; null where the report has no documented one."""
    ticket_count: int | None
    """Number of tickets in all; null where the report has no readable number."""


class ReconciliationData(EventData):
    """The fields of every event about a reconciliation."""

    TOPIC = "reconciliations"
    merchant_id: str
    """MerchantID at ECPay."""


class ReconciliationDifference(ReconciliationData):
    """The published events of an issuance and ECPay's order report differ; published once."""

    TYPE = "ecticket.reconciliation.difference.v1"
    SCHEMA = "reconciliation-difference.v1"
    issue_date: date | None
    """Day of issue in Taipei: the report's, else the day of submission; null where the report's cannot be read."""
    trade_no: Annotated[str, Field(min_length=1)]
    """MerchantTradeNo or FreeTradeNo of this issuance, as the report or the events have it."""
    trade_no_kind: Literal["merchant", "free"]
    """Which of the two it is."""
    order_id: str | None
    """The shop's order number; null where no event has this issuance."""
    kind: Literal["not-published", "not-reported", "state", "ticket-count"]
    """How they differ."""
    published: PublishedSide | None
    """The events' side; null for `not-published`."""
    reported: ReportedSide | None
    """The report's side; null for `not-reported`."""
    message: str
    """What differs and what to do next, without customer data."""


class DifferenceCounts(BaseModel):
    """Numbers of differences by kind."""

    model_config = ConfigDict(**_CLOSED, serialize_by_alias=True, validate_by_name=True)
    not_published: Annotated[int, Field(ge=0, alias="not-published")] = 0
    """In the report, and in no event."""
    not_reported: Annotated[int, Field(ge=0, alias="not-reported")] = 0
    """Published, and not in the report."""
    state: Annotated[int, Field(ge=0)] = 0
    """In states that exclude each other."""
    ticket_count: Annotated[int, Field(ge=0, alias="ticket-count")] = 0
    """With different numbers of tickets."""


class ReconciliationCompleted(ReconciliationData):
    """A merchant's days were compared; published once for each merchant and period."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)
    TYPE = "ecticket.reconciliation.completed.v1"
    SCHEMA = "reconciliation-completed.v1"
    first_day: Annotated[date, Field(alias="from")]
    """First issue date, in Taipei."""
    last_day: Annotated[date, Field(alias="to")]
    """Last issue date, included; if it was the day of the comparison, up to that moment."""
    reported: Annotated[int, Field(ge=0)]
    """Issuances of these days in ECPay's report, without those of other programs that are accepted by rule."""
    published: Annotated[int, Field(ge=0)]
    """Issuances of these days that were published as submitted."""
    differences: Annotated[int, Field(ge=0)]
    """Differences of these days, those included that were published by an earlier comparison."""
    by_kind: DifferenceCounts
    """The same by kind."""


EVENTS: tuple[type[EventData], ...] = (
    IssuanceSubmitted,
    IssuanceIssued,
    IssuanceFailed,
    IssuanceDelayed,
    OrderSkipped,
    OrderParked,
    TicketCollected,
    TicketStatusChanged,
    OrderRefunded,
    ReconciliationDifference,
    ReconciliationCompleted,
)


class Origin(Struct, frozen=True, kw_only=True):
    """The order record an event is about: the first one, however often the order was deferred or replayed."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def record_origin(record: Record) -> Origin:
    """The origin of a record that was not processed before."""
    return Origin(topic=record.topic, partition=record.partition, offset=record.offset)


def fact_id(fact: str) -> str:
    """The id of the event about a fact: the UUIDv5 of its text, in a third of the time of `uuid.uuid5`.

    RFC 9562, section 5.5: the SHA-1 of namespace and text, in which four bits are the version and two the variant.
    """
    digest = sha1(_NAMESPACE_BYTES + fact.encode(), usedforsecurity=False).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{_VARIANT[digest[16]]}{digest[17:20]}-{digest[20:32]}"


_NAMESPACE_BYTES = NAMESPACE.bytes
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""The digit of the variant: its upper two bits are 10, the lower two are kept."""


def issuance_event_id(data: IssuanceData) -> str:
    """The id of an event about an issuance: the same for the same merchant, trade number and type."""
    return _issuance_id(data.merchant_id, data.trade_no, type(data))


def _issuance_id(merchant_id: str, trade_no: str, event: type[IssuanceData]) -> str:
    return fact_id(f"{merchant_id}/{trade_no}/{event.TYPE}")


def order_event_id(origin: Origin, event_type: str, *distinctions: str) -> str:
    """The id of an event about an order record: the same for the same record, type and `distinctions`.

    Each distinction has its length in front, so that no two lists of them have the same text.
    """
    more = "".join(f"/{len(each)}:{each}" for each in distinctions)
    return fact_id(f"{origin}/{event_type}{more}")


def parking_distinctions(reason: str, *, dead_letter: Origin | None, parts: str | None = None) -> tuple[str, ...]:
    """What distinguishes one parking of an order record from its others.

    The reason; the dead letter that the record was before, if it was one (docs/events.md, "Rules for readers"); and the
    parts that the dead letter holds, because two parts of an order may be parked one after the other.
    """
    return (
        f"reason={reason}",
        *([f"dead-letter={dead_letter}"] if dead_letter is not None else []),
        *([f"parts={parts}"] if parts is not None else []),
    )


def notification_event_id(merchant_id: str, pseudonym: str, day: date) -> str:
    """The id of a notification's event: the same for the same merchant and text on the same day in Taipei.

    `pseudonym` stands for the text: with a plain hash, anyone could try out which ticket number the text holds.
    """
    return fact_id(f"{merchant_id}/{pseudonym}/{day.isoformat()}")


def reconciliation_event_id(data: ReconciliationData) -> str:
    """The id of a reconciliation's event.

    A difference has the same id for the same merchant, issue date, number and kind; a completed comparison for the same
    merchant and period.
    """
    if isinstance(data, ReconciliationDifference):
        number = f"{data.trade_no_kind}/{data.trade_no.upper()}"
        fact = f"{data.merchant_id}/{data.issue_date}/{number}/{data.kind}/{data.TYPE}"
    elif isinstance(data, ReconciliationCompleted):
        fact = f"{data.merchant_id}/{data.first_day}/{data.last_day}/{data.TYPE}"
    else:
        raise TypeError(f"{data.TYPE} has no id of a reconciliation")
    return fact_id(fact)


def issuance_key(merchant_id: str, trade_no: str) -> str:
    """The record key of everything about one issuance."""
    return f"{merchant_id}/{trade_no}"


def issuance_event(
    data: IssuanceData, *, topic: str, origin: Origin, now: datetime, traceparent: str | None = None
) -> ProducerRecord:
    """An event about an issuance as a record for `topic`."""
    return _issuance_record(
        type(data),
        _json(data),
        merchant_id=data.merchant_id,
        order_id=data.order_id,
        trade_no=data.trade_no,
        topic=topic,
        origin=origin,
        now=now,
        traceparent=traceparent,
    )


def submitted_event(
    issuance: IssuanceFields,
    *,
    recovered: bool,
    topic: str,
    origin: Origin,
    now: datetime,
    traceparent: str | None,
) -> ProducerRecord:
    """An `IssuanceSubmitted` as a record for `topic`; without its model, because every order makes one."""
    return _issuance_record(
        IssuanceSubmitted,
        write_json({**issuance, "recovered": recovered}),
        merchant_id=issuance["merchant_id"],
        order_id=issuance["order_id"],
        trade_no=issuance["trade_no"],
        topic=topic,
        origin=origin,
        now=now,
        traceparent=traceparent,
    )


def _issuance_record(
    event: type[IssuanceData],
    value: bytes,
    *,
    merchant_id: str,
    order_id: str,
    trade_no: str,
    topic: str,
    origin: Origin,
    now: datetime,
    traceparent: str | None,
) -> ProducerRecord:
    attributes = {
        "ce_id": _issuance_id(merchant_id, trade_no, event),
        "ce_source": f"{MERCHANT_SOURCE}{merchant_id}",
        "ce_subject": trade_no,
        "ce_orderid": order_id,
    }
    key = issuance_key(merchant_id, trade_no)
    return _event_record(
        event, value, attributes, topic=topic, key=key, origin=origin, now=now, traceparent=traceparent
    )


def order_event(
    data: OrderNotIssued,
    *,
    topic: str,
    origin: Origin,
    now: datetime,
    merchant_id: str | None,
    order_record: Origin | None = None,
    traceparent: str | None = None,
    distinctions: tuple[str, ...] = (),
) -> ProducerRecord:
    """A fact about a record as a record for `topic`; `merchant_id` only when that merchant is known here.

    `origin` is the record the fact is about, and its id follows from it and the `distinctions`; `order_record` the
    order's, where that is another one.
    """
    key = data.order_id or str(origin)
    attributes = {
        "ce_id": order_event_id(origin, data.TYPE, *distinctions),
        "ce_source": f"{MERCHANT_SOURCE}{merchant_id}" if merchant_id else SOURCE,
        "ce_subject": key,
    }
    if data.order_id is not None:
        attributes["ce_orderid"] = data.order_id
    return _event_record(
        type(data),
        _json(data),
        attributes,
        topic=topic,
        key=key,
        origin=order_record or origin,
        now=now,
        traceparent=traceparent,
    )


def notification_event(data: Notified, *, topic: str, event_id: str, now: datetime) -> ProducerRecord:
    """A notified fact as a record for `topic`; one that names no order goes by its ticket, or by itself."""
    ticket = data.ticket_ref if isinstance(data, TicketStatusChanged) else None
    subject = data.trade_no or data.ticket_trade_no or ticket or event_id
    attributes = {"ce_id": event_id, "ce_source": f"{MERCHANT_SOURCE}{data.merchant_id}", "ce_subject": subject}
    key = issuance_key(data.merchant_id, subject)
    return _event_record(
        type(data), _json(data), attributes, topic=topic, key=key, origin=None, now=now, traceparent=None
    )


def reconciliation_event(data: ReconciliationData, *, topic: str, now: datetime) -> ProducerRecord:
    """A reconciliation's fact as a record for `topic`: about a number, or about the merchant."""
    attributes = {"ce_id": reconciliation_event_id(data), "ce_source": f"{MERCHANT_SOURCE}{data.merchant_id}"}
    if isinstance(data, ReconciliationDifference):
        attributes["ce_subject"] = data.trade_no
        if data.order_id is not None:
            attributes["ce_orderid"] = data.order_id
        key = issuance_key(data.merchant_id, data.trade_no)
    else:
        attributes["ce_subject"] = key = data.merchant_id
    return _event_record(
        type(data), _json(data), attributes, topic=topic, key=key, origin=None, now=now, traceparent=None
    )


def _event_record(
    event: type[EventData],
    value: bytes,
    attributes: Mapping[str, str],
    *,
    topic: str,
    key: str,
    origin: Origin | None,
    now: datetime,
    traceparent: str | None,
) -> ProducerRecord:
    context = {"ce_time": rfc3339(now), **attributes}
    if origin is not None:
        context["ce_orderref"] = str(origin)
    context["ce_partitionkey"] = key
    if traceparent:
        context["ce_traceparent"] = traceparent
    return ProducerRecord(
        topic=topic,
        key=key.encode("utf-8", "replace"),
        value=value,
        headers=fixed_headers(event) + encode_headers(context),
    )


@cache
def fixed_headers(event: type[EventData]) -> tuple[tuple[str, bytes], ...]:
    """The headers that are equal in every event of one type; cached, one entry for each model."""
    return (
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", event.TYPE.encode()),
        ("ce_dataschema", f"urn:ecticket-adapter:schema:{event.SCHEMA}".encode()),
    )


def _json(data: EventData) -> bytes:
    """The data as compact JSON; half a surrogate pair, which a plugin may produce, becomes `?` instead of an error."""
    try:
        return data.model_dump_json().encode()
    except PydanticSerializationError:  # it cannot write half a surrogate pair
        return _lenient_json(data.model_dump(mode="json"))


def write_json(data: Mapping[str, object]) -> bytes:
    """Compact JSON of what no model holds; as that of a model."""
    try:
        return _ENCODER.encode(data)
    except (UnicodeEncodeError, OverflowError):  # half a surrogate pair; an integer of more than 64 bits
        return _lenient_json(data)


def _lenient_json(data: Mapping[str, object]) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


_ISSUE_TYPE_NAMES = {kind: cast("IssueTypeName", name) for name, kind in ISSUE_TYPES.items()}


class OrderRef(Struct, frozen=True, kw_only=True):
    """The identity of an order in its events."""

    merchant_id: str
    order_id: str
    reference: JsonValue


def order_ref_of(order: Order | DeferredPlan) -> OrderRef:
    """The identity of an order, or of a deferred plan."""
    return OrderRef(
        merchant_id=order.merchant_id,
        order_id=order.order_id,
        reference=cast("JsonValue", order.reference),  # parsing has checked it to be JSON, or it was read from JSON
    )


def kind_name(kind: TradeNoKind) -> Literal["merchant", "free"]:
    """The kind of the number, as events name it."""
    return "free" if kind is TradeNoKind.FREE else "merchant"


class ItemFields(TypedDict):
    """The fields of an `Item`."""

    item_no: str | None
    name: str | None
    quantity: int


class IssuanceFields(TypedDict):
    """The fields of `IssuanceData`."""

    merchant_id: str
    order_id: str
    reference: JsonValue
    trade_no: str
    trade_no_kind: Literal["merchant", "free"]
    issue_type: IssueTypeName
    part: int
    parts: int
    items: tuple[ItemFields, ...]
    ticket_count: int
    ticket_trade_no: str | None


def issuance_fields(order_ref: OrderRef, part: Part, *, ticket_trade_no: str | None) -> IssuanceFields:
    """The fields of every event about this part."""
    return {
        "merchant_id": order_ref.merchant_id,
        "order_id": order_ref.order_id,
        "reference": order_ref.reference,
        "trade_no": part.trade_no.value,
        "trade_no_kind": kind_name(part.trade_no.kind),
        "issue_type": _ISSUE_TYPE_NAMES[part.request.issue_type],
        "part": part.number,
        "parts": part.of,
        "items": tuple(
            [{"item_no": item.item_no, "name": item.name, "quantity": item.quantity} for item in part.items]
        ),
        "ticket_count": part.ticket_count,
        "ticket_trade_no": ticket_trade_no,
    }
