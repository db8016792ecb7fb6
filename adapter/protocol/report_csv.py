"""Reads the CSV that ECTicket sends for OrderDetail, row by row; only its headers are documented.

Page 48558 does not specify encoding, byte order mark, quoting and line ends, so the reader accepts all likely forms:
UTF-8 with or without BOM, else CP950; comma-separated with RFC 4180 quoting; columns by header, in any order; Excel
guards (`="0912345678"`).

A report of any size is read in constant memory: the bytes come in pieces, and no more than one row is kept. A broken
cell costs one field of one row, a line of another shape one row, and each is reported as `UnreadableCell`. Only what
makes every later row doubtful raises: no header, quotes that stay open, a file that was cut off, another merchant.

**The encoding** follows from the first line, because all headers are Chinese. A CP950 header is never valid UTF-8: its
first byte is one that only continues a character there. What the encoding lacks becomes U+FFFD: names may contain
user-defined characters that no table has. The structure survives, because no byte of a CP950 character is a comma, a
quote or a line end.

Errors name line and column and never show a cell.
"""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final, Generic, TypeVar

from msgspec import Struct

from adapter.errors import UnreadableReply

MAX_ROW_CHARACTERS: Final = 256 * 1024
"""The longest row, several hundred times as long as usual: what is longer is no report, and would fill the memory."""

_BOM: Final = b"\xef\xbb\xbf"
_REPLACEMENT: Final = "\ufffd"
_MERCHANT_HEADERS: Final = ("特店編號", "MerchantID")
"""Headers of a column with the merchant; no page documents one, and ECPay's other media files have it."""

_Row_co = TypeVar("_Row_co", covariant=True)
_Word = TypeVar("_Word")


def starts_like_json(start: bytes) -> bool | None:
    """Return whether a body starts with `{`, after byte order mark and white space: then it is not CSV.

    None: the bytes so far do not show it.
    """
    if start and _BOM.startswith(start):
        return None
    text = start.removeprefix(_BOM).lstrip()
    return text.startswith(b"{") if text else None


class UnreadableCell(Struct, frozen=True, kw_only=True):
    """A cell that cannot be read, so its field is None; it never contains the cell's text."""

    line: int
    """The line in the file, from 1, which is the header."""
    column: str | None
    """The column's header; None: the whole line has another shape than the header, and all its fields are None."""
    expected: str
    """What the cell, or the line, must be."""

    def __str__(self) -> str:
        where = f"Line {self.line}" if self.column is None else f"Line {self.line}, {self.column}"
        return f"{where}: must be {self.expected}."


class ReportColumn(Struct, frozen=True, kw_only=True):
    """One documented column: the row's field, the header, and how a cell becomes a value.

    `read` gets a text that is not empty, without Excel guard and outer white space; it returns None if that is not
    `expected`.
    """

    field: str
    header: str
    read: Callable[[str], object]
    expected: str = "text in the report's encoding"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLayout(Generic[_Row_co]):
    """A kind of report: its columns, those of which the other kind has some, and the type of its rows.

    `make_row` gets every column's field by name, `line` and `unreadable`.
    """

    columns: tuple[ReportColumn, ...]
    foreign: frozenset[str]
    make_row: Callable[..., _Row_co]


