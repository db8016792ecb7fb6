"""`hold` and `release`: stop and resume the issuing of one merchant while the adapter runs."""

from __future__ import annotations

from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.audit import audit
from adapter.cli.context import CommandContext, Json, command
from adapter.cli.ecticket import pick_merchant
from adapter.cli.output import note

if TYPE_CHECKING:
    from adapter.operations.merchant_holds import Publish
    from adapter.settings import Settings
    from adapter.stream.records import ProducerRecord

IN_FORCE_SECONDS = 2.0
"""How long a running process takes to read a hold; measured in docs/holds.md."""

MerchantArgument = Annotated[str, typer.Argument(metavar="MERCHANT", help="MerchantID at ECPay, as in the settings.")]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME|DURATION",
        help="When the hold ends by itself: 1h30m, 15:00 (today in Taipei), 2026-03-01T15:00+08:00. Without it: when "
        "the merchant is released.",
    ),
]
Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="Why, for other operators; without customer data."),
]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the commands."""
    examples = (
        "ecticket-adapter hold 3085676 --until 1h",
        'ecticket-adapter hold 3085676 --until 15:00 --reason "wrong price in the catalogue"',
    )
    command(app, "hold", examples=examples, panel=panel)(hold)
    command(app, "release", examples=("ecticket-adapter release 3085676",), panel=panel)(release)


def hold(
    context: CommandContext, merchant: MerchantArgument, until: Until = None, reason: Reason = None, json: Json = False
) -> int:
    """Stop issuing for one merchant without losing an order; running adapters obey within seconds.

    New orders of the merchant wait and count no attempts. Calls that are on the wire end, doubts are queried, and
    results and callbacks are published as always. Other merchants are not affected. Another `hold` replaces this one.
    """
    from adapter.app import utc_now
    from adapter.flows.messages.hold import REASON_MAX_CHARACTERS
    from adapter.operations.merchant_holds import InvalidEnd, hold_merchant, in_taipei, parse_end

    settings, now = context.settings(), utc_now()
    merchant_id = pick_merchant(settings, merchant).merchant_id
    if reason is not None and not (reason := reason.strip())[:REASON_MAX_CHARACTERS] == reason:
        raise typer.BadParameter(
            f"--reason takes up to {REASON_MAX_CHARACTERS} characters, and this has {len(reason)}."
        )
    try:
        end = None if until is None else parse_end(until, now)
    except InvalidEnd as error:
        raise typer.BadParameter(f"--until: {error}") from None
    publish = partial(_publish, settings)
    held = event_loop.run(
        hold_merchant(
            merchant_id, until=end, reason=reason or None, topic=settings.topics.control, publish=publish, now=now
        )
    )
    ends = "until it is released" if end is None else f"until {in_taipei(end)}"
    facts = {"merchant_id": merchant_id, **held.model_dump(mode="json")}
    audit("hold", facts, text=f"held  {merchant_id}  {ends}", as_json=json)
    note(
        f"Running adapters that reach the brokers stop sending within {IN_FORCE_SECONDS:g} s; calls on the wire end. "
        f"Their metrics show it: ecticket_merchant_held. Release it with: ecticket-adapter release {quote(merchant_id)}"
        f"{context.same_config}"
    )
    return 0


def release(context: CommandContext, merchant: MerchantArgument, json: Json = False) -> int:
    """End the hold of one merchant; its waiting orders continue within seconds."""
    from adapter.operations.merchant_holds import release_merchant

    settings = context.settings()
    merchant_id = pick_merchant(settings, merchant).merchant_id
    publish: Publish = partial(_publish, settings)
    event_loop.run(release_merchant(merchant_id, topic=settings.topics.control, publish=publish))
    facts = {"merchant_id": merchant_id, "released": True}
    audit("release", facts, text=f"released  {merchant_id}", as_json=json)
    note(f"Running adapters that reach the brokers resume its orders within {IN_FORCE_SECONDS:g} s.")
    return 0


async def _publish(settings: Settings, record: ProducerRecord) -> None:
    from adapter.kafka.single_record import publish_one
    from adapter.wiring import kafka_connection

    await publish_one(kafka_connection(settings), record)
