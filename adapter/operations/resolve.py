"""Publishes an issuance as issued or failed after a person has found out what became of it.

The events are those that the flows would have published, under the same ids, so that a consumer recognizes an event
that it has received already. ECTicket's answer limits what a person may decide (`objection`). Other parts of the order
in the same dead letter go to a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum, unique

from msgspec import Struct

from adapter.errors import OrderError
from adapter.flows.messages.confirmation import Confirmation, read_confirmation
from adapter.flows.messages.dead_letters import MESSAGE_MAX_CHARACTERS
from adapter.flows.messages.events import (
    IssuanceData,
    IssuanceFailed,
    IssuanceIssued,
    IssuanceSubmitted,
    issuance_event,
    issuance_fields,
    order_ref_of,
    rfc3339,
)
from adapter.flows.messages.record_history import PARTS_DONE, PLAN, read_history
from adapter.flows.messages.signatures import SIGNATURE, RecordSigner
from adapter.flows.number_history import KnownNumbers
from adapter.flows.ports import Ecticket, Topics
from adapter.issuance.plan_codec import DeferredPart, DeferredPlan, decode_plan, encode_plan
from adapter.operations.number_lookup import look_up
from adapter.operations.replay import header_text
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import ProducerRecord, Record
from adapter.values import replace


@unique
class Resolution(StrEnum):
    """What a person has found out."""

    ISSUED = "issued"
    FAILED = "failed"


class EcticketAnswer(Struct, frozen=True, kw_only=True):
    """ECTicket's answer about a number: that it knows it, or that it does not; neither if nothing is certain."""

    known: bool = False
    status: IssueStatus | None = None
    not_known: bool = False
    description: str
    """The answer in a sentence."""


class PendingIssuance(Struct, frozen=True, kw_only=True):
    """An issuance in a dead letter: a confirmation, or an open part of an order."""

    dead_letter: Record
    merchant_id: str
    trade_no: TradeNo
    possibly_sent_at: datetime | None
    confirmation: Confirmation | None = None
    plan: DeferredPlan | None = None

    @property
    def order_id(self) -> str:
        """The order of the issuance."""
        return self.confirmation.issuance.order_id if self.confirmation is not None else _plan(self).order_id


class Resolved(Struct, frozen=True, kw_only=True):
    """What is published instead of the dead letter."""

    producer_records: tuple[ProducerRecord, ...]
    event_names: tuple[str, ...]
    remaining: tuple[str, ...]
    """Trade numbers that stay open, in a new dead letter."""


def find_pending(dead_letter: Record, trade_no: str) -> PendingIssuance | None:
    """The issuance with that number in a dead letter; None if there is none.

    Raises OrderError when the dead letter cannot be read.
    """
    if header_text(dead_letter, "ecticket-stage") == "confirm":
        return _pending_confirmation(dead_letter, trade_no)
    if header_text(dead_letter, PLAN) is None:
        return None
    history = read_history(dead_letter, dead_letter.timestamp)
    plan = decode_plan(history.plan or b"")
    for deferred in plan.parts:
        if deferred.part.trade_no.value == trade_no:
            return PendingIssuance(
                dead_letter=dead_letter,
                merchant_id=plan.merchant_id,
                trade_no=deferred.part.trade_no,
                possibly_sent_at=history.possibly_sent_at,
                plan=plan,
            )
    return None


def objection(
    resolution: Resolution,
    pending: PendingIssuance,
    answer: EcticketAnswer,
    *,
    now: datetime,
    settles_after: timedelta,
    other_order: str | None = None,
) -> str | None:
    """Why ECTicket's answer forbids the resolution; None if it does not.

    `settles_after`: how long after the last Issue call its effect may still come. `other_order` owns the number, so
    ECTicket's answer is not about this order.
    """
    if other_order is not None:
        if resolution is Resolution.FAILED:
            return None
        return f"{answer.description} But that number is order {other_order}'s, and not order {pending.order_id}'s."
    if resolution is Resolution.ISSUED:
        return None if answer.status is IssueStatus.ISSUED else f"{answer.description} That is not issued."
    return objection_to_failed(answer, pending.possibly_sent_at, now=now, settles_after=settles_after)


def objection_to_failed(
    answer: EcticketAnswer, possibly_sent_at: datetime | None, *, now: datetime, settles_after: timedelta
) -> str | None:
    """Why ECTicket's answer does not prove that no tickets exist or will; None if it does."""
    if answer.status is IssueStatus.FAILED:
        return None
    if not answer.not_known:
        return f"{answer.description} That is not failed."
    settled_at = possibly_sent_at and possibly_sent_at + settles_after
    if settled_at is not None and now < settled_at:
        until = rfc3339(settled_at)
        return f"{answer.description} But it may have been sent recently, and may still be issued until {until}."
    return None


