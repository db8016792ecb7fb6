"""`explain`: shows everything that the topics hold about an order, and who must act next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from adapter.cli.context import CommandContext, Json, command, flag
from adapter.cli.output import note, one_line, print_facts, print_json, print_line, print_table, progress_bar

if TYPE_CHECKING:
    from adapter.operations.timeline import NextAction, OrderTimeline, PartProgress, TimelineFact
    from adapter.protocol.issue import TradeNo
    from adapter.settings import Settings

SINCE = "30d"
FACT_HEADINGS = ("time", "what", "part", "record", "details")
PART_HEADINGS = ("part", "trade number", "state", "since")


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = (
        "ecticket-adapter explain A-1001",
        "ecticket-adapter explain CBX20260302153064851 --ask --since 3d --json",
    )
    command(app, "explain", examples=examples, panel=panel)(explain)


def explain(
    context: CommandContext,
    which: Annotated[
        str, typer.Argument(metavar="ORDER_ID|TRADE_NO", help="The order, or the trade number of one of its parts.")
    ],
    ask: Annotated[bool, flag("--ask", "Query ECTicket about each trade number too.")] = False,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Read records from this time on: 3d, 12h, or ISO 8601.")
    ] = SINCE,
    json: Json = False,
) -> int:
    """Show what happened to an order and who must act next; exit code 1 if no record is about it.

    The command reads topics and changes nothing. Its output has no customer data and no ticket number.
    """
    from adapter.operations.dead_letter_filters import InvalidFilter, parse_time
    from adapter.operations.explain_order import OrderNotFound
    from adapter.operations.timeline_json import timeline_json

    try:
        begin = parse_time(since, datetime.now(UTC))
    except InvalidFilter as error:
        raise typer.BadParameter(str(error)) from None
    try:
        timelines = asyncio.run(_explain(context.settings(), which, since=begin, ask=ask))
    except OrderNotFound as error:
        note(str(error))
        return 1
    if json:
        print_json({"orders": [timeline_json(each) for each in timelines]})
    else:
        for position, each in enumerate(timelines):
            if position:
                print_line("")
            _print(each)
    return 0


async def _explain(settings: Settings, which: str, *, since: datetime, ask: bool) -> tuple[OrderTimeline, ...]:
    from adapter.cli.ecticket import ecticket_client
    from adapter.cli.operation_parts import topic_reader
    from adapter.operations.ecticket_answers import EcticketAnswers
    from adapter.operations.explain_order import explain_order
    from adapter.operations.topic_search import OrderTopics
    from adapter.wiring import flow_topics, merchant_book

    merchants = merchant_book(settings)
    topics = OrderTopics(
        reader=topic_reader(settings),
        names=flow_topics(settings),
        merchants=merchants,
        trade_no_prefix=settings.submit.trade_no_prefix,
    )
    answers = EcticketAnswers(merchants=merchants, open_ecticket=partial(ecticket_client, settings)) if ask else None
    with progress_bar() as progress:
        return await explain_order(which, topics, since=since, progress=progress, answers=answers)


def _print(timeline: OrderTimeline) -> None:
    print_facts((("order", timeline.order_id), ("merchant", timeline.merchant_id)))
    print_line("")
    print_table(FACT_HEADINGS, map(_row, rows(timeline.facts)))
    print_line("")
    parts = [(_part(each), _name(each.trade_no), each.state.value, _time(each.since)) for each in timeline.parts]
    print_table(PART_HEADINGS, parts)
    for action in timeline.next:
        print_line("")
        _print_action(action)
    _note_what_is_missing(timeline)


def _note_what_is_missing(timeline: OrderTimeline) -> None:
    if timeline.truncated:
        note("There are too many records of one kind; the oldest of them are not shown.")
    if timeline.other_orders:
        others = ", ".join(map(one_line, timeline.other_orders))
        note(f"Other orders of the merchant have one of these numbers: {others}.")
    if timeline.unreadable:
        note(f"Batches that cannot be read were left out: {', '.join(timeline.unreadable)}.")


def rows(facts: Sequence[TimelineFact]) -> Sequence[Sequence[TimelineFact]]:
    """The facts of each row: equal ones of one number share a row until something else happens to the number.

    The event about a dead letter has no row beside the dead letter's.
    """
    from adapter.operations.timeline import FactKind

    parked = {(fact.at, fact.reason) for fact in facts if fact.kind is FactKind.DEAD_LETTER}
    found: list[list[TimelineFact]] = []
    last: dict[TradeNo | None, list[TimelineFact]] = {}
    for fact in facts:
        if fact.kind is FactKind.PARKED and (fact.at, fact.reason) in parked:
            continue
        row = last.get(fact.trade_no)
        if row is not None and (row[0].kind, row[0].text, row[0].reason) == (fact.kind, fact.text, fact.reason):
            row.append(fact)
        else:
            last[fact.trade_no] = [fact]
            found.append(last[fact.trade_no])
    return found


def _print_action(action: NextAction) -> None:
    """Print it; each command is a line of its own that nothing wraps, so that it can be copied."""
    due = None if action.not_before is None else f"not before {_time(action.not_before)}"
    number = _name(action.trade_no)
    print_facts((("next", action.actor.value), ("number", number), ("why", action.why), ("when", due)))
    for each in action.commands:
        print_line(f"  {one_line(each)}")


def _row(row: Sequence[TimelineFact]) -> tuple[object, ...]:
    fact, last = row[0], row[-1]
    what = fact.kind.value if fact.reason is None else f"{fact.kind.value} ({fact.reason})"
    again = f" {len(row) - 1} times more, until {_time(last.at)}." if len(row) > 1 else ""
    due = "" if last.not_before is None else f" Not before {_time(last.not_before)}."
    return _time(fact.at), what, fact.part, last.record, f"{fact.text}{again}{due}"


def _part(each: PartProgress) -> int | str | None:
    return "all" if each.trade_no is None and each.part is None else each.part


def _name(number: TradeNo | None) -> str | None:
    from adapter.protocol.issue import TradeNoKind

    if number is None:
        return None
    return f"{number.value} (free)" if number.kind is TradeNoKind.FREE else number.value


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
