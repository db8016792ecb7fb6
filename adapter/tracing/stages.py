"""Wraps a stage: each record is processed in a span, and what the stage publishes continues its trace."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ClassVar, Generic, TypeVar

from opentelemetry.trace import Span, SpanContext, SpanKind

from adapter.errors import LeaseLost
from adapter.flows.collect import BeginCollecting
from adapter.flows.confirm import PendingQuery
from adapter.flows.messages.events import IssuanceSubmitted
from adapter.flows.messages.record_history import shown_id
from adapter.flows.report_rounds import PendingTickets
from adapter.flows.submit import SubmitTask
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome, RecordContext, RetryLater, Stage
from adapter.tracing.spans import (
    Attributes,
    OutermostSpan,
    SpanOrigin,
    Spans,
    harmless,
    headers_with,
    is_event,
    mark_failed,
)
from adapter.tracing.trace_ids import notifications_link
from adapter.values import replace

S = TypeVar("S")

REASON = "ecticket-reason"


class TracedRecord(ProducerRecord, frozen=True, kw_only=True):
    """A record whose trace is recorded: the transaction that writes it gets a span below `process`."""

    PRIVATE: ClassVar[tuple[str, ...]] = ("value", "process")

    process: SpanContext


class TracedStage(Generic[S]):
    """Processes each record in a span, or in a few spans if its result is awaited (`RetryLater`)."""

    def __init__(self, stage: Stage[S], spans: Spans) -> None:
        self.name = stage.name
        self.group = stage.group
        self.topics = stage.topics
        self.sends = stage.sends
        self.max_in_flight = stage.max_in_flight
        self.max_waiting = stage.max_waiting
        self.linger_seconds = stage.linger_seconds
        self.starts_at_latest = stage.starts_at_latest
        self.fingerprint = stage.fingerprint
        self._stage = stage
        self._spans = spans
        self._failed: dict[tuple[str, int, int], SpanContext] = {}
        self.prepare = stage.prepare
        """Has no span: how long the record then waits is no work."""

    def handle(self, subject: S, context: RecordContext) -> Coroutine[Any, Any, Outcome | RetryLater[S]]:
        """Process it in a span, or as if there were no traces."""
        origin = self._spans.origin_of(context.record)
        if origin is None:
            return self._stage.handle(subject, context)
        return self._handled(subject, context, origin)

    async def _handled(self, subject: S, context: RecordContext, origin: SpanOrigin) -> Outcome | RetryLater[S]:
        record = context.record
        span = self._begun("process", record, origin, kind=SpanKind.CONSUMER, subject=subject)
        if span is None:
            return await self._stage.handle(subject, context)
        with OutermostSpan(span):
            try:
                result = await self._stage.handle(subject, context)
            except LeaseLost:
                raise  # the engine does not call `on_error` for it
            except Exception:
                self._failed[_coordinates(record)] = span.get_span_context()
                raise
            if isinstance(result, RetryLater):
                span.set_attribute("ecticket.outcome", "retry_later")
                return result
            return self._published(result, span)

    def hand_off(self, record: Record, subject: S, context: RecordContext) -> Outcome:
        """Pass it on in a span, so that the new record has a context as young as itself."""
        span = self._begun("hand off", record, self._spans.origin_of(record))
        return self._at_once(span, lambda: self._stage.hand_off(record, subject, context))

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        """Park it in a span below the failed one."""
        failed = self._failed.pop(_coordinates(record), None)
        origin = self._spans.origin_of(record) if failed is None else SpanOrigin(parent=failed)
        span = self._begun("park", record, origin)
        if span is not None:
            mark_failed(span, type(error).__name__)
        return self._at_once(span, lambda: self._stage.on_error(record, error, context))

    def _at_once(self, span: Span | None, work: Callable[[], Outcome]) -> Outcome:
        if span is None:
            return work()
        with OutermostSpan(span):
            return self._published(work(), span)

    def _begun(
        self,
        work: str,
        record: Record,
        origin: SpanOrigin | None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        subject: S | None = None,
    ) -> Span | None:
        """Start the span of a record's work; None if it is not recorded."""
        if origin is None:
            return None

        def begin() -> Span | None:
            attributes = {**self._attributes(record), **_of_subject(subject), **_of_event(record.headers)}
            span = self._spans.begin(f"{work} {record.topic}", origin, kind=kind, attributes=attributes)
            return span if span.is_recording() else None

        return harmless(begin, None)

    def _attributes(self, record: Record) -> Attributes:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self.group,
            "ecticket.stage": self.name,
        }

    def _published(self, outcome: Outcome, process: Span) -> Outcome:
        """The outcome, each record with a context in which the next step continues."""
        return _with_records(outcome, lambda record: self._continued(record, process))

    def _continued(self, record: ProducerRecord, process: Span) -> ProducerRecord:
        """The record with the context of a span of its own, if it is an event; others are read by the adapter only."""
        written_in = process.get_span_context()
        if is_event(record):
            context = self._created(record, process)
        else:
            context = written_in
            _note_parked(record, process)
        return TracedRecord(
            topic=record.topic,
            key=record.key,
            value=record.value,
            headers=headers_with(record, context),
            process=written_in,
        )

    def _created(self, record: ProducerRecord, process: Span) -> SpanContext:
        """The span of an event, to which its readers connect theirs."""
        attributes = _of_event(record.headers)
        if attributes.get(_EVENT_TYPE) == IssuanceSubmitted.TYPE:
            link = notifications_link(record.key or b"")
            process.add_link(link, {"ecticket.link": "notifications"})
        create = self._spans.begin(
            f"create {record.topic}",
            SpanOrigin(parent=process.get_span_context()),
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "create",
                "messaging.operation.type": "create",
                "messaging.destination.name": record.topic,
                "messaging.message.body.size": len(record.value or b""),
                **attributes,
            },
        )
        create.end()
        return create.get_span_context()


