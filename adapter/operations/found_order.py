"""What a search has found about one order so far: its identity, its numbers and its facts.

Memory is bounded: of each kind, the newest facts are kept.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import datetime

from adapter.errors import InvalidOrder
from adapter.flows.messages.event_reader import PublishedEvent
from adapter.issuance.packing import MAX_CALLS
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.operations.dead_letter_view import DeadLetter
from adapter.operations.handled import handled_dead_letters
from adapter.operations.record_facts import RecordFacts
from adapter.operations.timeline import FactKind, TimelineFact
from adapter.operations.timeline_builder import FoundFacts
from adapter.protocol.issue import TradeNo

FACTS_KEPT = 2_000
"""Facts of each kind kept of one order, the newest ones: a day of deferrals every minute, and some more."""
OTHER_ORDERS_KEPT = 20

_Identity = tuple[str, str, str]
"""Record, kind and number of a fact."""
_Kept = tuple[datetime, _Identity, TimelineFact]


@dataclass(slots=True, kw_only=True)
class FoundOrder:
    """What was found about one order so far."""

    merchant_id: str | None
    order_id: str | None
    numbers: set[TradeNo] = field(default_factory=set)
    given_numbers: set[str] = field(default_factory=set)
    ticket_trade_nos: set[str] = field(default_factory=set)
    order_records: set[str] = field(default_factory=set)
    received_records: set[str] = field(default_factory=set)
    known_parts: set[int] = field(default_factory=set)
    parts: int = 0
    planned_reissue: int = 0
    failed_numbers: set[TradeNo] = field(default_factory=set)
    other_orders: set[str] = field(default_factory=set)
    """Other orders of the merchant that have one of this order's numbers."""
    received_at: datetime | None = None
    truncated: bool = False
    _facts: dict[FactKind, list[_Kept]] = field(default_factory=dict)
    _seen: set[_Identity] = field(default_factory=set)
    _events: dict[str, PublishedEvent] = field(default_factory=dict)
    _dead_letters: dict[str, DeadLetter] = field(default_factory=dict)

    def add(self, found: RecordFacts) -> None:
        """Add what one record shows; a record that is read again adds nothing."""
        self.merchant_id = self.merchant_id or found.merchant_id
        self.order_id = self.order_id or found.order_id
        if len(self.numbers) < FACTS_KEPT:
            self.numbers |= found.numbers
        for known, value in (
            (self.given_numbers, found.given_number),
            (self.ticket_trade_nos, found.ticket_trade_no),
            (self.order_records, found.order_record),
        ):
            if value is not None and len(known) < FACTS_KEPT:
                known.add(value)
        if found.event is not None and len(self._events) < FACTS_KEPT:
            self._events[found.name] = found.event
        if found.dead_letter is not None and len(self._dead_letters) < FACTS_KEPT:
            self._dead_letters[found.name] = found.dead_letter
        for fact in found.facts:
            self.parts = min(MAX_CALLS, max(self.parts, fact.parts or 0))
            if fact.trade_no is not None and fact.part is not None:
                self.known_parts.add(fact.part)
            if fact.kind is FactKind.RECEIVED:
                self.received_records.add(found.name)
                self.received_at = min(fact.at, self.received_at or fact.at)
            if fact.kind is FactKind.FAILED and fact.trade_no is not None:
                self.failed_numbers.add(fact.trade_no)
            reissue = fact.details.get("reissue")
            self.planned_reissue = max(self.planned_reissue, reissue if isinstance(reissue, int) else 0)
            self.keep(fact)

    def keep(self, fact: TimelineFact) -> None:
        """Keep the fact, and drop the oldest one of its kind beyond FACTS_KEPT."""
        number = "" if fact.trade_no is None else fact.trade_no.value
        identity = (fact.record or fact.at.isoformat(), fact.kind.value, number)
        if identity in self._seen:
            return
        self._seen.add(identity)
        kept = self._facts.setdefault(fact.kind, [])
        heapq.heappush(kept, (fact.at, identity, fact))
        if len(kept) > FACTS_KEPT:
            self._seen.discard(heapq.heappop(kept)[1])
            self.truncated = True

    def is_about(self, found: RecordFacts) -> bool:
        """Whether a record is about this order: by its id, its order record or one of its numbers."""
        same_merchant = None in (found.merchant_id, self.merchant_id) or found.merchant_id == self.merchant_id
        if not same_merchant:
            return False
        if found.order_id is not None and self.order_id is not None:
            return found.order_id == self.order_id
        if found.order_record is not None and found.order_record in self.order_records:
            return True
        if found.given_number is not None and found.given_number in {number.value for number in self.numbers}:
            return True
        return not self.numbers.isdisjoint(found.numbers) or _ticket_key(found) in self.ticket_trade_nos

    def note_other_order(self, found: RecordFacts) -> None:
        """Note the order of a record that has one of this order's numbers."""
        if None in (found.order_id, self.order_id) or found.order_id == self.order_id:
            return
        values = {number.value.upper() for number in self.numbers}
        has_room = len(self.other_orders) < OTHER_ORDERS_KEPT
        if (
            has_room
            and found.merchant_id == self.merchant_id
            and any(each.value.upper() in values for each in found.numbers)
        ):
            self.other_orders.add(found.order_id or "")

    @property
    def texts(self) -> frozenset[str]:
        """The texts of which a record about this order has at least one."""
        numbers = {number.value for number in self.numbers} | self.given_numbers
        ids = set() if self.order_id is None else {self.order_id}
        return frozenset(ids | numbers | self.ticket_trade_nos | self.order_records)

    def candidate_values(self, prefix: str) -> frozenset[str]:
        """The trade numbers that the order can have: named ones, and derived ones of each part."""
        values = {number.value for number in self.numbers} | self.given_numbers
        if self.merchant_id is not None and self.order_id is not None:
            reissues = min(MAX_CALLS, max(self.planned_reissue, len(self.failed_numbers)))
            values |= derived_numbers(
                self.merchant_id, self.order_id, parts=max(1, self.parts), reissues=reissues, prefix=prefix
            )
        return frozenset(values)

    @property
    def may_have_other_numbers(self) -> bool:
        """Whether a part lacks a record under the known numbers although it should have one.

        While the order's record can be read and no part has any record, the order waits.
        """
        lacks = len(self.known_parts) < max(1, self.parts)
        return lacks and (self.parts > 0 or self.received_at is None)

    def found_facts(self, *, unreadable: tuple[str, ...]) -> FoundFacts:
        """What was found, for its timeline; `unreadable` are the coordinates of what could not be read."""
        return FoundFacts(
            merchant_id=self.merchant_id,
            order_id=self.order_id,
            facts=tuple(fact for kept in self._facts.values() for _, _, fact in kept),
            handled=handled_dead_letters(self._dead_letters.values(), self._events.values()),
            truncated=self.truncated,
            other_orders=tuple(sorted(self.other_orders)),
            unreadable=unreadable,
        )


def _ticket_key(found: RecordFacts) -> str | None:
    """ECTicket's own number of a notification that names no other."""
    return found.ticket_trade_no if not found.numbers else None


def derived_numbers(merchant_id: str, order_id: str, *, parts: int, reissues: int, prefix: str) -> frozenset[str]:
    """The numbers that the parts of an order get if it brings none; empty if none can be derived from its id."""
    try:
        return frozenset(
            derive_trade_no(merchant_id, order_id, part, prefix=prefix, reissue=reissue)
            for part in range(1, parts + 1)
            for reissue in range(reissues + 1)
        )
    except InvalidOrder:
        return frozenset()
