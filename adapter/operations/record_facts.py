"""What one record shows about an order: its identity, its numbers, and facts for its timeline."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from adapter.flows.messages.event_reader import PublishedEvent
from adapter.flows.messages.events import rfc3339
from adapter.operations.dead_letter_view import DeadLetter
from adapter.operations.timeline import TimelineFact
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.rules import is_trade_no


class RecordFacts(Struct, frozen=True, kw_only=True):
    """What one record shows."""

    name: str
    """The record's coordinates."""
    facts: tuple[TimelineFact, ...]
    """At least one."""
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
    def at(self) -> datetime:
        """When the record was written."""
        return self.facts[0].at

    @property
    def numbers(self) -> frozenset[TradeNo]:
        """The trade numbers that the facts are about."""
        return frozenset(fact.trade_no for fact in self.facts if fact.trade_no is not None)

    def names_number(self, text: str) -> bool:
        """Whether the record is about this trade number, in any case of its letters."""
        wanted = text.upper()
        values = {number.value.upper() for number in self.numbers}
        return wanted in values or (self.given_number or "").upper() == wanted


def number_of(value: str, kind: TradeNoKind) -> TradeNo | None:
    """The number; None for a text that is none, which must not get into a command."""
    number = TradeNo(kind=kind, value=value)
    return number if is_trade_no(number) else None


def kind_of(name: object) -> TradeNoKind:
    """The kind of a number by its name in events and records."""
    return TradeNoKind.FREE if name == "free" else TradeNoKind.MERCHANT


def counted(count: object, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else many}"


def time_text(moment: datetime | None) -> str | None:
    """A time as JSON has it."""
    return None if moment is None else rfc3339(moment)
