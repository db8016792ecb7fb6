"""A person has looked: an issuance that nobody could find out about is told as issued or as failed.

The facts are told as the flows would have told them, under the same ids, so that readers who have heard one of them
hear nothing new. What a person says is held against what ECTicket says first. Other parts of the order that lie in the
same dead letter go on in a new one.

Refuses to ask, and to know where the letters are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum, unique

from adapter.errors import OrderError
from adapter.flows.confirmation import Confirmation, read_confirmation
from adapter.flows.dead_letters import MESSAGE_MAX_CHARACTERS
from adapter.flows.events import (
    IssuanceData,
    IssuanceFailed,
    IssuanceIssued,
    IssuanceSubmitted,
    issuance_event,
    rfc3339,
)
from adapter.flows.journey import PARTS_DONE, PLAN, read_journey
from adapter.flows.ports import Topics
from adapter.flows.replay import header_text
from adapter.flows.signatures import SIGNATURE, RecordSigner
from adapter.flows.telling import common, whose_order
from adapter.issuance.carried import CarriedPart, CarriedPlan, decode_plan, encode_plan
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import ProducerRecord, Record


@unique
class Ending(StrEnum):
    """What a person found."""

    ISSUED = "issued"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What ECTicket says of the number: a status, or that it does not know it; neither where nothing is certain.

    `said` is a sentence for people.
    """

    status: IssueStatus | None = None
    not_known: bool = False
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An issuance that lies in a dead letter, awaited or as an open part of an order."""

    letter: Record
    merchant_id: str
    trade_no: TradeNo
    possibly_sent_at: datetime | None
    confirmation: Confirmation | None = None
    plan: CarriedPlan | None = None

    @property
    def order_id(self) -> str:
        """The order of the issuance."""
        return self.confirmation.issuance.order_id if self.confirmation is not None else _plan(self).order_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What is published instead of the letter; `left` are the numbers that go on in a new one."""

    producer_records: tuple[ProducerRecord, ...]
    told: tuple[str, ...]
    left: tuple[str, ...]


def held(letter: Record, trade_no: str) -> Held | None:
    """The issuance of that number in a dead letter, None where it holds no such one.

    Raises OrderError: the letter should hold it, and cannot be read.
    """
    if header_text(letter, "ecticket-stage") == "confirm":
        return _held_confirmation(letter, trade_no)
    if header_text(letter, PLAN) is None:
        return None
    journey = read_journey(letter, letter.timestamp)
    plan = decode_plan(journey.plan or b"")
    for carried in plan.parts:
        if carried.part.trade_no.value == trade_no:
            return Held(
                letter=letter,
                merchant_id=plan.merchant_id,
                trade_no=carried.part.trade_no,
                possibly_sent_at=journey.possibly_sent_at,
                plan=plan,
            )
    return None


def objection(
    ending: Ending,
    found: Held,
    heard: Heard,
    *,
    now: datetime,
    settles_after: timedelta,
    other_order: str | None = None,
) -> str | None:
    """Why ECTicket's word does not let the issuance be told so; None where it does.

    `settles_after`: how long after the last Issue its effect may still come. `other_order` has the number: what
    ECTicket knows of it is not this order's.
    """
    if other_order is not None:
        if ending is Ending.FAILED:
            return None
        return f"{heard.said} But that number is order {other_order}'s, and not order {found.order_id}'s."
    if ending is Ending.ISSUED:
        return None if heard.status is IssueStatus.ISSUED else f"{heard.said} That is not issued."
    if heard.status is IssueStatus.FAILED:
        return None
    if not heard.not_known:
        return f"{heard.said} That is not failed."
    settled_at = found.possibly_sent_at and found.possibly_sent_at + settles_after
    if settled_at is not None and now < settled_at:
        return (
            f"{heard.said} It may have been sent a short time ago, though, and still come until {rfc3339(settled_at)}."
        )
    return None


