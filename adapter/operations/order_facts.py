"""Reads what one record shows about an order: its identity, its trade numbers, and facts for a timeline.

Pure, and lenient as `dead_letter_view` is: every record can be shown, and decisions use the strict readers. Does not
verify signatures. Copies only fields that the contract allows in events and messages. Of a collected event it keeps the
number of tickets alone, of a notification no raw field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from adapter.errors import Unreadable
from adapter.flows.messages.collection import collection_of_event, is_for_collecting, is_issued_event, read_collection
from adapter.flows.messages.confirmation import AwaitedIssuance, read_confirmation
from adapter.flows.messages.event_reader import PublishedEvent, read_published_event
from adapter.flows.messages.events import record_origin, rfc3339
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.flows.messages.record_history import DEAD_LETTER, RecordHistory, read_coordinates, read_history_leniently
from adapter.flows.ports import Topics
from adapter.issuance.plan_codec import DeferredPart, decode_plan
from adapter.operations.dead_letter_view import DeadLetter, read_dead_letter
from adapter.operations.timeline import FactKind, TimelineFact
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.rules import is_trade_no
from adapter.stream.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFacts:
    """What one record shows."""

    name: str
    """The record's coordinates."""
    at: datetime
    facts: tuple[TimelineFact, ...]
    merchant_id: str | None = None
    order_id: str | None = None
    order_record: str | None = None
    """The coordinates of the order's record."""
    given_number: str | None = None
    """The trade number that the shop's record brings; its kind follows from the plan."""
    ticket_trade_no: str | None = None
    """ECTicket's own number of the issuance, by which some notifications are keyed."""
    event: PublishedEvent | None = None
    """Without data."""
    dead_letter: DeadLetter | None = None

    @property
    def numbers(self) -> frozenset[TradeNo]:
        """The trade numbers that the facts are about."""
        return frozenset(fact.trade_no for fact in self.facts if fact.trade_no is not None)

    def names_number(self, text: str) -> bool:
        """Whether the record is about this trade number, in any case of its letters."""
        wanted = text.upper()
        values = {number.value.upper() for number in self.numbers}
        return wanted in values or (self.given_number or "").upper() == wanted


def read_facts(record: Record, topics: Topics, *, only_merchant: str | None) -> RecordFacts | None:
    """What a record of one of the topics shows; None if it is about no order.

    `only_merchant` is used for an order record that names no merchant.
    """
    if record.topic == topics.orders_paid:
        return _order_record(record, only_merchant)
    if record.topic == topics.orders_deferred:
        return _deferred(record)
    if record.topic == topics.confirmations:
        return _awaited(record)
    if record.topic == topics.dead_letters:
        return _parked(record)
    return _event(record)


def received(record: Record) -> RecordFacts:
    """An order record of which only the coordinates are known: another format than the adapter's own."""
    name = str(record_origin(record))
    fact = TimelineFact(
        at=record.timestamp, kind=FactKind.RECEIVED, record=name, text="The shop's record, in a format of its own."
    )
    return RecordFacts(name=name, at=record.timestamp, facts=(fact,), order_record=name)


def _order_record(record: Record, only_merchant: str | None) -> RecordFacts | None:
    try:
        order = parse_order_paid(record.value, record.headers, only_merchant)
    except Unreadable:
        return None
    name = str(record_origin(record))
    number = order.trade_no
    details = {"lines": len(order.lines), "trade_no": number}
    text = f"The shop's record: {len(order.lines)} {'line' if len(order.lines) == 1 else 'lines'}."
    fact = TimelineFact(
        at=record.timestamp,
        kind=FactKind.RECEIVED,
        record=name,
        text=text,
        order_id=order.order_id,
        details=details,
    )
    return RecordFacts(
        name=name,
        at=record.timestamp,
        facts=(fact,),
        merchant_id=order.merchant_id,
        order_id=order.order_id,
        order_record=name,
        given_number=number,
    )


# --- deferred and parked ----------------------------------------------------------------------------------------------


def _deferred(record: Record) -> RecordFacts | None:
    history = read_history_leniently(record, record.timestamp)
    if history.order_id is None:
        return None
    name = str(record_origin(record))
    common = TimelineFact(
        at=record.timestamp,
        kind=FactKind.DEFERRED,
        record=name,
        text="The order waits before its parts are planned.",
        order_id=history.order_id,
        not_before=history.not_before,
        replay_of=_replay_of(record),
        details={"attempts": history.attempts, "possibly_sent_at": _text(history.possibly_sent_at)},
    )
    parts = _plan_parts(history)
    facts = tuple(_deferred_part(common, part, history) for part in parts) or (common,)
    return RecordFacts(
        name=name,
        at=record.timestamp,
        facts=facts,
        merchant_id=history.merchant_id,
        order_id=history.order_id,
        order_record=str(history.origin),
    )


