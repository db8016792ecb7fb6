"""The trace context of a record is found, checked and named in log lines."""

from __future__ import annotations

import pytest

from adapter.trace_context import span_trace_id, trace_id, traceparent_of

ID = "0af7651916cd43dd8448eb211c80319c"
VALID = f"00-{ID}-b7ad6b7169203331-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@pytest.mark.parametrize("name", ["traceparent", "ce_traceparent", "Traceparent"])
def test_it_is_kafkas_header_or_the_extension(name: str) -> None:
    """Names of headers are compared without case, because clients write them differently."""
    assert traceparent_of([("x", b"1"), (name, VALID.encode())]) == VALID


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"00-xyz-01",
        b"\xff" * 55,
        b" " * 55,
        VALID.upper().encode(),
        VALID.encode() + b"\n",
        VALID.encode() + b"-1",
        b"f" * 55,
        VALID.replace("00-", "ff-", 1).encode(),
        VALID.replace(ID, "0" * 32).encode(),
        VALID.replace("b7ad6b7169203331", "0" * 16).encode(),
        VALID.encode() * 100_000,
    ],
    ids=lambda value: repr(value)[:24],
)
def test_an_invalid_one_is_ignored(value: bytes | None) -> None:
    """What W3C forbids is not passed on, and the next valid header counts."""
    assert traceparent_of([("traceparent", value)]) is None
    assert traceparent_of([("traceparent", value), ("ce_traceparent", OTHER.encode())]) == OTHER


def test_a_log_line_names_the_trace_of_the_record() -> None:
    """Without a trace there is none to name."""
    assert trace_id(VALID) == ID
    assert trace_id(None) is None


def test_a_log_line_names_the_trace_of_its_span() -> None:
    """If the adapter records traces, an order without a context has one too."""
    token = span_trace_id.set("f" * 32)
    try:
        assert trace_id(VALID) == trace_id(None) == "f" * 32
    finally:
        span_trace_id.reset(token)
