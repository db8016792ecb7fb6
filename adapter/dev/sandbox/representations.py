"""Orders, tickets and notifications as the operator sees them: JSON without customer data.

Tests and the page rely on these names and shapes.
"""

from __future__ import annotations

from datetime import date, datetime

from adapter.dev.sandbox.notification_queue import Delivery, Sent, State
from adapter.dev.sandbox.order_store import Key, StoredOrder, Ticket, tickets
from adapter.dev.sandbox.ticket_states import TicketStates
from adapter.protocol.order_detail import UseStatus
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.taipei import TAIPEI


def named(key: Key) -> dict[str, str]:
    """The identity of an order."""
    merchant_id, trade_no = key
    return {"merchant_id": merchant_id, "trade_no": trade_no.value, "trade_no_kind": trade_no.kind.value}


def describe_order(issuances: tuple[StoredOrder, ...], ticket_states: TicketStates, now: datetime) -> dict[str, object]:
    """One trade number with every issuance of it; the first issuance gives the details."""
    first = issuances[0]
    return {
        **named(first.key),
        "issue_type": first.request.issue_type.name.lower(),
        "items": [
            {"item_no": line.item_no, "name": line.name, "price": line.price, "quantity": line.quantity}
            for line in first.lines
        ],
        "ticket_count": sum(order.ticket_count for order in issuances),
        "amount": sum(order.amount for order in issuances),
        "times_issued": len(issuances),
        "status": first.status(now).name.lower(),
        "remark": first.remark(now),
        "use": _use_counts(issuances, ticket_states, now),
        "ticket_trade_no": first.ticket_trade_no,
        "received_at": first.received_at.isoformat(),
        "refund_notify_url": first.request.refund_notify_url,
        "use_status_notify_url": first.request.use_status_notify_url,
    }


def describe_tickets(
    issuances: tuple[StoredOrder, ...], ticket_states: TicketStates, now: datetime
) -> list[dict[str, object]]:
    """Every ticket of a trade number; none before they are issued."""
    today = now.astimezone(TAIPEI).date()
    return [
        _described_ticket(order, ticket, ticket_states, today)
        for order in _issued(issuances, now)
        for ticket in tickets(order)
    ]


def describe_delivery(delivery: Delivery) -> dict[str, object]:
    """One notification with every POST and answer."""
    notification = delivery.notification
    return {
        "number": delivery.number,
        "kind": notification.kind.value,
        **named((notification.merchant_id, notification.trade_no)),
        "ticket_no": notification.ticket_no,
        "url": notification.url,
        "data": dict(notification.data),
        "state": delivery.state.value,
        "created_at": delivery.created_at.isoformat(),
        "due_at": delivery.due.isoformat() if delivery.state is State.WAITING else None,
        "sent": [_described_sent(each) for each in delivery.sent],
    }


def _use_counts(issuances: tuple[StoredOrder, ...], ticket_states: TicketStates, now: datetime) -> dict[str, int]:
    today = now.astimezone(TAIPEI).date()
    tallies = [ticket_states.tally(order, today) for order in _issued(issuances, now)]
    return {status.value: sum(tally.counts.get(status, 0) for tally in tallies) for status in UseStatus}


def _issued(issuances: tuple[StoredOrder, ...], now: datetime) -> list[StoredOrder]:
    return [order for order in issuances if order.status(now) is IssueStatus.ISSUED]


def _described_ticket(
    order: StoredOrder, ticket: Ticket, ticket_states: TicketStates, today: date
) -> dict[str, object]:
    use = ticket_states.of(order, ticket)
    line = ticket.line
    return {
        "ticket_no": ticket.number,
        "write_off_no": ticket.redemption_code if line.item_no is None else None,
        "item_no": line.item_no,
        "name": line.name,
        "price": line.price,
        "ticket_type": line.ticket_type.name.lower(),
        "start_date": line.start_date.isoformat(),
        "expire_date": line.expire_date.isoformat() if line.expire_date else None,
        "use_status": ticket_states.status(order, ticket, today).value,
        "used_at": use.at.isoformat() if use else None,
    }


def _described_sent(sent: Sent) -> dict[str, object]:
    return {
        "attempt": sent.attempt,
        "copy": sent.copy,
        "at": sent.at.isoformat(),
        "tampered": sent.tampered,
        "answer": sent.verdict.name,
        "message": sent.verdict.message,
        "http_status": sent.verdict.http_status,
    }
