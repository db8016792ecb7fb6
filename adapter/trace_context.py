"""The W3C trace context of a record: to which trace an order belongs, and how that is written on the next record.

A context comes from outside the adapter: from the shop's header `traceparent`, or from the CloudEvents extension of the
same name. So its form and length are checked, and one that is invalid is ignored: no order waits for a trace.

Needs no library, so that records and log lines name the trace even if the adapter records no traces itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar

TRACEPARENT = "traceparent"
_EXTENSION = f"ce_{TRACEPARENT}"
_LENGTH = 55
_VALID = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_ID = slice(3, 35)

span_trace_id: ContextVar[str | None] = ContextVar("span_trace_id", default=None)
"""The trace id of the span in which this code runs; None if the adapter records no traces."""


def traceparent_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The valid trace context in a record's headers; None without one.

    The header comes before the extension, which names the span where a shop's event began.

    >>> traceparent_of([("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")])
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    >>> traceparent_of([("traceparent", b"00-0-0-00")])
    """
    extension = None
    for name, value in headers:
        if value is not None and len(value) == _LENGTH and (lower := name.lower()) in (TRACEPARENT, _EXTENSION):
            text = value.decode("latin-1")
            if is_traceparent(text):
                if lower == TRACEPARENT:
                    return text
                extension = extension or text
    return extension


def is_traceparent(text: str) -> bool:
    """Whether a text is a valid `traceparent` of W3C's version 00, or a later version's first four fields alone."""
    return _VALID.fullmatch(text) is not None


def trace_id(traceparent: str | None) -> str | None:
    """The trace id for a log line, 32 hexadecimal digits; None if the order has no trace.

    It is the id of the span in which this code runs. If the adapter records no traces, it is the id in `traceparent`,
    which must be valid, as `RecordHistory.traceparent` is.

    >>> trace_id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    current = span_trace_id.get()
    if current is not None or traceparent is None:
        return current
    return traceparent[_TRACE_ID]
