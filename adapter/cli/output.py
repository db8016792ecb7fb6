"""Prints the data of commands on standard output, as tables, facts or JSON, and everything else on standard error.

Every text is made visible before it is printed (`visible_text`), because a record may hold escape sequences.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, TextIO

from adapter.visible_text import visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

UNBOUNDED_COLUMNS = 400
"""Width of tables in a file or a pipe, so that nothing is cut off."""
GAP = 2
"""Blanks between two columns."""
KEY_AND_VALUE = 2
"""A table of at most so many columns is never printed as blocks, which would not be easier to read."""


def print_line(text: str) -> None:
    """Print a line on standard output; it may have line ends in it."""
    print(clean(text), flush=True)


def note(text: str) -> None:
    """Print a line on standard error; on a terminal it is wrapped between words, so that commands in it can be copied.

    If standard error cannot be written (a full disk, a closed pipe), the line is lost and the command continues.
    """
    text = clean(text)
    if sys.stderr.isatty():
        text = textwrap.fill(text, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def clean(text: str) -> str:
    """Return the text with characters escaped that a terminal would obey, but for line ends and tabs."""
    return visible(text, keep="\n\t")


def one_line(text: str) -> str:
    """Escape line ends too, and let tabs be blanks: an order id with a line end would look like another entry."""
    return visible(text.replace("\t", " "))


def print_json(value: object, *, to: TextIO | None = None) -> None:
    """Print the value as indented JSON, on standard output or to the stream of `capture_plugin_output`."""
    print(visible_json(json.dumps(value, ensure_ascii=False, indent=2, default=str)), file=to, flush=True)


@contextmanager
def capture_plugin_output() -> Iterator[TextIO]:
    """Keep standard output for this command alone, which writes to the stream that this yields.

    Everything else that is printed goes to standard error, until the process ends: a plugin may have a thread that
    continues to print, or may write without Python's streams, and a program that reads the output must get only JSON.
    """
    output = sys.stdout
    try:
        number, errors = output.fileno(), sys.stderr.fileno()
    except (OSError, ValueError):  # a stream in memory, as in tests
        with redirect_stdout(sys.stderr):
            yield output
        return
    output.flush()
    with open(os.dup(number), "w", encoding=output.encoding, errors=output.errors) as kept, redirect_stdout(sys.stderr):
        os.dup2(errors, number)
        yield kept


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings; a cell that is None is empty.

    Only the last column is wrapped. If the terminal is too narrow for the other columns and the longest word of the
    last one, each row is printed as a block of names and values.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column != columns[-1], overflow="fold")
    cells = [["" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    for row in cells:
        table.add_row(*row)
    here = console()
    if len(columns) <= KEY_AND_VALUE or _needed_width(columns, cells) <= here.width:
        _print(here, table)
        return
    for position, row in enumerate(cells):
        if position:
            print_line("")
        print_facts((name, cell or None) for name, cell in zip(columns, row, strict=True))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair in a line; a value that is None is left out."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, GAP))
    for name, value in facts:
        if value is not None:
            grid.add_row(Text(name, style="bold"), Text(clean(str(value)), overflow="fold"))
    _print(console(), grid)


def print_marked(mark: str, style: str, text: str) -> None:
    """Print a line after a coloured mark; on a terminal, its continuation lines are indented by the mark's width."""
    from rich.table import Table
    from rich.text import Text

    here = console()
    if not here.is_terminal:
        print_line(f"{mark}{clean(text)}")
        return
    line = Table.grid()
    line.add_row(Text(mark, style=style), Text(clean(text), overflow="fold"))
    here.print(line)


def print_entry(mark: str, title: str, *lines: str | None) -> None:
    """Print a bold title after a mark, and indented lines below it; a line that is None or empty is left out."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, GAP))
    grid.add_column(justify="right", min_width=3)
    grid.add_row(mark, Text(one_line(title), style="bold", overflow="fold"))
    for line in filter(None, lines):
        grid.add_row("", Text(clean(line), overflow="fold"))
    _print(console(), grid)


def _needed_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the terminal width at which only the last column is wrapped, and only between words."""
    from rich.cells import cell_len

    *unwrapped, last = zip(columns, *rows, strict=True)
    words = (word for cell in last for word in cell.split())
    widths = [max(cell_len(cell) for cell in column) for column in unwrapped]
    return sum(width + GAP for width in widths) + max((cell_len(word) for word in words), default=0)


def _print(console: Console, table: Table) -> None:
    """Print a table; in a file or a pipe, its lines have no blanks at the end."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as printed:
        console.print(table)
    print_line("\n".join(line.rstrip() for line in printed.get().splitlines()))


def console() -> Console:
    """Return rich's view of standard output; in a file or a pipe it is wide enough for all tables."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else UNBOUNDED_COLUMNS)


def print_json_list(values: Iterable[object]) -> None:
    """Print the values as one JSON list, one by one."""
    empty = True
    for value in values:
        text = visible_json(json.dumps(value, ensure_ascii=False, indent=2, default=str))
        sys.stdout.write(("[\n" if empty else ",\n") + textwrap.indent(text, "  "))
        empty = False
    print_line("[]" if empty else "\n]")


class ReadOnce(list[object]):
    """A list for `JsonDocuments` whose values are made while they are written, so that no two are in memory."""

    def __init__(self, values: Iterable[object]) -> None:
        super().__init__()
        self._values = iter(values)
        self._first = list(islice(self._values, 1))

    def __bool__(self) -> bool:
        return bool(self._first)

    def __iter__(self) -> Iterator[object]:
        return chain(self._first, self._values)


class JsonDocuments:
    """Prints one JSON list of documents, one by one."""

    def __init__(self) -> None:
        self._count = 0

    def print(self, document: object) -> None:
        """Print the next document."""
        sys.stdout.write(",\n" if self._count else "[\n")
        for text in json.JSONEncoder(ensure_ascii=False, indent=2, default=str).iterencode(document):
            sys.stdout.write(visible_json(text))
        self._count += 1

    def end(self) -> None:
        """Print the end of the list."""
        print_line("\n]" if self._count else "[]")


@contextmanager
def counting_bytes(what: str, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a growing size on standard error if that is a terminal. Yield the function to call with the bytes."""
    if not (shown and sys.stderr.isatty()):
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import FileSizeColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), FileSizeColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda size: progress.update(task, completed=size)


@contextmanager
def counting(what: str, *, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Show a running count on standard error if that is a terminal. Yield the function to call for each thing.

    With a `total` it is a bar with the remaining time.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: tuple[ProgressColumn, ...] = (
        (SpinnerColumn(), TextColumn("{task.completed} {task.description}"), TimeElapsedColumn())
        if total is None
        else (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each of several reads on standard error if that is a terminal.

    Yield the function to call with what is read, how much of it is done, and how much there is.
    """
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)
