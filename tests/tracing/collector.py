"""A collector whose spans a test can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.span_collector import SpanCollector


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpan:
    """One span as a backend gets it; ids are hexadecimal, times in nanoseconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    failed: bool
    attributes: Mapping[str, object]
    links: tuple[str, ...]
    """The trace id of each."""


class Collector(SpanCollector):
    """Its spans are easy to read."""

    @property
    def spans(self) -> list[ReceivedSpan]:
        """All spans, in the order of their beginnings."""
        return sorted(map(_received, self.received), key=lambda span: span.began)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens during the block."""
    with closing(Collector()) as collector:
        yield collector


def _received(span: Span) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=dict(_pair(each) for each in span.attributes),
        links=tuple(link.trace_id.hex() for link in span.links),
    )


def _pair(attribute: KeyValue) -> tuple[str, object]:
    return attribute.key, _value(attribute.value)


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(each) for each in value.array_value.values)
    return getattr(value, kind) if kind else None
