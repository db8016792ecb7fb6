"""`reissue`: what finally failed is bought anew under the next number, by way of the running adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapter.cli.audit import audit
from adapter.cli.context import CommandContext, Json, MerchantId, command, flag
from adapter.cli.output import counting, note

if TYPE_CHECKING:
    from adapter.flows.messages.event_fields import OrderRef
    from adapter.flows.messages.published_events import PublishedEvent
    from adapter.issuance.plan import Part
    from adapter.operations.reissue import FailedPart, Reissue
    from adapter.settings import Settings
    from adapter.stream.records import Record

CLOCKS_DIFFER = timedelta(hours=1)
"""Machines tell the time of what they write."""

OrderFile = Annotated[
    Path | None,
    typer.Option("--order", metavar="FILE", help="The order-paid event, where the orders' topic has forgotten it."),
]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = ("ecticket-adapter reissue A-1001 --dry-run", "ecticket-adapter reissue CBX20260302153064851")
    command(app, "reissue", examples=examples, panel=panel)(reissue_)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReissueRequest:
    """What a reissue is told."""

    which: str
    merchant_id: str | None
    order: bytes | None
    changed_items: bool
    dry_run: bool
    json: bool


class NotReissuable(Exception):
    """Nothing is reissued; the text says why, and what to do instead."""


def reissue_(
    context: CommandContext,
    which: Annotated[
        str, typer.Argument(metavar="ORDER_ID|TRADE_NO", help="The order, or the number of a part that failed.")
    ],
    merchant: MerchantId = None,
    order: OrderFile = None,
    changed_items: Annotated[
        bool, flag("--changed-items", "Issue what the mapping gives now, though other items failed.")
    ] = False,
    dry_run: Annotated[bool, flag("--dry-run", "Show what would be issued under which number; write nothing.")] = False,
    json: Json = False,
) -> int:
    """Issue what finally failed anew, under a new derived number; exit code 1 when nothing was to be reissued.

    Only what was told as failed, with nothing told since. The order goes to the deferred topic with its new numbers,
    and the running adapter takes it up: it asks ECTicket about them first, so running this twice issues once.
    """
    request = ReissueRequest(
        which=which,
        merchant_id=merchant,
        order=None if order is None else order.read_bytes(),
        changed_items=changed_items,
        dry_run=dry_run,
        json=json,
    )
    try:
        asyncio.run(_reissue(context.settings(), request))
    except NotReissuable as refused:
        note(f"Nothing was reissued. {refused}")
        return 1
    return 0


async def _reissue(settings: Settings, request: ReissueRequest) -> None:
    """Read what was told, prepare the order, and then, as the only one who does, look again and write."""
    from adapter.kafka.producers import exclusive_producer
    from adapter.wiring import kafka_connection

    merchant_id, order_id = await _order_named(settings, request)
    name = f"{settings.kafka.group_prefix}.reissue.{merchant_id}.{order_id}"
    if request.dry_run:
        _report(request, await _prepared(settings, request, merchant_id, order_id), order_id)
        note("Dry run: nothing was written.")
        return
    async with exclusive_producer(kafka_connection(settings), name) as writer:
        prepared = await _prepared(settings, request, merchant_id, order_id)
        await writer.write([prepared.producer_record])
    _report(request, prepared, order_id)


async def _order_named(settings: Settings, request: ReissueRequest) -> tuple[str, str]:
    """Merchant and id of the order. Raises Refused when nothing was told of it, a usage error when two are meant."""
    from adapter.operations.reissue import orders_named

    events = await _events(settings, request.which, request.merchant_id)
    named = sorted((merchant or "", order or "") for merchant, order in orders_named(events, request.which))
    if not named:
        raise NotReissuable(f"Nothing was told of {request.which}: it is neither an order id nor a trade number there.")
    if len(named) > 1:
        raise typer.BadParameter(
            f"{request.which} names several orders ({', '.join(map('/'.join, named))}); say which with --merchant, or "
            "by the trade number that failed."
        )
    return named[0]


async def _prepared(settings: Settings, request: ReissueRequest, merchant_id: str, order_id: str) -> Reissue:
    from adapter.operations.reissue import NotReissued, difference, final_failures, reissue
    from adapter.wiring import merchant_book, record_signer

    events = await _events(settings, order_id, merchant_id)
    found = final_failures(events, request.which)
    if isinstance(found, NotReissued):
        raise NotReissuable(found.reason)
    record = await _order_record(settings, request, found[0])
    parts, order_ref = await _planned(settings, record, merchant_id)
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
        prefix=settings.submit.trade_no_prefix,
        topic=settings.topics.orders_deferred,
        now=datetime.now(UTC),
        settled=len(published_parts) - len(found),
        signer=record_signer(settings, merchant_book(settings)),
    )
    _check(prepared.parts)
    await _refuse_if_under_way(settings, [part.trade_no.value for part in prepared.parts], found)
    return prepared


async def _events(settings: Settings, text: str, merchant_id: str | None) -> list[PublishedEvent]:
    """What was told of an order id or a trade number."""
    from adapter.flows.messages.published_events import may_concern, read_published_event
    from adapter.kafka.reader import read_to_end
    from adapter.wiring import kafka_connection

    events = []
    with counting("events") as count:
        async with aclosing(read_to_end(kafka_connection(settings), [settings.topics.issuances])) as records:
            async for record in records:
                count()
                event = read_published_event(record) if may_concern(record, text) else None
                if event is not None and merchant_id in (None, event.merchant_id):
                    events.append(event)
    return events


async def _order_record(settings: Settings, request: ReissueRequest, failure: FailedPart) -> Record:
    """The order as it came, from its topic or from a file."""
    from adapter.errors import TopicsMissing
    from adapter.kafka.reader import read_one
    from adapter.operations.reissue import origin_of
    from adapter.stream.records import Record
    from adapter.wiring import kafka_connection

    origin = origin_of(failure.order_record)
    if request.order is not None:
        return Record(
            topic=settings.topics.orders_paid,
            partition=origin.partition if origin else 0,
            offset=origin.offset if origin else 0,
            timestamp=datetime.now(UTC),
            key=failure.order_id.encode(),
            value=request.order,
        )
    try:
        where = origin and (origin.topic, origin.partition, origin.offset)
        record = await read_one(kafka_connection(settings), *where) if where else None
    except TopicsMissing:
        record = None
    if record is None:
        raise NotReissuable(
            f"The order record {failure.order_record} is not there any more. Give the order with --order FILE, as the "
            "shop sent it."
        )
    return record


async def _planned(settings: Settings, record: Record, merchant_id: str) -> tuple[tuple[Part, ...], OrderRef]:
    """The order's parts under today's mapping. Raises Refused when a plugin skips it, OrderError when it has none."""
    from adapter.extensions.values import Ignore, OrderRecord, Skip
    from adapter.flows.messages.event_fields import order_ref_of
    from adapter.issuance.plan import plan
    from adapter.wiring import make_hook_runner, merchant_book, plan_policy

    book = merchant_book(settings)
    book.check()
    policy = plan_policy(settings)
    hook_runner = make_hook_runner(settings, book)
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
        if not order.merchant_id and book.ids == (merchant_id,):
            order = replace(order, merchant_id=merchant_id)
        ready = await hook_runner.prepare(order, lambda order, items: plan(order, items, policy))
    finally:
        await hook_runner.aclose()
    if isinstance(ready, Skip):
        raise NotReissuable(f"Plugin {ready.plugin} says that this order gets no tickets: {ready.reason}.")
    return ready, order_ref_of(order)


def _check(parts: Sequence[Part]) -> None:
    """Raises InvalidOrder for what ECTicket would refuse by its field rules."""
    from adapter.issuance.plan import check
    from adapter.protocol.taipei import TAIPEI

    check(parts, datetime.now(TAIPEI).date())


async def _refuse_if_under_way(settings: Settings, trade_nos: Sequence[str], found: Sequence[FailedPart]) -> None:
    """Raises Refused when an earlier reissue has not ended yet: it waits on the deferred topic, or in a dead letter."""
    from adapter.kafka.reader import read_to_end
    from adapter.operations.reissue import plan_contains
    from adapter.wiring import kafka_connection

    topics, since = settings.topics, min(failure.event.at for failure in found) - CLOCKS_DIFFER
    topic_names = [topics.orders_deferred, topics.dead_letters]
    with counting("records on their way") as count:
        async with aclosing(read_to_end(kafka_connection(settings), topic_names, since=since)) as records:
            async for record in records:
                count()
                if not plan_contains(record, trade_nos):
                    continue
                if record.topic == topics.orders_deferred:
                    where = "It waits on the deferred topic, and its result will be told"
                else:
                    where = f"See: ecticket-adapter dead-letters show {trade_nos[0]}"
                raise NotReissuable(f"It was reissued already, under {', '.join(trade_nos)}. {where}.")


def _report(request: ReissueRequest, prepared: Reissue, order_id: str) -> None:
    outcome = "would be reissued" if request.dry_run else "reissued"
    for part in prepared.parts:
        text = (
            f"{outcome}  order {order_id}, part {part.number} of {part.of} under {part.trade_no.value} "
            f"(reissue {part.reissue}, {part.ticket_count} tickets) → {prepared.producer_record.topic}"
        )
        facts = {
            "outcome": outcome,
            "merchant_id": part.request.merchant_id,
            "order_id": order_id,
            "part": part.number,
            "parts": part.of,
            "trade_no": part.trade_no.value,
            "trade_no_kind": part.trade_no.kind.value,
            "reissue": part.reissue,
            "ticket_count": part.ticket_count,
            "target": prepared.producer_record.topic,
        }
        event = f"an issuance {'' if request.dry_run else 'was '}{outcome}"
        audit(event, facts, text=text, as_json=request.json)
