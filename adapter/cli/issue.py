"""`issue`: sends one order from a file directly to ECTicket, for trials and emergencies.

It publishes and stores nothing, so it queries before it sends: a part is issued only if it is proven that ECTicket does
not know its number. A new merchant has no number to prove that by (`known_trade_no`); then the same
answer as for a random number is enough, and the command says so.
"""

from __future__ import annotations

import asyncio
import json as json_text
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adapter import event_loop
from adapter.cli.audit import log_action
from adapter.cli.context import CommandContext, Json, MerchantId, command, flag
from adapter.cli.ecticket import ecticket_client
from adapter.cli.output import note, print_json, print_table
from adapter.errors import CallError, InDoubt, UnknownMerchant
from adapter.values import replace

if TYPE_CHECKING:
    from adapter.extensions.hook_runner import HookRunner
    from adapter.extensions.values import Ignore, Skip
    from adapter.issuance.order import Order
    from adapter.issuance.plan import Part
    from adapter.protocol.credentials import Merchant
    from adapter.protocol.issue import IssueReply
    from adapter.provider.client import EcticketClient
    from adapter.settings import Settings
    from adapter.settings.merchants import MerchantBook

RTN_OK = 1
PERSONAL = ("CustomerName", "CustomerPhone", "CustomerEmail", "CustomerAddress")
NOTHING_PUBLISHED = "Sent directly to ECTicket: nothing was published to Kafka, and the adapter has no record of it."
NOT_VERIFIED = (
    "That ECTicket did not have this number before is not proven: no number of the merchant is known to exist. "
    "Set its known_trade_no once one does."
)
NOTHING_SENT = "Dry run: nothing was sent."

OrderFile = Annotated[
    Path, typer.Argument(metavar="ORDER.json", help="The order-paid event; `-` reads standard input.")
]
DryRun = Annotated[bool, flag("--dry-run", "Show what would be sent, and send nothing.")]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = ("ecticket-adapter issue order.json --dry-run", "ecticket-adapter issue order.json")
    command(app, "issue", examples=examples, panel=panel)(issue)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueResult:
    """What came of one part: `message` says what it means and what to do."""

    part: Part
    outcome: Literal["submitted", "known", "refused", "not sent", "in doubt", "interrupted"]
    message: str
    ticket_trade_no: str | None = None
    good: bool = False


def issue(
    context: CommandContext,
    order: OrderFile,
    dry_run: DryRun = False,
    merchant: MerchantId = None,
    json: Json = False,
) -> int:
    """Issue one order straight at ECTicket; exit code 1 unless all of it is submitted or known there.

    The command first queries ECTicket about every trade number. Nothing is published to Kafka.
    """
    value = sys.stdin.buffer.read() if str(order) == "-" else order.read_bytes()
    return event_loop.run(_issue(context.settings(), value, merchant, dry_run=dry_run, as_json=json))


async def _issue(settings: Settings, value: bytes, merchant_id: str | None, *, dry_run: bool, as_json: bool) -> int:
    from adapter.extensions.values import Ignore, Skip
    from adapter.wiring import make_hook_runner, merchant_book

    book = merchant_book(settings)
    book.check()
    hook_runner = make_hook_runner(settings, book)
    try:
        parsed = await _parse(settings, hook_runner, value)
        if isinstance(parsed, Ignore):
            note(f"Plugin {parsed.plugin} ignores this record: {parsed.reason}. Nothing was sent.")
            return 1
        order = _with_merchant(parsed, merchant_id)
        merchant = _merchant(book, order.merchant_id)
        ready = await _ready(settings, hook_runner, order)
    finally:
        await hook_runner.aclose()
    if isinstance(ready, Skip):
        note(f"Plugin {ready.plugin} says that this order gets no tickets: {ready.reason}. Nothing was sent.")
        return 1
    if dry_run:
        _show_plan(ready, as_json=as_json)
        return 0
    async with ecticket_client(settings) as provider:
        results = []
        # SIGTERM closes the loop instead of killing the process, so that a call on the wire is logged.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _terminate)
        for part in ready:
            result = _interrupted(part)
            try:
                result = await _settle(provider, merchant, part, order.order_id)
            finally:
                facts = {"merchant_id": merchant.merchant_id, "order_id": order.order_id, **_result_json(result)}
                log_action("issue", facts)
            results.append(result)
    _show_results(results, as_json=as_json)
    return 0 if all(result.good for result in results) else 1


def _terminate() -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _interrupted(part: Part) -> IssueResult:
    """What is logged of a part whose call has ended with an exception that is no answer, such as Ctrl-C."""
    message = f"Tickets may exist. Before anything else: {_query_command(part)}"
    return IssueResult(part=part, outcome="interrupted", message=message)


async def _parse(settings: Settings, hook_runner: HookRunner, value: bytes) -> Order | Ignore:
    from adapter.extensions.values import OrderRecord

    record = OrderRecord(topic=settings.topics.orders_paid, key=None, value=value, timestamp=datetime.now(UTC))
    return await hook_runner.parse(record)


async def _ready(settings: Settings, hook_runner: HookRunner, order: Order) -> Skip | tuple[Part, ...]:
    from adapter.extensions.values import Skip
    from adapter.issuance.plan import check, plan
    from adapter.protocol.taipei import TAIPEI
    from adapter.wiring import plan_policy

    policy = plan_policy(settings)
    ready = await hook_runner.prepare(order, lambda order, items: plan(order, items, policy))
    if not isinstance(ready, Skip):
        today = datetime.now(TAIPEI).date()
        check(ready, today)
        return tuple(replace(part, request=part.request_on(today)) for part in ready)
    return ready


