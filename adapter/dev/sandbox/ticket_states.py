"""What became of tickets: redeemed or refunded, when, and how much of an order is left.

Only a ticket that was used is remembered. All others follow from their line and the day: unused, or expired where a
gift voucher's last day is past. So the memory is bounded by the tickets of the books, and an order nobody touches costs
nothing. Taking a redemption or a refund back is not offered: whether ECPay tells of it is unknown (fact sheet 4).
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
    """What can be done with a ticket at the till."""

    REDEEM = "redeem"
    REFUND = "refund"


STEPS: Final[Mapping[tuple[UseStatus, Act], UseStatus]] = MappingProxyType(
    {
        (UseStatus.UNUSED, Act.REDEEM): UseStatus.REDEEMED,
        (UseStatus.UNUSED, Act.REFUND): UseStatus.REFUNDED,
    }
)
"""The legal steps: what is redeemed, refunded or expired stays so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketUse:
    """What was done with one ticket, and when."""

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
        """What was done with this ticket, if anything was."""
        return self._of_order.get(order.sequence, {}).get(ticket.number)

    def status(self, order: StoredOrder, ticket: Ticket, today: date) -> UseStatus:
        """The ticket's state on that day of Taipei's."""
        use = self.of(order, ticket)
        return _untouched(ticket.line, today) if use is None else use.status

    def problem(self, act: Act, order: StoredOrder, ticket: Ticket, today: date) -> str | None:
        """Why this cannot be done with the ticket on that day, in a sentence; None when it can."""
        status = self.status(order, ticket, today)
        if (status, act) not in STEPS:
            return f"ticket {ticket.number} is {status}; only an unused one can be {_done(act)}"
        # StartDate: "Refers to the date from which the ticket can be used" (spec, Issue).
        if act is Act.REDEEM and today < ticket.line.start_date:
            return f"ticket {ticket.number} can be used from {ticket.line.start_date} on, and not before"
        return None

    def note(self, act: Act, order: StoredOrder, ticket: Ticket, now: datetime) -> TicketUse:
        """Do it.

        Raises:
            ValueError: the step is not legal; whoever asks for it has looked at `problem` first.
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
        """Every line in its untouched state; then each used ticket out of that state and into its own."""
        for line in order.lines:
            yield _untouched(line, today), line, line.quantity
        for use in self._of_order.get(order.sequence, {}).values():
            yield _untouched(use.line, today), use.line, -1
            yield use.status, use.line, 1


def _untouched(line: StoredLine, today: date) -> UseStatus:
    return UseStatus.EXPIRED if line.expired(today) else UseStatus.UNUSED


def _done(act: Act) -> str:
    return STEPS[UseStatus.UNUSED, act].value
