"""What commands print: data on standard output, as tables, facts or JSON; everything else on standard error.

Whatever comes from outside is cleaned before it reaches a terminal, since a record may hold escape sequences.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

UNBOUNDED_COLUMNS = 400
"""Width of tables that go into a file or a pipe: nothing is cut off there."""


def say(text: str) -> None:
    """A line on standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr)


def clean(text: str) -> str:
    """The text without characters that a terminal would obey instead of showing."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def print_json(value: object) -> None:
    """The value as JSON, readable by people too."""
    say(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings; a cell that is None stays empty."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text("" if cell is None else clean(str(cell))) for cell in row))
    _console().print(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one below the other; what is None is left out."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        if value is not None:
            grid.add_row(Text(name, style="bold"), Text(clean(str(value)), overflow="fold"))
    _console().print(grid)


def print_marked(mark: str, style: str, text: str) -> None:
    """A line behind a coloured mark."""
    from rich.text import Text

    _console().print(Text.assemble((mark, style), clean(text)), soft_wrap=True)


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
