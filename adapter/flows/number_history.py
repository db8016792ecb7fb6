"""What is known about trade numbers: by this process, and from the tail of the issuances topic.

One history serves all stages of a process; the stages add what they learn. The tail is read only if memory does not
settle a question: a doubt has no number to query, ECTicket knows a number that may be another order's, or an earlier
record of the order may have been issued. Reading never stops an order: it is limited in records and in time, and a tail
that cannot be read counts as empty.

Anyone with write access to the topic can write events. An event that is not the adapter's is ignored. A forged one can
change which of two orders with one number owns it (SECURITY.md, "Who can write which topic").
A known number counts only after QueryIssueResult itself knew it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from adapter.errors import StreamError
from adapter.flows.messages.event_reader import PublishedEvent, read_published_event
from adapter.flows.messages.events import Origin
from adapter.flows.messages.record_history import read_coordinates
from adapter.flows.ports import Merchants
from adapter.issuance.order import ORDER_ID_MAX_CHARACTERS
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.rules import is_trade_no
from adapter.stream.records import Record

CONFIRMED_KEPT = 3
"""Confirmed numbers kept for each merchant and kind: the newest ones."""
UNCONFIRMED_KEPT = 3
"""Candidates kept for each merchant and kind: the oldest ones, because queries may not show the newest yet."""
DROPPED_KEPT = 64
"""Dropped numbers remembered for each merchant: the newest ones."""


@dataclass(slots=True)
class _Numbers:
    """One merchant's numbers; candidates count how often QueryIssueResult did not know them."""

    confirmed: dict[TradeNo, None] = field(default_factory=dict)
    unconfirmed: dict[TradeNo, int] = field(default_factory=dict)
    dropped: dict[TradeNo, None] = field(default_factory=dict)


class KnownNumbers:
    """For each merchant the trade numbers that ECTicket knows: what a liveness proof queries (docs/delivery.md).

    A number counts only once QueryIssueResult itself answered RtnCode 1 for it. Until then it is a candidate: Issue
    accepted it, the issuances topic names it, or the merchant's settings do. A candidate can be too new to be visible,
    or wrong; querying it costs one call and proves nothing. Memory is bounded for each merchant and kind.
    """

    def __init__(self) -> None:
        self._by_merchant: dict[str, _Numbers] = {}

    def add_candidate(self, merchant_id: str, trade_no: TradeNo) -> None:
        """Add a candidate: ECTicket should know this number."""
        numbers = self._of(merchant_id)
        same_kind = {each: unseen for each, unseen in numbers.unconfirmed.items() if each.kind is trade_no.kind}
        full = len(same_kind) >= UNCONFIRMED_KEPT
        if full and not any(same_kind.values()):
            return
        if trade_no in numbers.dropped or trade_no in numbers.confirmed or trade_no in numbers.unconfirmed:
            return
        if full:
            del numbers.unconfirmed[max(same_kind, key=same_kind.__getitem__)]
        numbers.unconfirmed[trade_no] = 0

    def record_known(self, merchant_id: str, trade_no: TradeNo, *, not_known: Iterable[TradeNo] = ()) -> None:
        """QueryIssueResult answered RtnCode 1 for this number, and just before that RtnCode ≠ 1 for `not_known`.

        So it works, those numbers do not exist (any more), and they are never queried again.
        """
        numbers = self._of(merchant_id)
        for gone in not_known:
            numbers.confirmed.pop(gone, None)
            numbers.unconfirmed.pop(gone, None)
            _add_newest(numbers.dropped, gone, DROPPED_KEPT, numbers.dropped)
        if trade_no in numbers.dropped:
            return
        numbers.unconfirmed.pop(trade_no, None)
        same_kind = [each for each in numbers.confirmed if each.kind is trade_no.kind]
        _add_newest(numbers.confirmed, trade_no, CONFIRMED_KEPT, same_kind)

    def record_not_known(self, merchant_id: str, trade_nos: Iterable[TradeNo]) -> None:
        """QueryIssueResult answered RtnCode ≠ 1 for all of these, and RtnCode 1 for none: it may not work at present.

        They are kept. A candidate that was not shown is replaced by a newer one.
        """
        numbers = self._of(merchant_id)
        for trade_no in trade_nos:
            if trade_no in numbers.unconfirmed:
                numbers.unconfirmed[trade_no] = numbers.unconfirmed.pop(trade_no) + 1

    def to_query(self, merchant: Merchant, kind: TradeNoKind) -> tuple[TradeNo, ...]:
        """The numbers to query, the most promising first: confirmed ones, the one from the settings, candidates.

        In each group the numbers of the wanted kind come first: they prove most about a number of that kind.
        """
        numbers = self._of(merchant.merchant_id)
        groups = (
            tuple(reversed(numbers.confirmed)),
            tuple(_as_both_kinds(merchant.known_trade_no)),
            tuple(sorted(numbers.unconfirmed, key=lambda each: numbers.unconfirmed[each])),
        )
        ordered = (each for group in groups for each in sorted(group, key=lambda each: each.kind is not kind))
        return tuple(dict.fromkeys(each for each in ordered if each not in numbers.dropped))

    def _of(self, merchant_id: str) -> _Numbers:
        numbers = self._by_merchant.get(merchant_id)
        if numbers is None:
            numbers = self._by_merchant[merchant_id] = _Numbers()
        return numbers


