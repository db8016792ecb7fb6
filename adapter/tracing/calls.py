"""Wraps the calls to ECTicket: one span for what a flow asked for, and one below it for each HTTP request.

The context is not sent to ECTicket: it is another company's service, and a trace id would tell it how orders belong
together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Protocol

import httpx
from opentelemetry.trace import Span, SpanKind

from adapter.flows.ports import Ecticket
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import IssueReply, IssueRequest, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import ResultReply
from adapter.provider.client import Purpose
from adapter.provider.exchange import AnswerDownload, Exchange, Headers
from adapter.provider.http_status import HttpAnswer
from adapter.tracing.spans import Attributes, Spans, is_recording, mark_failed

_ERROR_STATUS = 400


class _Reply(Protocol):
    @property
    def rtn_code(self) -> int: ...


class TracedEcticket:
    """ECTicket, with a span for each attempt and query of a recorded order."""

    def __init__(self, ecticket: Ecticket, spans: Spans) -> None:
        self._ecticket = ecticket
        self._spans = spans

    async def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, authorize_send: Callable[[], None]
    ) -> IssueReply:
        """Issue in a span; see `EcticketClient.issue`."""
        if not is_recording():
            return await self._ecticket.issue(merchant, request, subject=subject, authorize_send=authorize_send)
        with self._call("issue", merchant, trade_no=request.trade_no) as span:
            reply = await self._ecticket.issue(merchant, request, subject=subject, authorize_send=authorize_send)
            _answered(span, reply)
            return reply

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply:
        """Query in a span; see `EcticketClient.query`."""
        if not is_recording():
            return await self._ecticket.query(merchant, trade_no, purpose=purpose)
        with self._call("query", merchant, trade_no=trade_no) as span:
            reply = await self._ecticket.query(merchant, trade_no, purpose=purpose)
            _answered(span, reply)
            if reply.status is not None:
                span.set_attribute("ecticket.issuance.status", reply.status.name.lower())
            return reply

    async def control(self, merchant: Merchant, kind: TradeNoKind, *, purpose: Purpose) -> ResultReply:
        """Query a random number in a span; see `EcticketClient.control`."""
        if not is_recording():
            return await self._ecticket.control(merchant, kind, purpose=purpose)
        with self._call("control query", merchant) as span:
            reply = await self._ecticket.control(merchant, kind, purpose=purpose)
            _answered(span, reply)
            return reply

    def last_accepted(self, merchant_id: str) -> datetime | None:
        """See `EcticketClient.last_accepted`."""
        return self._ecticket.last_accepted(merchant_id)

    @contextmanager
    def _call(self, name: str, merchant: Merchant, *, trade_no: TradeNo | None = None) -> Iterator[Span]:
        attributes: dict[str, str] = {"ecticket.merchant_id": merchant.merchant_id}
        if trade_no is not None:
            attributes["ecticket.trade_no"] = trade_no.value
        with self._spans.child(name, attributes=attributes) as span:
            yield span


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
        """Send it in a span, which ends with the whole answer; see `HttpExchange.post`."""
        post = partial(
            self._exchange.post,
            path,
            body,
            headers=headers,
            max_bytes=max_bytes,
            authorize_send=authorize_send,
            what=what,
            download=download,
        )
        if not is_recording():
            return await post()
        attributes = {
            "http.request.method": "POST",
            "url.full": f"{self.base_url}{path}",
            "url.template": path,
            **self._address,
        }
        with self._spans.child(f"POST {path}", kind=SpanKind.CLIENT, attributes=attributes) as span:
            answer = await post()
            span.set_attribute("http.response.status_code", answer.status)
            if answer.status >= _ERROR_STATUS:
                mark_failed(span, str(answer.status))
            return answer

    async def close(self) -> None:
        """Close the wrapped exchange."""
        await self._exchange.close()


def _address_of(url: httpx.URL) -> Attributes:
    return {"server.address": url.host, "server.port": url.port or (443 if url.scheme == "https" else 80)}
