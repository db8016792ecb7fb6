"""`dead-letters`: what a person must look at, and why; and sending it back to work (`replaying`)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from adapter.cli.help import group
from adapter.cli.invocation import Invocation, Json, command, flag
from adapter.cli.letter_choice import WHICH_HELP, Merchant, Reason, Since, Sink, Stage, Until, filters, is_meant
from adapter.cli.output import clean, note, print_entry, print_facts, print_json, print_table, say
from adapter.cli.replaying import replay
from adapter.cli.skipping import skip

if TYPE_CHECKING:
    from adapter.flows.dead_letter_view import DeadLetter
    from adapter.settings import Settings
    from adapter.stream.records import Record

SHOWN = 50
"""Rows that a table has unless more are asked for."""
BAR_CHARACTERS = 30
NONE = "(none)"


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the group."""
    listing = (
        "ecticket-adapter dead-letters list",
        "ecticket-adapter dead-letters list --reason unresolved --since 2d --json",
    )
    showing = ("ecticket-adapter dead-letters show 3", "ecticket-adapter dead-letters show orders.paid/0/41 --value")
    replaying = (
        "ecticket-adapter dead-letters replay --reason unmapped-item --dry-run",
        "ecticket-adapter dead-letters replay --reason unmapped-item --per-second 5",
        "ecticket-adapter dead-letters replay A-1001",
    )
    skipping = ('ecticket-adapter dead-letters skip orders.paid/3/41 --why "disk error, the shop sends them again"',)
    letters = group(
        "Look at records that a person must look at, and send them back to work.",
        (listing[0], showing[0], replaying[0]),
    )
    command(letters, "list", examples=listing)(list_)
    command(letters, "show", examples=showing)(show)
    command(letters, "replay", examples=replaying)(replay)
    command(letters, "skip", examples=skipping)(skip)
    app.add_typer(letters, name="dead-letters", rich_help_panel=panel)


def list_(
    invocation: Invocation,
    reason: Reason = None,
    stage: Stage = None,
    sink: Sink = None,
    merchant: Merchant = None,
    since: Since = None,
    until: Until = None,
    last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"Only the last N; a table shows {SHOWN} unless told.")
    ] = None,
    all_: Annotated[bool, flag("--all", "Those too that were dealt with (replayed or resolved).")] = False,
    json: Json = False,
) -> None:
    """List the dead letters that nobody has dealt with, the latest at the end, and how many there are of each kind."""
    asked = filters(reason=reason, stage=stage, sink=sink, merchant=merchant, since=since, until=until)
    letters, still_open = asyncio.run(_read(invocation.settings()))
    chosen = [
        (place, letter)
        for place, letter in enumerate(letters, 1)
        if asked.want(letter) and (all_ or letter.name in still_open)
    ]
    shown = chosen[-(last or (len(chosen) if json else SHOWN)) :]
    if json:
        told = [{"place": place, "open": letter.name in still_open, **_plain(letter)} for place, letter in shown]
        reasons, stages = (dict(counts.most_common()) for counts in _counts(chosen))
        print_json({"letters": told, "by_reason": reasons, "by_stage": stages})
        return
    _print(chosen, shown, still_open)
    if len(chosen) > len(shown):
        note(f"The last {len(shown)} of {len(chosen)}. More with: --last {len(chosen)}")


def show(
    invocation: Invocation,
    which: Annotated[str, typer.Argument(metavar="WHICH", help=WHICH_HELP)],
    value: Annotated[bool, flag("--value", "Show value and plan too; they hold customer data.")] = False,
    json: Json = False,
) -> int:
    """Show one dead letter with its headers, the latest of that name; exit code 1 when there is none."""
    found = asyncio.run(_find(invocation.settings(), which))
    if found is None:
        note(f"There is no dead letter {which}. See: ecticket-adapter dead-letters list --all")
        return 1
    if json:
        print_json(_record_json(*found, value=value))
    else:
        _print_record(*found, value=value)
        _print_what_to_do(found[1])
    return 0


