"""`query` and `item`: query ECTicket about a trade number or a product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.context import CommandContext, Json, MerchantId, command, flag
from adapter.cli.ecticket import catalogue_products, ecticket_client, pick_merchant, refuse_violations
from adapter.cli.output import print_facts, print_json, print_line, print_marked, print_table

if TYPE_CHECKING:
    from adapter.protocol.credentials import Merchant
    from adapter.protocol.issue import TradeNo
    from adapter.protocol.query_issue_result import ResultReply
    from adapter.protocol.query_item_info import ItemReply
    from adapter.settings import Settings

RTN_OK = 1


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the commands."""
    examples = ("ecticket-adapter query CBX20220302153064851", "ecticket-adapter query --free 0K3VJ6Q2B9ZC8TNYD1RW")
    command(app, "query", examples=examples, panel=panel)(query)
    command(app, "item", examples=("ecticket-adapter item VQT04959",), panel=panel)(item)


def query(
    context: CommandContext,
    trade_no: Annotated[str, typer.Argument(metavar="TRADE_NO", help="The trade number of the issuance.")],
    free: Annotated[bool, flag("--free", "It is a FreeTradeNo: nothing but gift vouchers.")] = False,
    merchant: MerchantId = None,
    json: Json = False,
) -> int:
    """Query ECTicket what became of an issuance; exit code 1 if it does not know the number."""
    from adapter.protocol.issue import TradeNo, TradeNoKind
    from adapter.protocol.query_issue_result import ResultRequest
    from adapter.protocol.rules import result_violations

    settings = context.settings()
    who = pick_merchant(settings, merchant)
    number = TradeNo(kind=TradeNoKind.FREE if free else TradeNoKind.MERCHANT, value=trade_no)
    refuse_violations(result_violations(ResultRequest(merchant_id=who.merchant_id, trade_no=number)))
    reply = event_loop.run(_query(settings, who, number))
    facts = {
        "merchant_id": who.merchant_id,
        "trade_no": trade_no,
        "trade_no_kind": number.kind.value,
        "rtn_code": reply.rtn_code,
        "rtn_msg": reply.rtn_msg,
        "status": None if reply.status is None else reply.status.name.lower(),
        "remark": reply.remark,
    }
    _print(facts, as_json=json)
    return 0 if reply.rtn_code == RTN_OK else 1


def item(
    context: CommandContext,
    item_no: Annotated[str, typer.Argument(metavar="ITEM_NO", help="The product's number at ECTicket.")],
    merchant: MerchantId = None,
    json: Json = False,
) -> int:
    """Query ECTicket about a product; exit code 1 if it does not know the number.

    Shows what will go wrong when it is sold: a delisted product, and a voucher kind or a price that is not the
    catalogue's (submit.catalogue).
    """
    from adapter.extensions.builtin.product_check import differences
    from adapter.protocol.query_item_info import ItemRequest
    from adapter.protocol.rules import item_violations

    settings = context.settings()
    who = pick_merchant(settings, merchant)
    refuse_violations(item_violations(ItemRequest(merchant_id=who.merchant_id, item_no=item_no)))
    uses = catalogue_products(settings).get(item_no, {})
    reply = event_loop.run(_item(settings, who, item_no))
    findings = tuple(differences(reply, uses))
    instructions = [
        {"issue_type": entry.issue_type.name.lower(), "description": entry.description} for entry in reply.instructions
    ]
    facts = {
        "merchant_id": who.merchant_id,
        "item_no": item_no,
        "rtn_code": reply.rtn_code,
        "rtn_msg": reply.rtn_msg,
        "name": reply.item_name,
        "voucher": None if reply.ticket_type is None else reply.ticket_type.name.lower(),
        "amount": reply.item_amount,
        "status": None if reply.item_status is None else reply.item_status.name.lower(),
        "modified": None if reply.modify_date is None else reply.modify_date.isoformat(),
    }
    if json:
        differing = [{"kind": found.kind, "message": found.message} for found in findings]
        print_json({**facts, "instructions": instructions, "findings": differing})
    else:
        _print(facts, as_json=False)
        for found in findings:
            print_marked("warning  ", "yellow", found.message)
        if instructions:
            print_line("")
            print_table(("issue type", "instruction"), [tuple(entry.values()) for entry in instructions])
    return 0 if reply.rtn_code == RTN_OK else 1


def _print(facts: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(dict(facts))
    else:
        print_facts((name.replace("_", " "), value) for name, value in facts.items())


async def _query(settings: Settings, merchant: Merchant, trade_no: TradeNo) -> ResultReply:
    from adapter.provider.client import Purpose

    async with ecticket_client(settings) as provider:
        return await provider.query(merchant, trade_no, purpose=Purpose.CONFIRM)


async def _item(settings: Settings, merchant: Merchant, item_no: str) -> ItemReply:
    from adapter.provider.client import Purpose

    async with ecticket_client(settings) as provider:
        return await provider.item(merchant, item_no, purpose=Purpose.CONFIRM)
