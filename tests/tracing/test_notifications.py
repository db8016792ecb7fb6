"""A notification is a trace of its own, which the order's trace has named in advance."""

from __future__ import annotations

import asyncio

import pytest
from flows.harness import derived, with_headers
from flows.test_receive import NOON, NUMBER, REFUND, STATUS, TICKET, _Harness
from opentelemetry.trace import SpanKind

from adapter.errors import BrokerUnavailable, EnvelopeError
from adapter.flows.receive import Receiver
from adapter.protocol.notification import CallbackKind
from adapter.tracing.trace_ids import notifications_link
from tracing.conftest import SHOP, TracedHarness, Traces, attributes, context, parent, text

PATHS = {CallbackKind.REFUND: "/callbacks/ecticket/refund", CallbackKind.USE_STATUS: "/callbacks/ecticket/use-status"}


class TracedReceiving(_Harness):
    """A receiver and a publisher with spans around them."""

    def __post_init__(self) -> None:
        self.traces = Traces(lambda: NOON)
        receiver = Receiver(
            topic="ecticket.tickets",
            merchants=self,
            publisher=self.traces.instruments.publisher(self),
            observer=self,
            now=lambda: self.now,
        )
        self.receiver = self.traces.instruments.receiver(receiver, PATHS)  # type: ignore[assignment]


async def test_a_notification_is_a_request_and_a_published_event() -> None:
    """By the conventions of HTTP and of messaging; the event has the context of its span."""
    receiving = TracedReceiving()
    await receiving.send(STATUS)

    request, publish = receiving.traces.span(f"POST {PATHS[CallbackKind.USE_STATUS]}"), receiving.traces.spans[0]
    assert request.kind is SpanKind.SERVER
    assert dict(attributes(request)) == {
        "http.request.method": "POST",
        "http.route": "/callbacks/ecticket/use-status",
        "url.path": "/callbacks/ecticket/use-status",
        "http.response.status_code": 200,
        "ecticket.merchant_id": "3085676",
        "ecticket.trade_no": NUMBER,
    }
    assert (publish.name, publish.kind) == ("publish ecticket.tickets", SpanKind.PRODUCER)
    assert parent(publish) == context(request).span_id
    assert receiving.context["traceparent"] == text(publish)
    assert TICKET not in repr([dict(attributes(span)) for span in receiving.traces.spans])


async def test_all_notifications_of_an_issuance_are_one_trace() -> None:
    """Weeks apart and in other processes, because the trace's id follows from merchant and number."""
    first, second = TracedReceiving(), TracedReceiving()
    await first.send(STATUS)
    await second.send(REFUND, to=CallbackKind.REFUND)

    traces = {context(span).trace_id for receiving in (first, second) for span in receiving.traces.spans}
    assert traces == {notifications_link(f"3085676/{NUMBER}".encode()).trace_id}


async def test_the_order_links_to_its_notifications(harness: TracedHarness) -> None:
    """From the order's trace a reader finds what ECPay reported about its tickets later."""
    await harness.work(with_headers(harness.order(), ("traceparent", SHOP.encode())))
    receiving = TracedReceiving()
    await receiving.send({**STATUS, "MerchantTradeNo": derived()})

    (link,) = harness.traces.span("process orders.paid").links
    assert dict(link.attributes or {}) == {"ecticket.link": "notifications"}
    assert link.context.trace_id == context(receiving.traces.spans[0]).trace_id


@pytest.mark.parametrize(
    ("failure", "status"),
    [(BrokerUnavailable("none answers"), 503), (RuntimeError("a defect"), 500), (asyncio.CancelledError(), None)],
    ids=lambda value: type(value).__name__,
)
async def test_a_notification_that_is_not_published_is_a_failed_span(
    failure: BaseException, status: int | None
) -> None:
    """With the status of its answer, if it has one; ECPay sends it again."""
    receiving = TracedReceiving()
    receiving.away = failure
    with pytest.raises(type(failure)):
        await receiving.send(STATUS)

    request = receiving.traces.span(f"POST {PATHS[CallbackKind.USE_STATUS]}")
    assert attributes(request).get("http.response.status_code") == status
    assert attributes(request)["error.type"] == type(failure).__name__


async def test_a_refused_notification_has_no_span() -> None:
    """A flood of forged ones must not displace the spans of orders."""
    receiving = TracedReceiving()
    with pytest.raises(EnvelopeError):
        await receiving.receiver.receive(b"{}", CallbackKind.REFUND)

    assert not receiving.traces.spans
