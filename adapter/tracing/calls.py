"""Wraps the calls to ECTicket: one span for what a flow asked for, and one below it for each HTTP request.

Where nothing is recorded, the caller awaits the call itself: of a hundred orders, ninety-nine may be so.

The context is not sent to ECTicket: it is another company's service, and a trace id would tell it how orders belong
together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, Protocol

import httpx
from opentelemetry.trace import Span, SpanKind

from adapter.flows.ports import Ecticket
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import IssueReply, IssueRequest, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import ResultReply
from adapter.provider.client import Purpose
from adapter.provider.exchange import AnswerDownload, Exchange, Headers
from adapter.provider.http_status import HttpAnswer
from adapter.tracing.spans import Attributes, CurrentSpan, Spans, is_recording, mark_failed

_ERROR_STATUS = 400


class _Reply(Protocol):
    @property
    def rtn_code(self) -> int: ...


class TracedEcticket:
    """ECTicket, with a span for each attempt and query of a recorded order."""

    def __init__(self, ecticket: Ecticket, spans: Spans) -> None:
        self._ecticket = ecticket
        self._spans = spans

    def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, authorize_send: Callable[[], None]
    ) -> Coroutine[Any, Any, IssueReply]:
        """Issue in a span; see `EcticketClient.issue`."""
        reply = self._ecticket.issue(merchant, request, subject=subject, authorize_send=authorize_send)
        return self._issue(reply, merchant, request.trade_no) if is_recording() else reply

    async def _issue(self, reply: Awaitable[IssueReply], merchant: Merchant, trade_no: TradeNo) -> IssueReply:
        with self._call("issue", merchant, trade_no=trade_no) as span:
            answered = await reply
            _answered(span, answered)
            return answered

    def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> Coroutine[Any, Any, ResultReply]:
        """Query in a span; see `EcticketClient.query`."""
        reply = self._ecticket.query(merchant, trade_no, purpose=purpose)
        return self._query(reply, merchant, trade_no) if is_recording() else reply

    async def _query(self, reply: Awaitable[ResultReply], merchant: Merchant, trade_no: TradeNo) -> ResultReply:
        with self._call("query", merchant, trade_no=trade_no) as span:
            answered = await reply
            _answered(span, answered)
            if answered.status is not None:
                span.set_attribute("ecticket.issuance.status", answered.status.name.lower())
            return answered

    def control(self, merchant: Merchant, kind: TradeNoKind, *, purpose: Purpose) -> Coroutine[Any, Any, ResultReply]:
        """Query a random number in a span; see `EcticketClient.control`."""
        reply = self._ecticket.control(merchant, kind, purpose=purpose)
        return self._control(reply, merchant) if is_recording() else reply

    async def _control(self, reply: Awaitable[ResultReply], merchant: Merchant) -> ResultReply:
        with self._call("control query", merchant) as span:
            answered = await reply
            _answered(span, answered)
            return answered

    def last_accepted(self, merchant_id: str) -> datetime | None:
        """See `EcticketClient.last_accepted`."""
        return self._ecticket.last_accepted(merchant_id)

    def _call(self, name: str, merchant: Merchant, *, trade_no: TradeNo | None = None) -> CurrentSpan:
        attributes: dict[str, str] = {"ecticket.merchant_id": merchant.merchant_id}
        if trade_no is not None:
            attributes["ecticket.trade_no"] = trade_no.value
        return self._spans.child(name, attributes=attributes)


def _answered(span: Span, reply: _Reply) -> None:
    span.set_attribute("ecticket.rtn_code", reply.rtn_code)


class TracedExchange:
    """An HTTP exchange, with a span for each request of a recorded order."""

    def __init__(self, exchange: Exchange, spans: Spans) -> None:
        self._exchange = exchange
        self._spans = spans
        self._address = _address_of(httpx.URL(exchange.base_url))

    @property
    def base_url(self) -> str:
        """As `Exchange.base_url`."""
        return self._exchange.base_url

    def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Headers,
        max_bytes: int,
        authorize_send: Callable[[], None],
        what: object,
        download: AnswerDownload | None = None,
    ) -> Coroutine[Any, Any, HttpAnswer]:
        """Send it in a span, which ends with the whole answer; see `HttpExchange.post`."""
        answer = self._exchange.post(
            path,
            body,
            headers=headers,
            max_bytes=max_bytes,
            authorize_send=authorize_send,
            what=what,
            download=download,
        )
        return self._post(answer, path) if is_recording() else answer

    async def _post(self, answer: Awaitable[HttpAnswer], path: str) -> HttpAnswer:
        attributes = {
            "http.request.method": "POST",
            "url.full": f"{self.base_url}{path}",
            "url.template": path,
            **self._address,
        }
        with self._spans.child(f"POST {path}", kind=SpanKind.CLIENT, attributes=attributes) as span:
            received = await answer
            span.set_attribute("http.response.status_code", received.status)
            if received.status >= _ERROR_STATUS:
                mark_failed(span, str(received.status))
            return received

    async def close(self) -> None:
        """Close the wrapped exchange."""
        await self._exchange.close()


def _address_of(url: httpx.URL) -> Attributes:
    return {"server.address": url.host, "server.port": url.port or (443 if url.scheme == "https" else 80)}
