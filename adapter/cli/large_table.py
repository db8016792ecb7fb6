"""A table of any number of rows: the first pass measures the columns, the second prints them; no row is kept."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from adapter.cli.output import GAP, console, one_line, print_facts, print_line


class LargeTable:
    """A table whose columns are as wide as their widest cell; a column with nothing or 0 in all rows is left out.

    On a terminal that is too narrow, each row becomes a block of names and values.
    """

    def __init__(self, headings: Sequence[str]) -> None:
        self._headings = headings
        self._widths = [0] * len(headings)

    def measure(self, row: Sequence[object]) -> None:
        """Make room for a row."""
        for index, cell in enumerate(row):
            if cell:
                self._widths[index] = max(self._widths[index], _width(_text(cell)))

    def print(self, rows: Iterable[Sequence[object]]) -> None:
        """Print rows that were measured; nothing if no cell has anything in it."""
        from rich.text import Text

        filled = [index for index, width in enumerate(self._widths) if width]
        if not filled:
            return
        headings = [self._headings[index] for index in filled]
        widths = [max(self._widths[index], _width(self._headings[index])) for index in filled]
        width = sum(widths) + GAP * (len(widths) - 1)
        on_terminal = sys.stdout.isatty()
        if on_terminal and width > console().width:
            _print_blocks(headings, ([row[index] for index in filled] for row in rows))
            return
        console().print(Text(_line(headings, widths), style="bold"), soft_wrap=True)
        print_line("─" * width)
        for row in rows:
            sys.stdout.write(_line([_text(row[index]) for index in filled], widths) + "\n")


def _print_blocks(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    for number, row in enumerate(rows):
        if number:
            print_line("")
        print_facts(zip(headings, row, strict=True))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
    return (" " * GAP).join(padded).rstrip()


def _width(text: str) -> int:
    """Return how many columns of a terminal the text takes."""
    from rich.cells import cell_len

    return len(text) if text.isascii() else cell_len(text)


def _text(cell: object) -> str:
    return "" if cell is None else one_line(str(cell))
