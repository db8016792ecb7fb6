"""From the end of a run to what is published: events, confirmations, one deferred record, one dead letter.

Everything that an order record yields goes into one outcome, and so into one transaction with its offset. For example,
an order with a submitted part and one in doubt yields an event, a confirmation and a deferred record, and none of them
is published without the others.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct

from adapter.errors import OrderError
from adapter.extensions.values import Ignore, OrderOutcome, PartOutcome, Skip
from adapter.flows.messages import events
from adapter.flows.messages.confirmation import first_confirmation_record
from adapter.flows.messages.dead_letter_causes import log_parked
from adapter.flows.messages.dead_letters import DeadLetterCause, dead_letter_record
from adapter.flows.messages.events import (
    IssuanceFailed,
    IssuanceSubmitted,
    OrderParked,
    OrderRef,
    OrderSkipped,
    issuance_event,
    issuance_fields,
    order_event,
    parking_distinctions,
    submitted_event,
)
from adapter.flows.messages.record_history import RecordHistory, foreign_headers, history_headers
from adapter.flows.messages.signatures import KeyRing, RecordSigner
from adapter.flows.order_log import order_fields
from adapter.flows.ports import Clock, FlowObserver, Merchants, Topics
from adapter.flows.submission import PartResult, RunResult
from adapter.issuance.actions import Defer, Failed, Finish, Park, ParkReason, Submitted
from adapter.issuance.confirm import ConfirmPolicy, first_query_at
from adapter.issuance.decide import deferred_until, handed_off_until
from adapter.issuance.plan_codec import DeferredPlan, decode_plan, deferred_part, encode_plan
from adapter.issuance.state import PartState, WaitReason
from adapter.protocol.issue import TradeNo
from adapter.stream.records import ProducerRecord, Record, encode_headers
from adapter.stream.stage import Outcome
from adapter.values import replace

_REASON_MAX = 100
"""How many characters of an Ignore's reason are logged; a longer reason is counted as "other"."""
_REASONS_COUNTED = 50
"""How many different reasons of Ignore are counted by name."""

_log = logging.getLogger(__name__)

_REASONS: Mapping[ParkReason, events.ParkReason] = {
    ParkReason.REFUSED_ENVELOPE: "refused-envelope",
    ParkReason.UNRESOLVED: "unresolved",
    ParkReason.GAVE_UP: "gave-up",
}


class OrderResult(Struct, frozen=True, kw_only=True):
    """An outcome for Kafka, and the same outcome for observing plugins."""

    outcome: Outcome
    for_plugins: Callable[[], OrderOutcome]
    """Makes it: most processes have no observer."""


class OrderRun(Struct, frozen=True, kw_only=True):
    """An order record that was processed: the record, its order, and how many parts were published before."""

    record: Record
    history: RecordHistory
    order_ref: OrderRef
    parts_done: int
    paid_at: datetime | None = None
    """The order's `paid_at`, as `record_history.storable` returns it."""


