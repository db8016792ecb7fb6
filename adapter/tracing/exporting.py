"""Exports spans with OpenTelemetry's SDK, as its variables say; nothing here ever waits for the exporter.

Ended spans go to a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`), and a thread of the SDK exports them. If the receiver is
slow or unavailable, spans are dropped. At the end the adapter waits `STOP_SECONDS` at most.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points, version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from adapter.settings.trace_variables import ENTRY_POINTS, entry_point_name
from adapter.tracing.spans import NAME, context_of
from adapter.tracing.trace_ids import given_trace_id

STOP_SECONDS = 3.0
"""How long the end of the adapter waits for the last export."""
_EXPORTER_LOGGER = "opentelemetry.exporter"
_QUEUE_LOGGER = "opentelemetry.sdk._shared_internal"

_log = logging.getLogger(__name__)


class Sampling(Sampler):
    """Decides about a trace that begins with a link as about a child of the linked span.

    Otherwise an order that is recorded would be lost from sight after its deferral, and one that is not recorded would
    begin to be.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

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
        return self._sampler.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        """The description of the sampler of the variables."""
        return self._sampler.get_description()


class TraceIds(RandomIdGenerator):
    """Random ids, except for the traces of notifications (`adapter.tracing.trace_ids`)."""

    def generate_trace_id(self) -> int:
        """An id for a trace that begins."""
        return given_trace_id() or super().generate_trace_id()


class WatchedExporter(SpanExporter):
    """Logs that spans could not be exported; the exporter itself would log each attempt."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, on the SDK's thread."""
        reason = "refused"
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001  # an exporter is code of others; no order depends on it
            result, reason = SpanExportResult.FAILURE, "exporter-failed"
        if result is not SpanExportResult.SUCCESS:
            _log.warning("spans-not-exported", extra={"count": len(spans), "reason": reason})
        return result

    def shutdown(self) -> None:
        """End a retry that is under way."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the exporter does."""
        return self._exporter.force_flush(timeout_millis)


class _QueueFull(logging.Filter):
    """Replaces the SDK's own line about its full queue, which no event of the adapter's names."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            _log.warning("spans-not-exported", extra={"count": 1, "reason": "queue-full"})
        return record.levelno > logging.WARNING


class Exporting:
    """The SDK of this process. Raises whatever the SDK raises for a variable that it cannot use."""

    def __init__(self, exporters: Sequence[SpanExporter]) -> None:
        self._exporters = exporters
        logging.getLogger(_QUEUE_LOGGER).addFilter(_QueueFull())
        # From now on: what it logs about its variables was logged before.
        logging.getLogger(_EXPORTER_LOGGER).setLevel(logging.CRITICAL)
        self.provider = TracerProvider(
            resource=_resource(),
            id_generator=TraceIds(),
            shutdown_on_exit=False,  # it would wait for half a minute
        )
        self.provider.sampler = Sampling(self.provider.sampler)
        for exporter in exporters:
            self.provider.add_span_processor(BatchSpanProcessor(exporter))

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Export what is recorded, for some seconds at most; a daemon thread may outlast them."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self.provider.shutdown()
            _call(loop, stopped.set)

        threading.Thread(target=shut_down, name="traces-stop", daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                await stopped.wait()
        except TimeoutError:
            _log.warning("spans-not-exported", extra={"reason": "stopped"})
            for exporter in self._exporters:
                exporter.shutdown()


def make_exporters(names: Sequence[str]) -> list[SpanExporter]:
    """The exporters that `OTEL_TRACES_EXPORTER` names."""
    made: list[SpanExporter] = []
    for name in names:
        (entry_point,) = entry_points(group=ENTRY_POINTS, name=entry_point_name(name))
        made.append(WatchedExporter(entry_point.load()()))
    return made


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # the loop has ended meanwhile
        return


def _resource() -> Resource:
    """The service's attributes; those of the variables come first."""
    resource = Resource.create({"service.version": version(NAME)})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: NAME}))
    return resource