async def query_status(
    ecticket: Ecticket,
    merchant: Merchant,
    number: TradeNo,
    known: KnownNumbers | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> EcticketAnswer:
    """Query ECTicket about the number (`number_lookup`). Raises CallError."""
    numbers = (known or KnownNumbers()).to_query(merchant, number.kind)
    looked_up = await look_up(ecticket, merchant, number, numbers, now=now)
    reply = looked_up.known
    if reply is None:
        return EcticketAnswer(not_known=looked_up.not_known, description=looked_up.message)
    remark = f" ({reply.remark})" if reply.remark else ""
    status = reply.status.name.lower().replace("_", " ") if reply.status is not None else "not readable"
    return EcticketAnswer(
        known=True, status=reply.status, description=f"ECTicket's status of {number.value}: {status}{remark}."
    )


def resolve(
    pending: PendingIssuance,
    resolution: Resolution,
    reason: str,
    *,
    topics: Topics,
    now: datetime,
    signer: RecordSigner | None = None,
) -> Resolved:
    """Build the events of the issuance, and the new dead letter of the other parts.

    The new dead letter is signed only if the old one was: the person vouches for the named issuance and nothing else.

    Raises Unreadable when the dead letter's headers cannot be read.
    """
    history = read_history(pending.dead_letter, now)
    if pending.confirmation is not None:
        facts = list(_of_confirmation(pending.confirmation, resolution, reason))
        origin = pending.confirmation.order_record
    else:
        facts = list(_of_part(pending, resolution, reason, now))
        origin = history.origin
    events = [
        issuance_event(
            fact, topic=topics.topic_for(type(fact)), origin=origin, now=now, traceparent=history.traceparent
        )
        for fact in facts
    ]
    rest = _rest(pending, resolution, topics, signer)
    return Resolved(
        producer_records=(*events, *rest),
        event_names=tuple(fact.TYPE.split(".")[-2] for fact in facts),
        remaining=tuple(deferred.part.trade_no.value for deferred in _other_parts(pending)),
    )


def _pending_confirmation(dead_letter: Record, trade_no: str) -> PendingIssuance | None:
    try:
        confirmation = read_confirmation(dead_letter.value)
    except OrderError:
        return None
    issuance = confirmation.issuance
    if issuance.trade_no != trade_no:
        return None
    return PendingIssuance(
        dead_letter=dead_letter,
        merchant_id=issuance.merchant_id,
        trade_no=TradeNo(kind=TradeNoKind(issuance.trade_no_kind), value=trade_no),
        possibly_sent_at=confirmation.submitted_at,
        confirmation=confirmation,
    )


def _of_confirmation(confirmation: Confirmation, resolution: Resolution, reason: str) -> Iterator[IssuanceData]:
    """`submitted` was published when the confirmation was written."""
    issuance = dict(confirmation.issuance)
    if resolution is Resolution.FAILED:
        yield IssuanceFailed(**issuance, stage="confirm", rtn_code=None, rtn_msg=None, remark=reason)
    else:
        yield IssuanceIssued(
            **issuance,
            recovered=confirmation.recovered,
            submitted_at=confirmation.submitted_at,
            queries=confirmation.queries + 1,
        )


def _of_part(pending: PendingIssuance, resolution: Resolution, reason: str, now: datetime) -> Iterator[IssuanceData]:
    """No event about this part was published yet; a refusal by ECTicket becomes part of `failed`."""
    deferred, plan = _part(pending), _plan(pending)
    issuance = issuance_fields(order_ref_of(plan), deferred.part, ticket_trade_no=None)
    if resolution is Resolution.FAILED:
        refusal = deferred.history.refusal
        yield IssuanceFailed.model_validate(
            {
                **issuance,
                "stage": "submit",
                "rtn_code": refusal.code if refusal else None,
                "rtn_msg": refusal.message if refusal else None,
                "remark": reason,
            }
        )
    else:
        yield IssuanceSubmitted.model_validate({**issuance, "recovered": True})
        yield IssuanceIssued.model_validate({**issuance, "recovered": True, "submitted_at": now, "queries": 1})


def _plan(pending: PendingIssuance) -> DeferredPlan:
    if pending.plan is None:
        raise TypeError("a confirmation has no plan")
    return pending.plan


def _part(pending: PendingIssuance) -> DeferredPart:
    return next(deferred for deferred in _plan(pending).parts if deferred.part.trade_no == pending.trade_no)


def _other_parts(pending: PendingIssuance) -> tuple[DeferredPart, ...]:
    parts = pending.plan.parts if pending.plan is not None else ()
    return tuple(deferred for deferred in parts if deferred.part.trade_no != pending.trade_no)


def _rest(
    pending: PendingIssuance, resolution: Resolution, topics: Topics, signer: RecordSigner | None
) -> Iterator[ProducerRecord]:
    """The dead letter without the issuance; nothing if no other part is left."""
    other_parts = _other_parts(pending)
    if not other_parts:
        return
    plan = _plan(pending)
    left = replace(plan, parts=other_parts, parts_done=plan.parts_done + 1)
    message = header_text(pending.dead_letter, "ecticket-message") or ""
    message_text = f"{pending.trade_no.value} was resolved as {resolution}; this is about the other parts. {message}"
    changed = {
        PLAN: encode_plan(left),
        PARTS_DONE: str(left.parts_done).encode(),
        "ecticket-message": message_text[:MESSAGE_MAX_CHARACTERS].encode(),
    }
    kept = ((name, value or b"") for name, value in pending.dead_letter.headers if name not in {*changed, SIGNATURE})
    rest = ProducerRecord(
        topic=topics.dead_letters,
        key=pending.dead_letter.key,
        value=pending.dead_letter.value,
        headers=(*kept, *changed.items()),
    )
    is_signed = signer is not None and signer.verify(pending.dead_letter).of_merchant(plan.merchant_id).valid
    yield signer.sign(rest, plan.merchant_id) if signer is not None and is_signed else rest
