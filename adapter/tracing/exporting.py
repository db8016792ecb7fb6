"""Exports spans with OpenTelemetry's SDK, as its variables say; nothing here ever waits for the exporter.

Ended spans go to a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`), and a thread of the SDK exports them. If the receiver is
slow or unavailable, spans are dropped. At the end the adapter waits `STOP_SECONDS` at most.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points, version
from math import inf

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from adapter.settings.trace_variables import ENTRY_POINTS, entry_point_name
from adapter.tracing.sampling import Sampling
from adapter.tracing.spans import NAME
from adapter.tracing.trace_ids import given_trace_id

LOG_SECONDS = 600.0
"""How often lost spans are logged."""
STOP_SECONDS = 3.0
"""How long the end of the adapter waits for the last export."""
_EXPORTER_LOGGER = "opentelemetry.exporter"
_QUEUE_LOGGER = "opentelemetry.sdk._shared_internal"

_log = logging.getLogger(__name__)


class TraceIds(RandomIdGenerator):
    """Random ids, except for the traces of notifications (`adapter.tracing.trace_ids`)."""

    def generate_trace_id(self) -> int:
        """An id for a trace that begins."""
        return given_trace_id() or super().generate_trace_id()


class LostSpans:
    """Counts the spans that are not exported and logs their number, by reason: at once, then every `LOG_SECONDS`.

    Spans count once for each exporter. Several threads count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting = 0
        self._unlogged: Counter[str] = Counter()
        self._logged: dict[str, float] = {}

    def queued(self) -> None:
        """A span waits for its export."""
        with self._lock:
            self._waiting += 1

    def exported(self, count: int) -> None:
        """So many waiting spans were exported."""
        with self._lock:
            self._waiting -= count

    def lost(self, count: int, reason: str) -> None:
        """So many waiting spans are lost; `log` logs it."""
        with self._lock:
            self._waiting -= count
            self._unlogged[reason] += count

    def log(self) -> None:
        """Log what is due."""
        with self._lock:
            now = self._clock()
            due = [reason for reason in self._unlogged if now >= self._logged.get(reason, -inf) + LOG_SECONDS]
            lines = {reason: self._unlogged.pop(reason) for reason in due}
            self._logged |= dict.fromkeys(lines, now)
        _log_lost(lines)

    def log_rest(self, *, exported: bool) -> None:
        """Log everything, at the end of the process; what still waits is lost if it was not `exported` in time."""
        with self._lock:
            lines, self._unlogged = self._unlogged, Counter()
            if not exported and self._waiting > 0:
                lines["stopped"] = self._waiting
        _log_lost(lines)


def _log_lost(lines: Mapping[str, int]) -> None:
    for reason, count in lines.items():
        _log.warning("spans-not-exported", extra={"count": count, "reason": reason})


class WatchedExporter(SpanExporter):
    """Counts the spans that could not be exported; the exporter itself would log each attempt."""

    def __init__(self, exporter: SpanExporter, lost_spans: LostSpans) -> None:
        self._exporter = exporter
        self._lost = lost_spans

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, on the SDK's thread."""
        reason = "refused"
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001  # an exporter is code of others; no order depends on it
            result, reason = SpanExportResult.FAILURE, "exporter-failed"
        if result is SpanExportResult.SUCCESS:
            self._lost.exported(len(spans))
        else:
            self._lost.lost(len(spans), reason)
        self._lost.log()
        return result

    def shutdown(self) -> None:
        """End a retry that is under way."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the exporter does."""
        return self._exporter.force_flush(timeout_millis)


class WatchedQueue(BatchSpanProcessor):
    """The SDK's queue before an exporter; counts the spans that come into it."""

    def __init__(self, exporter: SpanExporter, lost_spans: LostSpans) -> None:
        super().__init__(exporter)
        self._lost = lost_spans

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is recorded."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._lost.queued()
        super().on_end(span)


class _QueueFull(logging.Filter):
    """Counts the SDK's own lines about its full queue, one for each span, instead of logging them."""

    def __init__(self, lost_spans: LostSpans) -> None:
        super().__init__()
        self._lost = lost_spans

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            self._lost.lost(1, "queue-full")
        return record.levelno > logging.WARNING


class ServiceResource(Resource):
    """The service's attributes; those of the variables come first.

    The export hashes the resource of each span, for which the SDK's class writes JSON; it never changes.
    """

    def __init__(self) -> None:
        resource = _resource()
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class Exporting:
    """The SDK of this process. Raises whatever the SDK raises for a variable that it cannot use."""

    def __init__(self, exporters: Sequence[SpanExporter]) -> None:
        self._lost = LostSpans()
        self._exporters = [WatchedExporter(exporter, self._lost) for exporter in exporters]
        # Before the SDK's own filter, which lets one line in a minute pass.
        logging.getLogger(_QUEUE_LOGGER).filters.insert(0, _QueueFull(self._lost))
        # From now on: what it logs about its variables was logged before.
        logging.getLogger(_EXPORTER_LOGGER).setLevel(logging.CRITICAL)
        self.provider = TracerProvider(
            resource=ServiceResource(),
            id_generator=TraceIds(),
            shutdown_on_exit=False,  # it would wait for half a minute
        )
        self.provider.sampler = Sampling(self.provider.sampler)
        for exporter in self._exporters:
            self.provider.add_span_processor(WatchedQueue(exporter, self._lost))

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
            self._lost.log_rest(exported=False)
            for exporter in self._exporters:
                exporter.shutdown()
        else:
            self._lost.log_rest(exported=True)


def make_exporters(names: Sequence[str]) -> list[SpanExporter]:
    """The exporters that `OTEL_TRACES_EXPORTER` names."""
    made: list[SpanExporter] = []
    for name in names:
        (entry_point,) = entry_points(group=ENTRY_POINTS, name=entry_point_name(name))
        made.append(entry_point.load()())
    return made


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # the loop has ended meanwhile
        return


def _resource() -> Resource:
    resource = Resource.create({"service.version": version(NAME)})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: NAME}))
    return resource
