"""Reports that are not as documented: what collecting and reconciling do with each, one line of a table each.

The provider's tests have the same at the wire (`provider/test_reports.py`), and the protocol's at the reader
(`protocol/test_order_detail.py`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest

import pytest
from key_words import mentions
from log_lines import capture_logs

from adapter.errors import UnreadableReply
from adapter.flows.reconcile import MAX_UNREADABLE_ROWS, REQUIRED_COLUMNS, OrderReport
from adapter.issuance.collecting import NUMBER_COLUMNS
from adapter.protocol.credentials import Merchant
from adapter.protocol.order_detail import ORDER_COLUMNS, OrderRow, ReportRequest, order_rows
from adapter.protocol.report_csv import ReportRows
from adapter.testing.orders import MERCHANT
from flows.collecting import Collecting, everything_shown, serial_row
from flows.test_reconcile import ME, PERIOD, World

Alter = Callable[[bytes], bytes]
LAST_ROW = "劉"
"""The first character of the last row's last text in both reports: what is cut there is cut within a character."""


def _table(change: Callable[[list[list[str]]], object]) -> Alter:
    """Change the cells of a report."""

    def alter(content: bytes) -> bytes:
        rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
        change(rows)
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(rows)
        return text.getvalue().encode()

    return alter


def _without(column: str) -> Alter:
    def remove(rows: list[list[str]]) -> None:
        index = rows[0].index(column)
        for row in rows:
            del row[index]

    return _table(remove)


def _with(header: str, *cells: str) -> Alter:
    def insert(rows: list[list[str]]) -> None:
        for row, cell in zip_longest(rows, (header, *cells), fillvalue=""):
            assert isinstance(row, list)
            row.insert(2, str(cell))

    return _table(insert)


def _cut(encoding: str) -> Alter:
    """Cut the file within the last of its characters that need several bytes."""

    def cut(content: bytes) -> bytes:
        text = content.decode()
        start = text.rindex(LAST_ROW)
        return text[: start + 1].encode(encoding)[:-1]

    return cut


NOT_READ: dict[str, tuple[Alter, str]] = {
    "an error envelope": (lambda _: b'{"TransCode":1,"Data":"..."}', "header"),
    "nothing": (lambda _: b"", "header"),
    "a page of a proxy": (lambda _: b"<html><body>502</body></html>", "header"),
    "cut off in a line": (lambda content: content[:-60], "cut off 3"),
    "cut off in its header": (lambda content: content[:20], "cut off header"),
    "cut off within a character, UTF-8": (_cut("utf-8"), "cut off 3"),
    "cut off within a character, CP950": (_cut("cp950"), "cut off 3"),
    "of another merchant": (_with("MerchantID", MERCHANT, "2000132"), "line 3 merchant"),
}
"""What is wrong with a report that is not used, and words of the sentence about it."""


@dataclass(frozen=True)
class BytesReport:
    """An orders report of these bytes."""

    content: bytes

    def order_rows(self) -> ReportRows[OrderRow]:
        return order_rows([self.content[:9], self.content[9:]], merchant_id=MERCHANT)