class OrderOutcomes:
    """Makes outcomes of order records."""

    def __init__(
        self,
        *,
        topics: Topics,
        defer_seconds: float,
        confirm: ConfirmPolicy,
        merchants: Merchants,
        observer: FlowObserver,
        now: Clock,
        signer: RecordSigner | None = None,
    ) -> None:
        """Without a `signer`, records are signed under keys that are derived from the merchants' keys."""
        self._signer = signer or RecordSigner(KeyRing(merchants))
        self._topics = topics
        self._defer_seconds = defer_seconds
        self._confirm = confirm
        self._merchants = merchants
        self._observer = observer
        self._now = now
        self._ignore_reasons: set[str] = set()

    def completed(self, run: OrderRun, result: RunResult) -> OrderResult:
        """The outcome of a run after which each part has a result."""
        outcomes = dict.fromkeys([_outcome_label(part_result) for part_result in result.parts])
        records = self._finished(run, result)
        if "deferred" in outcomes:
            records.append(self._deferred(run, result))
        if "parked" in outcomes:
            records += self._parked(run, result)
        for outcome in outcomes:
            self._observer.order_settled(outcome)
        return OrderResult(outcome=Outcome(records=tuple(records)), for_plugins=partial(_for_plugins, run, result))

    def ignored(self, record: Record, ignore: Ignore) -> OrderResult:
        """The outcome of a record that a plugin says is no order to issue: counted, and nothing is published."""
        plugin = ignore.plugin or ""
        self._observer.order_settled("ignored")
        self._observer.ignored(plugin, self._counted_reason(ignore.reason))
        _log.debug(
            "record-ignored",
            extra={
                "plugin": plugin,
                "detail": ignore.reason[:_REASON_MAX],
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
            },
        )
        for_plugins = partial(
            OrderOutcome, merchant_id=None, order_id=None, ignored=ignore.reason, plugin=ignore.plugin
        )
        return OrderResult(outcome=Outcome(), for_plugins=for_plugins)

    def _counted_reason(self, reason: str) -> str:
        """The reason as a metric's label; "other" beyond the first few, so that the number of labels stays small.

        A label with half a surrogate pair would make every later scrape fail.
        """
        if reason not in self._ignore_reasons:
            if len(self._ignore_reasons) >= _REASONS_COUNTED or not _is_label(reason):
                return "other"
            self._ignore_reasons.add(reason)
        return reason

    def skipped(self, run: OrderRun, skip: Skip) -> OrderResult:
        """The outcome of an order that a plugin does not want issued."""
        data = OrderSkipped(
            order_id=run.order_ref.order_id,
            reason=skip.reason,
            stage="map",
            plugin=skip.plugin,
            message="A plugin's accept_order says that this order gets no tickets; nothing was sent.",
            parts_done=run.parts_done,
        )
        self._observer.order_settled("skipped")
        if _log.isEnabledFor(logging.DEBUG):
            why = {"plugin": skip.plugin, "detail": skip.reason[:_REASON_MAX]}
            _log.debug("order-skipped", extra={**_fields(run.history, run.order_ref), **why})
        event = order_event(
            data,
            topic=self._topics.topic_for(OrderSkipped),
            origin=run.history.origin,
            now=self._now(),
            merchant_id=run.order_ref.merchant_id,
            traceparent=run.history.traceparent,
        )
        for_plugins = partial(
            OrderOutcome,
            merchant_id=run.order_ref.merchant_id,
            order_id=run.order_ref.order_id,
            reference=run.order_ref.reference,
            skipped=skip.reason,
            plugin=skip.plugin,
        )
        return OrderResult(outcome=Outcome(records=(event,)), for_plugins=for_plugins)

    def parked(
        self,
        record: Record,
        cause: DeadLetterCause,
        history: RecordHistory,
        *,
        order_ref: OrderRef | None,
        parts_done: int = 0,
    ) -> OrderResult:
        """The outcome of a record that a person must look at; `order_ref` is None if the order could not be read."""
        for_plugins = partial(
            OrderOutcome,
            merchant_id=order_ref.merchant_id if order_ref else None,
            order_id=order_ref.order_id if order_ref else None,
            reference=order_ref.reference if order_ref else None,
            parked=cause.reason,
            plugin=cause.plugin,
        )
        self._observer.order_settled("parked")
        return OrderResult(
            outcome=Outcome(records=self._dead_letter(record, cause, history, order_ref, parts_done)),
            for_plugins=for_plugins,
        )

    def handed_off(self, record: Record, history: RecordHistory) -> Outcome:
        """The outcome of a record that is handed off unprocessed, with everything that is known about it.

        A record that is not due yet keeps its due time.
        """
        self._observer.deferred("handed_off")
        self._observer.order_settled("deferred")
        now = self._now()
        due = history.not_before
        if due is None or due <= now:
            due = handed_off_until(history.first_seen, now, self._defer_seconds)
        return Outcome(records=(self._deferred_record(record, history, due, "handed_off"),))

    def held(self, record: Record, history: RecordHistory, until: datetime) -> Outcome:
        """The outcome of an order that is deferred before it is planned, because an operator holds its merchant."""
        self._observer.deferred(WaitReason.HELD.value)
        self._observer.order_settled("deferred")
        now = self._now()
        defer = Defer(useful_at=until, reason=WaitReason.HELD, counted=False)
        due = deferred_until([defer], now, self._defer_seconds)
        history = replace(history, held_at=now)
        return Outcome(records=(self._deferred_record(record, history, due, WaitReason.HELD.value),))

    def _finished(self, run: OrderRun, result: RunResult) -> list[ProducerRecord]:
        records: list[ProducerRecord] = []
        for part_result in result.parts:
            if not isinstance(part_result.action, Finish):
                continue
            match part_result.action.result:
                case Submitted() as submitted:
                    if submitted.recovered:
                        self._report_found(run, result, part_result.state)
                    records += self._submitted(run, part_result, submitted)
                case Failed() as failed:
                    records.append(self._failed(run, part_result, failed))
        return records

    def _submitted(
        self, run: OrderRun, part_result: PartResult, submitted: Submitted
    ) -> tuple[ProducerRecord, ProducerRecord]:
        part, number = part_result.state.part, submitted.ticket_trade_no
        self._observer.issuance_published("submitted", recovered=submitted.recovered)
        if _log.isEnabledFor(logging.DEBUG):
            order = _fields(run.history, run.order_ref, part.trade_no)
            _log.debug("issuance-submitted", extra={**order, "recovered": submitted.recovered})
        issuance, origin = issuance_fields(run.order_ref, part, ticket_trade_no=number), run.history.origin
        event = submitted_event(
            issuance,
            recovered=submitted.recovered,
            topic=self._topics.topic_for(IssuanceSubmitted),
            origin=origin,
            now=submitted.at,
            traceparent=run.history.traceparent,
        )
        confirmation = first_confirmation_record(
            issuance,
            recovered=submitted.recovered,
            submitted_at=submitted.at,
            not_before=first_query_at(part.request.issue_type, submitted.at, self._confirm),
            origin=origin,
            origin_timestamp=run.history.origin_timestamp,
            paid_at=run.paid_at,
            topic=self._topics.confirmations,
            traceparent=run.history.traceparent,
        )
        return event, self._signer.sign(confirmation, run.order_ref.merchant_id)

    def _report_found(self, run: OrderRun, result: RunResult, state: PartState) -> None:
        """Report why a query found the part: its own Issue call or its process was lost, or its order came again."""
        merchant_id = run.order_ref.merchant_id
        if result.unverified is not None and result.unverified.issued_before:
            self._observer.duplicate_avoided(merchant_id, "earlier_record")
        elif state.history.first_attempt_at is not None:
            self._observer.recovered(merchant_id, "doubt")
        elif run.history.replays:
            self._observer.duplicate_avoided(merchant_id, "replay")
        else:
            self._observer.recovered(merchant_id, "takeover")

    def _failed(self, run: OrderRun, part_result: PartResult, failed: Failed) -> ProducerRecord:
        self._observer.issuance_published("failed", recovered=False)
        order = _fields(run.history, run.order_ref, part_result.state.part.trade_no)
        _log.warning("issuance-failed", extra={**order, "stage": "submit", "code": f"RtnCode {failed.rtn_code}"})
        data = IssuanceFailed.model_validate(
            {
                **issuance_fields(run.order_ref, part_result.state.part, ticket_trade_no=None),
                "stage": "submit",
                "rtn_code": failed.rtn_code,
                "rtn_msg": failed.rtn_msg,
                "remark": None,
            }
        )
        return issuance_event(
            data,
            topic=self._topics.topic_for(IssuanceFailed),
            origin=run.history.origin,
            now=self._now(),
            traceparent=run.history.traceparent,
        )

    def _deferred(self, run: OrderRun, result: RunResult) -> ProducerRecord:
        """All open parts of the order, together in one record."""
        deferrals = [
            (part_result, part_result.action) for part_result in result.parts if isinstance(part_result.action, Defer)
        ]
        for _, action in deferrals:
            self._observer.deferred(action.reason.value)
        plan = _plan(run, result, [part_result for part_result, _ in deferrals])
        counted = any(action.counted for _, action in deferrals)
        held = any(action.reason is WaitReason.HELD for _, action in deferrals)
        history = replace(
            run.history,
            held_at=self._now() if held else None,
            attempts=run.history.attempts + counted,
            plan=encode_plan(plan),
            parts_done=plan.parts_done,
            possibly_sent_at=plan.possibly_sent_at,
            only_by_replay=False,
        )
        due = deferred_until([action for _, action in deferrals], self._now(), self._defer_seconds)
        reasons = sorted({action.reason.value for _, action in deferrals})
        return self._deferred_record(run.record, history, due, *reasons)

    def _deferred_record(self, record: Record, history: RecordHistory, due: datetime, *reasons: str) -> ProducerRecord:
        history = replace(history, not_before=due)
        if _log.isEnabledFor(logging.INFO):
            wait = {"reason": " ".join(reasons), "retry_at": due.isoformat(), "attempts": history.attempts}
            _log.info("order-deferred", extra={**_fields(history), **wait})
        producer_record = ProducerRecord(
            topic=self._topics.orders_deferred,
            key=record.key,
            value=record.value,
            headers=(*foreign_headers(record.headers), *encode_headers(history_headers(history))),
        )
        return self._signer.sign(producer_record, history.merchant_id)

    def _parked(self, run: OrderRun, result: RunResult) -> tuple[ProducerRecord, ...]:
        """The parts that a person must look at, together in one dead letter, for the most serious reason."""
        part_results = [
            (part_result, part_result.action) for part_result in result.parts if isinstance(part_result.action, Park)
        ]
        plan = _plan(run, result, [part_result for part_result, _ in part_results])
        history = replace(run.history, plan=encode_plan(plan), parts_done=plan.parts_done)
        history = history.possibly_sent(plan.possibly_sent_at)
        message = " ".join(dict.fromkeys(action.message for _, action in part_results))
        cause = DeadLetterCause(
            reason=_park_reason([action for _, action in part_results]), stage="submit", message=message
        )
        return self._dead_letter(run.record, cause, history, run.order_ref, plan.parts_done)

    def _dead_letter(
        self,
        record: Record,
        cause: DeadLetterCause,
        history: RecordHistory,
        order_ref: OrderRef | None,
        parts_done: int,
    ) -> tuple[ProducerRecord, ...]:
        self._observer.parked(cause.stage, cause.reason)
        now = self._now()
        if order_ref is not None:
            history = history.of_order(order_ref.merchant_id, order_ref.order_id)
        log_parked(record, cause, history)
        merchant_id = order_ref.merchant_id if order_ref else history.merchant_id
        data = OrderParked(
            order_id=order_ref.order_id if order_ref else history.order_id,
            reason=cause.reason,
            stage=cause.stage,
            plugin=cause.plugin,
            message=cause.message,
            parts_done=parts_done,
        )
        event = order_event(
            data,
            topic=self._topics.topic_for(OrderParked),
            origin=history.origin,
            now=now,
            merchant_id=merchant_id if merchant_id and self._merchants.find(merchant_id) else None,
            traceparent=history.traceparent,
            distinctions=parking_distinctions(
                cause.reason, dead_letter=history.dead_letter, parts=_parts_in(history.plan)
            ),
        )
        dead_letter = dead_letter_record(
            record, cause, history, topic=self._topics.dead_letters, now=now, signer=self._signer
        )
        return dead_letter, event


