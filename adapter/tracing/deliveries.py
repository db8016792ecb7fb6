"""Wraps a sink: each delivery of a recorded event is a span, whose context the sink passes on."""

from __future__ import annotations

from opentelemetry.trace import SpanKind

from adapter.extensions.sink_thread import DeliveryAttempt
from adapter.extensions.sinks import Event
from adapter.flows.deliver import SinkCaller
from adapter.trace_context import TRACEPARENT
from adapter.tracing.spans import TRACESTATE, Spans, is_recording, mark_failed, traceparent
from adapter.values import replace


class TracedSink:
    """Delivers an event in a span; `event.trace_headers` then name this span."""

    def __init__(self, sink: SinkCaller, spans: Spans) -> None:
        self._sink = sink
        self._spans = spans

    @property
    def name(self) -> str:
        """The sink's name."""
        return self._sink.name

    @property
    def plugin(self) -> str:
        """The sink's plugin."""
        return self._sink.plugin

    async def deliver(self, event: Event) -> DeliveryAttempt:
        """Try once."""
        if not is_recording():
            return await self._sink.deliver(event)
        attributes = {"ecticket.sink": self._sink.name, "ecticket.plugin": self._sink.plugin}
        with self._spans.child(f"deliver {self._sink.name}", kind=SpanKind.CLIENT, attributes=attributes) as span:
            context = span.get_span_context()
            headers = {TRACEPARENT: traceparent(context)}
            if context.trace_state:
                headers[TRACESTATE] = context.trace_state.to_header()
            attempt = await self._sink.deliver(replace(event, trace_headers=headers))
            span.set_attribute("ecticket.delivery.outcome", attempt.outcome.value)
            if attempt.failed:
                mark_failed(span, attempt.outcome.value)
            return attempt
