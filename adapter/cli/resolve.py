"""`resolve`: publishes what a person has found out about an issuance in the dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.audit import audit
from adapter.cli.context import CommandContext, Json, MerchantId, command, flag
from adapter.cli.output import note

if TYPE_CHECKING:
    from adapter.operations.dead_letter_view import DeadLetter
    from adapter.operations.resolve import PendingIssuance, Resolved
    from adapter.operations.resolve_issuance import ResolveRequest
    from adapter.settings import Settings

WHY_MAX_CHARACTERS = 200

As = Annotated[str, typer.Option("--as", metavar="issued|failed", help="What became of it.")]
Why = Annotated[
    str,
    typer.Option(
        "--why",
        metavar="TEXT",
        help=f"How you know it, without customer data; consumers of the events see it. Up to {WHY_MAX_CHARACTERS} "
        "characters.",
    ),
]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = (
        'ecticket-adapter resolve CBX20260302153064851 --as issued --why "seen in the vendor console"',
        'ecticket-adapter resolve CBX20260302153064851 --as failed --why "ECPay: never arrived, ticket 4711"',
    )
    command(app, "resolve", examples=examples, panel=panel)(resolve_)


def resolve_(
    context: CommandContext,
    trade_no: Annotated[str, typer.Argument(metavar="TRADE_NO", help="A trade number in an open dead letter.")],
    as_: As,
    why: Why,
    merchant: MerchantId = None,
    order: Annotated[
        str | None, typer.Option("--order", metavar="ORDER_ID", help="Which order, if two have the number.")
    ] = None,
    against_ecticket: Annotated[
        bool, flag("--against-ecticket", "Even if ECTicket's answer contradicts it or is unclear.")
    ] = False,
    unsigned: Annotated[
        bool, flag("--unsigned", "Even if the dead letter has no valid signature, after you have compared it.")
    ] = False,
    dry_run: Annotated[bool, flag("--dry-run", "Query ECTicket, show what would be published; write nothing.")] = False,
    json: Json = False,
) -> int:
    """Publish what became of an issuance in the dead letters; exit code 1 if nothing was published.

    The command queries ECTicket first and refuses what its answer contradicts. It publishes the events that the
    adapter would have published, and the dead letter is handled. Other parts of the order go to a new dead letter.
    """
    from adapter.operations.resolve import Resolution
    from adapter.operations.resolve_issuance import ResolveRequest

    if as_ not in tuple(Resolution):
        raise typer.BadParameter(f"--as takes issued or failed, not {as_!r}.")
    if not why.strip() or len(why) > WHY_MAX_CHARACTERS:
        raise typer.BadParameter(f"--why takes 1 to {WHY_MAX_CHARACTERS} characters, and this has {len(why.strip())}.")
    request = ResolveRequest(
        trade_no=trade_no,
        resolution=Resolution(as_),
        why=why.strip(),
        merchant_id=merchant,
        order_id=order,
        against_ecticket=against_ecticket,
        unsigned=unsigned,
        dry_run=dry_run,
    )
    return event_loop.run(_resolve(context.settings(), request, ResolveReport(request=request, json=json)))


async def _resolve(settings: Settings, request: ResolveRequest, report: ResolveReport) -> int:
    from adapter.cli.ecticket import ecticket_client, pick_merchant
    from adapter.cli.operation_parts import command_signer, dead_letter_store
    from adapter.operations.resolve_issuance import AmbiguousNumber, NotResolved, ResolveOperation
    from adapter.wiring import flow_topics, merchant_book

    operation = ResolveOperation(
        store=dead_letter_store(settings),
        topics=flow_topics(settings),
        merchants=merchant_book(settings),
        make_signer=partial(command_signer, settings),
        pick_merchant=partial(pick_merchant, settings),
        open_ecticket=partial(ecticket_client, settings),
        settles_after=timedelta(seconds=settings.submit.reissue_after_seconds),
        observer=report,
    )
    try:
        await operation.run(request)
    except AmbiguousNumber as error:
        raise typer.BadParameter(str(error)) from None
    except NotResolved as error:
        note(str(error))
        return 1
    if request.dry_run:
        note("Dry run: nothing was written.")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveReport:
    """Prints what was resolved."""

    request: ResolveRequest
    json: bool

    def note(self, sentence: str) -> None:
        """Print it on standard error."""
        note(sentence)

    def resolved(self, dead_letter: DeadLetter, pending: PendingIssuance, resolved: Resolved) -> None:
        """Print and log one resolved dead letter."""
        request = self.request
        outcome = "would be resolved" if request.dry_run else "resolved"
        left = f"; {', '.join(resolved.remaining)} left in a new dead letter" if resolved.remaining else ""
        text = (
            f"{outcome}  {dead_letter.name}  {pending.merchant_id}/{request.trade_no} as {request.resolution}: "
            f"published {', '.join(resolved.event_names)}{left}"
        )
        facts = {
            "outcome": outcome,
            "dead_letter": dead_letter.name,
            "merchant_id": pending.merchant_id,
            "order_id": dead_letter.order_id,
            "trade_no": request.trade_no,
            "as": request.resolution.value,
            "why": request.why,
            "against_ecticket": request.against_ecticket,
            "published": list(resolved.event_names),
            "remaining": list(resolved.remaining),
        }
        audit("resolve", facts, text=text, as_json=self.json)