class ReportRows(Generic[_Row_co]):
    """The rows of one report, read once, as they are asked for.

    All rows are provisional until the iteration ends: a cut-off file shows only there. An empty cell and a cell of a
    missing column are both None.
    """

    def __init__(self, pieces: Iterable[bytes], layout: ReportLayout[_Row_co], *, merchant_id: str) -> None:
        """Read the header; `pieces` are the report's bytes, cut anywhere.

        Raises:
            UnreadableReply: this is no report, or not one of this layout.
        """
        self._layout = layout
        self._merchant_id = merchant_id
        self._table = _Table(_lines(iter(pieces)))
        header = next((cells for _, cells in self._table if cells), ())
        indexes = _column_indexes(header, (column.header for column in layout.columns))
        if len(indexes) <= len(_column_indexes(header, layout.foreign)):
            raise UnreadableReply("The first line is not the header of this report.")
        self.width = len(header)
        """How many columns the report has."""
        self.missing_columns = tuple(column.header for column in layout.columns if column.header not in indexes)
        """The documented columns that the report lacks, by header."""
        self.additional_columns = len(header) - len(indexes)
        """How many columns are not documented, and ignored."""
        self.rows_read = 0
        """How many rows came so far."""
        self.ends_open = False
        """Whether the row that came last ends the file without a line end or quote: its last cell may be cut off."""
        if self._table.cut_off and self.missing_columns:
            raise UnreadableReply("The report was cut off within its header. Download it again.")
        self._present = tuple(
            (indexes[column.header], column.field, column.read, column)
            for column in layout.columns
            if column.header in indexes
        )
        self._merchant_indexes = tuple(_column_indexes(header, _MERCHANT_HEADERS).values())
        self._nothing: Mapping[str, object] = dict.fromkeys(column.field for column in layout.columns)
        self._rows = self._read_rows()

    def require(self, *headers: str) -> None:
        """Refuse a report without columns that the caller cannot do without.

        Raises:
            UnreadableReply: the message names the missing ones.
        """
        missing = [header for header in headers if header in self.missing_columns]
        if missing:
            raise UnreadableReply(f"The report has no column {', '.join(missing)}: ECPay has changed its form.")

    def __iter__(self) -> Iterator[_Row_co]:
        return self._rows

    def _read_rows(self) -> Iterator[_Row_co]:
        """Yield the rows.

        Raises:
            UnreadableReply: the file is cut off, its quoting is broken, or it is another merchant's.
        """
        for line, cells in self._table:
            self.rows_read += 1
            if cells is None or len(cells) < self.width or any(cells[self.width :]):
                if self._table.cut_off:
                    raise UnreadableReply(
                        f"The report was cut off in line {line}: it has {len(cells or ())} cells, and the header has "
                        f"{self.width}. Download it again."
                    )
                yield self._unreadable_row(line)
            else:
                self.ends_open = self._table.ends_open
                yield self._row(line, cells)

    def _row(self, line: int, cells: list[str]) -> _Row_co:
        for index in self._merchant_indexes:
            if _unguarded(cells[index].strip()) not in ("", self._merchant_id):
                raise UnreadableReply(f"Line {line} is another merchant's: this is not the report that was requested.")
        values = dict(self._nothing)
        unreadable: list[UnreadableCell] = []
        for index, field, read, column in self._present:
            text = cells[index].strip()
            if text.startswith('="'):
                text = _unguarded(text)
            if not text:
                continue
            value = values[field] = read(text)
            if value is None:
                unreadable.append(UnreadableCell(line=line, column=column.header, expected=column.expected))
        return self._layout.make_row(line=line, unreadable=tuple(unreadable), **values)

    def _unreadable_row(self, line: int) -> _Row_co:
        cell = UnreadableCell(line=line, column=None, expected=f"{self.width} cells with RFC 4180 quotes")
        return self._layout.make_row(line=line, unreadable=(cell,), **self._nothing)


def identifier(text: str) -> str | None:
    """Read a number or code: text in which no character was lost."""
    return None if _REPLACEMENT in text else text


def word(words: Mapping[str, _Word]) -> Callable[[str], _Word | str | None]:
    """Return a reader of the documented words; any other word is returned unchanged.

    One new word must not make a whole report unreadable for reconciliation.
    """

    def read(text: str) -> _Word | str | None:
        found = words.get(text)
        return identifier(text) if found is None else found

    return read


def whole_number(text: str) -> int | None:
    """Read a whole number, with or without thousands separators and zero decimals, of at most 15 digits."""
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    digits, point, decimals = digits.partition(".")
    if point and (not decimals or decimals.strip("0")):
        return None
    first, *groups = digits.split(",")
    if any(len(group) != 3 for group in groups) or (groups and not 1 <= len(first) <= 3):
        return None
    joined = "".join((first, *groups))
    return sign * int(joined) if joined.isascii() and joined.isdigit() and len(joined) <= 15 else None


