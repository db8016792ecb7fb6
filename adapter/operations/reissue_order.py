"""Reissues the finally failed parts of an order: prepares the order again and writes it to the deferred topic.

`reissue` holds the rules. Published events are not signed, so they are not believed alone: ECTicket is queried about
every number of a failed part, with the evidence of `resolve`. If it knows a number that did not fail, or cannot be
queried, nothing is reissued. Only one process at a time writes for an order (`open_producer` fences the others), and it
reads the events again after it has started.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from adapter.errors import CallError
from adapter.extensions.hook_runner import HookRunner
from adapter.extensions.values import Ignore, OrderRecord, Skip
from adapter.flows.messages.event_reader import PublishedEvent, may_concern, read_published_event
from adapter.flows.messages.events import order_ref_of
from adapter.flows.messages.record_history import ORDER_ID, PLAN, read_coordinates, read_history_leniently, storable
from adapter.flows.messages.signatures import RecordSigner
from adapter.flows.number_history import KnownNumbers, NumberHistory
from adapter.flows.ports import Ecticket, Merchants, Topics
from adapter.issuance.order import Order
from adapter.issuance.plan import Part, PlanPolicy, check, plan
from adapter.operations.number_lookup import lacks_known_numbers
from adapter.operations.ports import Counting, TopicReader, no_counting, read_counted
from adapter.operations.reissue import (
    FailedPart,
    NotReissued,
    Reissue,
    difference,
    final_failures,
    numbers_to_query,
    orders_named,
    plan_contains,
    reissue,
)
from adapter.operations.resolve import objection_to_failed, query_status
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.rules import is_trade_no
from adapter.protocol.taipei import TAIPEI
from adapter.stream.records import ProducerRecord, Record
from adapter.values import replace

CLOCKS_DIFFER = timedelta(hours=1)
"""How far the clocks of the machines that write records may differ."""


class AmbiguousOrder(ValueError):
    """The name is that of several orders; the message lists them."""


class NotReissuable(Exception):
    """Nothing is reissued; the message says why, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReissueRequest:
    """Which order, or which failed part of it, is reissued."""

    which: str
    """Order id or trade number."""
    merchant_id: str | None
    order: bytes | None
    """The order-paid event, if the topic of the orders does not hold it any more."""
    changed_items: bool
    """Issue the items of today's mapping even if others failed."""
    dry_run: bool


