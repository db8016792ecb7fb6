"""Finds everything that the topics show about one order, by its id or by a trade number, and builds its timeline.

Reads as little as possible. Events and confirmations are keyed by trade number, so only the partitions of the order's
numbers are read, from an hour before the order's record on. The shop chooses the keys of orders, and dead letters can
lose theirs, so all partitions of these topics are read from the beginning of the search. The numbers of an order are
those that its records name and those that are derived from it. If they are not known, all partitions of the events are
read. Memory is bounded by what is kept of one order, whatever the length of the topics.

Does not decide what the facts mean: `timeline` does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from adapter.errors import CallError, InvalidOrder
from adapter.flows.messages.event_reader import PublishedEvent
from adapter.flows.messages.events import issuance_key
from adapter.flows.messages.record_history import read_coordinates
from adapter.flows.ports import Ecticket, Merchants, Topics
from adapter.issuance.packing import MAX_CALLS
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.operations.dead_letter_view import DeadLetter
from adapter.operations.handled import handled_dead_letters
from adapter.operations.order_facts import RecordFacts, read_facts, received
from adapter.operations.ports import Counting, KeyedTopicReader, no_counting
from adapter.operations.timeline import RTN_OK, FactKind, OrderTimeline, TimelineFact, build_timeline
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo
from adapter.protocol.query_issue_result import ResultReply
from adapter.provider.client import Purpose
from adapter.stream.records import Record

FACTS_KEPT = 2_000
"""Facts of each kind kept of one order, the newest ones: a day of deferrals every minute, and some more."""
ORDER_RECORDS_READ = 20
"""Order records that are read one by one, because other records name them."""
EARLIER = timedelta(hours=1)
"""How much earlier than the order's record its events can seem to be: clocks of the shop and the brokers differ."""
_Partitions = Mapping[str, frozenset[int]]


class OrderNotFound(Exception):
    """No record that was read is about the order id or trade number; the message says where it was searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainRequest:
    """What is to be explained."""

    which: str
    """An order id, or a trade number."""
    since: datetime | None = None
    """Only records from this time on; None reads all that the topics keep."""
    ask: bool = False
    """Query ECTicket about each trade number too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOperation:
    """Explains orders from one cluster's topics."""

    reader: KeyedTopicReader
    topics: Topics
    merchants: Merchants
    trade_no_prefix: str
    """`submit.trade_no_prefix`, with which numbers are derived."""
    open_ecticket: Callable[[], AbstractAsyncContextManager[Ecticket]]
    counting: Counting = no_counting
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def run(self, request: ExplainRequest) -> tuple[OrderTimeline, ...]:
        """The timeline of each order that has the id or the number: of one order, unless two share it.

        Raises OrderNotFound, TopicsMissing, BrokerUnavailable and StreamError.
        """
        search = _Search(self, request)
        await search.run()
        if not search.orders:
            raise OrderNotFound(_not_found(request))
        if request.ask:
            await self._ask(search.orders.values())
        return tuple(each.timeline() for each in search.orders.values())

    async def _ask(self, orders: Iterable[_FoundOrder]) -> None:
        async with self.open_ecticket() as ecticket:
            for order in orders:
                merchant = self.merchants.find(order.merchant_id or "")
                for number in sorted(order.numbers, key=lambda each: each.value):
                    order.keep(await self._answer(ecticket, merchant, number))

    async def _answer(self, ecticket: Ecticket, merchant: Merchant | None, number: TradeNo) -> TimelineFact:
        def fact(text: str, **details: object) -> TimelineFact:
            return TimelineFact(
                at=self.now(), kind=FactKind.ANSWER, record=None, text=text, trade_no=number, details=details
            )

        if merchant is None:
            return fact("ECTicket was not queried: the merchant has no keys here.")
        try:
            reply = await ecticket.query(merchant, number, purpose=Purpose.CONFIRM)
        except CallError as error:
            return fact(f"ECTicket could not be queried: {error}")
        status = None if reply.status is None else reply.status.name.lower()
        return fact(
            _answer_text(reply, status),
            rtn_code=reply.rtn_code,
            rtn_msg=reply.rtn_msg,
            status=status,
            remark=reply.remark,
        )


