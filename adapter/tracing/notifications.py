"""Wraps the receiver of ECPay's notifications and its publisher: a span for the request, and one below for the event.

A notification begins a trace: the port is open to the internet, so a `traceparent` of the sender is not used. The span
of the request starts when the notification is verified, with the time at which the request came. A refused request has
none: it is counted and logged, and a flood of such requests must not displace the spans of orders.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus

from opentelemetry.trace import Span, SpanKind

from adapter.errors import StreamError
from adapter.flows.messages.record_history import shown_id
from adapter.flows.receive import NotificationAnswer, NotificationReceiver
from adapter.protocol.notification import CallbackKind
from adapter.stream.port import Publisher
from adapter.stream.records import ProducerRecord
from adapter.strict_json import parse_json
from adapter.tracing.spans import Attributes, OutermostSpan, SpanOrigin, Spans, headers_with, mark_failed
from adapter.tracing.trace_ids import notifications_trace_id
from adapter.values import replace


@dataclass(slots=True)
class _Request:
    """One request, and its span once that is started."""

    path: str
    began: int
    span: Span | None = None


_request: ContextVar[_Request | None] = ContextVar("request", default=None)


class TracedReceiver:
    """Receives notifications; the span of one ends with its answer."""

    def __init__(self, receiver: NotificationReceiver, paths: Mapping[CallbackKind, str]) -> None:
        self._receiver = receiver
        self._paths = paths

    async def receive(self, body: bytes, posted_to: CallbackKind) -> NotificationAnswer:
        """Publish a notification and return its answer; see `Receiver.receive`."""
        request = _Request(self._paths[posted_to], time.time_ns())
        token = _request.set(request)
        failure: BaseException | None = None
        try:
            return await self._receiver.receive(body, posted_to)
        except BaseException as error:
            failure = error
            raise
        finally:
            _request.reset(token)
            if request.span is not None:
                _end(request.span, failure)


class TracedPublisher:
    """Publishes the event of a notification in a span, with its context."""

    def __init__(self, publisher: Publisher, spans: Spans) -> None:
        self._publisher = publisher
        self._spans = spans

    async def publish(self, producer_record: ProducerRecord) -> None:
        """Publish it; see `Publisher.publish`."""
        request = _request.get()
        if request is None:
            await self._publisher.publish(producer_record)
            return
        request.span = self._begin(request, producer_record)
        origin = SpanOrigin(parent=request.span.get_span_context())
        span = self._spans.begin(
            f"publish {producer_record.topic}", origin, kind=SpanKind.PRODUCER, attributes=_of_record(producer_record)
        )
        with OutermostSpan(span):
            headers = headers_with(producer_record, span.get_span_context())
            await self._publisher.publish(replace(producer_record, headers=headers))

    def _begin(self, request: _Request, producer_record: ProducerRecord) -> Span:
        """Start the span of the request, at the time when it came, in the trace of its issuance's notifications."""
        attributes = {
            "http.request.method": "POST",
            "http.route": request.path,
            "url.path": request.path,
            **_of_value(producer_record.value or b""),
        }
        name = f"POST {request.path}"
        origin = SpanOrigin(trace_id=notifications_trace_id(producer_record.key or b""))
        return self._spans.begin(name, origin, kind=SpanKind.SERVER, attributes=attributes, began=request.began)


def _end(span: Span, failure: BaseException | None) -> None:
    """End the span of a request with the status of its answer (`web.callbacks`); a cancelled one has no answer."""
    status: HTTPStatus | None
    match failure:
        case None:
            status = HTTPStatus.OK
        case StreamError():
            status = HTTPStatus.SERVICE_UNAVAILABLE
        case Exception():
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        case _:
            status = None
    if status is not None:
        span.set_attribute("http.response.status_code", int(status))
    if failure is not None:
        mark_failed(span, type(failure).__name__)
    span.end()


def _of_record(producer_record: ProducerRecord) -> Attributes:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": producer_record.topic,
        "messaging.message.body.size": len(producer_record.value or b""),
    }


def _of_value(value: bytes) -> Attributes:
    """Merchant and trade number; not the key of the record, which may name a ticket."""
    data = parse_json(value)
    if not isinstance(data, dict):
        return {}
    named = {name: data.get(name) for name in ("merchant_id", "trade_no")}
    return {f"ecticket.{name}": shown_id(text) for name, text in named.items() if isinstance(text, str)}
