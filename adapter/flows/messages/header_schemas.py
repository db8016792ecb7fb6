"""The headers of records as JSON Schemas: what a reader finds, and what a shop may send.

Kafka's headers are bytes; the schemas describe their text (UTF-8), except where a description says otherwise. Tests
validate every record that the flows write against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from adapter.flows.messages.events import EventData, ParkReason, Stage, fixed_headers

Schema = Mapping[str, object]
_DECIMAL = r"^[0-9]+$"


def _text(description: str, **more: object) -> Schema:
    return {"type": "string", "description": description, **more}


def _headers(required: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Schema:
    found = {"type": "object", "required": list(required), "properties": {**required, **optional}}
    return {name: content for name, content in found.items() if content}


def headers_of(event: type[EventData]) -> Schema:
    """The headers of one event type, in addition to EVENT_HEADERS."""
    fixed = {name: text.decode() for name, text in fixed_headers(event)}
    return {
        "type": "object",
        "properties": {name: {"const": fixed[name]} for name in ("ce_type", "ce_dataschema")},
    }


EVENT_HEADERS = _headers(
    {
        "content-type": _text("Media type of the value.", const="application/json"),
        "ce_specversion": _text("Version of CloudEvents.", const="1.0"),
        "ce_id": _text(
            "The same for the same fact, however often it is published: drop what you have seen. A UUID (version 5).",
            format="uuid",
        ),
        "ce_source": _text(
            "`/ecticket-adapter/merchants/{merchant_id}`; `/ecticket-adapter` where the merchant is not known.",
            format="uri-reference",
            examples=["/ecticket-adapter/merchants/3085676"],
        ),
        "ce_type": _text("What happened. Ignore types that you do not know."),
        "ce_dataschema": _text("`$id` of the schema of the value.", format="uri"),
        "ce_subject": _text(
            "Trade number or the order's id; where that is not known, the next best name.",
            examples=["CBX20260302153064851"],
        ),
        "ce_time": _text("When the fact was learned: UTC, milliseconds.", format="date-time"),
        "ce_partitionkey": _text("The record's key."),
    },
    {
        "ce_orderid": _text("The order's id, where it is known.", examples=["A-1001"]),
        "ce_orderref": _text(
            "`topic/partition/offset` of the order's record, where the fact is about one.",
            examples=["orders.paid/3/41"],
        ),
        "ce_traceparent": _text("W3C trace context, where the order brought one or the adapter records traces."),
        "ce_tracestate": _text("W3C trace state that belongs to `ce_traceparent`, if the adapter records traces."),
    },
)
"""Of every event; `headers_of` has those of one type."""

ORDER_HEADERS = _headers(
    {},
    {
        "content-type": _text(
            "Media type of the value; `application/cloudevents+json` for a CloudEvent in structured mode.",
            examples=["application/json"],
        ),
        "ce_specversion": _text("`1.0` for a CloudEvent in binary mode, with its other attributes beside it."),
        "traceparent": _text("W3C trace context, passed on into every event about the order; or `ce_traceparent`."),
        "ce_traceparent": _text("W3C trace context, as CloudEvents' extension; or `traceparent`."),
        "tracestate": _text("W3C trace state that belongs to the trace context; or `ce_tracestate`."),
    },
)
"""Of an order that a shop sends. Names that begin with `ecticket-` are the adapter's own."""

DEAD_LETTER_HEADERS = _headers(
    {
        "ecticket-stage": _text("Where on its way the record stopped.", enum=list(get_args(Stage))),
        "ecticket-reason": _text("Why the record is a dead letter.", enum=list(get_args(ParkReason))),
        "ecticket-message": _text("What happened and what to do, without customer data."),
        "ecticket-failed-at": _text("When it was put here: UTC.", format="date-time"),
        "ecticket-topic": _text("Topic of the record that was first processed."),
        "ecticket-partition": _text("Its partition, decimal.", pattern=_DECIMAL),
        "ecticket-offset": _text("Its offset, decimal.", pattern=_DECIMAL),
        "ecticket-timestamp": _text(
            "Its timestamp: UTC (RFC 3339). Outside the years 1970 to 8999: milliseconds since 1970, as the topic has "
            "them.",
            examples=["2026-03-01T08:30:15.250Z"],
        ),
        "ecticket-first-seen": _text("When it was first processed, or replayed: UTC.", format="date-time"),
        "ecticket-attempts": _text("How often it was tried since, decimal.", pattern=_DECIMAL),
        "ecticket-replays": _text("How often it was replayed, decimal.", pattern=_DECIMAL),
        "kafka_dlt-original-topic": _text("As `ecticket-topic`, for tools that know Spring's headers."),
        "kafka_dlt-original-partition": _text("Its partition as four bytes, big-endian.", format="binary"),
        "kafka_dlt-original-offset": _text("Its offset as eight bytes, big-endian.", format="binary"),
        "kafka_dlt-original-timestamp": _text(
            "Its timestamp, milliseconds since 1970, as eight bytes, big-endian.", format="binary"
        ),
        "kafka_dlt-exception-message": _text("As `ecticket-message`."),
    },
    {
        "ecticket-signature": _text(
            "`v1.{key id}.{HMAC}` over key, value and every `ecticket-*` header. Without a valid one the adapter "
            "honours `ecticket-possibly-sent-at` and nothing else. Missing if the record itself had no valid one.",
            pattern=r"^v1\.[0-9a-f]{16}\.[A-Za-z0-9_-]{43}$",
        ),
        "ecticket-plugin": _text("The plugin that decided or broke, if one did."),
        "ecticket-sink": _text("At stage deliver: the notification sink that did not take the event."),
        "ecticket-possibly-sent-at": _text(
            "When ECTicket may have got it last: UTC. Where this is, tickets may exist.", format="date-time"
        ),
        "ecticket-possibly-sent-by": _text(
            "Where only a replay makes it possibly sent, and nothing else does.", const="replay"
        ),
        "ecticket-plan": _text("The order's open parts, JSON in the adapter's own form. Holds customer data."),
        "ecticket-parts-done": _text(
            "How many parts of the order have events of their own, decimal; absent where none has.", pattern=_DECIMAL
        ),
        "ecticket-plan-lost": _text(
            "A key that was not known signed the plan; no number of the order may be sent again.", const="true"
        ),
        "ecticket-order-id": _text("The order's id, where the record could be read. At most 200 characters."),
        "ecticket-merchant-id": _text("MerchantID at ECPay, where the record could be read and names one."),
        "ecticket-dead-letter": _text(
            "`topic/partition/offset` of the dead letter that this record was before, where it was one.",
            examples=["ecticket.dead-letters/0/17"],
        ),
        "ecticket-value-omitted": _text("The value was too large for this topic and is not here.", const="true"),
        "ecticket-offsets": _text(
            "The record's content was not read: first and last offset that this dead letter stands for.",
            pattern=r"^[0-9]+-[0-9]+$",
        ),
    },
)
"""Of a dead letter, together with the record's own headers."""
