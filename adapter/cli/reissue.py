"""`reissue`: issues what finally failed under a new trade number, through the running adapter."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.audit import audit
from adapter.cli.context import CommandContext, Json, MerchantId, command, flag
from adapter.cli.output import counting, note

if TYPE_CHECKING:
    from adapter.operations.reissue import Reissue
    from adapter.operations.reissue_order import Planning, ReissueOperation
    from adapter.settings import Settings

OrderFile = Annotated[
    Path | None,
    typer.Option("--order", metavar="FILE", help="The order-paid event, if its topic does not hold it any more."),
]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = ("ecticket-adapter reissue A-1001 --dry-run", "ecticket-adapter reissue CBX20260302153064851")
    command(app, "reissue", examples=examples, panel=panel)(reissue_)


def reissue_(
    context: CommandContext,
    which: Annotated[
        str, typer.Argument(metavar="ORDER_ID|TRADE_NO", help="The order, or the number of a part that failed.")
    ],
    merchant: MerchantId = None,
    order: OrderFile = None,
    changed_items: Annotated[
        bool, flag("--changed-items", "Issue the items of today's mapping, even if other items failed.")
    ] = False,
    dry_run: Annotated[bool, flag("--dry-run", "Show what would be issued under which number; write nothing.")] = False,
    json: Json = False,
) -> int:
    """Issue what finally failed again, under a new derived number; exit code 1 if nothing was reissued.

    Only a part whose last event is `failed` is reissued, and only if ECTicket answers for each of its numbers that no
    tickets exist or will. The order goes to the deferred topic with its new numbers. The running adapter queries
    ECTicket about them before it sends, so running this command twice issues once.
    """
    from adapter.operations.reissue_order import AmbiguousOrder, NotReissuable, ReissueRequest

    request = ReissueRequest(
        which=which,
        merchant_id=merchant,
        order=None if order is None else order.read_bytes(),
        changed_items=changed_items,
        dry_run=dry_run,
    )
    try:
        order_id, reissued = event_loop.run(_operation(context.settings()).run(request))
    except AmbiguousOrder as error:
        raise typer.BadParameter(str(error)) from None
    except NotReissuable as error:
        note(f"Nothing was reissued. {error}")
        return 1
    _report(reissued, order_id, dry_run=dry_run, json=json)
    if dry_run:
        note("Dry run: nothing was written.")
    return 0


def _operation(settings: Settings) -> ReissueOperation:
    from adapter.cli.ecticket import ecticket_client
    from adapter.cli.operation_parts import command_signer, topic_reader
    from adapter.kafka.producers import exclusive_producer
    from adapter.operations.reissue_order import ReissueOperation
    from adapter.wiring import flow_topics, kafka_connection

    return ReissueOperation(
        reader=topic_reader(settings),
        topics=flow_topics(settings),
        group_prefix=settings.kafka.group_prefix,
        trade_no_prefix=settings.submit.trade_no_prefix,
        make_planning=partial(_planning, settings),
        make_signer=partial(command_signer, settings),
        open_producer=partial(exclusive_producer, kafka_connection(settings)),
        open_ecticket=partial(ecticket_client, settings),
        settles_after=timedelta(seconds=settings.submit.reissue_after_seconds),
        counting=counting,
    )


def _planning(settings: Settings) -> Planning:
    from adapter.operations.reissue_order import Planning
    from adapter.wiring import make_hook_runner, merchant_book, plan_policy

    merchants = merchant_book(settings)
    merchants.check()
    policy = plan_policy(settings)
    return Planning(hook_runner=make_hook_runner(settings, merchants), policy=policy, merchants=merchants)


def _report(reissued: Reissue, order_id: str, *, dry_run: bool, json: bool) -> None:
    outcome = "would be reissued" if dry_run else "reissued"
    for part in reissued.parts:
        text = (
            f"{outcome}  order {order_id}, part {part.number} of {part.of} under {part.trade_no.value} "
            f"(reissue {part.reissue}, {part.ticket_count} tickets) → {reissued.producer_record.topic}"
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
            "target": reissued.producer_record.topic,
        }
        audit("reissue", facts, text=text, as_json=json)