class RecordWriter(Protocol):
    """Writes records in one transaction, unless a later process has started under the same name."""

    async def write(self, producer_records: Sequence[ProducerRecord]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """How an order is parsed, mapped and planned today."""

    hook_runner: HookRunner
    policy: PlanPolicy
    merchants: Merchants


@dataclass(frozen=True, slots=True, kw_only=True)
class ReissueOperation:
    """Reissues orders."""

    reader: TopicReader
    topics: Topics
    group_prefix: str
    trade_no_prefix: str
    make_planning: Callable[[], Planning]
    make_signer: Callable[[], RecordSigner]
    open_producer: Callable[[str], AbstractAsyncContextManager[RecordWriter]]
    """By the name under which only one process writes."""
    open_ecticket: Callable[[], AbstractAsyncContextManager[Ecticket]]
    settles_after: timedelta
    """How long after an Issue call its effect may still come (`submit.reissue_after_seconds`)."""
    counting: Counting = no_counting

    async def run(self, request: ReissueRequest) -> tuple[str, Reissue]:
        """The order id, and what was reissued, or would be in a dry run; ECTicket is queried in both cases.

        Raises AmbiguousOrder, NotReissuable, and OrderError for an order that cannot be planned.
        """
        merchant_id, order_id = await self._order_named(request)
        if request.dry_run:
            return order_id, await self._prepare(request, merchant_id, order_id)
        async with self.open_producer(f"{self.group_prefix}.reissue.{merchant_id}.{order_id}") as writer:
            prepared = await self._prepare(request, merchant_id, order_id)
            await writer.write([prepared.producer_record])
        return order_id, prepared

    async def _order_named(self, request: ReissueRequest) -> tuple[str, str]:
        """Merchant and id of the order."""
        events = await self._events(request.which, request.merchant_id)
        named = sorted((merchant or "", order or "") for merchant, order in orders_named(events, request.which))
        if not named:
            raise NotReissuable(f"No event was published about {request.which}, as an order id or as a trade number.")
        if len(named) > 1:
            raise AmbiguousOrder(
                f"{request.which} names several orders ({', '.join(map('/'.join, named))}); select one with --merchant "
                "or by the trade number that failed."
            )
        return named[0]

    async def _prepare(self, request: ReissueRequest, merchant_id: str, order_id: str) -> Reissue:
        planning = self.make_planning()
        merchant = planning.merchants.find(merchant_id)
        history = NumberHistory(merchants=planning.merchants)
        events = await self._events(order_id, merchant_id, history, merchant)
        found = final_failures(events, request.which)
        if isinstance(found, NotReissued):
            raise NotReissuable(found.reason)
        if merchant is None:
            raise NotReissuable(f"Merchant {merchant_id} has no keys here, so ECTicket cannot be queried.")
        record = await self._order_record(request, found[0])
        parts, order = await plan_order(record, merchant_id, planning)
        order_ref = order_ref_of(order)
        for failure in found:
            why = difference(parts, failure, order_ref, changed_items=request.changed_items)
            if why is not None:
                raise NotReissuable(why)
        published_parts = {event.data.get("part") for event in events if event.trade_no is not None}
        now = datetime.now(UTC)
        prepared = reissue(
            record,
            parts,
            found,
            order_ref,
            prefix=self.trade_no_prefix,
            topic=self.topics.orders_deferred,
            now=now,
            settled=len(published_parts) - len(found),
            paid_at=storable(order.paid_at),
            signer=self.make_signer(),
        )
        check(prepared.parts, datetime.now(TAIPEI).date())
        numbers = [
            number
            for failure, following in zip(found, prepared.parts, strict=True)
            for number in numbers_to_query(
                failure, events, parts[failure.part - 1], following, prefix=self.trade_no_prefix
            )
        ]
        since = min(now - self.settles_after, *(failure.event.at for failure in found)) - CLOCKS_DIFFER
        sent_at = await self._refuse_if_under_way(prepared, numbers, order_id, since)
        if request.order is None:
            sent_at = max(record.timestamp, sent_at or record.timestamp)
        await self._refuse_if_tickets_may_exist(merchant, numbers, history.known, sent_at)
        return prepared

    async def _events(
        self,
        text: str,
        merchant_id: str | None,
        history: NumberHistory | None = None,
        merchant: Merchant | None = None,
    ) -> list[PublishedEvent]:
        """The published events about an order id or a trade number; `history` learns numbers that should exist."""
        events = []
        async with aclosing(self._read("events", self.topics.issuances)) as records:
            async for record in records:
                if history is not None and merchant is not None:
                    _learn(record, history, merchant)
                event = read_published_event(record) if may_concern(record, text) else None
                if event is not None and merchant_id in (None, event.merchant_id):
                    events.append(event)
        return events

    async def _order_record(self, request: ReissueRequest, failure: FailedPart) -> Record:
        """The order as the shop sent it, from the request or from its topic.

        An event names the record and can be forged, so a record of another topic is not read.
        """
        origin = read_coordinates(failure.order_record)
        if request.order is not None:
            return Record(
                topic=self.topics.orders_paid,
                partition=origin.partition if origin else 0,
                offset=origin.offset if origin else 0,
                timestamp=datetime.now(UTC),
                key=failure.order_id.encode(),
                value=request.order,
            )
        record = None
        if origin is not None and origin.topic == self.topics.orders_paid:
            record = await self.reader.read_one(origin.topic, origin.partition, origin.offset)
        if record is None:
            raise NotReissuable(
                f"The order record {failure.order_record} does not exist on {self.topics.orders_paid} (any more). Give "
                "the order with --order FILE, as the shop sent it."
            )
        return record

    async def _refuse_if_under_way(
        self, prepared: Reissue, numbers: Sequence[TradeNo], order_id: str, since: datetime
    ) -> datetime | None:
        """When one of the `numbers` may last have been sent, by the records that hold it; None without such a record.

        Raises NotReissuable when an earlier reissue is still on the deferred topic, or in a dead letter.
        """
        topics, sent_at = self.topics, None
        following, earlier = ([each.value for each in part] for part in (prepared.numbers, numbers))
        on_their_way = self._read("records on their way", topics.orders_deferred, topics.dead_letters, since=since)
        async with aclosing(on_their_way) as records:
            async for record in records:
                if plan_contains(record, following):
                    if record.topic == topics.orders_deferred:
                        where = "It waits on the deferred topic, and its result will be published"
                    else:
                        where = f"See: ecticket-adapter dead-letters show {following[0]}"
                    raise NotReissuable(f"It was reissued already, under {', '.join(following)}. {where}.")
                if plan_contains(record, earlier) or _is_of_order_without_plan(record, order_id):
                    claimed = read_history_leniently(record, datetime.now(UTC)).possibly_sent_at
                    sent_at = max((each for each in (sent_at, claimed) if each is not None), default=None)
        return sent_at

    async def _refuse_if_tickets_may_exist(
        self, merchant: Merchant, numbers: Sequence[TradeNo], known: KnownNumbers, sent_at: datetime | None
    ) -> None:
        """Raises NotReissuable unless ECTicket proves of every number that it failed or is not known."""
        now = datetime.now(UTC)
        sent_at = None if sent_at is None else min(sent_at, now)
        async with self.open_ecticket() as ecticket:
            for number in numbers:
                if not is_trade_no(number):
                    raise NotReissuable(f"An event names the number {number.value!r}, which ECTicket cannot have.")
                try:
                    answer = await query_status(ecticket, merchant, number, known)
                except CallError as error:
                    raise NotReissuable(f"ECTicket could not be queried about {number.value}: {error}") from error
                why = objection_to_failed(answer, sent_at, now=now, settles_after=self.settles_after)
                if why is not None:
                    raise NotReissuable(
                        f"Tickets may exist under {number.value}. {why} If they are another order's, have the shop "
                        "send a new order."
                    )

    def _read(self, what: str, *topics: str, since: datetime | None = None) -> AsyncGenerator[Record, None]:
        return read_counted(self.reader, topics, counting=self.counting, what=what, since=since)


def _learn(record: Record, history: NumberHistory, merchant: Merchant) -> None:
    """Note a number that should exist, until a liveness proof has enough of them."""
    if any(lacks_known_numbers(history.known, merchant, kind) for kind in TradeNoKind):
        history.take(record)


def _is_of_order_without_plan(record: Record, order_id: str) -> bool:
    names = dict(record.headers)
    return PLAN not in names and names.get(ORDER_ID) == order_id.encode()


async def plan_order(record: Record, merchant_id: str, planning: Planning) -> tuple[tuple[Part, ...], Order]:
    """The order and its parts under today's mapping.

    Raises NotReissuable when a plugin ignores or skips it, OrderError when it cannot be planned.
    """
    hook_runner, policy = planning.hook_runner, planning.policy
    try:
        order = await hook_runner.parse(
            OrderRecord(
                topic=record.topic,
                key=record.key,
                value=record.value,
                headers=record.headers,
                timestamp=record.timestamp,
            )
        )
        if isinstance(order, Ignore):
            raise NotReissuable(f"Plugin {order.plugin} ignores this record: {order.reason}.")
        if not order.merchant_id and planning.merchants.ids == (merchant_id,):
            order = replace(order, merchant_id=merchant_id)
        ready = await hook_runner.prepare(order, lambda order, items: plan(order, items, policy))
    finally:
        await hook_runner.aclose()
    if isinstance(ready, Skip):
        raise NotReissuable(f"Plugin {ready.plugin} skips this order, so it gets no tickets: {ready.reason}.")
    return ready, order