class BytesWorld(World):
    """A world whose report is CSV, as `alter` changes it."""

    alter: Alter = bytes

    @asynccontextmanager
    async def download(self, merchant: Merchant, request: ReportRequest) -> AsyncIterator[OrderReport]:
        text = io.StringIO()
        writer = csv.DictWriter(text, ORDER_COLUMNS, restval="", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(_order_row(row) for row in self.report.rows)
        yield BytesReport(self.alter(text.getvalue().encode()))


def _order_row(row: OrderRow) -> dict[str, str]:
    assert isinstance(row.issued_at, datetime)
    return {
        "特店訂單編號": row.merchant_trade_no or "",
        "ECT訂單編號": row.ticket_trade_no or "",
        "發行狀態": "發行成功",
        "發行日期": f"{row.issued_at:%Y/%m/%d %H:%M:%S}",
        "購買人姓名": LAST_ROW,
        "訂單序號總數量": str(row.ticket_count),
        "已失效票券數量": "0",
    }


@pytest.fixture
def world() -> BytesWorld:
    """Two issuances that agree, and one that is only in the report."""
    found = BytesWorld()
    found.issue("A1")
    found.issue("A2")
    return found


@pytest.fixture
def collecting() -> Collecting:
    """Two tickets of one issuance are in the report."""
    found = Collecting()
    found.reports.rows = [serial_row("T1", number, 購買人姓名=LAST_ROW) for number in (1, 2)]
    return found


async def _collected_again(collecting: Collecting, alter: Alter) -> list[str]:
    """Collect from an altered report three times and then from a good one; the warnings, each once."""
    (waiting,) = await collecting.waiting("T1")
    collecting.reports.alter = alter
    with capture_logs() as lines:
        for _ in range(3):
            assert isinstance(await collecting.handle(*waiting), datetime)
            collecting.clock.passes(60)
        collecting.reports.alter = bytes
        (published,) = await collecting.run(waiting)
    assert published.types == ["collected"]
    assert not [text for line in lines for text in everything_shown(line) if "SECRET" in text]
    assert not [line for line in lines if line["log_level"] == "error" or "exc_info" in line]
    return [str(line["detail"]) for line in lines if line["log_level"] == "warning"]


@pytest.mark.parametrize("kind", NOT_READ)
async def test_collecting_waits_for_a_report_that_can_be_read(collecting: Collecting, kind: str) -> None:
    """Nothing of it is published, one line says why, and the next report is used."""
    alter, words = NOT_READ[kind]

    (warning,) = await _collected_again(collecting, alter)

    assert mentions(warning.lower(), words)
    outcomes = [outcome for _, outcome in collecting.observer.of("report_for_collecting")]
    assert outcomes == ["failed", "failed", "failed", "read"]


@pytest.mark.parametrize("column", NUMBER_COLUMNS)
async def test_collecting_names_the_column_without_which_no_ticket_is_found(
    collecting: Collecting, column: str
) -> None:
    """It would look like a report without tickets."""
    (warning,) = await _collected_again(collecting, _without(column))

    assert mentions(warning, column)
    assert collecting.observer.of("report_for_collecting")[0] == (MERCHANT, "failed")


@pytest.mark.parametrize(
    ("alter", "words"),
    [(_without("票券面額"), "票券面額 null"), (_with("新欄位", "x", "y"), "not documented 1")],
    ids=["a missing column", "an additional column"],
)
async def test_collecting_uses_a_report_of_another_form_and_notes_it_once(
    collecting: Collecting, alter: Alter, words: str
) -> None:
    """What is not needed to find a ticket may be missing, named; what is not documented is ignored, counted."""
    collecting.reports.alter = alter
    with capture_logs() as lines:
        for _ in range(2):
            (published,) = await collecting.run(*await collecting.waiting("T1"))
            assert published.types == ["collected"]
            collecting.clock.passes(60)

    (warning,) = [str(line["detail"]) for line in lines if line["log_level"] == "warning"]
    assert mentions(warning, words)


async def test_a_cell_that_cannot_be_read_makes_its_issuance_wait(collecting: Collecting) -> None:
    """A value that is unknown is not published as empty; the line about it has no number."""

    def damage(rows: list[list[str]]) -> None:
        rows[1][rows[0].index("票券面額")] = "?"

    (warning,) = await _collected_again(collecting, _table(damage))

    assert mentions(warning, "cell cannot be read")


@pytest.mark.parametrize("lost", [1, 2, 5])
async def test_a_redemption_code_that_is_cut_off_is_not_published(collecting: Collecting, lost: int) -> None:
    """The file ends within its last cell, and all cells are there; the next report has the whole code."""
    cuts = [lost, lost + 1]
    collecting.reports.alter = lambda content: content[: -2 - cuts.pop()] if cuts else content
    (published,) = await collecting.run(*await collecting.waiting("T1"))

    tickets = published.event("collected").data["tickets"]
    assert isinstance(tickets, list)
    assert [each["redemption_code"] for each in tickets] == ["SECRETCT11", "SECRETCT12"]
    assert len(collecting.reports.requests) == 3


async def test_a_last_line_without_an_end_is_believed_when_it_comes_again(collecting: Collecting) -> None:
    """ECPay need not end the last line; the issuance before it needs one report only."""
    collecting.reports.rows += [serial_row("T2", 1), serial_row("T2", 2)]
    collecting.reports.alter = bytes.rstrip
    first, second = await collecting.waiting("T1", "T2")

    (published,) = await collecting.run(first)
    assert (published.types, len(collecting.reports.requests)) == (["collected"], 1)
    (published,) = await collecting.run(second)
    assert (published.types, len(collecting.reports.requests)) == (["collected"], 2)


async def test_a_line_without_an_end_is_not_given_up_before_it_came_again(collecting: Collecting) -> None:
    """Its tickets are there; after an outage of days one more report decides."""
    collecting.reports.alter = bytes.rstrip
    (waiting,) = await collecting.waiting("T1")
    collecting.clock.passes(72 * 3600)

    (published,) = await collecting.run(waiting)

    assert (published.types, len(collecting.reports.requests)) == (["collected"], 2)


@pytest.mark.parametrize("kind", NOT_READ)
async def test_reconciling_does_not_use_a_report_that_cannot_be_read(world: BytesWorld, kind: str) -> None:
    """Nothing is published, the error says why, and a later run completes the days."""
    world.alter, words = NOT_READ[kind]

    with pytest.raises(UnreadableReply) as caught:
        await world.run()
    assert mentions(str(caught.value).lower(), words)
    assert (world.published, world.fence) == ([], 0)
    world.alter = bytes
    assert await world.run() == {}
    assert world.published == [("completed", MERCHANT)]


@pytest.mark.parametrize("column", REQUIRED_COLUMNS)
async def test_reconciling_names_the_column_that_is_missing(world: BytesWorld, column: str) -> None:
    """Without it a number, a state or a count would look different."""
    world.alter = _without(column)

    with pytest.raises(UnreadableReply) as caught:
        await world.run()
    assert mentions(str(caught.value), column)


async def test_reconciling_ignores_and_counts_what_it_does_not_need(world: BytesWorld) -> None:
    """A column that is missing, one that is not documented, each line twice: the same result."""
    additional, missing = _with("新欄位", "x"), _without("訂單金額")
    twice = _table(lambda rows: rows.extend(rows[1:]))
    world.alter = lambda content: twice(missing(additional(content)))
    world.row("OUTSIDE")

    async with world.reconciler.compare(ME, PERIOD, publish=False, wait=world.wait) as comparison:
        found = [(each.data.trade_no, each.data.kind) for each in comparison.differences()]

    assert found == [("OUTSIDE", "not-published")]
    assert comparison.findings.additional_columns == 1


async def test_a_number_that_may_be_in_an_unreadable_row_is_queried(world: BytesWorld) -> None:
    """ECTicket knows one of two that the report seems to lack: only the other one is a difference."""
    world.issue("VANISHED", status=None)
    world.known = {"A2"}

    def damage(rows: list[list[str]]) -> None:
        del rows[2][4:]

    world.alter = _table(damage)

    assert await world.run() == {"VANISHED": "not-reported"}
    assert sorted(world.queried) == ["A2", "VANISHED"]


async def test_a_report_of_which_many_rows_cannot_be_read_is_not_used(world: BytesWorld) -> None:
    """Thousands of numbers would be queried."""
    for number in range(MAX_UNREADABLE_ROWS):
        world.row(f"N{number}")
    damaged = _table(lambda rows: [row.pop() for row in rows[1:]])
    world.alter = damaged

    with pytest.raises(UnreadableReply) as caught:
        await world.run()
    assert mentions(str(caught.value), f"{MAX_UNREADABLE_ROWS} rows number")
    assert (world.published, world.queried) == ([], [])
