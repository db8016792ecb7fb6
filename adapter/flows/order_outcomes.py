"""From the end of a sitting to what is published: events, confirmations, one deferred record, one dead letter.

Everything an order record yields goes into one outcome, and so into one transaction with its offset: an order with one
part submitted, one refused and one in doubt is two kinds of records here, and neither can be told without the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from adapter.errors import OrderError
from adapter.extensions.values import Ignore, OrderOutcome, PartOutcome, Skip
from adapter.flows import events
from adapter.flows.confirmation import AwaitedIssuance, Confirmation, OriginData, confirmation_record
from adapter.flows.dead_letters import Verdict, dead_letter
from adapter.flows.events import (
    IssuanceFailed,
    IssuanceSubmitted,
    OrderParked,
    OrderSkipped,
    issuance_event,
    order_event,
    parking_distinctions,
)
from adapter.flows.journey import Journey, encoded_headers, own_headers
from adapter.flows.ports import Clock, FlowObserver, Merchants, Topics
from adapter.flows.signatures import RecordSigner
from adapter.flows.signing_keys import KeyRing
from adapter.flows.sitting import Ended
from adapter.flows.telling import Whose, common
from adapter.issuance.actions import Defer, Failed, Finish, Park, ParkReason, Submitted
from adapter.issuance.carried import CarriedPlan, carried_parts, decode_plan, encode_plan
from adapter.issuance.confirm import ConfirmPolicy, first_query_at
from adapter.issuance.decide import deferred_until, handed_off_until
from adapter.issuance.sitting import Unproven
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome

_REASON_MAX = 100
"""Characters of an Ignore's reason that are logged; a longer one is counted as "other"."""
_REASONS_COUNTED = 50
"""Reasons of Ignore that are counted by name."""

_log = structlog.stdlib.get_logger(__name__)

