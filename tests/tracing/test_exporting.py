"""Spans are exported as the variables of OpenTelemetry say, and an exporter never holds anything up."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from adapter.testing.clock import Clock
from adapter.tracing import setup
from adapter.tracing.exporting import (
    LOG_SECONDS,
    Exporting,
    LostSpans,
    ServiceResource,
    WatchedExporter,
    make_exporters,
)
from adapter.tracing.instruments import Instruments
from adapter.tracing.trace_ids import notifications_trace_id, trace_with_id
from adapter.tracing.traced import TracedInstruments
from tracing.collector import Collector, collecting

QUEUE = 64


@pytest.fixture(autouse=True)
def _own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine counts, and the queue is short."""
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE))
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", str(QUEUE // 2))


@pytest.fixture
def collector() -> Iterator[Collector]:
    """It listens until the end of the test."""
    with collecting() as collector:
        yield collector


class Stuck(SpanExporter):
    """An exporter that does not return until it is let go; it counts the spans that it got."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.entered = threading.Event()
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.let_go.wait()
        self.spans += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...


async def test_spans_reach_the_endpoint_of_the_variable(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    """With the service's name and version; the stop exports the last ones."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    exporting = Exporting(make_exporters(["otlp"]))
    with exporting.provider.get_tracer("test").start_as_current_span("process orders.paid"):
        pass
    await exporting.stop()

    (request,) = collector.requests
    (resource,) = request.resource_spans
    texts = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["process orders.paid"]
    assert texts["service.name"] == "ecticket-adapter"
    assert texts["service.version"]


def test_the_services_name_is_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of either variable."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tickets")
    assert Exporting([]).provider.resource.attributes["service.name"] == "tickets"
    monkeypatch.delenv("OTEL_SERVICE_NAME")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,deployment.environment.name=stage")
    assert Exporting([]).provider.resource.attributes["service.name"] == "shop"


def test_the_sampler_is_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """`parentbased_always_on` without one."""
    assert "AlwaysOnSampler" in Exporting([]).provider.sampler.get_description()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.01")
    assert "TraceIdRatioBased{0.01}" in Exporting([]).provider.sampler.get_description()


def test_the_notifications_of_an_issuance_are_recorded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the sampler of the variables and their derived id, whatever was decided about the order."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    tracer = Exporting([]).provider.get_tracer("test")

    decisions = []
    for number in range(50):
        with trace_with_id(notifications_trace_id(f"1/T{number}".encode())):
            decisions.append({tracer.start_span("POST").is_recording() for _ in range(2)})
    assert {len(each) for each in decisions} == {1}
    assert set().union(*decisions) == {True, False}


async def test_a_stuck_exporter_holds_up_neither_spans_nor_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    """What does not fit into the queue is dropped, and the end of the adapter does not wait for the rest."""
    stuck = Stuck()
    exporting = Exporting([stuck])
    for _ in range(100 * QUEUE):
        exporting.provider.get_tracer("test").start_span("x").end()
    await asyncio.to_thread(stuck.entered.wait)
    with caplog.at_level(logging.WARNING):
        await exporting.stop(0.01)

    lost = _logged(caplog)
    assert stuck.spans == 0
    assert lost.keys() == {"queue-full", "stopped"}
    assert QUEUE <= lost["stopped"] <= QUEUE + QUEUE // 2
    assert sum(lost.values()) == 100 * QUEUE
    stuck.let_go.set()
    while (worker := _worker()) is not None:
        worker.join(0.01)
    assert stuck.spans <= QUEUE + QUEUE // 2


def _worker() -> threading.Thread | None:
    """The SDK's thread that exports, while it runs."""
    return next((thread for thread in threading.enumerate() if thread.name.startswith("OtelBatchSpan")), None)


def test_a_receiver_that_is_unavailable_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With the number of spans, and without the text of an error; the adapter's log limits how often."""

    class Fails(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            if len(spans) == 1:
                raise OSError("with a text")
            return SpanExportResult.FAILURE

        def shutdown(self) -> None: ...

    lost_spans = LostSpans()
    exporter = WatchedExporter(Fails(), lost_spans)
    with caplog.at_level(logging.WARNING):
        results = [exporter.export([ReadableSpan("x")] * count) for count in (1, 2)]

    assert results == [SpanExportResult.FAILURE] * 2
    assert _logged(caplog) == {"exporter-failed": 1, "refused": 2}
    assert "with a text" not in caplog.text


def test_a_line_has_the_number_of_all_spans_since_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is logged at once, then every ten minutes, and at the end with the rest."""
    times = [0.0, 1.0, LOG_SECONDS - 1, LOG_SECONDS, LOG_SECONDS + 1]
    left = iter(times)
    lost_spans = LostSpans(clock=lambda: next(left))
    counts = []
    with caplog.at_level(logging.WARNING):
        for _ in times:
            for _ in range(10):
                lost_spans.queued()
            lost_spans.lost(10, "refused")
            lost_spans.log()
            counts.append(len(caplog.records))
        lost_spans.log_rest(exported=True)

    assert counts == [1, 1, 1, 2, 2]
    assert [vars(record)["count"] for record in caplog.records] == [10, 30, 10]


def test_a_stop_in_time_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What waited was exported."""
    lost_spans = LostSpans()
    lost_spans.queued()
    lost_spans.exported(1)
    lost_spans.log_rest(exported=False)

    assert _logged(caplog) == {}


def _logged(caplog: pytest.LogCaptureFixture) -> dict[str, int]:
    """How many spans were logged as lost, by reason."""
    found: dict[str, int] = {}
    for record in caplog.records:
        if record.message == "spans-not-exported":
            facts = vars(record)
            found[facts["reason"]] = found.get(facts["reason"], 0) + facts["count"]
    return found


def test_without_variables_nothing_is_wrapped_or_imported() -> None:
    """Also if the SDK is installed."""
    made = setup.instruments(Clock(), begin_at=())
    stage = object()

    assert type(made) is Instruments
    assert made.stage(stage) is stage  # type: ignore[arg-type]  # any object will do
    assert made.hook_jobs is None


async def test_the_variables_decide_at_the_start(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    """Plugins that use OpenTelemetry's API record through the same SDK."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    providers: list[object] = []
    monkeypatch.setattr(trace, "set_tracer_provider", providers.append)
    made = setup.instruments(Clock(), begin_at=())
    assert isinstance(made, TracedInstruments)
    await made.stop()

    assert len(providers) == 1


def test_a_variable_that_the_sdk_refuses_stops_no_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Orders do not depend on traces."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with caplog.at_level(logging.ERROR, "adapter.tracing"):
        made = setup.instruments(Clock(), begin_at=())

    assert type(made) is Instruments
    logged = [record.message for record in caplog.records if record.name == "adapter.tracing.setup"]
    assert logged == ["traces-unusable"]


def test_the_hash_of_the_service_is_made_once_and_stays_that_of_a_resource() -> None:
    """The export of each span asks for it, and the SDK's class writes JSON each time."""
    service = ServiceResource()
    same = Resource(service.attributes, service.schema_url)

    assert service == same
    assert hash(service) == hash(same)
