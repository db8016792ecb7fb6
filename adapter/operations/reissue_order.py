"""Reissues the finally failed parts of an order: prepares the order again and writes it to the deferred topic.

`reissue` holds the rules. Only one process at a time writes for an order (`open_producer` fences the others), and it
reads the events again after it has started.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from adapter.extensions.hook_runner import HookRunner
from adapter.extensions.values import Ignore, OrderRecord, Skip
from adapter.flows.messages.event_reader import PublishedEvent, may_concern, read_published_event
from adapter.flows.messages.events import order_ref_of
from adapter.flows.messages.record_history import read_coordinates, storable
from adapter.flows.messages.signatures import RecordSigner
from adapter.flows.ports import Merchants, Topics
from adapter.issuance.order import Order
from adapter.issuance.plan import Part, PlanPolicy, check, plan
from adapter.operations.ports import Counting, TopicReader, no_counting, read_counted
from adapter.operations.reissue import (
    FailedPart,
    NotReissued,
    Reissue,
    difference,
    final_failures,
    orders_named,
    plan_contains,
    reissue,
)
from adapter.protocol.taipei import TAIPEI
from adapter.stream.records import ProducerRecord, Record

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
    counting: Counting = no_counting

    async def run(self, request: ReissueRequest) -> tuple[str, Reissue]:
        """The order id, and what was reissued, or would be in a dry run.

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
        events = await self._events(order_id, merchant_id)
        found = final_failures(events, request.which)
        if isinstance(found, NotReissued):
            raise NotReissuable(found.reason)
        record = await self._order_record(request, found[0])
        parts, order = await plan_order(record, merchant_id, self.make_planning())
        order_ref = order_ref_of(order)
        for failure in found:
            why = difference(parts, failure, order_ref, changed_items=request.changed_items)
            if why is not None:
                raise NotReissuable(why)
        published_parts = {event.data.get("part") for event in events if event.trade_no is not None}
        prepared = reissue(
            record,
            parts,
            found,
            order_ref,
            prefix=self.trade_no_prefix,
            topic=self.topics.orders_deferred,
            now=datetime.now(UTC),
            settled=len(published_parts) - len(found),
            paid_at=storable(order.paid_at),
            signer=self.make_signer(),
        )
        check(prepared.parts, datetime.now(TAIPEI).date())
        await self._refuse_if_under_way([part.trade_no.value for part in prepared.parts], found)
        return prepared

    async def _events(self, text: str, merchant_id: str | None) -> list[PublishedEvent]:
        """The published events about an order id or a trade number."""
        events = []
        async with aclosing(self._read("events", self.topics.issuances)) as records:
            async for record in records:
                event = read_published_event(record) if may_concern(record, text) else None
                if event is not None and merchant_id in (None, event.merchant_id):
                    events.append(event)
        return events

    async def _order_record(self, request: ReissueRequest, failure: FailedPart) -> Record:
        """The order as the shop sent it, from the request or from its topic."""
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
        record = await self.reader.read_one(origin.topic, origin.partition, origin.offset) if origin else None
        if record is None:
            raise NotReissuable(
                f"The order record {failure.order_record} does not exist any more. Give the order with --order FILE, "
                "as the shop sent it."
            )
        return record

    async def _refuse_if_under_way(self, trade_nos: Sequence[str], found: Sequence[FailedPart]) -> None:
        """Raises NotReissuable when an earlier reissue is still on the deferred topic, or in a dead letter."""
        topics, since = self.topics, min(failure.event.at for failure in found) - CLOCKS_DIFFER
        on_their_way = self._read("records on their way", topics.orders_deferred, topics.dead_letters, since=since)
        async with aclosing(on_their_way) as records:
            async for record in records:
                if not plan_contains(record, trade_nos):
                    continue
                if record.topic == topics.orders_deferred:
                    where = "It waits on the deferred topic, and its result will be published"
                else:
                    where = f"See: ecticket-adapter dead-letters show {trade_nos[0]}"
                raise NotReissuable(f"It was reissued already, under {', '.join(trade_nos)}. {where}.")

    def _read(self, what: str, *topics: str, since: datetime | None = None) -> AsyncGenerator[Record, None]:
        return read_counted(self.reader, topics, counting=self.counting, what=what, since=since)


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
