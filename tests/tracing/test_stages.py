"""Each step of an order is a span, and what the adapter publishes continues the order's trace."""

from __future__ import annotations

import pytest
from flows.harness import replayed, with_headers
from log_lines import capture_logs
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from adapter import Order, Skip, hookimpl
from adapter.errors import LeaseLost
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import Record
from adapter.testing.clock import NOON
from adapter.testing.ecticket import LOST_BEFORE
from adapter.testing.fakes import TOPICS, FakeRecordContext
from adapter.testing.outcome_reader import header
from adapter.trace_context import span_trace_id, trace_id, traceparent_of
from adapter.tracing.spans import PARENT_SECONDS
from tracing.conftest import SHOP, TRACE_ID, TracedHarness, attributes, context, parent, text


class Accepts:
    """A plugin that is called and changes nothing."""

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        return None


class Breaks:
    """A plugin whose error quotes the customer."""

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        raise KeyError(order.customer.name)


class Sees:
    """A plugin that notes in which trace it is called."""

    trace_id: str | None = None

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        self.trace_id = trace_id(None)
        return None


def text_of_link(span: ReadableSpan) -> str:
    """The context to which a span links as to its past."""
    (link,) = (link for link in span.links if not link.attributes)
    return f"00-{link.context.trace_id:032x}-{link.context.span_id:016x}-{link.context.trace_flags:02x}"


def from_shop(harness: TracedHarness, *headers: tuple[str, bytes]) -> Record:
    """An order with the shop's context."""
    return with_headers(harness.order(), ("traceparent", SHOP.encode()), *headers)


async def test_an_orders_steps_are_spans_below_the_shops(harness: TracedHarness) -> None:
    """The order is processed, mapped and issued, and its event is created."""
    await harness.work(from_shop(harness))

    traces = harness.traces
    process = traces.span("process orders.paid")
    assert traces.names == ["map", "issue", "create ecticket.issuances", process.name]
    assert {f"{context(span).trace_id:032x}" for span in traces.spans} == {TRACE_ID}
    assert f"{parent(process):016x}" == SHOP.split("-")[2]
    assert {parent(span) for span in traces.spans if span is not process} == {context(process).span_id}
    assert process.kind is SpanKind.CONSUMER
    assert traces.span("create ecticket.issuances").kind is SpanKind.PRODUCER


async def test_the_span_of_a_record_has_the_conventions_attributes(harness: TracedHarness) -> None:
    """Topic, partition, offset and group by OpenTelemetry's conventions; merchant and order by ours."""
    record = from_shop(harness)
    await harness.work(record)

    assert dict(attributes(harness.traces.span("process orders.paid"))) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders.paid",
        "messaging.destination.partition.id": "2",
        "messaging.kafka.offset": record.offset,
        "messaging.consumer.group.name": "ecticket-adapter.submit",
        "ecticket.stage": "submit",
        "ecticket.merchant_id": "3085676",
        "ecticket.order_id": "A-1",
    }


async def test_the_map_names_the_plugins_that_were_called(harness: TracedHarness) -> None:
    """Those of the adapter too."""
    harness.use(skips=Accepts())
    await harness.work(from_shop(harness))

    assert attributes(harness.traces.span("map"))["ecticket.plugins"] == (
        "skips.accept_order",
        "builtin.sku_is_item_no.map_item",
    )


async def test_a_failed_hook_is_named_and_its_error_is_a_type(harness: TracedHarness) -> None:
    """The text of its error may quote the order."""
    harness.use(broken=Breaks())
    published = await harness.work(from_shop(harness))

    span = harness.traces.span("map")
    assert published.reason == "plugin-error"
    assert attributes(span)["ecticket.plugins.failed"] == ("broken.accept_order",)
    assert attributes(span)["error.type"] == "HookFailed"
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert not span.events


async def test_an_event_has_the_context_of_its_own_span(harness: TracedHarness) -> None:
    """So what its readers do is below it; a confirmation is read by the adapter alone and has no span."""
    published = await harness.work(from_shop(harness))

    event, confirmation = published.event("submitted"), published.confirmations[0]
    assert event.attributes["traceparent"] == text(harness.traces.span("create ecticket.issuances"))
    assert header(confirmation, "traceparent") == text(harness.traces.span("process orders.paid"))


async def test_the_result_continues_the_trace(harness: TracedHarness) -> None:
    """From the order over its confirmation into the last event."""
    published = await harness.work(from_shop(harness))
    harness.ecticket.usual_status = IssueStatus.ISSUED
    result, _ = await harness.await_result(published.confirmations[0])

    process = harness.traces.span("process ecticket.confirmations")
    query = harness.traces.span("query")
    assert parent(process) == context(harness.traces.span("process orders.paid")).span_id
    assert parent(query) == context(process).span_id
    assert attributes(query)["ecticket.issuance.status"] == "issued"
    assert attributes(process)["ecticket.trade_no"] == attributes(query)["ecticket.trade_no"]
    assert TRACE_ID in result.event("issued").attributes["traceparent"]


