"""The fields of a log line about an event: whose order it is, under the names that all lines have (docs/logs.md)."""

from __future__ import annotations

from adapter.extensions.sinks import Event
from adapter.trace_context import TRACEPARENT, is_traceparent, trace_id


def event_fields(event: Event) -> dict[str, object]:
    """The event's id and type, and its merchant, order, trade number and trace, as far as it names them.

    Anyone who may write to the topic chooses these texts, so what is no text, or no trace, is left out.
    """
    traceparent = event.extensions.get(TRACEPARENT, "")
    named = {
        "merchant_id": event.data.get("merchant_id"),
        "order_id": event.extensions.get("orderid"),
        "trade_no": event.data.get("trade_no"),
        "trace_id": trace_id(traceparent) if is_traceparent(traceparent) else None,
    }
    known = {name: value for name, value in named.items() if isinstance(value, str)}
    return {**known, "event_id": event.id, "event_type": event.type}