def _answer_text(reply: ResultReply, status: str | None) -> str:
    if reply.rtn_code == RTN_OK:
        return f"ECTicket knows the number: {(status or 'without a status').replace('_', ' ')}."
    return (
        f"ECTicket answers RtnCode {reply.rtn_code} ({reply.rtn_msg}). "
        "One such answer does not prove that the number is unknown there."
    )


def _not_found(request: ExplainRequest) -> str:
    since = "" if request.since is None else f" from {request.since.isoformat(timespec='seconds')} on"
    return (
        f"No record{since} is about an order or a trade number {request.which!r}; check its spelling, give an earlier "
        "--since, or look it up with: ecticket-adapter query TRADE_NO"
    )


# --- one order --------------------------------------------------------------------------------------------------------


_Identity = tuple[str, str, str]
"""Record, kind and number of a fact."""
_Kept = tuple[datetime, _Identity, TimelineFact]


@dataclass(slots=True, kw_only=True)
class _FoundOrder:
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

    def timeline(self) -> OrderTimeline:
        """The timeline of what was found."""
        handled = handled_dead_letters(self._dead_letters.values(), self._events.values())
        return build_timeline(
            (fact for kept in self._facts.values() for _, _, fact in kept),
            merchant_id=self.merchant_id,
            order_id=self.order_id,
            handled=handled,
            truncated=self.truncated,
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


# --- the search -------------------------------------------------------------------------------------------------------


class _Search:
    """One search: the orders found, and the steps that find them."""

    def __init__(self, operation: ExplainOperation, request: ExplainRequest) -> None:
        self.orders: dict[tuple[str | None, str | None], _FoundOrder] = {}
        self._operation = operation
        self._topics = operation.topics
        self._reader = operation.reader
        self._which = request.which
        self._since = request.since
        self._needles = _needles(self._which, ())
        ids = operation.merchants.ids
        self._only_merchant = ids[0] if len(ids) == 1 else None

    async def run(self) -> None:
        """Find the order, then everything about it."""
        await self._read(await self._reader.partitions_of({self._topics.issuances: self._first_keys()}))
        topics = self._topics
        wide: Mapping[str, None] = dict.fromkeys((topics.orders_paid, topics.orders_deferred, topics.dead_letters))
        everywhere = await self._reader.partitions_of(wide)
        known = len(self.orders)
        await self._read(everywhere)
        if len(self.orders) > known and any(order.order_id != self._which for order in self.orders.values()):
            # A number led to the order; its other records name only the order id.
            await self._read(everywhere)
        await self._read_keyed()
        if not self.orders or any(order.may_have_other_numbers for order in self.orders.values()):
            # Numbers that the shop gave, of an order whose record is gone or has a format of its own.
            await self._read(await self._reader.partitions_of({topics.issuances: None}), since=self._order_since())
            await self._read_keyed()
        if not self.orders:
            # An issuance that another program made: only notifications and differences name it.
            names = dict.fromkeys((topics.tickets, topics.reconciliations), self._first_keys())
            await self._read(await self._reader.partitions_of(names))
        await self._read_by_number()
        await self._read_order_records()

    def _first_keys(self) -> frozenset[bytes]:
        """The keys under which events about the order or the number can be, for every merchant."""
        ids = self._operation.merchants.ids
        prefix = self._operation.trade_no_prefix
        derived = {
            issuance_key(merchant_id, number)
            for merchant_id in ids
            for number in derived_numbers(merchant_id, self._which, parts=1, reissues=0, prefix=prefix)
        }
        return _encoded({self._which, *(issuance_key(each, self._which) for each in ids), *derived})

    async def _read_keyed(self) -> None:
        """Read events and confirmations by the order's numbers, until no further number is found."""
        done: dict[str, frozenset[int]] = {}
        while self.orders:
            keys = self._keys()
            merchants = _encoded(order.merchant_id for order in self.orders.values() if order.merchant_id is not None)
            order_ids = _encoded(order.order_id for order in self.orders.values() if order.order_id is not None)
            found = await self._reader.partitions_of(
                {self._topics.issuances: keys | order_ids, self._topics.confirmations: keys | merchants}
            )
            new = {topic: each - done.get(topic, frozenset()) for topic, each in found.items()}
            if not any(new.values()):
                return
            await self._read(new, since=self._order_since())
            done = {topic: done.get(topic, frozenset()) | each for topic, each in found.items()}

    async def _read_by_number(self) -> None:
        """Read what names no order: notifications and differences, and collected tickets."""
        topics = self._topics
        keys = self._keys() | _encoded(
            issuance_key(order.merchant_id, number)
            for order in self.orders.values()
            if order.merchant_id is not None
            for number in order.ticket_trade_nos
        )
        if keys:
            names = dict.fromkeys((topics.tickets, topics.collected, topics.reconciliations), keys)
            await self._read(await self._reader.partitions_of(names), since=self._order_since())

    async def _read_order_records(self) -> None:
        """Read the order's records that other records name and that were not found: older ones, or in another format.

        A record of another order is left out: the topic was recreated, or the coordinates were written by another
        program.
        """
        for order in self.orders.values():
            for name in sorted(order.order_records - order.received_records)[:ORDER_RECORDS_READ]:
                origin = read_coordinates(name)
                if origin is None or origin.topic != self._topics.orders_paid:
                    continue
                record = await self._reader.read_one(origin.topic, origin.partition, origin.offset)
                if record is None:
                    continue
                found = read_facts(record, self._topics, only_merchant=self._only_merchant)
                if found is None:
                    order.add(received(record))
                elif order.is_about(found):
                    order.add(found)

    def _keys(self) -> frozenset[bytes]:
        prefix = self._operation.trade_no_prefix
        return _encoded(
            issuance_key(order.merchant_id, value)
            for order in self.orders.values()
            if order.merchant_id is not None
            for value in order.candidate_values(prefix)
        )

    def _order_since(self) -> datetime | None:
        """Since when there can be records about the orders; as the search if an order's record is gone."""
        begins = [order.received_at for order in self.orders.values()]
        known = [begin for begin in begins if begin is not None]
        if not known or len(known) < len(begins):
            return self._since
        begin = min(known) - EARLIER
        return begin if self._since is None else max(self._since, begin)

    async def _read(self, partitions: _Partitions, *, since: datetime | None = None) -> None:
        """Read these partitions and add what is about the order."""
        since = since or self._since
        with self._operation.counting(" and ".join(sorted(partitions))) as count:
            async with aclosing(self._reader.read_partitions(partitions, since=since)) as records:
                async for record in records:
                    count()
                    if not self._may_concern(record):
                        continue
                    found = read_facts(record, self._topics, only_merchant=self._only_merchant)
                    if found is not None:
                        self._take(found)

    def _may_concern(self, record: Record) -> bool:
        """Whether a record can be about the order; cheap, and a False is always right.

        JSON can write any character as an escape, and a CloudEvent its data in base 64.
        """
        values = (record.key, record.value, *(value for _, value in record.headers))
        content = b"\0".join(filter(None, values)).upper()
        return b"\\" in content or b"DATA_BASE64" in content or any(text in content for text in self._needles)

    def _take(self, found: RecordFacts) -> None:
        about = [order for order in self.orders.values() if order.is_about(found)]
        if not about and (found.order_id == self._which or found.names_number(self._which)):
            order = _FoundOrder(merchant_id=found.merchant_id, order_id=found.order_id)
            self.orders[found.merchant_id, found.order_id] = order
            about = [order]
        for order in about:
            before = order.texts
            order.add(found)
            if order.texts != before:
                self._needles = _needles(self._which, self.orders.values())


def _needles(which: str, orders: Iterable[_FoundOrder]) -> frozenset[bytes]:
    """The texts of which a record about an order has at least one, in upper case: ids can differ in case."""
    texts = {which}.union(*(order.texts for order in orders))
    return frozenset(text.encode("utf-8", "replace").upper() for text in texts)


def _encoded(keys: Iterable[str]) -> frozenset[bytes]:
    return frozenset(key.encode("utf-8", "replace") for key in keys)