def _counts(chosen: Sequence[tuple[int, DeadLetter]]) -> tuple[Counter[str], Counter[str]]:
    """How many letters there are for each reason, and at each stage."""
    letters = [letter for _, letter in chosen]
    return Counter(letter.reason or NONE for letter in letters), Counter(letter.stage or NONE for letter in letters)


def _print(
    chosen: Sequence[tuple[int, DeadLetter]], shown: Sequence[tuple[int, DeadLetter]], still_open: frozenset[str]
) -> None:
    if not chosen:
        note("There are no such dead letters.")
        return
    for place, letter in shown:
        title = "  ".join(filter(None, (letter.reason or "(no reason)", letter.order_id or letter.key)))
        replays = f"replayed {letter.replay_count}×" if letter.replay_count else None
        done = None if letter.name in still_open else "dealt with"
        sink = letter.sink and f"sink {letter.sink}"
        where = (letter.stage, sink, letter.origin, letter.failed_at or _written(letter), replays, done)
        print_entry(str(place), title, letter.message, " · ".join(filter(None, where)))
    for heading, counts in zip(("reason", "stage"), _counts(chosen), strict=True):
        say("")
        _print_histogram(heading, counts)


def _print_histogram(heading: str, counts: Counter[str]) -> None:
    most = max(counts.values())
    bars = ((what, count, "█" * -(-count * BAR_CHARACTERS // most)) for what, count in counts.most_common())
    print_table((heading, "letters", ""), bars)


def _print_record(record: Record, letter: DeadLetter, *, value: bool) -> None:
    from adapter.flows.dead_letter_view import header_texts, text_of
    from adapter.flows.record_history import PLAN

    size = "none" if record.value is None else f"{len(record.value)} bytes"
    print_facts((("letter", letter.name), ("time", _written(letter)), ("key", letter.key), ("value", size)))
    say("")
    print_table(("header", "value"), [pair for pair in header_texts(record.headers) if value or pair[0] != PLAN])
    if value and record.value is not None:
        say("")
        say(clean(text_of(record.value)))
    elif not value:
        note("Value and plan are not shown, since they hold customer data; --value shows them.")


def _print_what_to_do(letter: DeadLetter) -> None:
    """The commands that deal with this very letter."""
    note(f"Replay it: ecticket-adapter dead-letters replay {letter.name}")
    if letter.reason == "unresolved":
        for trade_no in letter.trade_nos:
            note(f'Say what became of it: ecticket-adapter resolve {trade_no} --as issued|failed --why "..."')


def _record_json(record: Record, letter: DeadLetter, *, value: bool) -> dict[str, object]:
    from adapter.flows.dead_letter_view import header_texts, text_of
    from adapter.flows.record_history import PLAN

    told = {
        **_plain(letter),
        "headers": [list(pair) for pair in header_texts(record.headers) if value or pair[0] != PLAN],
    }
    if value:
        told["value"] = None if record.value is None else text_of(record.value)
    return told


def _plain(letter: DeadLetter) -> dict[str, object]:
    return {**asdict(letter), "timestamp": letter.timestamp.isoformat()}


def _written(letter: DeadLetter) -> str:
    return f"{letter.timestamp:%Y-%m-%dT%H:%M:%SZ}"


async def _read(settings: Settings) -> tuple[tuple[DeadLetter, ...], frozenset[str]]:
    """All letters, the oldest first, and the names of those that nobody has dealt with."""
    from adapter.cli.letter_pile import letters_of

    async with letters_of(settings) as letters:
        return letters.all, letters.open


async def _find(settings: Settings, which: str) -> tuple[Record, DeadLetter] | None:
    from adapter.cli.letter_pile import collect, read_letters

    letters = await read_letters(settings)
    named = [letter for place, letter in enumerate(letters, 1) if is_meant(which, letter, place)]
    if not named:
        return None
    meant = named[-1]
    records = await collect(settings, lambda record, letter: (record, letter) if letter.name == meant.name else None)
    return records[0] if records else None
