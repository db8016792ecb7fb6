"""Where the operator redeems and refunds tickets, as a till and ECPay's back office would.

Puts books, uses and outbox together: a ticket that exists is used, and whoever asked to be told is told. What cannot
be done is declined in a sentence, with nothing done; of all tickets of an order, those are used that can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.order_detail import UseStatus
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.taipei import TAIPEI
from adapter.sandbox.books import BookedOrder, Books, Key, Ticket, tickets
from adapter.sandbox.notifications import Notification, refund_notification, use_status_notification
from adapter.sandbox.outbox import Outbox
from adapter.sandbox.settings import SandboxSettings
from adapter.sandbox.uses import Act, Uses

Held: TypeAlias = tuple[BookedOrder, Ticket]
"""A ticket and the order it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The tickets that were used, and how many notifications tell of it."""

    ticket_nos: tuple[str, ...]
    notifications: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """Nothing was done, and why; `unknown` when there is no such order or ticket at all."""

    message: str
    unknown: bool = False


class BoxOffice:
    """Redeems and refunds."""

    def __init__(self, settings: SandboxSettings, books: Books, uses: Uses, outbox: Outbox) -> None:
        self._settings = settings
        self._books = books
        self._uses = uses
        self._outbox = outbox

    def find(self, merchant_id: str, trade_no: str, kind: TradeNoKind | None = None) -> Key | None:
        """The order of that number; without a kind, of MerchantTradeNo before FreeTradeNo."""
        kinds = TradeNoKind if kind is None else (kind,)
        keys = ((merchant_id, TradeNo(kind=each, value=trade_no)) for each in kinds)
        return next((key for key in keys if self._books.knows(key)), None)

    def carry_out(self, act: Act, key: Key, ticket_no: str | None, now: datetime) -> Done | Declined:
        """Use one ticket, named by its TicketNo or WriteOffNo, or (None) every one of the order that can be used."""
        issued = [order for order in self._books.issuances(key) if order.status(now) is IssueStatus.ISSUED]
        if not issued:
            return Declined(message=f"order {key[1].value} has no tickets: they are not issued")
        named = [held for held in _held(issued) if ticket_no in (None, held[1].number, held[1].redemption_code)]
        if not named:
            return Declined(message=f"order {key[1].value} has no ticket {ticket_no}", unknown=True)
        today = now.astimezone(TAIPEI).date()
        problems = [self._uses.problem(act, *held, today) for held in named]
        possible = [held for held, problem in zip(named, problems, strict=True) if problem is None]
        if not possible:
            return Declined(message=next(problem for problem in problems if problem is not None))
        # Each ticket is told once, and each issuance's money once.
        if len(possible) + len(issued) > self._outbox.room:
            return Declined(message="as many notifications wait to be answered as the sandbox may hold")
        return self._use(act, possible, now)

    def _use(self, act: Act, held: Sequence[Held], now: datetime) -> Done:
        statuses = [self._uses.note(act, order, ticket, now).status for order, ticket in held]
        changes = [
            use_status_notification(order, ticket, status)
            for (order, ticket), status in zip(held, statuses, strict=True)
        ]
        refunds = self._refunds(held, now) if act is Act.REFUND else ()
        told = [notification for notification in (*changes, *refunds) if notification is not None]
        for notification in told:
            self._outbox.add(notification, now)
        return Done(ticket_nos=tuple(ticket.number for _, ticket in held), notifications=len(told))

    def _refunds(self, held: Sequence[Held], now: datetime) -> Iterator[Notification | None]:
        """One for each issuance; a number has several only where the server accepted repeats."""
        today = now.astimezone(TAIPEI).date()
        orders = {order.sequence: order for order, _ in held}
        for order in orders.values():
            yield refund_notification(
                order,
                amount=sum(ticket.line.price for each, ticket in held if each is order),
                total=self._uses.tally(order, today).amounts[UseStatus.REFUNDED],
                extra_fields=self._settings.notify_extra_fields,
            )


def _held(orders: Sequence[BookedOrder]) -> Iterator[Held]:
    return ((order, ticket) for order in orders for ticket in tickets(order))
