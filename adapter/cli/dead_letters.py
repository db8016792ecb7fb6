"""`dead-letters`: lists and shows the records that need a person; the group of `replay` and `skip`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.context import CommandContext, Json, command, flag
from adapter.cli.dead_letter_options import WHICH_HELP, Merchant, Reason, Since, Sink, Stage, Until, filters
from adapter.cli.help import group
from adapter.cli.output import clean, note, print_entry, print_facts, print_json, print_line, print_table
from adapter.cli.replay import replay
from adapter.cli.skip import skip

if TYPE_CHECKING:
    from adapter.operations.dead_letter_view import DeadLetter
    from adapter.settings import Settings
    from adapter.stream.records import Record

SHOWN = 50
"""Entries that `list` shows without `--last`."""
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
    dead_letters = group(
        "Show the records that need a person, and send them back to work.",
        (listing[0], showing[0], replaying[0]),
    )
    command(dead_letters, "list", examples=listing)(list_)
    command(dead_letters, "show", examples=showing)(show)
    command(dead_letters, "replay", examples=replaying)(replay)
    command(dead_letters, "skip", examples=skipping)(skip)
    app.add_typer(dead_letters, name="dead-letters", rich_help_panel=panel)


def list_(
    context: CommandContext,
    reason: Reason = None,
    stage: Stage = None,
    sink: Sink = None,
    merchant: Merchant = None,
    since: Since = None,
    until: Until = None,
    last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"Only the last N (without --json {SHOWN} by default).")
    ] = None,
    all_: Annotated[bool, flag("--all", "Also handled ones (replayed or resolved).")] = False,
    json: Json = False,
) -> None:
    """List the open dead letters, the latest at the end, and their numbers by reason and by stage."""
    given_filters = filters(reason=reason, stage=stage, sink=sink, merchant=merchant, since=since, until=until)
    dead_letters, still_open = event_loop.run(_read(context.settings()))
    chosen = [
        (number, dead_letter)
        for number, dead_letter in enumerate(dead_letters, 1)
        if given_filters.matches(dead_letter) and (all_ or dead_letter.name in still_open)
    ]
    shown = chosen[-(last or (len(chosen) if json else SHOWN)) :]
    if json:
        entries = [
            {"number": number, "open": dead_letter.name in still_open, **_plain(dead_letter)}
            for number, dead_letter in shown
        ]
        reasons, stages = (dict(counts.most_common()) for counts in _counts(chosen))
        print_json({"dead_letters": entries, "by_reason": reasons, "by_stage": stages})
        return
    _print(chosen, shown, still_open)
    if len(chosen) > len(shown):
        note(f"The last {len(shown)} of {len(chosen)}. More with: --last {len(chosen)}")


def show(
    context: CommandContext,
    which: Annotated[str, typer.Argument(metavar="WHICH", help=WHICH_HELP)],
    value: Annotated[bool, flag("--value", "Show value and plan too; they hold customer data.")] = False,
    json: Json = False,
) -> int:
    """Show one dead letter with its headers, the latest of that name; exit code 1 if there is none."""
    found = event_loop.run(_find(context.settings(), which))
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
    """How many dead letters there are for each reason, and at each stage."""
    dead_letters = [dead_letter for _, dead_letter in chosen]
    return Counter(dead_letter.reason or NONE for dead_letter in dead_letters), Counter(
        dead_letter.stage or NONE for dead_letter in dead_letters
    )


def _print(
    chosen: Sequence[tuple[int, DeadLetter]], shown: Sequence[tuple[int, DeadLetter]], still_open: frozenset[str]
) -> None:
    if not chosen:
        note("There are no such dead letters.")
        return
    for number, dead_letter in shown:
        title = "  ".join(filter(None, (dead_letter.reason or "(no reason)", dead_letter.label)))
        replays = f"replayed {dead_letter.replay_count}×" if dead_letter.replay_count else None
        done = None if dead_letter.name in still_open else "handled"
        sink = dead_letter.sink and f"sink {dead_letter.sink}"
        where = (
            dead_letter.stage,
            sink,
            dead_letter.origin,
            dead_letter.failed_at or _written(dead_letter),
            replays,
            done,
        )
        print_entry(str(number), title, dead_letter.message, " · ".join(filter(None, where)))
    for heading, counts in zip(("reason", "stage"), _counts(chosen), strict=True):
        print_line("")
        _print_histogram(heading, counts)


def _print_histogram(heading: str, counts: Counter[str]) -> None:
    maximum = max(counts.values())
    bars = ((what, count, "█" * -(-count * BAR_CHARACTERS // maximum)) for what, count in counts.most_common())
    print_table((heading, "dead letters", ""), bars)


def _print_record(record: Record, dead_letter: DeadLetter, *, value: bool) -> None:
    from adapter.flows.messages.record_history import PLAN
    from adapter.operations.dead_letter_view import header_texts, text_of

    size = "none" if record.value is None else f"{len(record.value)} bytes"
    print_facts(
        (("dead letter", dead_letter.name), ("time", _written(dead_letter)), ("key", dead_letter.key), ("value", size))
    )
    print_line("")
    print_table(("header", "value"), [pair for pair in header_texts(record.headers) if value or pair[0] != PLAN])
    if value and record.value is not None:
        print_line("")
        print_line(clean(text_of(record.value)))
    elif not value:
        note("Value and plan are not shown, since they hold customer data; --value shows them.")


def _print_what_to_do(dead_letter: DeadLetter) -> None:
    """Print the commands that handle this dead letter."""
    note(f"Replay it: ecticket-adapter dead-letters replay {dead_letter.name}")
    if dead_letter.reason == "unresolved":
        for trade_no in dead_letter.trade_nos:
            note(f'Publish that it was issued: ecticket-adapter resolve {trade_no} --as issued --why "..."')
            note(f'Publish that it failed: ecticket-adapter resolve {trade_no} --as failed --why "..."')


def _record_json(record: Record, dead_letter: DeadLetter, *, value: bool) -> dict[str, object]:
    from adapter.flows.messages.record_history import PLAN
    from adapter.operations.dead_letter_view import header_texts, text_of

    entries = {
        **_plain(dead_letter),
        "headers": [list(pair) for pair in header_texts(record.headers) if value or pair[0] != PLAN],
    }
    if value:
        entries["value"] = None if record.value is None else text_of(record.value)
    return entries


def _plain(dead_letter: DeadLetter) -> dict[str, object]:
    return {**asdict(dead_letter), "timestamp": dead_letter.timestamp.isoformat()}


def _written(dead_letter: DeadLetter) -> str:
    return f"{dead_letter.timestamp:%Y-%m-%dT%H:%M:%SZ}"


async def _read(settings: Settings) -> tuple[tuple[DeadLetter, ...], frozenset[str]]:
    """All dead letters, the oldest first, and the names of the open ones."""
    from adapter.cli.operation_parts import dead_letter_store

    async with dead_letter_store(settings).open() as dead_letters:
        return dead_letters.all, dead_letters.open


async def _find(settings: Settings, which: str) -> tuple[Record, DeadLetter] | None:
    from adapter.cli.operation_parts import dead_letter_store
    from adapter.operations.dead_letter_filters import named

    store = dead_letter_store(settings)
    found = named(which, await store.read())
    if not found:
        return None
    meant = found[-1]
    records = await store.collect(
        lambda record, dead_letter: (record, dead_letter) if dead_letter.name == meant.name else None
    )
    return records[0] if records else None