def _deferred_part(common: TimelineFact, deferred: DeferredPart, history: RecordHistory) -> TimelineFact:
    part, past = deferred.part, deferred.history
    is_reissued = part.reissue > 0 and history.not_before == history.first_seen
    refusal = past.refusal
    causes = [
        f"In doubt since {_text(past.possibly_sent_since)}: {past.doubt}; it is queried before it is sent again."
        if past.possibly_sent_since is not None and past.doubt is not None
        else None,
        f"Refused with RtnCode {refusal.code} ({refusal.message}); it is queried until the refusal is final."
        if refusal is not None
        else None,
        f"ECTicket rejected the envelope {past.unaccepted} times." if past.unaccepted else None,
        "ECTicket claims to know a random number." if past.control_known else None,
        f"ECTicket asked for no call before {_text(past.retry_at)}." if past.retry_at is not None else None,
    ]
    stated = " ".join(filter(None, causes)) or "Not sent; the record names no doubt and no refusal."
    return replace(
        common,
        kind=FactKind.REISSUED if is_reissued else FactKind.DEFERRED,
        text=f"New number for a failed part, reissue {part.reissue}." if is_reissued else stated,
        trade_no=_number(part.trade_no.value, part.trade_no.kind),
        part=part.number,
        parts=part.of,
        details={
            **common.details,
            "reissue": part.reissue,
            "first_attempt_at": _text(past.first_attempt_at),
            "last_attempt_at": _text(past.last_attempt_at),
            "in_doubt_since": _text(past.possibly_sent_since),
            "doubt": past.doubt,
            "rtn_code": None if refusal is None else refusal.code,
            "rtn_msg": None if refusal is None else refusal.message,
            "rejected_envelopes": past.unaccepted,
        },
    )


def _parked(record: Record) -> RecordFacts:
    dead_letter = read_dead_letter(record)
    history = read_history_leniently(record, record.timestamp)
    common = TimelineFact(
        at=record.timestamp,
        kind=FactKind.DEAD_LETTER,
        record=dead_letter.name,
        text=dead_letter.message or "Without a message.",
        order_id=dead_letter.order_id,
        reason=dead_letter.reason,
        stage=dead_letter.stage,
        sink=dead_letter.sink,
        dead_letter=dead_letter.name,
        replay_of=_replay_of(record),
        details={
            "plugin": dead_letter.plugin,
            "attempts": history.attempts,
            "replays": dead_letter.replay_count,
            "possibly_sent_at": dead_letter.possibly_sent_at,
        },
    )
    facts = [
        replace(
            common,
            trade_no=_number(each.part.trade_no.value, each.part.trade_no.kind),
            part=each.part.number,
            parts=each.part.of,
        )
        for each in _plan_parts(history)
    ]
    issuance, event = _issuance_of(record), read_published_event(record)
    if not facts and issuance is not None:
        number = _number(issuance.trade_no, _kind(issuance.trade_no_kind))
        facts = [replace(common, trade_no=number, part=issuance.part, parts=issuance.parts)]
    elif not facts and event is not None:
        facts = [replace(common, trade_no=_event_number(event))]
    return RecordFacts(
        name=dead_letter.name,
        at=record.timestamp,
        facts=tuple(facts) or (common,),
        merchant_id=dead_letter.merchant_id,
        order_id=dead_letter.order_id or (None if event is None else event.order_id),
        order_record=dead_letter.order_record if dead_letter.stage != "deliver" else None,
        dead_letter=dead_letter,
    )


def _plan_parts(history: RecordHistory) -> Iterable[DeferredPart]:
    """The parts of the plan whose numbers could be ECTicket's; none if it is absent or cannot be read."""
    try:
        parts = () if history.plan is None else decode_plan(history.plan).parts
    except Unreadable:
        return ()
    return tuple(each for each in parts if is_trade_no(each.part.trade_no))


def _replay_of(record: Record) -> str | None:
    found = [value for name, value in record.headers if name == DEAD_LETTER]
    coordinates = read_coordinates(found[-1].decode("utf-8", "replace")) if found and found[-1] is not None else None
    return None if coordinates is None else str(coordinates)


# --- confirmations ----------------------------------------------------------------------------------------------------


def _issuance_of(record: Record) -> AwaitedIssuance | None:
    """The issuance of a confirmation, a collection or an `issued` event; None for another value."""
    try:
        if is_issued_event(record):
            return collection_of_event(record, record.timestamp).issuance
        return (read_collection if is_for_collecting(record) else read_confirmation)(record.value).issuance
    except Unreadable:
        return None


def _awaited(record: Record) -> RecordFacts | None:
    try:
        return _collecting(record) if is_for_collecting(record) else _confirming(record)
    except Unreadable:
        return None


def _confirming(record: Record) -> RecordFacts:
    found = read_confirmation(record.value)
    done = f"{found.queries} {'query' if found.queries == 1 else 'queries'} so far" if found.queries else "no query yet"
    details = {
        "queries": found.queries,
        "delayed": found.delayed,
        "submitted_at": rfc3339(found.submitted_at),
        "recovered": found.recovered,
    }
    text = f"The result is awaited, {done}."
    return _waiting(record, found.issuance, FactKind.AWAITED, text, details, found.not_before, str(found.order_record))


