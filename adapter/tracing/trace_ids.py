"""Gives some traces an id that is known before they begin.

That connects an order with the notifications that ECPay sends about its tickets, days or months later. A notification
names the trade number and nothing of a trace. So its trace gets an id that anyone can derive from merchant and trade
number, and the span that published `submitted` links to that trace in advance. The link leads nowhere until the first
notification comes, and if the sampler does not record its trace: it decides without the order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.trace import SpanContext, TraceFlags

_trace_id: ContextVar[int | None] = ContextVar("trace_id", default=None)


def notifications_link(issuance_key: bytes) -> SpanContext:
    """The context to which an issuance links; `issuance_key` is `{merchant_id}/{trade_no}`."""
    digest = _digest(issuance_key)
    return SpanContext(
        trace_id=int.from_bytes(digest[:16]),
        span_id=int.from_bytes(digest[16:24]),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def notifications_trace_id(issuance_key: bytes) -> int:
    """The id of the trace of this issuance's notifications."""
    return notifications_link(issuance_key).trace_id


@contextmanager
def trace_with_id(trace_id: int) -> Iterator[None]:
    """Give the trace that begins in this block this id."""
    token = _trace_id.set(trace_id)
    try:
        yield
    finally:
        _trace_id.reset(token)


def given_trace_id() -> int | None:
    """The id for a trace that begins now; None for a random one."""
    return _trace_id.get()


def _digest(issuance_key: bytes) -> bytes:
    return hashlib.sha256(b"notifications\0" + issuance_key).digest()
