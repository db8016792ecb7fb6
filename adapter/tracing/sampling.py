"""Decides which traces are recorded: as the sampler says that OpenTelemetry's variables name.

Of a hundred orders, one may be recorded, so the others must cost nearly nothing. To ask a sampler costs a dozen calls
of functions; so what it would answer to each order is found out once, before the first order.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceState, set_span_in_context
from opentelemetry.util.types import Attributes

LOWER_HALF = (1 << 64) - 1
"""The bits of a trace id by which a ratio is decided."""


class Sampling(Sampler):
    """Decides about a trace that begins with a link as about a child of the linked span.

    Otherwise an order that is recorded would be lost from sight after its deferral, and one that is not recorded would
    begin to be.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.wrapped = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Ask the sampler of the variables."""
        if links and not trace.get_current_span(parent_context).get_span_context().is_valid:
            parent_context, trace_id = context_of(links[0].context), links[0].context.trace_id
        return self.wrapped.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        """The description of the sampler of the variables."""
        return self.wrapped.get_description()


def first_dropped(sampler: Sampler) -> int:
    """From which number on, in the lower half of its id, a trace that begins is not recorded.

    Only OpenTelemetry's own samplers are known so well; about any other, each order's span asks.
    """
    if isinstance(sampler, Sampling):
        sampler = sampler.wrapped
    if isinstance(sampler, ParentBased) and type(sampler).should_sample is ParentBased.should_sample:
        sampler = sampler._root
    if sampler is ALWAYS_OFF:
        return 0
    if isinstance(sampler, TraceIdRatioBased) and type(sampler).should_sample is TraceIdRatioBased.should_sample:
        return sampler.bound
    return LOWER_HALF + 1


def drops_unsampled(sampler: Sampler) -> bool:
    """Whether no span is recorded whose parent is not; asked about the id that a sampler by ratio always records."""
    parent = SpanContext(1 << 64, 1, is_remote=True)
    return sampler.should_sample(context_of(parent), parent.trace_id, "").decision is Decision.DROP


def context_of(span_context: SpanContext) -> Context:
    """An OpenTelemetry context with this span."""
    return set_span_in_context(NonRecordingSpan(span_context), Context())