def _collecting(record: Record) -> RecordFacts:
    is_event = is_issued_event(record)
    found = collection_of_event(record, record.timestamp) if is_event else read_collection(record.value)
    details = {"reports": found.reports, "since": rfc3339(found.since)}
    text = f"The ticket numbers are awaited, {found.reports} reports read."
    return _waiting(
        record, found.issuance, FactKind.COLLECTING, text, details, found.not_before, str(found.order_record)
    )


def _waiting(
    record: Record,
    issuance: AwaitedIssuance,
    kind: FactKind,
    text: str,
    details: Mapping[str, object],
    not_before: datetime,
    order_record: str,
) -> RecordFacts:
    name = str(record_origin(record))
    fact = TimelineFact(
        at=record.timestamp,
        kind=kind,
        record=name,
        text=text,
        order_id=issuance.order_id,
        trade_no=_number(issuance.trade_no, _kind(issuance.trade_no_kind)),
        part=issuance.part,
        parts=issuance.parts,
        not_before=not_before,
        replay_of=_replay_of(record),
        details=details,
    )
    return RecordFacts(
        name=name,
        at=record.timestamp,
        facts=(fact,),
        merchant_id=issuance.merchant_id,
        order_id=issuance.order_id,
        order_record=order_record,
        ticket_trade_no=issuance.ticket_trade_no,
    )


# --- events -----------------------------------------------------------------------------------------------------------

_SHOWN: Mapping[str, tuple[str, ...]] = {
    "submitted": ("recovered", "issue_type", "ticket_count"),
    "issued": ("recovered", "issue_type", "ticket_count", "submitted_at", "queries"),
    "failed": ("stage", "rtn_code", "rtn_msg", "remark"),
    "delayed": ("submitted_at", "queries"),
    "skipped": ("reason", "stage", "plugin", "message", "parts_done"),
    "parked": ("reason", "stage", "plugin", "message", "parts_done"),
    "collected": ("ticket_count",),
    "status-changed": ("use_status", "may_mean", "ticket_ref"),
    "refunded": ("trade_amount", "refund_amount", "total_refund_amount"),
    "difference": ("kind", "issue_date", "published", "reported", "message"),
}
"""The fields of each event's data that a timeline shows; a field that is not named here is never shown."""


def _event(record: Record) -> RecordFacts | None:
    event = read_published_event(record)
    if event is None or event.name not in _SHOWN:
        return None
    data = event.data
    details = {name: data.get(name) for name in _SHOWN[event.name]}
    name = str(record_origin(record))
    fact = TimelineFact(
        at=record.timestamp,
        kind=FactKind(event.name),
        record=name,
        text=_event_text(event.name, details),
        order_id=event.order_id,
        trade_no=_event_number(event),
        part=_count(data.get("part")),
        parts=_count(data.get("parts")),
        reason=_word(details.get("reason")),
        stage=_word(details.get("stage")),
        details=details,
    )
    return RecordFacts(
        name=name,
        at=record.timestamp,
        facts=(fact,),
        merchant_id=event.merchant_id,
        order_id=event.order_id,
        order_record=event.order_record,
        ticket_trade_no=_word(data.get("ticket_trade_no")),
        event=replace(event, data={}),
    )


def _event_text(name: str, shown: Mapping[str, object]) -> str:
    recovered = " It was found by a query (recovered)." if shown.get("recovered") is True else ""
    refusal = f"RtnCode {shown.get('rtn_code')} ({shown.get('rtn_msg')})." if shown.get("rtn_code") is not None else ""
    remark = f"Remark: {shown.get('remark')}." if shown.get("remark") is not None else ""
    texts = {
        "submitted": f"ECTicket accepted the issuance.{recovered}",
        "issued": f"The tickets exist: {shown.get('ticket_count')}, after {shown.get('queries')} queries.",
        "failed": " ".join(filter(None, ("No tickets exist.", refusal, remark))),
        "delayed": f"The job takes long; {shown.get('queries')} queries so far.",
        "skipped": f"A plugin decided that the order gets no tickets: {shown.get('reason')}.",
        "parked": f"The event about a dead letter, reason {shown.get('reason')}.",
        "collected": f"The numbers of {shown.get('ticket_count')} tickets were published.",
        "status-changed": f"ECPay reports UseStatus {shown.get('use_status')} of a ticket.",
        "refunded": f"ECPay reports a refund of NT$ {shown.get('refund_amount')}.",
        "difference": f"{shown.get('message')}",
    }
    return texts[name]


def _event_number(event: PublishedEvent) -> TradeNo | None:
    return None if event.trade_no is None else _number(event.trade_no, _kind(event.data.get("trade_no_kind")))


def _number(value: str, kind: TradeNoKind) -> TradeNo | None:
    """The number; None for a text that is none, which must not get into a command."""
    number = TradeNo(kind=kind, value=value)
    return number if is_trade_no(number) else None


def _kind(name: object) -> TradeNoKind:
    return TradeNoKind.FREE if name == "free" else TradeNoKind.MERCHANT


def _count(found: object) -> int | None:
    return found if isinstance(found, int) else None


def _word(found: object) -> str | None:
    return found if isinstance(found, str) else None


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