async def test_a_query_without_a_result_is_a_span_that_says_so(harness: TracedHarness) -> None:
    """Each query of a confirmation is a span of its own: the wait between two is no work."""
    published = await harness.work(from_shop(harness))
    harness.traces.forget()
    await harness.query(published.confirmations[0])

    assert harness.traces.names == ["query", "process ecticket.confirmations"]
    assert attributes(harness.traces.span("process ecticket.confirmations"))["ecticket.outcome"] == "retry_later"


# --- a parent, or a link ----------------------------------------------------------------------------------------------


async def test_a_young_order_has_a_parent(harness: TracedHarness) -> None:
    """Ten minutes after the record was written, it is one trace."""
    record = from_shop(harness)
    harness.clock.passes(600)
    await harness.work(record)

    process = harness.traces.span("process orders.paid")
    assert f"{context(process).trace_id:032x}" == TRACE_ID
    assert not [link for link in process.links if not link.attributes]


async def test_an_old_order_has_a_link(harness: TracedHarness) -> None:
    """A trace that takes hours cannot be read: the order begins a new one, which names the old one."""
    record = from_shop(harness)
    harness.clock.passes(601)
    await harness.work(record)

    process = harness.traces.span("process orders.paid")
    assert process.parent is None
    assert text_of_link(process) == SHOP


async def test_a_deferral_links_once_the_order_is_old(harness: TracedHarness) -> None:
    """A deferred record is young and its order is not; it names the run that deferred it."""
    harness.ecticket.always = LOST_BEFORE
    deferred = (await harness.work(from_shop(harness))).deferred_record
    first = harness.traces.span("process orders.paid")
    harness.traces.forget()
    while (harness.clock() - NOON).total_seconds() <= PARENT_SECONDS:
        assert all(span.parent is not None for span in harness.traces.spans)
        deferred = (await harness.work(deferred)).deferred_record

    process = harness.traces.spans[-1]
    assert process.name == "process ecticket.orders.deferred"
    assert process.parent is None
    assert [link.context.trace_id for link in process.links] == [context(first).trace_id]


async def test_a_replay_links_to_what_was_parked(harness: TracedHarness) -> None:
    """A day later, the replayed order names the span that made its dead letter."""
    harness.use(broken=Breaks())
    parked = await harness.work(from_shop(harness))
    harness.use()
    harness.clock.passes(86_400)
    again = replayed(parked.dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock)
    harness.traces.forget()
    published = await harness.run(again)

    process = next(span for span in harness.traces.spans if span.name == "process ecticket.orders.deferred")
    assert published.types == ["submitted"]
    assert process.parent is None
    assert text_of_link(process) == header(parked.dead_letter, "traceparent")


async def test_an_order_that_is_not_recorded_stays_so(harness: TracedHarness) -> None:
    """Its context is passed on with the shop's decision, so that no later step begins to be recorded."""
    unrecorded = SHOP[:-2] + "00"
    published = await harness.work(with_headers(harness.order(), ("traceparent", unrecorded.encode())))
    harness.clock.passes(3600)
    harness.ecticket.usual_status = IssueStatus.ISSUED
    result, _ = await harness.await_result(published.confirmations[0])

    assert not harness.traces.spans
    assert result.event("issued").attributes["traceparent"].startswith(f"00-{TRACE_ID}-")
    assert result.event("issued").attributes["traceparent"].endswith("-00")


async def test_a_link_inherits_the_decision_of_what_it_links() -> None:
    """A rate of 0 records no new trace, but all of one that is recorded, days later too."""
    harness = TracedHarness(sampler=ParentBased(TraceIdRatioBased(0.0)))
    published = await harness.work(from_shop(harness))
    harness.clock.passes(100_000)
    await harness.query(published.confirmations[0])

    assert harness.traces.span("process ecticket.confirmations").links
    await harness.work(harness.order())
    assert harness.traces.names.count("process orders.paid") == 1


async def test_an_order_that_is_not_recorded_is_not_marked() -> None:
    """Without a context on the adapter's own topics, an order is not recorded: only its own record begins a trace."""
    off, on = TracedHarness(sampler=ParentBased(TraceIdRatioBased(0.0))), TracedHarness()
    published = await off.work(off.order())
    await on.query(published.confirmations[0])

    assert "traceparent" not in published.event("submitted").attributes
    assert not [*off.traces.spans, *on.traces.spans]


async def test_a_sampler_that_is_off_is_off() -> None:
    """Also for what the shop records."""
    harness = TracedHarness(sampler=ALWAYS_OFF)
    await harness.work(from_shop(harness))

    assert not harness.traces.spans


