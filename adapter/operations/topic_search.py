"""Searches the topics for everything about one order, by its id or by a trade number.

Reads as little as possible. Events and confirmations are keyed by trade number, so only the partitions of the order's
numbers are read, from a day before the order's record on. The shop chooses the keys of orders, and dead letters can
lose theirs, so all partitions of these topics are read from the beginning of the search. The numbers of an order are
those that its records name and those that are derived from it. If they are not known, all partitions of the events are
read. Memory is bounded by what is kept of one order, whatever the length of the topics.

Other tasks of the event loop run after `BUSY_SECONDS` of work at the latest, and between the batches that are fetched.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec import Struct

from adapter.flows.messages.events import issuance_key
from adapter.flows.messages.record_history import read_coordinates
from adapter.flows.number_history import NumberHistory
from adapter.flows.ports import Merchants, Topics
from adapter.operations.found_order import FoundOrder, derived_numbers
from adapter.operations.order_facts import read_facts, received
from adapter.operations.ports import KeyedTopicReader, Progress
from adapter.operations.record_facts import RecordFacts
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.rules import is_trade_no
from adapter.stream.port import UnreadableBatch
from adapter.stream.records import Record

BUSY_SECONDS = 0.005
"""How long records are looked at before other tasks run."""
ORDER_RECORDS_READ = 20
"""Order records that are read one by one, because other records name them."""
EARLIER = timedelta(days=1)
"""How much earlier than the order's record its events can seem to be: a shop may write its local time as UTC."""
KNOWN_NUMBERS = 12
"""Events of each merchant that are taken into the history of numbers, besides those of the order."""
UNREADABLE_KEPT = 20
"""Batches that cannot be read, as far as they are named."""
_Partitions = Mapping[str, frozenset[int]]


class OrderTopics(Struct, frozen=True, kw_only=True):
    """The topics that are searched, and what leads from an order to its records."""

    reader: KeyedTopicReader
    names: Topics
    merchants: Merchants
    trade_no_prefix: str
    """`submit.trade_no_prefix`, with which numbers are derived."""