def _as_both_kinds(value: str | None) -> Iterator[TradeNo]:
    """The number from the settings as both kinds, because the settings do not name its kind."""
    for kind in TradeNoKind:
        if value is not None and is_trade_no(number := TradeNo(kind=kind, value=value)):
            yield number


def _add_newest(kept: dict[TradeNo, None], trade_no: TradeNo, limit: int, counted: Iterable[TradeNo]) -> None:
    """Add a number as the newest, and drop the oldest of those `counted` beyond the limit."""
    others = [each for each in counted if each != trade_no]
    kept.pop(trade_no, None)
    kept[trade_no] = None
    for oldest in others[: max(0, len(others) + 1 - limit)]:
        del kept[oldest]


NUMBERS_KEPT = 50_000
"""Numbers remembered: the newest ones, some 430 bytes each."""

SENDERS_KEPT = 4
"""Orders remembered that may have sent one number; one other order is enough."""


@dataclass(slots=True)
class _Orders:
    """The orders of one number.

    `record`: the order record by which the owner got it; `certain`: that record's own Issue was answered RtnCode 1.
    """

    owner: str | None = None
    record: Origin | None = None
    certain: bool = False
    senders: tuple[str, ...] = ()


class NumberOwners:
    """For each merchant's number the order that owns it, and those that may have sent it.

    ECTicket knows numbers and not orders. Two orders can bring one number, as when a shop splits a payment into two
    orders. ECTicket accepts the number once; for the other order it answers "known", and the adapter would publish
    tickets that were not bought.

    An order *owns* a number when its own Issue was answered RtnCode 1, or when it was the first to be published as
    submitted. Numbers that differ only in letter case, or only in their kind, count as one: ECTicket may compare them
    so, and events of the adapter have ids that do. Memory is bounded: the numbers used longest ago are forgotten.
    """

    def __init__(self, kept: int = NUMBERS_KEPT) -> None:
        self._kept = kept
        self._orders: OrderedDict[tuple[str, str], _Orders] = OrderedDict()

    def __len__(self) -> int:
        """The number of remembered numbers."""
        return len(self._orders)

    def other_order(self, merchant_id: str, trade_no: str, order_id: str) -> str | None:
        """Another order that owns the number, or that may have sent it while no order owns it."""
        orders = self._orders.get(_key(merchant_id, trade_no))
        if orders is None or orders.owner == order_id:
            return None
        return orders.owner or next((sender for sender in orders.senders if sender != order_id), None)

    def of_other_record(self, merchant_id: str, trade_no: str, order_id: str, record: Origin) -> bool:
        """Whether this order got the number by another of its records than this one.

        A later record of the partition, which only found the number, may have found what this one sent.
        """
        orders = self._orders.get(_key(merchant_id, trade_no))
        if orders is None or orders.owner != order_id or orders.record is None or orders.record == record:
            return False
        return orders.certain or not _is_later(orders.record, record)

    def certainly_owns(self, merchant_id: str, trade_no: str, order_id: str) -> bool:
        """Whether this order's own Issue with the number was answered RtnCode 1."""
        orders = self._orders.get(_key(merchant_id, trade_no))
        return orders is not None and orders.certain and orders.owner == order_id

    def may_have_sent(self, merchant_id: str, trade_no: str, order_id: str) -> bool:
        """This order sends an Issue with the number, or may have done so; False if that was known before."""
        orders = self._of(merchant_id, trade_no)
        if order_id in orders.senders or len(orders.senders) >= SENDERS_KEPT:
            return False
        orders.senders = (*orders.senders, order_id)
        return True

    def never_sent(self, merchant_id: str, trade_no: str, order_id: str) -> None:
        """This order certainly did not send the number after all."""
        key = _key(merchant_id, trade_no)
        orders = self._orders.get(key)
        if orders is None:
            return
        orders.senders = tuple(sender for sender in orders.senders if sender != order_id)
        if orders.owner is None and not orders.senders:
            del self._orders[key]

    def failed(self, merchant_id: str, trade_no: str, order_id: str) -> None:
        """ECTicket does not know the number, and this order was published as failed: the number is free for others."""
        orders = self._orders.get(_key(merchant_id, trade_no))
        if orders is not None and orders.owner == order_id:
            orders.owner, orders.record, orders.certain = None, None, False
        self.never_sent(merchant_id, trade_no, order_id)

    def submitted(
        self, merchant_id: str, trade_no: str, order_id: str, record: Origin | None, *, recovered: bool
    ) -> None:
        """This record of the order was submitted under the number; not `recovered`: its Issue was answered RtnCode 1.

        The first record keeps the number, unless it was recovered and the later one was not.
        """
        orders = self._of(merchant_id, trade_no)
        if orders.owner is None or (not recovered and not orders.certain):
            orders.owner, orders.record, orders.certain = order_id, record, not recovered

    def _of(self, merchant_id: str, trade_no: str) -> _Orders:
        key = _key(merchant_id, trade_no)
        orders = self._orders.get(key)
        if orders is not None:
            self._orders.move_to_end(key)
            return orders
        orders = self._orders[key] = _Orders()
        if len(self._orders) > self._kept:
            self._orders.popitem(last=False)
        return orders


