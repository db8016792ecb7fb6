"""The fields that tie a log line to its order. Every line about an order has them under these names (docs/logs.md).

The steps of an order that goes well are logged at level debug: the four lines of a plain order would raise its CPU time
by 70 %. What deviates is logged at info or warning. Does not log anything itself.
"""

from __future__ import annotations

from adapter.trace_context import trace_id


def order_fields(
    merchant_id: str | None, order_id: str | None, traceparent: str | None, *, trade_no: str | None = None
) -> dict[str, object]:
    """Merchant, order, trade number and trace of a line, as far as they are known."""
    fields = {
        "merchant_id": merchant_id,
        "order_id": order_id,
        "trade_no": trade_no,
        "trace_id": trace_id(traceparent),
    }
    return {name: value for name, value in fields.items() if value is not None}
