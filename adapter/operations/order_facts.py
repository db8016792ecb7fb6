"""Reads what one record of any topic shows about an order, as facts for its timeline.

Pure, and lenient as `dead_letter_view` is: every record can be shown, and decisions use the strict readers. Does not
verify signatures. Copies only fields that the contract allows in events and messages. Of a collected event it keeps the
number of tickets alone, of a notification no raw field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from adapter.errors import Unreadable
from adapter.flows.messages.collection import collection_of_event, is_for_collecting, is_issued_event, read_collection
from adapter.flows.messages.confirmation import AwaitedIssuance, read_confirmation
from adapter.flows.messages.event_reader import read_published_event
from adapter.flows.messages.events import record_origin, rfc3339
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.flows.messages.record_history import DEAD_LETTER, RecordHistory, read_coordinates, read_history_leniently
from adapter.flows.ports import Topics
from adapter.issuance.plan_codec import DeferredPart, decode_plan
from adapter.issuance.state import WaitReason
from adapter.operations.dead_letter_view import read_dead_letter
from adapter.operations.event_facts import event_facts, event_number
from adapter.operations.record_facts import RecordFacts, counted, kind_of, number_of, time_text
from adapter.operations.timeline import FactKind, TimelineFact
from adapter.protocol.rules import is_trade_no
from adapter.stream.records import Record
from adapter.values import replace


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
    return event_facts(record)


def received(record: Record) -> RecordFacts:
    """An order record of which only the coordinates are known: another format than the adapter's own."""
    name = str(record_origin(record))
    fact = TimelineFact(
        at=record.timestamp, kind=FactKind.RECEIVED, record=name, text="The shop's record, in a format of its own."
    )
    return RecordFacts(name=name, facts=(fact,), order_record=name)


def _order_record(record: Record, only_merchant: str | None) -> RecordFacts | None:
    try:
        order = parse_order_paid(record.value, record.headers, only_merchant)
    except Unreadable:
        return None
    name = str(record_origin(record))
    number = order.trade_no
    details = {"lines": len(order.lines), "given_trade_no": number}
    text = f"The shop's record, with {counted(len(order.lines), 'line', 'lines')}."
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
        text="The order waits before its parts are planned."
        if history.held_at is None
        else f"{_HELD} Nothing is planned.",
        order_id=history.order_id,
        not_before=history.not_before,
        replay_of=_replay_of(record),
        details={
            "attempts": history.attempts,
            "possibly_sent_at": time_text(history.possibly_sent_at),
            "held_at": time_text(history.held_at),
        },
    )
    parts = _plan_parts(history)
    facts = tuple(_deferred_part(common, part, history) for part in parts) or (common,)
    return RecordFacts(
        name=name,
        facts=facts,
        merchant_id=history.merchant_id,
        order_id=history.order_id,
        order_record=str(history.origin),
    )


_HELD = "An operator held the merchant; the order waits for the end of the hold, or for its release."
_WAIT_REASONS: Mapping[WaitReason, str] = {
    WaitReason.NOT_SENT: "ECTicket could not be reached.",
    WaitReason.BREAKER_OPEN: "The merchant's breaker was open: ECTicket failed, or locked the merchant out.",
    WaitReason.HELD: _HELD,
    WaitReason.THROTTLED: "ECTicket rejected the call before execution (403, 429 or 503).",
    WaitReason.NOT_ACCEPTED: "ECTicket did not accept the envelope.",
    WaitReason.RETRY_LATER_CODE: "ECTicket's RtnCode asked to try again later.",
    WaitReason.UNANSWERED: "A query was not answered.",
    WaitReason.DOUBT: "It may have been sent, and is queried before it is sent again.",
    WaitReason.REFUSAL_NOT_FINAL: "It was refused, and the refusal is not final yet.",
    WaitReason.CONTROL_KNOWN: "ECTicket claims to know a random number, so its answers prove nothing.",
    WaitReason.CONTROL_DIFFERS: "ECTicket's answers differ, so they prove nothing.",
    WaitReason.PROBE_FAILED: "QueryIssueResult does not know numbers that should exist, so it proves nothing.",
    WaitReason.NO_KNOWN_NUMBER: "No number of the merchant is known to exist: set its known_trade_no.",
    WaitReason.QUERY_LIMIT_REACHED: "This run has made its queries; the next run continues.",
    WaitReason.ANOTHER_PART_IN_DOUBT: "It waits for another part of the order, which is in doubt.",
}


def _deferred_part(common: TimelineFact, deferred: DeferredPart, history: RecordHistory) -> TimelineFact:
    part, past = deferred.part, deferred.history
    is_reissued = part.reissue > 0 and history.not_before == history.first_seen
    refusal = past.refusal
    causes = [
        _WAIT_REASONS.get(deferred.reason, f"{deferred.reason.value.replace('_', ' ')}.".capitalize())
        if deferred.reason is not None
        else None,
        f"In doubt since {time_text(past.possibly_sent_since)}: {past.doubt.rstrip('.')}."
        if past.possibly_sent_since is not None and past.doubt is not None
        else None,
        f"Refused with RtnCode {refusal.code} ({refusal.message}). It is queried until the refusal is final."
        if refusal is not None
        else None,
        f"Envelopes rejected so far: {past.unaccepted}." if past.unaccepted else None,
        f"ECTicket allows no call before {time_text(past.retry_at)}." if past.retry_at is not None else None,
    ]
    stated = " ".join(filter(None, causes)) or "Not sent; the record names no cause."
    return replace(
        common,
        kind=FactKind.REISSUED if is_reissued else FactKind.DEFERRED,
        text=f"New number for a failed part, reissue {part.reissue}." if is_reissued else stated,
        trade_no=number_of(part.trade_no.value, part.trade_no.kind),
        part=part.number,
        parts=part.of,
        details={
            **common.details,
            "reissue": part.reissue,
            "waits_for": None if deferred.reason is None else deferred.reason.value,
            "first_attempt_at": time_text(past.first_attempt_at),
            "last_attempt_at": time_text(past.last_attempt_at),
            "in_doubt_since": time_text(past.possibly_sent_since),
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
            trade_no=number_of(each.part.trade_no.value, each.part.trade_no.kind),
            part=each.part.number,
            parts=each.part.of,
        )
        for each in _plan_parts(history)
    ]
    issuance, event = _issuance_of(record), read_published_event(record)
    if not facts and issuance is not None:
        number = number_of(issuance.trade_no, kind_of(issuance.trade_no_kind))
        facts = [replace(common, trade_no=number, part=issuance.part, parts=issuance.parts)]
    elif not facts and event is not None:
        facts = [replace(common, trade_no=event_number(event))]
    return RecordFacts(
        name=dead_letter.name,
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
    done = f"{counted(found.queries, 'query', 'queries')} so far" if found.queries else "no query yet"
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
    text = f"The ticket numbers are awaited, {counted(found.reports, 'report', 'reports')} read so far."
    order_record = str(found.order_record)
    return _waiting(record, found.issuance, FactKind.COLLECTING, text, details, found.not_before, order_record)


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
        trade_no=number_of(issuance.trade_no, kind_of(issuance.trade_no_kind)),
        part=issuance.part,
        parts=issuance.parts,
        not_before=not_before,
        replay_of=_replay_of(record),
        details=details,
    )
    return RecordFacts(
        name=name,
        facts=(fact,),
        merchant_id=issuance.merchant_id,
        order_id=issuance.order_id,
        order_record=order_record,
        ticket_trade_no=issuance.ticket_trade_no,
    )
