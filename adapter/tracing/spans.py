"""Starts spans, and continues the trace of a record.

A record's context becomes the parent of the span that processes it. If the order is older than `PARENT_SECONDS`, as
after a deferral, a delayed job or a replay, the span begins a trace of its own and links to the context: traces of
hours or days cannot be read, and no backend keeps them together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from importlib.metadata import version
from random import getrandbits
from typing import NamedTuple, TypeVar

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from adapter.flows.messages.record_history import TIMESTAMP
from adapter.flows.messages.signatures import PREFIX
from adapter.stream.records import ProducerRecord, Record
from adapter.trace_context import TRACEPARENT, span_trace_id, traceparent_of
from adapter.tracing.sampling import LOWER_HALF, context_of, drops_unsampled, first_dropped
from adapter.tracing.trace_ids import trace_with_id

PARENT_SECONDS = 600.0
"""Up to this age of an order, a span is a child; later it links. As long as an issuance may take until it is delayed.
"""
TRACESTATE = "tracestate"
_MAX_TRACESTATE = 512
"""Characters that W3C asks every participant to pass on."""
_CE = "ce_"
EXTENSION = _CE + TRACEPARENT
_SPECVERSION = ("ce_specversion", b"1.0")
_OF_HISTORIES = (PREFIX, "kafka_dlt-")
_OURS = frozenset({TRACEPARENT, TRACESTATE})
NAME = "ecticket-adapter"
"""Of the instrumentation, and of the service unless a variable names it."""
_SAMPLED_AND_RANDOM = 0x03


Attributes = Mapping[str, str | int | bool | tuple[str, ...]]


T = TypeVar("T")

_log = logging.getLogger(__name__)


def harmless(work: Callable[[], T], otherwise: T) -> T:
    """What `work` returns, or `otherwise` if it raises: a defect of traces is logged and affects no order."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  # traces observe; see the docstring
        _log_not_recorded(error)
        return otherwise


def _log_not_recorded(error: Exception) -> None:
    _log.error("span-not-recorded", exc_info=error)


_NO_SPAN: Span = INVALID_SPAN
_NO_PARENT = Context()
_recording: ContextVar[bool] = ContextVar("recording", default=False)
is_recording = _recording.get
"""Whether the caller runs in a recorded span of the adapter's."""


class SpanOrigin(NamedTuple):
    """Where a span comes from: `parent` is None for the first span of a trace, which may have a link and a given id."""

    parent: SpanContext | None = None
    links: tuple[Link, ...] = ()
    trace_id: int | None = None


class Spans:
    """Starts the adapter's spans. `now` is the clock with which the age of a record is compared.

    A trace begins only at a topic of `begin_at`, with an order. On the other topics a record without a context is of an
    order that is not recorded.

    Orders that are not recorded are decided before the SDK makes a span (`sampling`), and nothing of them is marked.
    Their records keep the context with which they came, if any.
    """

    def __init__(self, provider: TracerProvider, now: Callable[[], datetime], begin_at: Collection[str]) -> None:
        self._begin_at = begin_at
        self._tracer = provider.get_tracer(NAME, version(NAME))
        self._now = now
        self._first_dropped = first_dropped(provider.sampler)
        self._drops_unsampled = drops_unsampled(provider.sampler)

    def origin_of(self, record: Record) -> SpanOrigin | None:
        """Where the span of a record's work comes from: the record's trace, or one that begins; None to record none.

        A sampler of another library may still drop the span.
        """
        try:
            text = traceparent_of(record.headers) if record.headers else None
            if text is not None:
                return self._continued(record, text)
            if record.topic not in self._begin_at:
                return None
            trace_id = getrandbits(128)
            if trace_id & LOWER_HALF >= self._first_dropped:
                return None
            return SpanOrigin(trace_id=trace_id)
        except Exception as error:  # noqa: BLE001  # as in `harmless`, without its price for each order
            _log_not_recorded(error)
            return None

    def _continued(self, record: Record, text: str) -> SpanOrigin | None:
        if self._drops_unsampled and not _flags(text) & TraceFlags.SAMPLED:
            return None
        past = _span_context(text, record)
        age = (self._now() - _first_written_at(record)).total_seconds()
        return SpanOrigin(parent=past) if age <= PARENT_SECONDS else SpanOrigin(links=(Link(past),))

    def begin(
        self,
        name: str,
        origin: SpanOrigin,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        began: int | None = None,
    ) -> Span:
        """Start a span; `began` is in nanoseconds since the epoch, for one that has begun earlier."""
        parent = _NO_PARENT if origin.parent is None else context_of(origin.parent)
        if origin.trace_id is None:
            return self._start(name, parent, kind, attributes, origin.links, began)
        with trace_with_id(origin.trace_id):
            return self._start(name, parent, kind, attributes, origin.links, began)

    def child(self, name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes) -> CurrentSpan:
        """Run a block in a child of the span in which the caller runs."""
        return CurrentSpan(self._start(name, get_current(), kind, attributes))

    def _start(
        self,
        name: str,
        parent: Context,
        kind: SpanKind,
        attributes: Attributes | None,
        links: Sequence[Link] = (),
        began: int | None = None,
    ) -> Span:
        try:
            return self._tracer.start_span(
                name,
                context=parent,
                kind=kind,
                attributes=attributes,
                links=links,
                start_time=began,
                record_exception=False,
                set_status_on_exception=False,
            )
        except Exception as error:  # noqa: BLE001  # as in `harmless`
            _log_not_recorded(error)
            return _NO_SPAN


