"""`dead-letters list` and `dead-letters show`: what a person must look at, and why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from adapter.cli.help import group
from adapter.cli.invocation import Invocation, Json, command, flag
from adapter.cli.output import clean, counting, note, print_entry, print_facts, print_json, print_table, say

if TYPE_CHECKING:
    from adapter.cli.dead_letter_views import Letter
    from adapter.settings import Settings
    from adapter.stream.records import Record

T = TypeVar("T")

SHOWN = 50
"""Rows that a table has unless more are asked for."""
BAR_CHARACTERS = 30


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the group."""
    listing = ("ecticket-adapter dead-letters list", "ecticket-adapter dead-letters list --reason unresolved --json")
    showing = ("ecticket-adapter dead-letters show 3", "ecticket-adapter dead-letters show orders.paid/0/41 --value")
    letters = group("Look at records that a person must look at.", (listing[0], showing[0]))
    command(letters, "list", examples=listing)(list_)
    command(letters, "show", examples=showing)(show)
    app.add_typer(letters, name="dead-letters", rich_help_panel=panel)


def list_(
    invocation: Invocation,
    reason: Annotated[str | None, typer.Option(metavar="REASON", help="Only those parked for this.")] = None,
    stage: Annotated[str | None, typer.Option(metavar="STAGE", help="Only those parked at this stage.")] = None,
    merchant: Annotated[str | None, typer.Option(metavar="ID", help="Only this merchant's, where it shows.")] = None,
    last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"Only the last N; a table shows {SHOWN} unless told.")
    ] = None,
    json: Json = False,
) -> None:
    """List the dead letters, the latest at the end, and how many there are for each reason."""

    def wanted(letter: Letter) -> bool:
        pairs = ((reason, letter.reason), (stage, letter.stage), (merchant, letter.merchant_id))
        return all(asked is None or asked == found for asked, found in pairs)

    letters = asyncio.run(_read(invocation.settings()))
    chosen = [(place, letter) for place, letter in enumerate(letters, 1) if wanted(letter)]
    counts = Counter(letter.reason or "(none)" for _, letter in chosen)
    if json:
        told = [{"place": place, **_plain(letter)} for place, letter in chosen[-(last or len(chosen)) :]]
        print_json({"letters": told, "by_reason": dict(counts.most_common())})
        return
    _print(chosen[-(last or SHOWN) :], counts)
    if len(chosen) > (last or SHOWN):
        note(f"The last {last or SHOWN} of {len(chosen)}. More with: --last {len(chosen)}")


def show(
    invocation: Invocation,
    which: Annotated[
        str,
        typer.Argument(
            metavar="WHICH", help="Its number in the list, or TOPIC/PARTITION/OFFSET of the letter or of its origin."
        ),
    ],
    value: Annotated[bool, flag("--value", "Show value and plan too; they hold customer data.")] = False,
    json: Json = False,
) -> int:
    """Show one dead letter with its headers; exit code 1 when there is none of that name."""
    found = asyncio.run(_find(invocation.settings(), which))
    if found is None:
        note(f"There is no dead letter {which}. See: ecticket-adapter dead-letters list")
        return 1
    if json:
        print_json(_record_json(*found, value=value))
    else:
        _print_record(*found, value=value)
    return 0


def _print(chosen: Sequence[tuple[int, Letter]], counts: Counter[str]) -> None:
    if not chosen:
        note("There are no such dead letters.")
        return
    for place, letter in chosen:
        title = "  ".join(filter(None, (letter.reason or "(no reason)", letter.key)))
        where = " · ".join(filter(None, (letter.stage, letter.origin, letter.failed_at or _written(letter))))
        print_entry(str(place), title, letter.message, where)
    say("")
    most = max(counts.values(), default=1)
    bars = ((reason, count, "█" * -(-count * BAR_CHARACTERS // most)) for reason, count in counts.most_common())
    print_table(("reason", "letters", ""), bars)


def _print_record(record: Record, letter: Letter, *, value: bool) -> None:
    from adapter.cli.dead_letter_views import PLAN, header_texts, text_of

    size = "none" if record.value is None else f"{len(record.value)} bytes"
    print_facts((("letter", letter.name), ("time", _written(letter)), ("key", letter.key), ("value", size)))
    say("")
    print_table(("header", "value"), [pair for pair in header_texts(record.headers) if value or pair[0] != PLAN])
    if value and record.value is not None:
        say("")
        say(clean(text_of(record.value)))
    elif not value:
        note("Value and plan are not shown, since they hold customer data; --value shows them.")


def _record_json(record: Record, letter: Letter, *, value: bool) -> dict[str, object]:
    from adapter.cli.dead_letter_views import PLAN, header_texts, text_of

    told = {
        **_plain(letter),
        "headers": [list(pair) for pair in header_texts(record.headers) if value or pair[0] != PLAN],
    }
    if value:
        told["value"] = None if record.value is None else text_of(record.value)
    return told


def _plain(letter: Letter) -> dict[str, object]:
    return {**asdict(letter), "timestamp": letter.timestamp.isoformat()}


def _written(letter: Letter) -> str:
    return f"{letter.timestamp:%Y-%m-%dT%H:%M:%SZ}"


async def _read(settings: Settings) -> list[Letter]:
    """All letters, the oldest first."""
    found = await _collect(settings, lambda _record, letter: letter)
    return sorted(found, key=lambda letter: (letter.timestamp, letter.partition, letter.offset))


async def _find(settings: Settings, which: str) -> tuple[Record, Letter] | None:
    from adapter.cli.dead_letter_views import is_meant

    letters = await _read(settings)
    named = [letter for place, letter in enumerate(letters, 1) if is_meant(which, letter, place)]
    if not named:
        return None
    meant = named[-1]
    records = await _collect(settings, lambda record, letter: (record, letter) if letter.name == meant.name else None)
    return records[0] if records else None


async def _collect(settings: Settings, keep: Callable[[Record, Letter], T | None]) -> list[T]:
    from adapter.cli.dead_letter_views import read_letter
    from adapter.stream.reading import read_to_end
    from adapter.wiring import kafka_connection

    kept = []
    records = read_to_end(kafka_connection(settings), [settings.topics.dead_letters])
    with counting("dead letters") as count:
        async with aclosing(records):
            async for record in records:
                count()
                found = keep(record, read_letter(record))
                if found is not None:
                    kept.append(found)
    return kept
