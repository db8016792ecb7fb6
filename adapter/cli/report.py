"""`report`: downloads ECTicket's list of orders or tickets; prints it without customer data, or saves it unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adapter import event_loop
from adapter.cli.context import CommandContext, Json, MerchantId, command
from adapter.cli.ecticket import ecticket_client, pick_merchant, refuse_violations
from adapter.cli.large_table import LargeTable
from adapter.cli.output import note, print_json_list
from adapter.cli.output_file import STANDARD_OUTPUT
from adapter.cli.report_target import downloaded

if TYPE_CHECKING:
    from adapter.protocol.credentials import Merchant
    from adapter.protocol.order_detail import OrderRow, ReportRequest, TicketRow
    from adapter.protocol.report_csv import ReportRows
    from adapter.provider.report_file import ReportFile
    from adapter.settings import Settings

NOT_SHOWN = frozenset(
    {"customer_name", "customer_phone", "customer_email", "ticket_no", "write_off_no", "line", "unreadable"}
)
"""Customer data, and numbers that redeem a ticket, which only `--output` writes; and what only notes contain."""
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "orders": {
        "trade_no": "trade no",
        "ticket_trade_no": "ticket trade no",
        "issue_status": "status",
        "issued_at": "issued at",
        "issue_type": "type",
        "ticket_count": "tickets",
        "trade_amount": "amount",
        "redeemed_count": "redeemed",
        "refunded_count": "refunded",
        "remark": "remark",
    },
    "tickets": {
        "trade_no": "trade no",
        "ticket_trade_no": "ticket trade no",
        "item_no": "item no",
        "item_name": "name",
        "ticket_price": "price",
        "use_status": "status",
        "issued_at": "issued at",
        "redeemed_at": "redeemed at",
        "refunded_at": "refunded at",
        "expires_on": "expires on",
    },
}
"""The columns of the table and their headings. A column that is empty or 0 in all rows is left out.

`trade_no` is the MerchantTradeNo or the FreeTradeNo of the row. `--json` has all columns.
"""


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = (
        "ecticket-adapter report --type orders --from 2026-03-01 --to 2026-03-31",
        "ecticket-adapter report --type tickets --from 2026-03-01 --to 2026-03-31 -o tickets.csv",
        "ecticket-adapter report --type orders --from 2026-03-01 --to 2026-03-31 -o - | wc -l",
    )
    command(app, "report", examples=examples, panel=panel)(report)


def report(
    context: CommandContext,
    kind: Annotated[Literal["orders", "tickets"], typer.Option("--type", help="What the report lists.")],
    begin: Annotated[
        datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="First day of issue (Taipei)."),
    ],
    end: Annotated[
        datetime,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last day of issue; 3 months at most."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Save the CSV unchanged; - for standard output. It contains customer data.",
        ),
    ] = None,
    merchant: MerchantId = None,
    json: Json = False,
) -> None:
    """Download ECTicket's report and print its lines, or save it; ECTicket allows one download per merchant and minute.

    The printed lines contain no customer data, ticket numbers or redemption codes.
    """
    from adapter.protocol.order_detail import ReportRequest, ReportType
    from adapter.protocol.rules import report_violations

    settings = context.settings()
    chosen = pick_merchant(settings, merchant)
    request = ReportRequest(
        merchant_id=chosen.merchant_id,
        report_type=ReportType[kind.upper()],
        begin_date=begin.date(),
        end_date=end.date(),
    )
    refuse_violations(report_violations(request))
    event_loop.run(_report(settings, chosen, request, output, json=json))


async def _report(
    settings: Settings, merchant: Merchant, request: ReportRequest, output: Path | None, *, json: bool
) -> None:
    """Download the report, to its output if there is one, and then read it.

    A report that cannot be read is kept too. It is read as a whole before any row is printed.
    """
    from adapter.operations.report_findings import examine

    async with (
        ecticket_client(settings) as ecticket,
        downloaded(ecticket.reports, merchant, request, output) as report,
    ):
        columns = COLUMNS[request.report_type.name.lower()]
        table = LargeTable(tuple(columns.values()))
        shown = output is None and not json
        findings = examine(_rows(report), (lambda row: table.measure(_line(row, columns))) if shown else None)
        if shown:
            table.print(_line(row, columns) for row in _rows(report))
        elif output is None:
            print_json_list(_plain(row) for row in _rows(report))
        count = "1 line." if findings.rows == 1 else f"{findings.rows} lines."
        if output is not None:
            note(f"{_target(output)}: {count} It contains customer data.")
        elif not json:
            note(count)
        for sentence in findings.sentences():
            note(sentence)


def _target(output: Path) -> str:
    return "standard output" if str(output) == STANDARD_OUTPUT else str(output)


def _rows(report: ReportFile) -> ReportRows[OrderRow] | ReportRows[TicketRow]:
    from adapter.protocol.order_detail import ReportType

    return report.order_rows() if report.request.report_type is ReportType.ORDERS else report.ticket_rows()


def _line(row: OrderRow | TicketRow, columns: Iterable[str]) -> list[object]:
    """Return a row for the table: one trade number, and times without a time zone, which is the same in all rows."""
    trade_no = row.merchant_trade_no or (row.free_trade_no and f"{row.free_trade_no} (free)")
    return [trade_no if column == "trade_no" else _short(getattr(row, column)) for column in columns]


def _short(value: object) -> object:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else _value(value)


def _plain(row: OrderRow | TicketRow) -> dict[str, object]:
    return {field.name: _value(getattr(row, field.name)) for field in fields(row) if field.name not in NOT_SHOWN}


def _value(value: object) -> object:
    if isinstance(value, Enum):
        return value.name.lower()
    return value.isoformat() if isinstance(value, date) else value