def _fields(
    history: RecordHistory, order_ref: OrderRef | None = None, trade_no: TradeNo | None = None
) -> dict[str, object]:
    """The order as fields of a log line."""
    merchant_id = order_ref.merchant_id if order_ref else history.merchant_id
    order_id = order_ref.order_id if order_ref else history.order_id
    number = None if trade_no is None else trade_no.value
    return order_fields(merchant_id, order_id, history.traceparent, trade_no=number)


def _parts_in(plan: bytes | None) -> str | None:
    """Which parts a plan has, or the digest of a plan that cannot be read."""
    if plan is None:
        return None
    try:
        return ",".join(str(deferred.part.number) for deferred in decode_plan(plan).parts)
    except OrderError:
        return hashlib.sha256(plan).hexdigest()


def _outcome_label(part_result: PartResult) -> str:
    """How a part ended, as a label for the observer."""
    match part_result.action:
        case Finish(result=Failed()):
            return "failed"
        case Finish():
            return "submitted"
        case Defer():
            return "deferred"
        case Park():
            return "parked"


def _done(run: OrderRun, result: RunResult) -> int:
    return run.parts_done + sum(1 for part_result in result.parts if isinstance(part_result.action, Finish))


def _plan(run: OrderRun, result: RunResult, part_results: Sequence[PartResult]) -> DeferredPlan:
    return DeferredPlan(
        order_id=run.order_ref.order_id,
        merchant_id=run.order_ref.merchant_id,
        reference=run.order_ref.reference,
        parts_done=_done(run, result),
        parts=tuple(deferred_part(each.state, _wait_reason(each.action)) for each in part_results),
        unverified=result.unverified,
        paid_at=run.paid_at,
    )


