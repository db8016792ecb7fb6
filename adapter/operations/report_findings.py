"""What is odd about a report as a whole: columns, cells that cannot be read, numbers that repeat.

Does not show cells: a ticket number is as good as the ticket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from adapter.protocol.order_detail import OrderRow, TicketRow
from adapter.protocol.report_csv import ReportRows, UnreadableCell
from adapter.protocol.report_repeats import RepeatedNumbers

MAX_NAMED: Final = 10
"""So many cells, and so many repeated numbers, are named; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFindings:
    """The findings of one reading."""

    rows: int
    missing_columns: tuple[str, ...]
    additional_columns: int
    unreadable_count: int
    unreadable: tuple[UnreadableCell, ...]
    """The first ones."""
    repeated_count: int
    repeated: tuple[tuple[int, int], ...]
    """The first ones: the line of a number, and a later line with the same."""
    ends_open: bool
    """Whether the last line has no end, so that its last cell may be cut off."""

    def sentences(self) -> Iterator[str]:
        """Describe what is odd; nothing for a report that is as documented."""
        if self.missing_columns:
            yield f"The report lacks {', '.join(self.missing_columns)}: ECPay has changed its form."
        if self.additional_columns:
            yield f"Columns that are not documented, and ignored: {self.additional_columns}."
        yield from map(str, self.unreadable)
        if self.unreadable_count > len(self.unreadable):
            yield f"In all, {self.unreadable_count} cells or lines cannot be read."
        for first, line in self.repeated:
            yield f"Line {line} has the same number as line {first}."
        if self.repeated_count > len(self.repeated):
            yield f"In all, {self.repeated_count} lines have the number of an earlier line."
        if self.ends_open:
            yield "The last line has no line end, so the file may be cut off within its last cell."


def examine(
    rows: ReportRows[OrderRow] | ReportRows[TicketRow], on_row: Callable[[OrderRow | TicketRow], object] | None = None
) -> ReportFindings:
    """Read all rows, each also passed to `on_row`; needs 12 bytes a row.

    Raises:
        UnreadableReply: the report is cut off or broken.
    """
    count = unreadable_count = 0
    named: list[UnreadableCell] = []
    numbers = RepeatedNumbers()
    for row in rows:
        count += 1
        unreadable_count += len(row.unreadable)
        named.extend(row.unreadable[: MAX_NAMED - len(named)])
        number = row.trade_no if isinstance(row, OrderRow) else row.ticket_no
        if number is not None:
            numbers.add(number, row.line)
        if on_row is not None:
            on_row(row)
    repeated = sorted(numbers.repeated(), key=lambda lines: lines[1])
    return ReportFindings(
        rows=count,
        missing_columns=rows.missing_columns,
        additional_columns=rows.additional_columns,
        unreadable_count=unreadable_count,
        unreadable=tuple(named),
        repeated_count=len(repeated),
        repeated=tuple(islice(repeated, MAX_NAMED)),
        ends_open=rows.ends_open,
    )
