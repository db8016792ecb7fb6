"""Redeems and refunds tickets for the operator, as a till and ECPay's back office would.

A redemption changes the ticket's state and queues the notifications that the order asked for. What is impossible is
declined with a sentence, and nothing is done. For all tickets of an order, every possible one is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from adapter.dev.sandbox.notification_queue import NotificationQueue
from adapter.dev.sandbox.notifications import OutgoingNotification, refund_notification, use_status_notification
from adapter.dev.sandbox.order_store import Key, OrderStore, StoredOrder, Ticket, tickets
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.dev.sandbox.ticket_states import Act, TicketStates
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.order_detail import UseStatus
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.taipei import TAIPEI

OrderTicket: TypeAlias = tuple[StoredOrder, Ticket]
"""A ticket and the order it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The tickets that were used, and the number of notifications queued for them."""

    ticket_nos: tuple[str, ...]
    notifications: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """Nothing was done, and why; `unknown` if there is no such order or ticket."""

    message: str
    unknown: bool = False


class Redemptions:
    """Redeems and refunds."""

    def __init__(
        self, settings: SandboxSettings, store: OrderStore, ticket_states: TicketStates, queue: NotificationQueue
    ) -> None:
        self._settings = settings
        self._store = store
        self._ticket_states = ticket_states
        self._queue = queue

    def find(self, merchant_id: str, trade_no: str, kind: TradeNoKind | None = None) -> Key | None:
        """The key of an order; without a kind, MerchantTradeNo is tried before FreeTradeNo."""
        kinds = TradeNoKind if kind is None else (kind,)
        keys = ((merchant_id, TradeNo(kind=each, value=trade_no)) for each in kinds)
        return next((key for key in keys if self._store.knows(key)), None)

    def carry_out(self, act: Act, key: Key, ticket_no: str | None, now: datetime) -> Done | Declined:
        """Use one ticket, named by its TicketNo or WriteOffNo, or (None) every usable one of the order."""
        issued = [order for order in self._store.issuances(key) if order.status(now) is IssueStatus.ISSUED]
        if not issued:
            return Declined(message=f"order {key[1].value} has no tickets: they are not issued")
        named = [
            pair for pair in _order_tickets(issued) if ticket_no in (None, pair[1].number, pair[1].redemption_code)
        ]
        if not named:
            return Declined(message=f"order {key[1].value} has no ticket {ticket_no}", unknown=True)
        today = now.astimezone(TAIPEI).date()
        problems = [self._ticket_states.problem(act, *pair, today) for pair in named]
        possible = [pair for pair, problem in zip(named, problems, strict=True) if problem is None]
        if not possible:
            return Declined(message=next(problem for problem in problems if problem is not None))
        # One notification for each ticket, and one for each issuance's money.
        if len(possible) + len(issued) > self._queue.room:
            return Declined(message="the sandbox holds as many unanswered notifications as it may")
        return self._use(act, possible, now)

    def _use(self, act: Act, order_tickets: Sequence[OrderTicket], now: datetime) -> Done:
        statuses = [self._ticket_states.record(act, order, ticket, now).status for order, ticket in order_tickets]
        changes = [
            use_status_notification(order, ticket, status)
            for (order, ticket), status in zip(order_tickets, statuses, strict=True)
        ]
        refunds = self._refunds(order_tickets, now) if act is Act.REFUND else ()
        notifications = [notification for notification in (*changes, *refunds) if notification is not None]
        for notification in notifications:
            self._queue.add(notification, now)
        return Done(ticket_nos=tuple(ticket.number for _, ticket in order_tickets), notifications=len(notifications))

    def _refunds(self, order_tickets: Sequence[OrderTicket], now: datetime) -> Iterator[OutgoingNotification | None]:
        """One for each issuance; a number has several only if the server accepted repeats."""
        today = now.astimezone(TAIPEI).date()
        orders = {order.sequence: order for order, _ in order_tickets}
        for order in orders.values():
            yield refund_notification(
                order,
                amount=sum(ticket.line.price for each, ticket in order_tickets if each is order),
                total=self._ticket_states.tally(order, today).amounts[UseStatus.REFUNDED],
                extra_fields=self._settings.notify_extra_fields,
            )


def _order_tickets(orders: Sequence[StoredOrder]) -> Iterator[OrderTicket]:
    return ((order, ticket) for order in orders for ticket in tickets(order))
