"""What the tests of traces share: an SDK that keeps its spans in memory, and the stages with spans around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import cast

import pytest
from flows.harness import Harness
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanContext

from adapter.flows.confirm import ConfirmStage
from adapter.flows.submit import SubmitStage
from adapter.testing.fakes import TOPICS
from adapter.tracing.exporting import TraceIds
from adapter.tracing.sampling import Sampling
from adapter.tracing.traced import TracedInstruments

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SHOP = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
"""The context of the shop's span, recorded."""


class Traces:
    """Instruments, and the spans that they recorded."""

    def __init__(self, clock: Callable[[], datetime], sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(
            sampler=Sampling(sampler or ParentBased(ALWAYS_ON)), id_generator=TraceIds(), shutdown_on_exit=False
        )
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.instruments = TracedInstruments(self.provider, clock, {TOPICS.orders_paid})

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The ended spans, in the order of their ends."""
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.spans]

    def span(self, name: str) -> ReadableSpan:
        """The only span with this name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def forget(self) -> None:
        """Begin again without spans."""
        self._exporter.clear()


class TracedHarness(Harness):
    """The submit and confirm stages, with spans around them as the app puts them there."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.traces = Traces(lambda: self.clock(), sampler)
        super().__init__()

    def use(self, **plugins: object) -> None:
        self._endpoint = self.traces.instruments.ecticket(self.ecticket)
        super().use(**plugins)
        self.hook_runner._watch_job = self.traces.instruments.hook_jobs
        self.submit = cast("SubmitStage", self.traces.instruments.stage(self.submit))
        self.confirm = cast("ConfirmStage", self.traces.instruments.stage(self.confirm))


def context(span: ReadableSpan) -> SpanContext:
    """The context of a span, which every span has."""
    found = span.get_span_context()
    assert found is not None
    return found


def text(span: ReadableSpan) -> str:
    """The context of a span as a `traceparent`."""
    found = context(span)
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def attributes(span: ReadableSpan) -> Mapping[str, object]:
    """The attributes of a span."""
    return span.attributes or {}


def parent(span: ReadableSpan) -> int | None:
    """The id of a span's parent."""
    return None if span.parent is None else span.parent.span_id


@pytest.fixture
def harness() -> TracedHarness:
    """Everything is recorded, unless the shop's own span was not."""
    return TracedHarness()