async def test_an_order_without_a_context_begins_a_trace(harness: TracedHarness) -> None:
    """Its event is the first to have one."""
    published = await harness.work(harness.order())

    process = harness.traces.span("process orders.paid")
    assert process.parent is None
    assert f"{context(process).trace_id:032x}" in published.event("submitted").attributes["traceparent"]


@pytest.mark.parametrize("value", [b"", b"00-1-1-01", SHOP.encode() * 1000, b"ff" + SHOP.encode()[2:], b"\xff" * 55])
async def test_an_invalid_context_is_ignored(harness: TracedHarness, value: bytes) -> None:
    """The order begins a trace, as without one."""
    published = await harness.work(
        with_headers(harness.order(), ("traceparent", value), ("tracestate", b"\xff=" * 9000))
    )

    assert published.types == ["submitted"]
    assert harness.traces.span("process orders.paid").parent is None


async def test_the_state_of_other_systems_is_passed_on(harness: TracedHarness) -> None:
    """W3C's `tracestate`, up to 512 bytes."""
    published = await harness.work(from_shop(harness, ("tracestate", b"vendor=abc")))

    assert published.event("submitted").attributes["tracestate"] == "vendor=abc"
    assert header(published.confirmations[0], "tracestate") == "vendor=abc"


# --- dead letters -----------------------------------------------------------------------------------------------------


async def test_a_record_that_cannot_be_read_is_parked_in_its_trace(harness: TracedHarness) -> None:
    """It has no step before, so the span that parks it is the first."""
    record = with_headers(harness.record(b"no order"), ("traceparent", SHOP.encode()))
    published = await harness.work(record)

    park = harness.traces.span("park orders.paid")
    assert published.reason == "unreadable"
    assert f"{context(park).trace_id:032x}" == TRACE_ID
    assert attributes(park)["error.type"] == "unreadable"
    assert header(published.dead_letter, "traceparent") == text(park)


async def test_a_parked_order_is_a_failed_span(harness: TracedHarness) -> None:
    """`error.type` is the reason of the dead letter."""
    published = await harness.work(with_headers(harness.order(merchant_id="1"), ("traceparent", SHOP.encode())))

    process = harness.traces.span("process orders.paid")
    assert published.reason == "unknown-merchant"
    assert attributes(process)["error.type"] == "unknown-merchant"
    assert process.status.status_code is StatusCode.ERROR


async def test_the_span_that_parks_is_below_the_one_that_failed(harness: TracedHarness) -> None:
    """A defect of the adapter ends the first span, and the dead letter is made in a second one."""
    harness.submit._stage._ecticket = None  # type: ignore[attr-defined]
    published = await harness.work(from_shop(harness))

    process, park = harness.traces.span("process orders.paid"), harness.traces.span("park orders.paid")
    assert published.reason == "internal-error"
    assert parent(park) == context(process).span_id
    assert attributes(process)["error.type"] == "AttributeError"
    assert not process.events


async def test_a_lost_lease_leaves_nothing_in_memory(harness: TracedHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine asks for no outcome then, and another process has the record."""

    async def lost(*_: object) -> None:
        raise LeaseLost("the lease is over")

    monkeypatch.setattr(harness.submit._stage, "handle", lost)  # type: ignore[attr-defined]
    with pytest.raises(LeaseLost):
        await harness.work(from_shop(harness))

    assert harness.submit._failed == {}  # type: ignore[attr-defined]


# --- beside traces ----------------------------------------------------------------------------------------------------


async def test_log_lines_name_the_trace_of_the_span(harness: TracedHarness) -> None:
    """While a record is handled, and not afterwards."""
    seen = Sees()
    harness.use(sees=seen)
    await harness.work(harness.order())

    assert seen.trace_id == f"{context(harness.traces.span('process orders.paid')).trace_id:032x}"
    assert span_trace_id.get() is None


async def test_a_defect_before_a_span_begins_affects_no_order(
    harness: TracedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is processed as if it were not recorded, and its record keeps the context with which it came."""

    def fail(_headers: object) -> None:
        raise RuntimeError("王小明")

    monkeypatch.setattr("adapter.tracing.stages._of_event", fail)
    with capture_logs() as lines:
        published = await harness.work(from_shop(harness))

    assert published.event("submitted").attributes["traceparent"] == SHOP
    assert len(published.confirmations) == 1
    assert harness.traces.spans == ()
    assert "span-not-recorded" in {line["event"] for line in lines}


async def test_an_order_hands_its_trace_off(harness: TracedHarness) -> None:
    """The new record has a context as young as itself."""
    record = from_shop(harness)
    prepared = await harness.submit.prepare(record)
    outcome = harness.submit.hand_off(record, prepared.subject, FakeRecordContext(record))

    (handed_off,) = outcome.records
    assert handed_off.topic == TOPICS.orders_deferred
    assert traceparent_of(handed_off.headers) == text(harness.traces.span("hand off orders.paid"))
    assert [name for name, _ in handed_off.headers].count("traceparent") == 1
