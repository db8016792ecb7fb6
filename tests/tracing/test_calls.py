"""Calls to ECTicket are spans: what was asked for, and each HTTP request below it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from flows.harness import with_headers
from opentelemetry.trace import SpanKind

from adapter.errors import InDoubt
from adapter.provider.exchange import AnswerDownload, Headers
from adapter.provider.http_status import HttpAnswer
from adapter.testing.clock import NOON
from adapter.testing.ecticket import LOST_AFTER, NOT_SENT, REFUSED, Fault
from adapter.tracing.spans import OutermostSpan, SpanOrigin
from tracing.conftest import SHOP, TracedHarness, attributes, context, parent

PATH = "/api/Ticket/Issue"
URL = f"https://ecticket-stage.ecpay.com.tw{PATH}"


class Server:
    """An exchange that answers with a status, or raises; implements `Exchange`."""

    base_url = "https://ecticket-stage.ecpay.com.tw"

    def __init__(self, answer: int | Exception) -> None:
        self._answer = answer
        self.headers: list[Headers] = []
        self.closed = False

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Headers,
        max_bytes: int,
        authorize_send: Callable[[], None],
        what: object,
        download: AnswerDownload | None = None,
    ) -> HttpAnswer:
        self.headers.append(headers)
        if isinstance(self._answer, Exception):
            raise self._answer
        return HttpAnswer(status=self._answer, raw_headers=(), body=b"", sent_at=NOON, sent_steady=0.0)

    async def close(self) -> None:
        self.closed = True


async def post(harness: TracedHarness, server: Server, *, recorded: bool = True) -> None:
    """One request through the wrapped exchange, below a span that is recorded or not."""
    exchange = harness.traces.instruments.exchange(server)
    sending = partial(
        exchange.post, PATH, b"secret", headers=(), max_bytes=1, authorize_send=lambda: None, what="an issue"
    )
    if not recorded:
        await sending()
        return
    with OutermostSpan(harness.traces.instruments.spans.begin("issue", SpanOrigin())):
        await sending()


async def test_a_request_is_a_span_by_the_http_conventions(harness: TracedHarness) -> None:
    """Method, address and status."""
    await post(harness, Server(200))

    span = harness.traces.span("POST /api/Ticket/Issue")
    assert span.kind is SpanKind.CLIENT
    assert parent(span) == context(harness.traces.span("issue")).span_id
    assert dict(attributes(span)) == {
        "http.request.method": "POST",
        "url.full": URL,
        "url.template": "/api/Ticket/Issue",
        "server.address": "ecticket-stage.ecpay.com.tw",
        "server.port": 443,
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize(
    ("answer", "error_type"), [(503, "503"), (InDoubt("王小明"), "InDoubt"), (OSError("x"), "OSError")]
)
async def test_a_failed_request_has_a_type(harness: TracedHarness, answer: int | Exception, error_type: str) -> None:
    """A status or the class of the error."""
    if isinstance(answer, Exception):
        with pytest.raises(type(answer)):
            await post(harness, Server(answer))
    else:
        await post(harness, Server(answer))

    span = harness.traces.span("POST /api/Ticket/Issue")
    assert attributes(span)["error.type"] == error_type
    assert not span.events


async def test_ecticket_does_not_learn_the_trace(harness: TracedHarness) -> None:
    """It is another company's service."""
    server = Server(200)
    await post(harness, server)

    assert server.headers == [()]


async def test_a_request_of_an_unrecorded_order_has_no_span(harness: TracedHarness) -> None:
    """It goes to the exchange as it is."""
    server = Server(200)
    await post(harness, server, recorded=False)

    assert len(server.headers) == 1
    assert not harness.traces.spans


async def test_the_wrapped_exchange_is_closed(harness: TracedHarness) -> None:
    """With its connections."""
    server = Server(200)
    await harness.traces.instruments.exchange(server).close()

    assert server.closed


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(NOT_SENT, {"error.type": "NotSent"}), (LOST_AFTER, {"error.type": "InDoubt"}), (None, {"ecticket.rtn_code": 1})],
)
async def test_an_attempt_says_how_it_ended(
    harness: TracedHarness, fault: Fault | None, expected: dict[str, object]
) -> None:
    """Not sent, in doubt, or the code of the answer."""
    harness.ecticket.faults = [fault]
    await harness.work(with_headers(harness.order(), ("traceparent", SHOP.encode())))

    span = next(span for span in harness.traces.spans if span.name == "issue")
    assert expected.items() <= dict(attributes(span)).items()
    assert attributes(span)["ecticket.merchant_id"] == "3085676"
    assert attributes(span)["ecticket.trade_no"]


async def test_a_refusal_is_followed_by_queries(harness: TracedHarness) -> None:
    """Each query and control query is a span below the order's."""
    harness.ecticket.faults = [REFUSED]
    await harness.run(with_headers(harness.order(), ("traceparent", SHOP.encode())))

    assert {"issue", "query", "control query"} <= set(harness.traces.names)
    refused = next(span for span in harness.traces.spans if span.name == "issue")
    assert attributes(refused)["ecticket.rtn_code"] == 10_200_001
