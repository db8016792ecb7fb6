"""The states of tickets: redeemed or refunded, when, and how much of an order is left.

Only a used ticket is stored. All others follow from their line and the day: unused, or expired after a gift voucher's
last day. So memory is bounded by the number of tickets, and an untouched order costs nothing. A redemption or refund
cannot be undone: whether ECPay notifies that is unknown (docs/ecticket-protocol.md, 4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final

from adapter.dev.sandbox.order_store import StoredLine, StoredOrder, Ticket
from adapter.protocol.order_detail import UseStatus
from adapter.protocol.taipei import TAIPEI


@unique
class Act(StrEnum):
    """The operations on a ticket."""

    REDEEM = "redeem"
    REFUND = "refund"


STEPS: Final[Mapping[tuple[UseStatus, Act], UseStatus]] = MappingProxyType(
    {
        (UseStatus.UNUSED, Act.REDEEM): UseStatus.REDEEMED,
        (UseStatus.UNUSED, Act.REFUND): UseStatus.REFUNDED,
    }
)
"""The legal transitions: redeemed, refunded and expired are final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketUse:
    """The operation on one ticket, and its time."""

    status: UseStatus
    at: datetime
    line: StoredLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many tickets of an order are in each state, and their face value in NT$."""

    counts: Mapping[UseStatus, int]
    amounts: Mapping[UseStatus, int]


class TicketStates:
    """The used tickets of all orders."""

    def __init__(self) -> None:
        self._of_order: dict[int, dict[str, TicketUse]] = {}

    def of(self, order: StoredOrder, ticket: Ticket) -> TicketUse | None:
        """The operation on this ticket, if there was one."""
        return self._of_order.get(order.sequence, {}).get(ticket.number)

    def status(self, order: StoredOrder, ticket: Ticket, today: date) -> UseStatus:
        """The ticket's state on that day in Taipei."""
        use = self.of(order, ticket)
        return _untouched(ticket.line, today) if use is None else use.status

    def problem(self, act: Act, order: StoredOrder, ticket: Ticket, today: date) -> str | None:
        """Why the operation is impossible on that day, as a sentence; None if it is possible."""
        status = self.status(order, ticket, today)
        if (status, act) not in STEPS:
            return f"ticket {ticket.number} is {status}; only an unused one can be {_done(act)}"
        # StartDate: "Refers to the date from which the ticket can be used" (spec, Issue).
        if act is Act.REDEEM and today < ticket.line.start_date:
            return f"ticket {ticket.number} can only be used from {ticket.line.start_date} on"
        return None

    def record(self, act: Act, order: StoredOrder, ticket: Ticket, now: datetime) -> TicketUse:
        """Record the operation.

        Raises:
            ValueError: the transition is not legal; the caller has checked `problem` first.
        """
        problem = self.problem(act, order, ticket, now.astimezone(TAIPEI).date())
        if problem:
            raise ValueError(problem)
        use = TicketUse(status=STEPS[UseStatus.UNUSED, act], at=now, line=ticket.line)
        self._of_order.setdefault(order.sequence, {})[ticket.number] = use
        return use

    def tally(self, order: StoredOrder, today: date) -> Tally:
        """The order's tickets by state on that day."""
        counts, amounts = Counter[UseStatus](), Counter[UseStatus]()
        for status, line, quantity in self._moves(order, today):
            counts[status] += quantity
            amounts[status] += quantity * line.price
        return Tally(counts=counts, amounts=amounts)

    def _moves(self, order: StoredOrder, today: date) -> Iterable[tuple[UseStatus, StoredLine, int]]:
        """Every line in its initial state; then each used ticket moved from that state to its own."""
        for line in order.lines:
            yield _untouched(line, today), line, line.quantity
        for use in self._of_order.get(order.sequence, {}).values():
            yield _untouched(use.line, today), use.line, -1
            yield use.status, use.line, 1


def _untouched(line: StoredLine, today: date) -> UseStatus:
    return UseStatus.EXPIRED if line.expired(today) else UseStatus.UNUSED


def _done(act: Act) -> str:
    return STEPS[UseStatus.UNUSED, act].value
