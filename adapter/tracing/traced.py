"""Wraps the parts of a running adapter with spans."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from adapter.flows.deliver import SinkCaller
from adapter.flows.ports import Clock, Ecticket
from adapter.flows.receive import NotificationReceiver
from adapter.protocol.notification import CallbackKind
from adapter.provider.exchange import Exchange
from adapter.stream.port import Kafka, Publisher
from adapter.stream.stage import Stage
from adapter.tracing.calls import TracedEcticket, TracedExchange
from adapter.tracing.deliveries import TracedSink
from adapter.tracing.exporting import Exporting, make_exporters
from adapter.tracing.hook_jobs import HookSpans
from adapter.tracing.instruments import Instruments
from adapter.tracing.notifications import TracedPublisher, TracedReceiver
from adapter.tracing.spans import Spans
from adapter.tracing.stages import TracedStage
from adapter.tracing.transactions import TracedKafka

S = TypeVar("S")


class TracedInstruments(Instruments):
    """Wraps each part with spans of one provider."""

    def __init__(
        self, provider: TracerProvider, now: Clock, begin_at: Collection[str], exporting: Exporting | None = None
    ) -> None:
        self.spans = Spans(provider, now, begin_at)
        self._exporting = exporting
        self.hook_jobs = HookSpans(self.spans)

    def stage(self, stage: Stage[S]) -> Stage[S]:
        return TracedStage(stage, self.spans)

    def kafka(self, kafka: Kafka) -> Kafka:
        return TracedKafka(kafka, self.spans)

    def ecticket(self, ecticket: Ecticket) -> Ecticket:
        return TracedEcticket(ecticket, self.spans)

    def exchange(self, exchange: Exchange) -> Exchange:
        return TracedExchange(exchange, self.spans)

    def sink(self, sink: SinkCaller) -> SinkCaller:
        return TracedSink(sink, self.spans)

    def publisher(self, publisher: Publisher) -> Publisher:
        return TracedPublisher(publisher, self.spans)

    def receiver(self, receiver: NotificationReceiver, paths: Mapping[CallbackKind, str], /) -> NotificationReceiver:
        return TracedReceiver(receiver, paths)

    async def stop(self) -> None:
        if self._exporting is not None:
            await self._exporting.stop()


def exported(exporters: Sequence[str], now: Clock, begin_at: Collection[str]) -> TracedInstruments:
    """Record spans and export them. Plugins that use OpenTelemetry's API record in the same traces."""
    exporting = Exporting(make_exporters(exporters))
    trace.set_tracer_provider(exporting.provider)
    return TracedInstruments(exporting.provider, now, begin_at, exporting)