def resolve(
    found: Held, ending: Ending, why: str, *, topics: Topics, now: datetime, signer: RecordSigner | None = None
) -> Resolved:
    """What is told of the issuance, and what becomes of the rest of its letter.

    The rest is signed if the letter was: a person vouches for the issuance that they name, and for nothing else.

    Raises Unreadable when the letter's headers cannot be read.
    """
    journey = read_journey(found.letter, now)
    if found.confirmation is not None:
        facts = list(_of_confirmation(found.confirmation, ending, why))
        origin, traceparent = found.confirmation.order_record, found.confirmation.traceparent
    else:
        facts = list(_of_part(found, ending, why, now))
        origin, traceparent = journey.origin, journey.traceparent
    events = [
        issuance_event(fact, topic=topics.told_on(type(fact)), origin=origin, now=now, traceparent=traceparent)
        for fact in facts
    ]
    rest = _rest(found, ending, topics, signer)
    return Resolved(
        producer_records=(*events, *rest),
        told=tuple(fact.TYPE.split(".")[-2] for fact in facts),
        left=tuple(carried.part.trade_no.value for carried in _others(found)),
    )


def _held_confirmation(letter: Record, trade_no: str) -> Held | None:
    try:
        confirmation = read_confirmation(letter.value)
    except OrderError:
        return None
    issuance = confirmation.issuance
    if issuance.trade_no != trade_no:
        return None
    return Held(
        letter=letter,
        merchant_id=issuance.merchant_id,
        trade_no=TradeNo(kind=TradeNoKind(issuance.trade_no_kind), value=trade_no),
        possibly_sent_at=confirmation.submitted_at,
        confirmation=confirmation,
    )


def _of_confirmation(confirmation: Confirmation, ending: Ending, why: str) -> Iterator[IssuanceData]:
    """`submitted` was told when the confirmation was written."""
    issuance = dict(confirmation.issuance)
    if ending is Ending.FAILED:
        yield IssuanceFailed(**issuance, stage="confirm", rtn_code=None, rtn_msg=None, remark=why)
    else:
        yield IssuanceIssued(
            **issuance,
            recovered=confirmation.recovered,
            submitted_at=confirmation.submitted_at,
            queries=confirmation.queries + 1,
        )


def _of_part(found: Held, ending: Ending, why: str, now: datetime) -> Iterator[IssuanceData]:
    """Nothing was told of this part yet; the refusal is ECTicket's last word of it, where there was one."""
    carried, plan = _part(found), _plan(found)
    issuance = common(whose_order(plan), carried.part, ticket_trade_no=None)
    if ending is Ending.FAILED:
        refusal = carried.past.refusal
        yield IssuanceFailed(
            **issuance,
            stage="submit",
            rtn_code=refusal.code if refusal else None,
            rtn_msg=refusal.message if refusal else None,
            remark=why,
        )
    else:
        yield IssuanceSubmitted(**issuance, recovered=True)
        yield IssuanceIssued(**issuance, recovered=True, submitted_at=now, queries=1)


def _plan(found: Held) -> CarriedPlan:
    if found.plan is None:
        raise TypeError("an issuance that is no part of a plan is awaited")
    return found.plan


def _part(found: Held) -> CarriedPart:
    return next(carried for carried in _plan(found).parts if carried.part.trade_no == found.trade_no)


def _others(found: Held) -> tuple[CarriedPart, ...]:
    parts = found.plan.parts if found.plan is not None else ()
    return tuple(carried for carried in parts if carried.part.trade_no != found.trade_no)


def _rest(found: Held, ending: Ending, topics: Topics, signer: RecordSigner | None) -> Iterator[ProducerRecord]:
    """The letter without the issuance; none where nothing is left of it."""
    others = _others(found)
    if not others:
        return
    plan = _plan(found)
    left = replace(plan, parts=others, parts_done=plan.parts_done + 1)
    message = header_text(found.letter, "ecticket-message") or ""
    said = f"{found.trade_no.value} was resolved as {ending} since; this is about the rest. {message}"
    changed = {
        PLAN: encode_plan(left),
        PARTS_DONE: str(left.parts_done).encode(),
        "ecticket-message": said[:MESSAGE_MAX_CHARACTERS].encode(),
    }
    kept = ((name, value or b"") for name, value in found.letter.headers if name not in {*changed, SIGNATURE})
    rest = ProducerRecord(
        topic=topics.dead_letters,
        key=found.letter.key,
        value=found.letter.value,
        headers=(*kept, *changed.items()),
    )
    is_signed = signer is not None and signer.verify(found.letter).of_merchant(plan.merchant_id).valid
    yield signer.sign(rest, plan.merchant_id) if signer is not None and is_signed else rest
