"""Reads what a published event shows about an order. Copies only named fields; pure and lenient, like `order_facts`."""

from __future__ import annotations

from collections.abc import Mapping

from adapter.flows.messages.event_reader import PublishedEvent, read_published_event
from adapter.flows.messages.events import record_origin
from adapter.operations.record_facts import RecordFacts, counted, kind_of, number_of
from adapter.operations.timeline import FactKind, TimelineFact
from adapter.protocol.issue import TradeNo
from adapter.stream.records import Record
from adapter.values import replace

SHOWN: Mapping[str, tuple[str, ...]] = {
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


def event_facts(record: Record) -> RecordFacts | None:
    """What an event shows; None for a record that is no event about an order."""
    event = read_published_event(record)
    if event is None or event.name not in SHOWN:
        return None
    data = event.data
    details = {name: data.get(name) for name in SHOWN[event.name]}
    name = str(record_origin(record))
    fact = TimelineFact(
        at=record.timestamp,
        kind=FactKind(event.name),
        record=name,
        text=_event_text(event.name, details),
        order_id=event.order_id,
        trade_no=event_number(event),
        part=_count(data.get("part")),
        parts=_count(data.get("parts")),
        reason=_word(details.get("reason")),
        stage=_word(details.get("stage")),
        details=details,
    )
    return RecordFacts(
        name=name,
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
    queries = counted(shown.get("queries"), "query", "queries")
    tickets = counted(shown.get("ticket_count"), "ticket", "tickets")
    meanings = " or ".join(map(str, meant)) if isinstance(meant := shown.get("may_mean"), list) and meant else "unknown"
    texts = {
        "submitted": f"ECTicket accepted the issuance of {tickets}.{recovered}",
        "issued": f"The tickets exist: {tickets}, after {queries}.",
        "failed": " ".join(filter(None, ("No tickets exist.", refusal, remark))),
        "delayed": f"ECTicket's job takes long: {queries} so far.",
        "skipped": f"A plugin decided that the order gets no tickets: {shown.get('reason')}.",
        "parked": f"The event about a dead letter, reason {shown.get('reason')}.",
        "collected": f"Ticket numbers were published: {tickets}.",
        "status-changed": f"ECPay reports UseStatus {shown.get('use_status')} of a ticket: {meanings}.",
        "refunded": f"ECPay reports a refund of NT$ {shown.get('refund_amount')} "
        f"(in all NT$ {shown.get('total_refund_amount')} of NT$ {shown.get('trade_amount')}).",
        "difference": f"{shown.get('message')}",
    }
    return texts[name]


def event_number(event: PublishedEvent) -> TradeNo | None:
    """The trade number of an event."""
    return None if event.trade_no is None else number_of(event.trade_no, kind_of(event.data.get("trade_no_kind")))


def _count(found: object) -> int | None:
    return found if isinstance(found, int) else None


def _word(found: object) -> str | None:
    return found if isinstance(found, str) else None
