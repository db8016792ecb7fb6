"""What commands print: data on standard output, as tables, facts or JSON; everything else on standard error.

Whatever comes from outside is cleaned before it reaches a terminal, since a record may hold escape sequences.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

UNBOUNDED_COLUMNS = 400
"""Width of tables that go into a file or a pipe: nothing is cut off there."""
GAP = 2
"""Blanks between columns."""
KEY_AND_VALUE = 2
"""A table of so many columns gains nothing by being shown as blocks."""


def print_line(text: str) -> None:
    """A line on standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """A line on standard error; on a terminal it is broken between words, so that commands in it can be copied.

    Where standard error takes nothing (a full disk, a reader that has left), the line is lost and the work goes on.
    """
    if sys.stderr.isatty():
        text = textwrap.fill(text, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def clean(text: str) -> str:
    """The text without characters that a terminal would obey instead of showing."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def one_line(text: str) -> str:
    """The same, without line ends too: an order id with one would look like another entry."""
    return clean(text).replace("\n", "\ufffd").replace("\t", " ")


def print_json(value: object, *, to: TextIO | None = None) -> None:
    """The value as JSON, readable by people too; on standard output, or as `capture_plugin_output` has it."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str), file=to, flush=True)


@contextmanager
def capture_plugin_output() -> Iterator[TextIO]:
    """Standard output for this command's own words alone, which are written to what this gives.

    Whatever else is printed goes to standard error, for the rest of the process too: a plugin may have a thread that
    goes on printing, or write past Python, and what a program reads from here must stay JSON.
    """
    output = sys.stdout
    try:
        number, errors = output.fileno(), sys.stderr.fileno()
    except (OSError, ValueError):  # kept in memory, as tests do
        with redirect_stdout(sys.stderr):
            yield output
        return
    output.flush()
    with open(os.dup(number), "w", encoding=output.encoding, errors=output.errors) as kept, redirect_stdout(sys.stderr):
        os.dup2(errors, number)
        yield kept


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings; a cell that is None stays empty.

    On a terminal that is too narrow for the columns and one word of the last, which is the one that may be broken, each
    row becomes a block of names and values.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column != columns[-1], overflow="fold")
    given = [["" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    for row in given:
        table.add_row(*row)
    console = _console()
    if len(columns) <= KEY_AND_VALUE or _needed(columns, given) <= console.width:
        _print(console, table)
        return
    for place, row in enumerate(given):
        if place:
            print_line("")
        print_facts((name, cell or None) for name, cell in zip(columns, row, strict=True))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one below the other; what is None is left out."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, GAP))
    for name, value in facts:
        if value is not None:
            grid.add_row(Text(name, style="bold"), Text(clean(str(value)), overflow="fold"))
    _print(_console(), grid)


def print_marked(mark: str, style: str, text: str) -> None:
    """A line behind a coloured mark; on a terminal what does not fit goes on below, clear of the mark."""
    from rich.table import Table
    from rich.text import Text

    console = _console()
    if not console.is_terminal:
        print_line(f"{mark}{clean(text)}")
        return
    line = Table.grid()
    line.add_row(Text(mark, style=style), Text(clean(text), overflow="fold"))
    console.print(line)


def print_entry(mark: str, title: str, *lines: str | None) -> None:
    """A bold title behind a mark, and below it lines clear of the mark; one that is None or empty is left out."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, GAP))
    grid.add_column(justify="right", min_width=3)
    grid.add_row(mark, Text(one_line(title), style="bold", overflow="fold"))
    for line in filter(None, lines):
        grid.add_row("", Text(clean(line), overflow="fold"))
    _print(_console(), grid)


def _needed(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The columns of a terminal on which the table breaks nothing but the last column, and that between words."""
    from rich.cells import cell_len

    *whole, last = zip(columns, *rows, strict=True)
    words = (word for cell in last for word in cell.split())
    widths = [max(cell_len(cell) for cell in column) for column in whole]
    return sum(width + GAP for width in widths) + max((cell_len(word) for word in words), default=0)


def _print(console: Console, what: Table) -> None:
    """Print it; into a file or a pipe without the blanks that fill lines up."""
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as printed:
        console.print(what)
    print_line("\n".join(line.rstrip() for line in printed.get().splitlines()))


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else UNBOUNDED_COLUMNS)


@contextmanager
def counting(what: str) -> Iterator[Callable[[], None]]:
    """A count of things as they come, on standard error and only where that is a terminal; call it for each."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda: progress.advance(task)