def _note_parked(record: ProducerRecord, process: Span) -> None:
    for name, value in record.headers:
        if name == REASON and value is not None:
            mark_failed(process, shown_id(value.decode("utf-8", "replace")))


def _with_records(outcome: Outcome, change: Callable[[ProducerRecord], ProducerRecord]) -> Outcome:
    """The outcome with changed records; as it was, if that fails."""
    if not outcome.records:
        return outcome
    return harmless(lambda: replace(outcome, records=tuple(map(change, outcome.records))), outcome)


def _of_subject(subject: object) -> Attributes:
    """Merchant, order and trade number of what is processed, as far as the stage knows them."""
    match subject:
        case SubmitTask(order_ref=order_ref):
            return _named(order_ref.merchant_id, order_ref.order_id, None)
        case PendingQuery(merchant_id=merchant_id, awaited=awaited):
            return _named(merchant_id, None, awaited.trade_no.value)
        case PendingTickets(merchant_id=merchant_id, awaited=awaited):
            return _named(merchant_id, None, awaited.trade_no.value)
        case BeginCollecting(collection=collection):
            issuance = collection.issuance
            return _named(issuance.merchant_id, issuance.order_id, issuance.trade_no)
    return {}


def _of_event(headers: Iterable[tuple[str, bytes | None]]) -> Attributes:
    """The attributes of an event that are no data of a customer."""
    return {
        _EVENT_ATTRIBUTES[name]: shown_id(value.decode("utf-8", "replace"))
        for name, value in headers
        if name in _EVENT_ATTRIBUTES and value is not None
    }


def _named(merchant_id: str, order_id: str | None, trade_no: str | None) -> Attributes:
    named = {"ecticket.merchant_id": merchant_id, "ecticket.order_id": order_id, "ecticket.trade_no": trade_no}
    return {name: shown_id(value) for name, value in named.items() if value}


def _coordinates(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


_EVENT_TYPE = "cloudevents.event_type"
_EVENT_ATTRIBUTES = {
    "ce_id": "cloudevents.event_id",
    "ce_type": _EVENT_TYPE,
    "ce_orderid": "ecticket.order_id",
}