class CurrentSpan:
    """Runs a `with` block in this span; then ends it.

    An error is recorded by its type, because its text may quote an order.
    """

    __slots__ = ("_context", "_span")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._context = attach(set_span_in_context(self._span))
        return self._span

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            mark_failed(self._span, type(error).__name__)
        detach(self._context)
        self._span.end()


class OutermostSpan(CurrentSpan):
    """A span below which the adapter starts others if it is recorded; its trace is named in log lines."""

    __slots__ = ("_recording", "_trace")

    def __enter__(self) -> Span:
        span = super().__enter__()
        self._recording = _recording.set(span.is_recording())
        self._trace = span_trace_id.set(f"{span.get_span_context().trace_id:032x}")
        return span

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        span_trace_id.reset(self._trace)
        _recording.reset(self._recording)
        super().__exit__(kind, error, traceback)


def mark_failed(span: Span, error_type: str) -> None:
    """Set the status and `error.type`, which has few values."""
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))


def _span_context(text: str, record: Record) -> SpanContext:
    return SpanContext(
        trace_id=int(text[3:35], 16),
        span_id=int(text[36:52], 16),
        is_remote=True,
        trace_flags=_flags(text),
        trace_state=_trace_state(record),
    )


def _flags(text: str) -> TraceFlags:
    return TraceFlags(int(text[53:], 16) & _SAMPLED_AND_RANDOM)


def traceparent(context: SpanContext) -> str:
    """The context as W3C writes it."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def headers_with(record: ProducerRecord, context: SpanContext) -> tuple[tuple[str, bytes | None], ...]:
    """The record's headers with this context in place of another one.

    An event of the adapter has it as its extension; any other record, such as a dead letter, as a header of Kafka. The
    extension of a shop's event stays as it is.
    """
    prefix = _CE if is_event(record) else ""
    replaced = {prefix + name for name in _OURS} | _OURS
    headers = [header for header in record.headers if header[0].lower() not in replaced]
    headers.append((prefix + TRACEPARENT, traceparent(context).encode("ascii")))
    if context.trace_state:
        headers.append((prefix + TRACESTATE, context.trace_state.to_header().encode("ascii", "replace")))
    return tuple(headers)


def is_event(record: ProducerRecord) -> bool:
    """Whether the record is an event of the adapter: its headers begin with those that are fixed for its type, and end
    with none of a deferred record or dead letter, which may be about an event.
    """
    headers = record.headers
    return len(headers) > 1 and headers[1] == _SPECVERSION and not headers[-1][0].startswith(_OF_HISTORIES)


def _trace_state(record: Record) -> TraceState | None:
    for name, value in record.headers:
        if name.lower() in (TRACESTATE, _CE + TRACESTATE) and value and len(value) <= _MAX_TRACESTATE:
            return TraceState.from_header([value.decode("latin-1")])
    return None


def _first_written_at(record: Record) -> datetime:
    """When the order's first record was written, as far as the headers say so."""
    for name, value in record.headers:
        if name == TIMESTAMP and value is not None:
            try:
                written_at = datetime.fromisoformat(value.decode("ascii"))
            except ValueError:  # also what is not ASCII
                break
            return min(written_at, record.timestamp) if written_at.tzinfo is not None else record.timestamp
    return record.timestamp