class _Table:
    """Numbered rows of a CSV, blank ones left out; None in place of the cells of a line that is no CSV.

    `cut_off` is true if the file ended within the last row.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self.cut_off = False
        self._lines = lines
        self._reader = csv.reader(self._limited(), strict=True)
        self._row_characters = 0
        self._last_line = "\n"
        self._ended = False

    def __iter__(self) -> Iterator[tuple[int, list[str] | None]]:
        """Yield the number of each row's first line, and its cells.

        Raises:
            UnreadableReply: the quoting is broken over several lines, so it is unknown where the next row begins.
        """
        while True:
            first = self._reader.line_num + 1
            self._row_characters = 0
            try:
                cells = next(self._reader, None)
            except csv.Error as error:
                if self._reader.line_num > first and not self._ended:
                    raise UnreadableReply(f"Line {first} begins a cell in quotes that does not end.") from error
                self.cut_off = self._ended
                yield first, None
                continue
            if cells is None:
                return
            if any(cell and not cell.isspace() for cell in cells):
                self.cut_off = not self._last_line.endswith(("\n", "\r"))
                yield first, cells

    @property
    def ends_open(self) -> bool:
        """Whether the last row ends with a bare cell and without a line end, so that the cell may be cut off."""
        return self.cut_off and not self._last_line.rstrip().endswith('"')

    def _limited(self) -> Iterator[str]:
        for line in self._lines:
            self._row_characters += len(line)
            if self._row_characters > MAX_ROW_CHARACTERS:
                raise UnreadableReply(
                    f"Line {self._reader.line_num + 1} is in a row of more than {MAX_ROW_CHARACTERS} characters: this "
                    "is no report, or a cell in quotes does not end."
                )
            self._last_line = line
            yield line
        self._ended = True


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Decode the pieces and split them into lines with their ends: LF, CRLF or CR, wherever a piece ends."""
    start = _until_first_line(pieces)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(_encoding(start))("replace"), translate=False)
    rest = ""
    for piece in chain((start,), pieces):
        rest += decoder.decode(piece)
        lines = list(io.StringIO(rest, newline=""))
        rest = lines.pop() if lines and not lines[-1].endswith(("\n", "\r")) else ""
        yield from lines
        if len(rest) > MAX_ROW_CHARACTERS:
            break
    yield from io.StringIO(rest + decoder.decode(b"", final=True), newline="")


def _until_first_line(pieces: Iterator[bytes]) -> bytes:
    """Take pieces until the first line that is not blank is complete."""
    start = bytearray()
    for piece in pieces:
        start += piece
        text = start.removeprefix(_BOM).lstrip()
        if b"\n" in text or b"\r" in text or len(start) > MAX_ROW_CHARACTERS:
            break
    return bytes(start)


def _encoding(start: bytes) -> str:
    """Return the encoding of a report by its first line; UTF-8 unless that line is not."""
    if start.startswith(_BOM):
        return "utf-8-sig"
    header = start.lstrip().partition(b"\n")[0]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(header)
    except UnicodeDecodeError:
        return "cp950"
    return "utf-8"


def _column_indexes(header: Iterable[str], columns: Iterable[str]) -> dict[str, int]:
    """Find columns in a header; of equal headers the first counts."""
    found = {name: index for index, name in reversed(list(enumerate(map(_plain_header, header))))}
    return {column: found[_plain_header(column)] for column in columns if _plain_header(column) in found}


def _plain_header(header: str) -> str:
    """Normalise a header for comparison: half-width, without white space, in lower case."""
    return "".join(unicodedata.normalize("NFKC", header).split()).casefold()


def _unguarded(text: str) -> str:
    """Return a cell's text without Excel guard and the white space within it."""
    return text[2:-1].strip() if text.startswith('="') and text.endswith('"') and len(text) > 2 else text