def _key(merchant_id: str, trade_no: str) -> tuple[str, str]:
    return merchant_id, trade_no.upper()


def _is_later(one: Origin, other: Origin) -> bool:
    """Whether the one record certainly came after the other; only offsets of one partition can be compared."""
    return (one.topic, one.partition) == (other.topic, other.partition) and one.offset > other.offset


TAIL_SECONDS = 10.0
"""Maximum time that an order waits for the tail of the topic."""
_PUBLISHED = frozenset({"submitted", "delayed", "issued"})
_YIELD_AFTER = 200
"""Other tasks run after this many records."""

_log = logging.getLogger(__name__)


ReadTail = Callable[[Mapping[int, int]], AsyncGenerator[Record, None]]
"""Reads the newest records of the issuances topic, limited in number; for each partition from the given offset on."""


class NumberHistory:
    """What is known about trade numbers; without `read_tail` only what this process learned.

    Events of merchants other than `merchants` are ignored. Reads are at least `pause_seconds` apart, because each opens
    connections.
    """

    def __init__(
        self, read_tail: ReadTail | None = None, merchants: Merchants | None = None, *, pause_seconds: float = 0.0
    ) -> None:
        self.known = KnownNumbers()
        self.owners = NumberOwners()
        self._read_tail = read_tail
        self._merchants = merchants
        self._pause_seconds = pause_seconds
        self._next_offsets: dict[int, int] = {}
        self._reading: asyncio.Task[None] | None = None
        self._queued: asyncio.Task[None] | None = None

    def of_order(self, merchant_id: str, order_id: str, record: Origin) -> OrderNumbers:
        """The history for the numbers of one order, as this record of it needs it."""
        return OrderNumbers(self, merchant_id, order_id, record)

    async def look(self) -> None:
        """Read what was published until now, waiting `TAIL_SECONDS` at most; never raises.

        Orders that look at the same time share a read. A read that has begun may miss later events, so a later caller
        gets the next one.
        """
        if self._read_tail is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._next_read()), TAIL_SECONDS)

    async def close(self) -> None:
        """Stop reading."""
        reads = [task for task in (self._reading, self._queued) if task is not None]
        for task in reads:
            task.cancel()
        await asyncio.gather(*reads, return_exceptions=True)

    def _next_read(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading, self._queued = self._queued, None
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(after=None))
            return self._reading
        if self._queued is None:
            self._queued = asyncio.create_task(self._read(after=self._reading))
        return self._queued

    async def _read(self, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait([after])
            await asyncio.sleep(self._pause_seconds)
        try:
            await self._read_on()
        except StreamError as error:
            self._warn(str(error))
        except Exception as error:  # noqa: BLE001  # a read that fails must not cost an order its outcome
            self._warn(f"{type(error).__name__}: {error}")

    async def _read_on(self) -> None:
        if self._read_tail is None:
            return
        count = 0
        async with aclosing(self._read_tail(dict(self._next_offsets))) as records:
            async for record in records:
                self.take(record)
                self._next_offsets[record.partition] = record.offset + 1
                count += 1
                if count % _YIELD_AFTER == 0:
                    await asyncio.sleep(0)

    def take(self, record: Record) -> None:
        """Add one record of the issuances topic; a record that is no event of the adapter's is ignored."""
        event = read_published_event(record)
        if event is None or event.merchant_id is None or event.order_id is None or event.trade_no is None:
            return
        kind = TradeNoKind.FREE if event.data.get("trade_no_kind") == TradeNoKind.FREE.value else TradeNoKind.MERCHANT
        trade_no = TradeNo(kind=kind, value=event.trade_no)
        if not is_trade_no(trade_no) or len(event.order_id) > ORDER_ID_MAX_CHARACTERS:
            return
        if self._merchants is not None and self._merchants.find(event.merchant_id) is None:
            return
        if event.name in _PUBLISHED:
            order_record, recovered = read_coordinates(event.order_record), _recovered(event)
            self.owners.submitted(event.merchant_id, event.trade_no, event.order_id, order_record, recovered=recovered)
            self.known.add_candidate(event.merchant_id, trade_no)
        elif event.name == "failed" and event.data.get("stage") == "submit":
            self.owners.failed(event.merchant_id, event.trade_no, event.order_id)

    def _warn(self, reason: str) -> None:
        _log.warning("issuances-unreadable", extra={"detail": reason})


class OrderNumbers:
    """What is known about the numbers of one order, and what its record `record` does with them."""

    def __init__(self, history: NumberHistory, merchant_id: str, order_id: str, record: Origin) -> None:
        self.order_id = order_id
        self._record = record
        self._number_history = history
        self._owners = history.owners
        self._merchant_id = merchant_id

    async def other_order(self, trade_no: TradeNo) -> str | None:
        """Another order that has the number, or may have it; reads the topic unless this order certainly owns it."""
        if not self._owners.certainly_owns(self._merchant_id, trade_no.value, self.order_id):
            await self._number_history.look()
        return self._owners.other_order(self._merchant_id, trade_no.value, self.order_id)

    def of_other_record(self, trade_no: TradeNo) -> bool:
        """Whether another record of the order got the number; ask `other_order` first, which reads the topic."""
        return self._owners.of_other_record(self._merchant_id, trade_no.value, self.order_id, self._record)

    async def other_sender(self, trade_no: TradeNo) -> str | None:
        """The same before the number is sent; reads the topic only if memory names another order."""
        if self._owners.other_order(self._merchant_id, trade_no.value, self.order_id) is None:
            return None
        return await self.other_order(trade_no)

    async def look(self) -> None:
        """Read what was published until now."""
        await self._number_history.look()

    def may_have_sent(self, trade_no: TradeNo) -> bool:
        """The order sends the number, or may have done so; False when that was known before."""
        return self._owners.may_have_sent(self._merchant_id, trade_no.value, self.order_id)

    def never_sent(self, trade_no: TradeNo) -> None:
        """The order certainly did not send the number after all."""
        self._owners.never_sent(self._merchant_id, trade_no.value, self.order_id)

    def failed(self, trade_no: TradeNo) -> None:
        """The order failed with the number."""
        self._owners.failed(self._merchant_id, trade_no.value, self.order_id)

    def submitted(self, trade_no: TradeNo, *, recovered: bool) -> None:
        """The record was submitted under the number."""
        self._owners.submitted(self._merchant_id, trade_no.value, self.order_id, self._record, recovered=recovered)


def _recovered(event: PublishedEvent) -> bool:
    """Whether the event leaves open that the number is another order's; `delayed` does not say."""
    return event.data.get("recovered") is not False
