"""Reads the CSV that ECTicket sends for OrderDetail; only its headers are documented.

Page 48558 does not specify encoding, byte order mark, quoting and line ends, so the reader accepts all likely forms:
UTF-8 with or without BOM, else CP950; comma-separated with RFC 4180 quoting; columns by header, in any order; Excel
guards (`="0912345678"`). Errors name line and column and never show a cell.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import TypeVar

from adapter.errors import UnreadableReply
from adapter.protocol.taipei import parse_date, parse_time

_BOM = b"\xef\xbb\xbf"
_EXCEL_GUARD = re.compile(r'="(.*)"', re.DOTALL)
_NUMBER = re.compile(r"(-?)([0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{3}){1,4})(?:\.0+)?")
_Word = TypeVar("_Word")


def starts_like_json(body: bytes) -> bool:
    """Whether a body starts with `{`, after a byte order mark and white space: then it is not CSV."""
    return body.removeprefix(_BOM).lstrip().startswith(b"{")


class ReportLine:
    """One line of a report: cells by header, each read by the type of its column.

    A column that the report lacks and an empty cell are both None.
    """

    __slots__ = ("_cells", "_number")

    def __init__(self, number: int, cells: Mapping[str, str]) -> None:
        """Store a line's cells by header; `number` counts from 1, which is the header."""
        self._number = number
        self._cells = cells

    def text(self, column: str) -> str | None:
        """Read a cell as text, without Excel guard and surrounding white space."""
        cell = self._cells.get(column, "").strip()
        guarded = _EXCEL_GUARD.fullmatch(cell)
        return (guarded[1].strip() if guarded else cell) or None

    def integer(self, column: str) -> int | None:
        """Read a cell as whole number, with or without thousands separators.

        Raises:
            UnreadableReply: it is something else.
        """
        text = self.text(column)
        if text is None:
            return None
        found = _NUMBER.fullmatch(text)
        if found is None:
            raise self._unreadable(column, "a whole number", text)
        return int(found[1] + found[2].replace(",", ""))

    def day(self, column: str) -> date | None:
        """Read a cell as date, yyyy/mm/dd.

        Raises:
            UnreadableReply: it is something else.
        """
        text = self.text(column)
        if text is None:
            return None
        day = parse_date(text)
        if day is None:
            raise self._unreadable(column, "a date yyyy/mm/dd", text)
        return day

    def moment(self, column: str) -> datetime | None:
        """Read a cell as Taipei's time, yyyy/mm/dd hh:mm with or without :ss.

        Raises:
            UnreadableReply: it is something else.
        """
        text = self.text(column)
        if text is None:
            return None
        moment = parse_time(text)
        if moment is None:
            raise self._unreadable(column, "a time yyyy/mm/dd hh:mm:ss", text)
        return moment

    def word(self, column: str, words: Mapping[str, _Word]) -> _Word | str | None:
        """Read a cell that holds one of the documented words; any other word is returned unchanged.

        One new word must not make a whole report unreadable for reconciliation.
        """
        text = self.text(column)
        return None if text is None else words.get(text, text)

    def _unreadable(self, column: str, expected: str, text: str) -> UnreadableReply:
        """Describe what a cell should be, and only the length of what it is."""
        return UnreadableReply(f"Line {self._number}, {column}: must be {expected}; it is {len(text)} characters long.")


def read_lines(body: bytes, columns: Iterable[str], foreign: Iterable[str]) -> tuple[ReportLine, ...]:
    """Read all lines below the header, each with those of `columns` that the report has.

    Raises:
        UnreadableReply: no CSV, a header with none of the columns or more `foreign` than own ones, or a line that is
            shorter or longer than the header.
    """
    rows = _rows(_decode(body))
    _, header = next(rows, (0, []))
    indexes = _column_indexes(header, columns)
    if len(indexes) <= len(_column_indexes(header, foreign)):
        raise UnreadableReply(f"{len(body)} bytes came whose first line is not the header of this report.")
    return tuple(_line(number, row, len(header), indexes) for number, row in rows)


def _column_indexes(header: Iterable[str], columns: Iterable[str]) -> dict[str, int]:
    """Find columns in a header; of equal headers the first counts."""
    found = {name: index for index, name in reversed(list(enumerate(map(_plain, header))))}
    return {column: found[_plain(column)] for column in columns if _plain(column) in found}


def _line(number: int, row: list[str], width: int, indexes: Mapping[str, int]) -> ReportLine:
    """Assign a row's cells to columns, unless cells may be shifted or cut off."""
    if len(row) < width or any(row[width:]):
        raise UnreadableReply(
            f"Line {number} has {len(row)} cells, and the header has {width}: cut off or badly quoted."
        )
    return ReportLine(number, {column: row[index] for column, index in indexes.items()})


def _decode(body: bytes) -> str:
    """Decode as UTF-8, else as CP950, where characters beyond the code page become U+FFFD.

    Names may contain user-defined characters that no table has; they must not make a report unreadable. A text that is
    not CP950 at all is rejected at its header.
    """
    try:
        return body.removeprefix(_BOM).decode()
    except UnicodeDecodeError:
        return body.decode("cp950", errors="replace")


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Split into numbered rows, blank lines left out.

    Raises:
        UnreadableReply: the quoting is broken, such as in a file that was cut off.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise UnreadableReply(f"Line {reader.line_num} is no CSV: {error}.") from error


def _plain(header: str) -> str:
    """Normalise a header for comparison: half-width, without white space, in lower case."""
    return "".join(unicodedata.normalize("NFKC", header).split()).casefold()
