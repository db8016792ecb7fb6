"""`resolve`: a person has looked, and says what became of an issuance that nobody could find out about."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from adapter.cli.audit import audit
from adapter.cli.context import CommandContext, Json, MerchantId, command, flag
from adapter.cli.output import counting, note
from adapter.errors import CallError

if TYPE_CHECKING:
    from adapter.cli.dead_letter_store import DeadLetters
    from adapter.flows.known_numbers import KnownNumbers
    from adapter.flows.number_history import NumberHistory
    from adapter.flows.number_owners import NumberOwners
    from adapter.operations.dead_letter_view import DeadLetter
    from adapter.operations.resolve import EcticketAnswer, PendingIssuance, Resolution, Resolved
    from adapter.settings import Settings

ENOUGH = 6
"""Numbers that should exist; a proof of life queries four of them at most."""
WHY_MAX_CHARACTERS = 200

As = Annotated[str, typer.Option("--as", metavar="issued|failed", help="What became of it.")]
Why = Annotated[
    str,
    typer.Option(
        "--why",
        metavar="TEXT",
        help=f"How you know, without customer data; readers of the events see it. Up to {WHY_MAX_CHARACTERS} "
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveRequest:
    """What the person says."""

    trade_no: str
    ending: Resolution
    why: str
    merchant_id: str | None
    order_id: str | None
    against_ecticket: bool
    dry_run: bool
    json: bool


def resolve_(
    context: CommandContext,
    trade_no: Annotated[str, typer.Argument(metavar="TRADE_NO", help="The number that lies in an open dead letter.")],
    as_: As,
    why: Why,
    merchant: MerchantId = None,
    order: Annotated[
        str | None, typer.Option("--order", metavar="ORDER_ID", help="Which order is meant where two bring the number.")
    ] = None,
    against_ecticket: Annotated[
        bool, flag("--against-ecticket", "Even if ECTicket says otherwise, or says nothing.")
    ] = False,
    dry_run: Annotated[bool, flag("--dry-run", "Ask ECTicket, show what would be told, and write nothing.")] = False,
    json: Json = False,
) -> int:
    """Tell what became of an issuance in the dead letters, once a person knows; exit code 1 when nothing was told.

    ECTicket is asked first, and what it contradicts is refused. The events are those that would have been told, and
    the dead letter is dealt with; other parts of its order go on in a new one.
    """
    from adapter.operations.resolve import Resolution

    if as_ not in tuple(Resolution):
        raise typer.BadParameter(f"--as takes issued or failed, and not {as_!r}.")
    if not why.strip() or len(why) > WHY_MAX_CHARACTERS:
        raise typer.BadParameter(f"--why takes 1 to {WHY_MAX_CHARACTERS} characters, and this has {len(why.strip())}.")
    request = ResolveRequest(
        trade_no=trade_no,
        ending=Resolution(as_),
        why=why.strip(),
        merchant_id=merchant,
        order_id=order,
        against_ecticket=against_ecticket,
        dry_run=dry_run,
        json=json,
    )
    return asyncio.run(_resolve(context.settings(), request))


async def _resolve(settings: Settings, request: ResolveRequest) -> int:
    from adapter.cli.dead_letter_store import open_dead_letters

    async with open_dead_letters(settings) as dead_letters:
        found = await _find_pending(settings, dead_letters, request)
        if not found:
            note(
                f"No open dead letter holds the number {request.trade_no}. "
                "See: ecticket-adapter dead-letters list, or list --all for those that were dealt with."
            )
            return 1
        history = await _history(settings, found[0][1])
        status = await _query_status(settings, found[0][1], history.known)
        rejection = _refusal(settings, request, [each for _, each in found], status, history.owners)
        if rejection is not None:
            note(rejection)
            return 1
        note(status.description)
        return await _publish(settings, dead_letters, request, found)


async def _find_pending(
    settings: Settings, dead_letters: DeadLetters, request: ResolveRequest
) -> list[tuple[DeadLetter, PendingIssuance]]:
    """The open letters that hold the number, the oldest first.

    Raises a usage error when they are of two merchants or of two orders.
    """
    from adapter.cli.dead_letter_store import collect
    from adapter.operations.resolve import find_pending

    names = {
        dead_letter.name
        for dead_letter in dead_letters.all
        if dead_letter.name in dead_letters.open and request.trade_no in dead_letter.trade_nos
    }
    records = await collect(
        settings, lambda record, dead_letter: (record, dead_letter) if dead_letter.name in names else None
    )
    read = ((dead_letter, find_pending(record, request.trade_no)) for record, dead_letter in records)
    found = [
        (dead_letter, each)
        for dead_letter, each in read
        if each is not None
        and request.merchant_id in (None, each.merchant_id)
        and request.order_id in (None, each.order_id)
    ]
    merchants = sorted({each.merchant_id for _, each in found})
    if len(merchants) > 1:
        raise typer.BadParameter(f"Several merchants have that number; say which with --merchant: {merchants}.")
    orders = sorted({each.order_id for _, each in found})
    if len(orders) > 1:
        raise typer.BadParameter(f"Several orders bring that number; say which with --order: {', '.join(orders)}.")
    return sorted(found, key=lambda pair: (pair[0].timestamp, pair[0].name))


async def _history(settings: Settings, found: PendingIssuance) -> NumberHistory:
    """Whose the number is, and which numbers of its merchant should exist, as far as the issuances topic tells."""
    from adapter.flows.number_history import NumberHistory
    from adapter.kafka.reader import read_to_end
    from adapter.wiring import kafka_connection, merchant_book

    merchants = merchant_book(settings)
    history, merchant = NumberHistory(merchants=merchants), merchants.find(found.merchant_id)
    key = f"{found.merchant_id}/{found.trade_no.value}".upper()
    with counting("events") as count:
        async with aclosing(read_to_end(kafka_connection(settings), [settings.topics.issuances])) as records:
            async for record in records:
                count()
                about = (record.key or b"").decode("utf-8", "replace").upper() == key
                lacks = merchant is not None and len(history.known.to_query(merchant, found.trade_no.kind)) < ENOUGH
                if about or lacks:
                    history.take(record)
    return history


def _refusal(
    settings: Settings,
    request: ResolveRequest,
    found: Sequence[PendingIssuance],
    status: EcticketAnswer,
    owners: NumberOwners,
) -> str | None:
    """Why it is not told: what ECTicket's word forbids."""
    from adapter.operations.resolve import objection

    if request.against_ecticket:
        return None
    after = timedelta(seconds=settings.submit.reissue_after_seconds)
    now = datetime.now(UTC)
    for each in found:
        other = owners.other_order(each.merchant_id, each.trade_no.value, each.order_id)
        why = objection(request.ending, each, status, now=now, settles_after=after, other_order=other)
        if why is not None:
            return (
                f"Nothing was told. {why} To go on asking, run: ecticket-adapter dead-letters replay "
                f"{request.trade_no}; "
                "if you know better than ECTicket, add --against-ecticket."
            )
    return None