_REASONS: Mapping[ParkReason, events.ParkReason] = {
    ParkReason.REFUSED_ENVELOPE: "refused-envelope",
    ParkReason.UNRESOLVED: "unresolved",
    ParkReason.GAVE_UP: "gave-up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An outcome for Kafka, and the same outcome for observing plugins."""

    outcome: Outcome
    for_plugins: OrderOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Sat:
    """An order record whose sitting is over: every part's end, and how many parts were done before."""

    record: Record
    journey: Journey
    whose: Whose
    ends: tuple[Ended, ...]
    parts_done: int
    unproven: Unproven | None = None


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

    def sat(self, sat: Sat) -> Told:
        """The outcome of a sitting."""
        records = [
            *self._finished(sat),
            *self._deferred(sat),
            *self._parked(sat),
        ]
        for ending in dict.fromkeys(_ending(end) for end in sat.ends):
            self._observer.order_settled(ending)
        return Told(outcome=Outcome(records=tuple(records)), for_plugins=_for_plugins(sat))

    def ignored(self, record: Record, ignore: Ignore) -> Told:
        """The outcome of a record that a plugin says is no order to issue: counted, and nothing is published."""
        plugin = ignore.plugin or ""
        self._observer.order_settled("ignored")
        self._observer.ignored(plugin, self._counted_reason(ignore.reason))
        _log.debug(
            "ignored a record",
            plugin=plugin,
            reason=ignore.reason[:_REASON_MAX],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
        told = OrderOutcome(merchant_id=None, order_id=None, ignored=ignore.reason, plugin=ignore.plugin)
        return Told(outcome=Outcome(), for_plugins=told)

    def _counted_reason(self, reason: str) -> str:
        """The reason as a metric's label; "other" beyond the first few, so that the number of labels stays small."""
        if reason not in self._ignore_reasons:
            if len(self._ignore_reasons) >= _REASONS_COUNTED or len(reason) > _REASON_MAX:
                return "other"
            self._ignore_reasons.add(reason)
        return reason

    def skipped(self, sat: Sat, skip: Skip) -> Told:
        """The outcome of an order that a plugin does not want issued."""
        data = OrderSkipped(
            order_id=sat.whose.order_id,
            reason=skip.reason,
            stage="map",
            plugin=skip.plugin,
            message="A plugin's accept_order says that this order gets no tickets; nothing was sent.",
            parts_done=sat.parts_done,
        )
        self._observer.order_settled("skipped")
        event = order_event(
            data,
            topic=self._topics.told_on(OrderSkipped),
            origin=sat.journey.origin,
            now=self._now(),
            merchant_id=sat.whose.merchant_id,
            traceparent=sat.journey.traceparent,
        )
        told = OrderOutcome(
            merchant_id=sat.whose.merchant_id,
            order_id=sat.whose.order_id,
            reference=sat.whose.reference,
            skipped=skip.reason,
            plugin=skip.plugin,
        )
        return Told(outcome=Outcome(records=(event,)), for_plugins=told)

    def parked(
        self, record: Record, verdict: Verdict, journey: Journey, *, whose: Whose | None, parts_done: int = 0
    ) -> Told:
        """The outcome of a record that a person must look at; `whose` is None where it could not be read."""
        told = OrderOutcome(
            merchant_id=whose.merchant_id if whose else None,
            order_id=whose.order_id if whose else None,
            reference=whose.reference if whose else None,
            parked=verdict.reason,
            plugin=verdict.plugin,
        )
        self._observer.order_settled("parked")
        return Told(
            outcome=Outcome(records=self._letter(record, verdict, journey, whose, parts_done)), for_plugins=told
        )

    def carried(self, record: Record, journey: Journey) -> Outcome:
        """The outcome of a record that is handed on untouched, with all that is known about it.

        A record whose time has not come stays due when it was.
        """
        self._observer.deferred("carried")
        self._observer.order_settled("deferred")
        now = self._now()
        due = journey.not_before
        if due is None or due <= now:
            due = handed_off_until(journey.first_seen, now, self._defer_seconds)
        return Outcome(records=(self._deferred_record(record, journey, due),))

    def _finished(self, sat: Sat) -> Iterator[ProducerRecord]:
        for end in sat.ends:
            if not isinstance(end.action, Finish):
                continue
            match end.action.result:
                case Submitted() as submitted:
                    yield from self._submitted(sat, end, submitted)
                case Failed() as failed:
                    yield self._failed(sat, end, failed)

    def _submitted(self, sat: Sat, end: Ended, submitted: Submitted) -> Iterator[ProducerRecord]:
        part, number = end.state.part, submitted.ticket_trade_no
        self._observer.issuance_told("submitted", recovered=submitted.recovered)
        told = common(sat.whose, part, ticket_trade_no=number)
        yield issuance_event(
            IssuanceSubmitted(**told, recovered=submitted.recovered),
            topic=self._topics.told_on(IssuanceSubmitted),
            origin=sat.journey.origin,
            now=submitted.at,
            traceparent=sat.journey.traceparent,
        )
        origin = sat.journey.origin
        confirmation = Confirmation(
            issuance=AwaitedIssuance(**told),
            recovered=submitted.recovered,
            submitted_at=submitted.at,
            not_before=first_query_at(part.request.issue_type, submitted.at, self._confirm),
            origin=OriginData(topic=origin.topic, partition=origin.partition, offset=origin.offset),
            traceparent=sat.journey.traceparent,
        )
        record = confirmation_record(confirmation, topic=self._topics.confirmations)
        yield self._signer.sign(record, sat.whose.merchant_id)

    def _failed(self, sat: Sat, end: Ended, failed: Failed) -> ProducerRecord:
        self._observer.issuance_told("failed", recovered=False)
        data = IssuanceFailed(
            **common(sat.whose, end.state.part, ticket_trade_no=None),
            stage="submit",
            rtn_code=failed.rtn_code,
            rtn_msg=failed.rtn_msg,
            remark=None,
        )
        return issuance_event(
            data,
            topic=self._topics.told_on(IssuanceFailed),
            origin=sat.journey.origin,
            now=self._now(),
            traceparent=sat.journey.traceparent,
        )

    def _deferred(self, sat: Sat) -> Iterator[ProducerRecord]:
        """All open parts of the order, together in one record."""
        open_ends = [(end, end.action) for end in sat.ends if isinstance(end.action, Defer)]
        if not open_ends:
            return
        for _, action in open_ends:
            self._observer.deferred(action.why.value)
        plan = _plan(sat, [end for end, _ in open_ends])
        counted = any(action.counted for _, action in open_ends)
        journey = replace(
            sat.journey,
            attempts=sat.journey.attempts + counted,
            plan=encode_plan(plan),
            parts_done=plan.parts_done,
            possibly_sent_at=plan.possibly_sent_at,
            only_by_replay=False,
        )
        due = deferred_until([action for _, action in open_ends], self._now(), self._defer_seconds)
        yield self._deferred_record(sat.record, journey, due)

    def _deferred_record(self, record: Record, journey: Journey, due: datetime) -> ProducerRecord:
        journey = replace(journey, not_before=due)
        producer_record = ProducerRecord(
            topic=self._topics.orders_deferred,
            key=record.key,
            value=record.value,
            headers=(*own_headers(record.headers), *encoded_headers(journey)),
        )
        return self._signer.sign(producer_record, journey.merchant_id)

    def _parked(self, sat: Sat) -> Iterator[ProducerRecord]:
        """The parts that a person must look at, together in one dead letter; of several reasons the gravest."""
        reason = _park_reason(sat)
        if reason is None:
            return
        ends = [(end, end.action) for end in sat.ends if isinstance(end.action, Park)]
        plan = _plan(sat, [end for end, _ in ends])
        journey = replace(sat.journey, plan=encode_plan(plan), parts_done=plan.parts_done)
        journey = journey.possibly_sent(plan.possibly_sent_at)
        message = " ".join(dict.fromkeys(action.message for _, action in ends))
        verdict = Verdict(reason=reason, stage="submit", message=message)
        yield from self._letter(sat.record, verdict, journey, sat.whose, plan.parts_done)

    def _letter(
        self, record: Record, verdict: Verdict, journey: Journey, whose: Whose | None, parts_done: int
    ) -> tuple[ProducerRecord, ...]:
        self._observer.parked(verdict.stage, verdict.reason)
        now = self._now()
        if whose is not None:
            journey = journey.of_order(whose.merchant_id, whose.order_id)
        merchant_id = whose.merchant_id if whose else journey.merchant_id
        data = OrderParked(
            order_id=whose.order_id if whose else journey.order_id,
            reason=verdict.reason,
            stage=verdict.stage,
            plugin=verdict.plugin,
            message=verdict.message,
            parts_done=parts_done,
        )
        event = order_event(
            data,
            topic=self._topics.told_on(OrderParked),
            origin=journey.origin,
            now=now,
            merchant_id=merchant_id if merchant_id and self._merchants.find(merchant_id) else None,
            traceparent=journey.traceparent,
            distinctions=parking_distinctions(
                verdict.reason, dead_letter=journey.dead_letter, parts=_parts_in(journey.plan)
            ),
        )
        letter = dead_letter(record, verdict, journey, topic=self._topics.dead_letters, now=now, signer=self._signer)
        return letter, event


def _parts_in(plan: bytes | None) -> str | None:
    """Which parts a plan holds; of a plan that cannot be read, its digest."""
    if plan is None:
        return None
    try:
        return ",".join(str(carried.part.number) for carried in decode_plan(plan).parts)
    except OrderError:
        return hashlib.sha256(plan).hexdigest()


def _ending(end: Ended) -> str:
    """How a part ended, in the observer's words."""
    match end.action:
        case Finish(result=Failed()):
            return "failed"
        case Finish():
            return "submitted"
        case Defer():
            return "deferred"
        case Park():
            return "parked"


def _done(sat: Sat) -> int:
    return sat.parts_done + sum(1 for end in sat.ends if isinstance(end.action, Finish))


def _plan(sat: Sat, ends: Sequence[Ended]) -> CarriedPlan:
    return CarriedPlan(
        order_id=sat.whose.order_id,
        merchant_id=sat.whose.merchant_id,
        reference=sat.whose.reference,
        parts_done=_done(sat),
        parts=carried_parts(end.state for end in ends),
        unproven=sat.unproven,
    )


def _park_reason(sat: Sat) -> events.ParkReason | None:
    """Why the parked parts are: of several reasons the gravest; None where no part is."""
    reasons = [end.action.reason for end in sat.ends if isinstance(end.action, Park)]
    if ParkReason.UNRESOLVED in reasons:
        return "unresolved"
    return _REASONS[reasons[0]] if reasons else None


def _for_plugins(sat: Sat) -> OrderOutcome:
    return OrderOutcome(
        merchant_id=sat.whose.merchant_id,
        order_id=sat.whose.order_id,
        reference=sat.whose.reference,
        parts=tuple(_part_outcome(end) for end in sat.ends),
        parked=_park_reason(sat),
    )


def _part_outcome(end: Ended) -> PartOutcome:
    state = end.state
    return PartOutcome(
        number=state.part.number,
        of=state.part.of,
        trade_no=state.part.trade_no,
        phase=state.phase,
        ticket_count=state.part.ticket_count,
        recovered=state.submission is not None and state.submission.recovered,
    )