def _with_merchant(order: Order, merchant_id: str | None) -> Order:
    if merchant_id is None or order.merchant_id == merchant_id:
        return order
    if order.merchant_id:
        raise typer.BadParameter(f"The order is merchant {order.merchant_id}'s, and --merchant says {merchant_id}.")
    return replace(order, merchant_id=merchant_id)


def _merchant(book: MerchantBook, merchant_id: str) -> Merchant:
    merchant = book.find(merchant_id)
    if merchant is None:
        named = f"Merchant {merchant_id} is not configured" if merchant_id else "The order names no merchant"
        raise UnknownMerchant(f"{named}; known are {', '.join(book.ids) or 'none'}. Say which with --merchant.")
    return merchant


async def _settle(provider: EcticketClient, merchant: Merchant, part: Part, order_id: str) -> IssueResult:
    """Query the part's number, and issue it only if ECTicket does not know it."""
    from adapter.flows.number_history import KnownNumbers
    from adapter.operations.number_lookup import look_up

    numbers = KnownNumbers().to_query(merchant, part.trade_no.kind)
    try:
        found = await look_up(provider, merchant, part.trade_no, numbers)
    except CallError as error:
        return IssueResult(
            part=part, outcome="not sent", message=f"The query before it failed, so nothing was sent. {error}"
        )
    if found.known is not None:
        status = found.known.status.name.lower().replace("_", " ") if found.known.status is not None else "no status"
        remark = f": {found.known.remark}" if found.known.remark else ""
        message = f"ECTicket knows this number already ({status}{remark}); nothing was sent."
        return IssueResult(part=part, outcome="known", message=message, good=status != "failed")
    if found.not_known or found.lacks_known_number:
        result = await _send(provider, merchant, part, order_id)
        return result if found.not_known else replace(result, message=f"{result.message}. {NOT_VERIFIED}")
    message = f"{found.message} So tickets may exist, and nothing was sent."
    return IssueResult(part=part, outcome="not sent", message=message)


def _query_command(part: Part) -> str:
    return f"ecticket-adapter query {'--free ' if part.trade_no.kind == 'free' else ''}{part.trade_no.value}"


async def _send(provider: EcticketClient, merchant: Merchant, part: Part, order_id: str) -> IssueResult:
    question = _query_command(part)
    try:
        reply = await provider.issue(merchant, part.request, subject=order_id, authorize_send=lambda: None)
    except InDoubt as error:
        message = f"Tickets may exist: {error} Before anything else: {question}"
        return IssueResult(part=part, outcome="in doubt", message=message)
    except CallError as error:
        return IssueResult(part=part, outcome="not sent", message=str(error))
    if reply.rtn_code != RTN_OK:
        return IssueResult(part=part, outcome="refused", message=f"RtnCode {reply.rtn_code}: {reply.rtn_msg}")
    message = f"For its result run: {question}{_differing(part, reply)}"
    return IssueResult(
        part=part, outcome="submitted", message=message, ticket_trade_no=reply.ticket_trade_no, good=True
    )


def _differing(part: Part, reply: IssueReply) -> str:
    from adapter.issuance.answers import ticket_differences

    found = [
        f"{each.item}: requested {each.requested}, issued {each.issued}"
        for each in ticket_differences(part.request, reply.items)
    ]
    return f". ECTicket accepted other tickets than were requested ({'; '.join(found)}); look it up" if found else ""


def _show_plan(parts: Sequence[Part], *, as_json: bool) -> None:
    if as_json:
        plans = [{**_part_json(part), "request": _request(part)} for part in parts]
        print_json({"published": False, "sent": False, "parts": plans})
    else:
        for part in parts:
            _print_part(part)
    note(NOTHING_SENT)


def _print_part(part: Part) -> None:
    fields = [(name, value) for name, value in _request(part).items() if name != "TicketInfo"]
    items = [
        ("TicketInfo", json_text.dumps(entry.to_payload(), ensure_ascii=False)) for entry in part.request.ticket_info
    ]
    print_table((f"part {part.number} of {part.of}", f"tickets: {part.ticket_count}"), [*fields, *items])


def _show_results(results: Sequence[IssueResult], *, as_json: bool) -> None:
    if as_json:
        print_json({"published": False, "sent": True, "parts": [_result_json(result) for result in results]})
    else:
        rows = (
            (
                f"{result.part.number} of {result.part.of}",
                result.part.trade_no.value,
                result.part.ticket_count,
                result.outcome,
                result.ticket_trade_no,
                result.message,
            )
            for result in results
        )
        print_table(("part", "trade no", "tickets", "outcome", "ticket trade no", "what it means"), rows)
    note(NOTHING_PUBLISHED)


def _result_json(result: IssueResult) -> dict[str, object]:
    return {
        **_part_json(result.part),
        "outcome": result.outcome,
        "ticket_trade_no": result.ticket_trade_no,
        "message": result.message,
    }


def _part_json(part: Part) -> dict[str, object]:
    return {
        "part": part.number,
        "parts": part.of,
        "trade_no": part.trade_no.value,
        "trade_no_kind": part.trade_no.kind.value,
        "ticket_count": part.ticket_count,
    }


def _request(part: Part) -> dict[str, object]:
    """The request as it would be sent, without what it says of the customer."""
    return {name: "(hidden)" if name in PERSONAL else value for name, value in part.request.to_payload().items()}