@dataclass(slots=True, kw_only=True)
class TopicSearch:
    """One search, and what it has found."""

    topics: OrderTopics
    which: str
    since: datetime | None
    """Only records from this time on; None reads all that the topics keep."""
    progress: Progress
    history: NumberHistory | None = None
    """Learns which numbers should exist, and who owns those of the order."""
    orders: dict[tuple[str | None, str | None], FoundOrder] = field(default_factory=dict)
    unreadable: list[UnreadableBatch] = field(default_factory=list)
    """Batches that were left out because they cannot be read; the first ones."""
    _needles: frozenset[bytes] = frozenset()
    _known_numbers: dict[bytes, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Find the order, then everything about it. Raises TopicsMissing, BrokerUnavailable and StreamError."""
        self._needles = _needles(self.which, ())
        names, reader = self.topics.names, self.topics.reader
        if any(is_trade_no(TradeNo(kind=kind, value=self.which)) for kind in TradeNoKind):
            await self._read(await reader.partitions_of({names.issuances: self._number_keys()}))
        wide: Mapping[str, None] = dict.fromkeys((names.orders_paid, names.orders_deferred, names.dead_letters))
        everywhere = await reader.partitions_of(wide)
        known = len(self.orders)
        await self._read(everywhere)
        if len(self.orders) > known and any(order.order_id != self.which for order in self.orders.values()):
            # A number led to the order; its other records name only the order id.
            await self._read(everywhere)
        if not self.orders:
            # The order's record is gone; its events may be there, under its id or the numbers that it gets.
            await self._read(await reader.partitions_of({names.issuances: self._derived_keys()}))
        await self._read_keyed()
        if not self.orders or any(order.may_have_other_numbers for order in self.orders.values()):
            # Numbers that the shop gave, of an order whose record is gone or has a format of its own.
            await self._read(await reader.partitions_of({names.issuances: None}), since=self._order_since())
            await self._read_keyed()
        if not self.orders:
            # An issuance that another program made: only notifications and differences name it.
            by_number = dict.fromkeys((names.tickets, names.reconciliations), self._number_keys())
            await self._read(await reader.partitions_of(by_number))
        await self._read_by_number()
        await self._read_order_records()

    def _number_keys(self) -> frozenset[bytes]:
        """The keys of records about the trade number that is searched, for every merchant."""
        return _encoded(issuance_key(each, self.which) for each in self.topics.merchants.ids)

    def _derived_keys(self) -> frozenset[bytes]:
        """The keys of events about the order id that is searched, for every merchant."""
        ids, prefix = self.topics.merchants.ids, self.topics.trade_no_prefix
        derived = {
            issuance_key(merchant_id, number)
            for merchant_id in ids
            for number in derived_numbers(merchant_id, self.which, parts=1, reissues=0, prefix=prefix)
        }
        return _encoded({self.which, *derived})

    async def _read_keyed(self) -> None:
        """Read events and confirmations by the order's numbers, until no further number is found."""
        names = self.topics.names
        done: dict[str, frozenset[int]] = {}
        while self.orders:
            keys = self._keys()
            merchants = _encoded(order.merchant_id for order in self.orders.values() if order.merchant_id is not None)
            order_ids = _encoded(order.order_id for order in self.orders.values() if order.order_id is not None)
            found = await self.topics.reader.partitions_of(
                {names.issuances: keys | order_ids, names.confirmations: keys | merchants}
            )
            new = {topic: each - done.get(topic, frozenset()) for topic, each in found.items()}
            if not any(new.values()):
                return
            await self._read(new, since=self._order_since())
            done = {topic: done.get(topic, frozenset()) | each for topic, each in found.items()}

    async def _read_by_number(self) -> None:
        """Read what names no order: notifications and differences, and collected tickets."""
        names = self.topics.names
        keys = self._keys() | _encoded(
            issuance_key(order.merchant_id, number)
            for order in self.orders.values()
            if order.merchant_id is not None
            for number in order.ticket_trade_nos
        )
        if keys:
            by_number = dict.fromkeys((names.tickets, names.collected, names.reconciliations), keys)
            await self._read(await self.topics.reader.partitions_of(by_number), since=self._order_since())

    async def _read_order_records(self) -> None:
        """Read the order's records that other records name and that were not found: older ones, or in another format.

        A record of another order is left out: the topic was recreated, or the coordinates were written by another
        program.
        """
        names = self.topics.names
        for order in self.orders.values():
            for name in sorted(order.order_records - order.received_records)[:ORDER_RECORDS_READ]:
                origin = read_coordinates(name)
                if origin is None or origin.topic != names.orders_paid:
                    continue
                record = await self.topics.reader.read_one(origin.topic, origin.partition, origin.offset)
                if record is None:
                    continue
                found = self._facts(record)
                if found is None:
                    order.add(received(record))
                elif order.is_about(found):
                    order.add(found)

    def _keys(self) -> frozenset[bytes]:
        return _encoded(
            issuance_key(order.merchant_id, value)
            for order in self.orders.values()
            if order.merchant_id is not None
            for value in order.candidate_values(self.topics.trade_no_prefix)
        )

    def _order_since(self) -> datetime | None:
        """Since when there can be records about the orders; as the search if an order's record is gone."""
        begins = [order.received_at for order in self.orders.values()]
        known = [begin for begin in begins if begin is not None]
        if not known or len(known) < len(begins):
            return self.since
        begin = min(known) - EARLIER
        return begin if self.since is None else max(self.since, begin)

    async def _read(self, partitions: _Partitions, *, since: datetime | None = None) -> None:
        """Read these partitions and add what is about the order."""
        what = " and ".join(sorted(topic for topic, numbers in partitions.items() if numbers))
        records = self.topics.reader.read_partitions(
            partitions,
            since=since or self.since,
            on_progress=lambda done, total: self.progress(what, done, total),
            on_unreadable=self._leave_out,
        )
        busy_since = time.monotonic()
        async with aclosing(records):
            async for record in records:
                if time.monotonic() - busy_since > BUSY_SECONDS:
                    await asyncio.sleep(0)
                    busy_since = time.monotonic()
                concerns = self._may_concern(record)
                if self.history is not None and record.topic == self.topics.names.issuances:
                    self._learn_number(self.history, record, concerns)
                if concerns and (found := self._facts(record)) is not None:
                    self._take(found)

    def _learn_number(self, history: NumberHistory, record: Record, concerns: bool) -> None:
        merchant = (record.key or b"").partition(b"/")[0]
        count = self._known_numbers.get(merchant, 0)
        if concerns or (merchant.decode("utf-8", "replace") in self.topics.merchants.ids and count < KNOWN_NUMBERS):
            self._known_numbers[merchant] = count + 1
            history.take(record)

    def _facts(self, record: Record) -> RecordFacts | None:
        ids = self.topics.merchants.ids
        return read_facts(record, self.topics.names, only_merchant=ids[0] if len(ids) == 1 else None)

    def _leave_out(self, batch: UnreadableBatch) -> None:
        known = {(each.partition, each.first) for each in self.unreadable}
        if len(known) < UNREADABLE_KEPT and (batch.partition, batch.first) not in known:
            self.unreadable.append(batch)

    def _may_concern(self, record: Record) -> bool:
        """Whether a record can be about the order; cheap, and a False is always right.

        A CloudEvent can have its data in base 64, and JSON can write any character of ASCII as an escape.
        """
        values = (record.key, record.value, *(value for _, value in record.headers))
        content = b"\0".join(filter(None, values)).upper()
        return any(text in content for text in self._needles) or any(text in content for text in _HIDING)

    def _take(self, found: RecordFacts) -> None:
        for order in self.orders.values():
            order.note_other_order(found)
        about = [order for order in self.orders.values() if order.is_about(found)]
        if not about and (found.order_id == self.which or found.names_number(self.which)):
            order = FoundOrder(merchant_id=found.merchant_id, order_id=found.order_id)
            self.orders[found.merchant_id, found.order_id] = order
            about = [order]
        for order in about:
            before = order.texts
            order.add(found)
            if order.texts != before:
                self._needles = _needles(self.which, self.orders.values())


_HIDING = (b"DATA_BASE64", b"\\U00", b"\\/")
"""Texts in upper case of which a record has one if a needle may be in it in another form."""


def _needles(which: str, orders: Iterable[FoundOrder]) -> frozenset[bytes]:
    """The texts of which a record about an order has at least one, in upper case, because ids can differ in case.

    Each as it is, and as JSON writes it: with escapes for what must have one, and for all that is not ASCII.
    """
    texts = {which}.union(*(order.texts for order in orders))
    escaped = {json.dumps(text, ensure_ascii=ascii)[1:-1] for text in texts for ascii in (True, False)}
    return frozenset(text.encode("utf-8", "replace").upper() for text in texts | escaped)


def _encoded(keys: Collection[str] | Iterable[str]) -> frozenset[bytes]:
    return frozenset(key.encode("utf-8", "replace") for key in keys)