def _wait_reason(action: Finish | Defer | Park) -> WaitReason | None:
    return action.reason if isinstance(action, Defer) else None


def _park_reason(actions: Sequence[Park]) -> events.ParkReason:
    """Why parts are parked: the most serious reason."""
    reasons = [action.reason for action in actions]
    return _REASONS[ParkReason.UNRESOLVED if ParkReason.UNRESOLVED in reasons else reasons[0]]


def _for_plugins(run: OrderRun, result: RunResult) -> OrderOutcome:
    parked = [part_result.action for part_result in result.parts if isinstance(part_result.action, Park)]
    return OrderOutcome(
        merchant_id=run.order_ref.merchant_id,
        order_id=run.order_ref.order_id,
        reference=run.order_ref.reference,
        parts=tuple(_part_outcome(part_result) for part_result in result.parts),
        parked=_park_reason(parked) if parked else None,
    )


def _part_outcome(part_result: PartResult) -> PartOutcome:
    state = part_result.state
    return PartOutcome(
        number=state.part.number,
        of=state.part.of,
        trade_no=state.part.trade_no,
        phase=state.phase,
        ticket_count=state.part.ticket_count,
        recovered=state.submission is not None and state.submission.recovered,
    )


def _is_label(text: str) -> bool:
    return len(text) <= _REASON_MAX and text.isprintable()
