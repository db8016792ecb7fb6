"""A delivery is a span, and its receiver can continue the trace."""

from __future__ import annotations

from typing import cast

import pytest
from flows.harness import with_headers
from flows.test_deliver import DELIVERED, FAILED, Simulator, event_record
from opentelemetry.trace import SpanKind

from adapter.extensions.sink_thread import DeliveryAttempt
from adapter.flows.deliver import DeliverStage
from adapter.stream.records import Record
from tracing.conftest import SHOP, TRACE_ID, Traces, attributes, context, parent, text


class TracedSimulator(Simulator):
    """The stage of one sink, with spans around it as the runner of sinks puts them there."""

    def __init__(self, *answers: DeliveryAttempt) -> None:
        super().__init__(*answers)
        self.traces = Traces(self.clock)
        self.stage._sink = self.traces.instruments.sink(self.chat)
        self.stage = cast("DeliverStage", self.traces.instruments.stage(self.stage))


def recorded() -> Record:
    """An event of a recorded order."""
    return with_headers(event_record(), ("ce_traceparent", SHOP.encode()))


async def test_a_delivery_is_a_span_below_the_event() -> None:
    """Its context is what the sink sends; the event keeps the context in which it was made."""
    simulator = TracedSimulator(DELIVERED)
    await simulator.once(recorded())

    process, deliver = simulator.traces.span("process ecticket.issuances"), simulator.traces.span("deliver chat")
    (event,) = simulator.chat.given
    assert f"{context(process).trace_id:032x}" == TRACE_ID
    assert parent(deliver) == context(process).span_id
    assert deliver.kind is SpanKind.CLIENT
    assert event.trace_headers == {"traceparent": text(deliver)}
    assert event.extensions["traceparent"] == SHOP
    assert dict(attributes(deliver)) == {
        "ecticket.sink": "chat",
        "ecticket.plugin": "ours",
        "ecticket.delivery.outcome": "delivered",
    }
    assert attributes(process)["cloudevents.event_type"] == "ecticket.issuance.issued.v1"
    assert attributes(process)["ecticket.order_id"] == "A-1"


async def test_a_failed_attempt_is_a_failed_span() -> None:
    """Its reason is a sentence of the sink's, so only the kind of the failure is recorded."""
    simulator = TracedSimulator(FAILED)
    await simulator.once(recorded())

    assert attributes(simulator.traces.span("deliver chat"))["error.type"] == "failed"
    assert attributes(simulator.traces.span("process ecticket.issuances"))["ecticket.outcome"] == "retry_later"


@pytest.mark.parametrize("traced", [True, False])
async def test_an_unrecorded_event_is_delivered_with_its_own_context(traced: bool) -> None:
    """So it is without traces: the receiver learns the shop's context."""
    simulator = TracedSimulator(DELIVERED) if traced else Simulator(DELIVERED)
    await simulator.once(with_headers(event_record(), ("ce_traceparent", f"{SHOP[:-2]}00".encode())))

    (event,) = simulator.chat.given
    assert event.trace_headers == {"traceparent": f"{SHOP[:-2]}00"}


@pytest.mark.parametrize("value", [b"x", b"00-1-1-01\r\nx-injected: 1", b"\xff" * 55])
async def test_an_invalid_context_reaches_no_receiver(value: bytes) -> None:
    """It would be a header of the request."""
    simulator = Simulator(DELIVERED)
    await simulator.once(with_headers(event_record(), ("ce_traceparent", value)))

    assert simulator.chat.given[0].trace_headers == {}