async def _query_status(settings: Settings, found: PendingIssuance, known: KnownNumbers) -> EcticketAnswer:
    """What ECTicket says of the number now; nothing certain when it cannot be asked."""
    from adapter.cli.ecticket import ecticket_client, pick_merchant
    from adapter.operations.resolve import EcticketAnswer, query_status

    merchant = pick_merchant(settings, found.merchant_id)
    async with ecticket_client(settings) as provider:
        try:
            return await query_status(provider, merchant, found, known)
        except CallError as error:
            return EcticketAnswer(description=f"ECTicket could not be asked: {error}")


async def _publish(
    settings: Settings,
    dead_letters: DeadLetters,
    request: ResolveRequest,
    found: Sequence[tuple[DeadLetter, PendingIssuance]],
) -> int:
    """Each letter in one transaction with what is told of it; of several, the same facts under the same ids."""
    from adapter.operations.resolve import resolve
    from adapter.stream.stage import Outcome
    from adapter.wiring import flow_topics, merchant_book, record_signer

    signer = record_signer(settings, merchant_book(settings))
    for dead_letter, each in found:
        if not signer.verify(each.dead_letter).valid:
            note(
                f"The signature of {dead_letter.name} is not valid: check its facts against the order before you "
                "trust it."
            )
        resolved = resolve(
            each, request.ending, request.why, topics=flow_topics(settings), now=datetime.now(UTC), signer=signer
        )
        if not request.dry_run:
            async with dead_letters.claim(dead_letter.partition) as claim:
                if not claim.is_open(dead_letter.offset):
                    note(f"{dead_letter.name} was dealt with by somebody else at this moment; nothing was told.")
                    return 1
                await claim.acknowledge({dead_letter.offset: Outcome(records=resolved.producer_records)})
        _report(request, dead_letter, each, resolved)
    if request.dry_run:
        note("Dry run: nothing was written.")
    return 0


def _report(request: ResolveRequest, dead_letter: DeadLetter, found: PendingIssuance, resolved: Resolved) -> None:
    outcome = "would be resolved" if request.dry_run else "resolved"
    left = f"; {', '.join(resolved.remaining)} left in a new letter" if resolved.remaining else ""
    text = (
        f"{outcome}  {dead_letter.name}  {found.merchant_id}/{request.trade_no} as {request.ending}: "
        f"told {', '.join(resolved.event_names)}{left}"
    )
    facts = {
        "outcome": outcome,
        "letter": dead_letter.name,
        "merchant_id": found.merchant_id,
        "order_id": dead_letter.order_id,
        "trade_no": request.trade_no,
        "as": request.ending.value,
        "why": request.why,
        "against_ecticket": request.against_ecticket,
        "told": list(resolved.event_names),
        "left": list(resolved.remaining),
    }
    audit(f"an issuance {'was ' if outcome == 'resolved' else ''}{outcome}", facts, text=text, as_json=request.json)
