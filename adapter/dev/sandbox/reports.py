"""The two reports of OrderDetail as CSV, written row by row from the order store.

Only the headers are documented; comma, quoting by RFC 4180, CRLF, a header row and UTF-8 with a byte order mark are
assumed (docs/ecticket-protocol.md, 6). A report is generated lazily, in pieces, so it needs little memory; each line
shows the state at the moment when it is written.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from itertools import islice
from typing import Final, TypeVar

from adapter.dev.sandbox.fault_types import DOCUMENTED_REMARK, OddReport
from adapter.dev.sandbox.order_store import StoredOrder, Ticket, tickets
from adapter.dev.sandbox.ticket_states import Tally, TicketStates, TicketUse
from adapter.protocol.issue import TradeNoKind
from adapter.protocol.order_detail import (
    ISSUE_STATUS_WORDS,
    ISSUE_TYPE_WORDS,
    ORDER_COLUMNS,
    PRINT_TYPE_WORDS,
    TICKET_COLUMNS,
    TICKET_TYPE_WORDS,
    USE_STATUS_WORDS,
    ReportType,
    UseStatus,
)
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.query_item_info import TicketType
from adapter.protocol.taipei import TAIPEI

_Value = TypeVar("_Value", bound=Enum)

ROWS_PER_CHUNK: Final = 200
ESCROW: Final = timedelta(days=365)
"""How long pickup vouchers are in custody (assumed)."""
REFUND_FEE: Final = 0
"""What a consumer pays for a refund here."""
_NO_TICKETS: Final = Tally(counts={}, amounts={})


def _words(table: Mapping[str, _Value]) -> dict[_Value, str]:
    return {value: word for word, value in table.items()}


_STATUS: Final = _words(ISSUE_STATUS_WORDS)
_ISSUE_TYPE: Final = _words(ISSUE_TYPE_WORDS)
_PRINT_TYPE: Final = _words(PRINT_TYPE_WORDS)
_TICKET_TYPE: Final = _words(TICKET_TYPE_WORDS)
_USE_STATUS: Final = _words(USE_STATUS_WORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportForm:
    """What a report looks like: its kind, columns and encoding, and what is wrong with it."""

    report_type: ReportType
    columns: tuple[str, ...]
    encoding: str
    odd: OddReport | None


def report_form(report_type: ReportType, encoding: str, odd: OddReport | None) -> ReportForm:
    """The documented form, changed by the fault if there is one."""
    columns = ORDER_COLUMNS if report_type is ReportType.ORDERS else TICKET_COLUMNS
    if odd is not None:
        first, *others = (column for column in columns if column not in odd.without_columns)
        columns = (first, *(f"新欄位{number}" for number in range(1, odd.additional_columns + 1)), *others)
        encoding = odd.encoding or encoding
    return ReportForm(report_type=report_type, columns=columns, encoding=encoding, odd=odd)


def report_chunks(
    orders: Iterable[StoredOrder], ticket_states: TicketStates, form: ReportForm, now: datetime
) -> Iterator[bytes]:
    """The bytes of a report, in pieces; characters outside the encoding become `?`."""
    rows = (row for order in orders for row in _rows(order, ticket_states, form.report_type, now))
    if form.odd is None:
        return _encoded(rows, form)
    chunks = _encoded(_odd_rows(rows, form.report_type, form.odd), form)
    return chunks if form.odd.keep_bytes is None else _cut_off(chunks, form.odd.keep_bytes)


def _encoded(rows: Iterator[Mapping[str, object]], form: ReportForm) -> Iterator[bytes]:
    header = _csv([dict(zip(form.columns, form.columns, strict=True))], form.columns)
    yield header.encode(form.encoding, errors="replace")
    following = "utf-8" if form.encoding == "utf-8-sig" else form.encoding
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        yield _csv(chunk, form.columns).encode(following, errors="replace")


def _csv(rows: Iterable[Mapping[str, object]], columns: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _odd_rows(
    rows: Iterator[dict[str, object]], report_type: ReportType, odd: OddReport
) -> Iterator[Mapping[str, object]]:
    for number, row in enumerate(_of_changed_orders(rows, report_type, odd)):
        if number == 0 and odd.unreadable_column is not None:
            row[odd.unreadable_column] = "?"
        yield row
        if odd.repeat_lines:
            yield row


def _of_changed_orders(
    rows: Iterator[dict[str, object]], report_type: ReportType, odd: OddReport
) -> Iterator[dict[str, object]]:
    """The rows, without or with other facts of the orders that the fault names."""
    for row in rows:
        trade_no = row["特店訂單編號"] or row["贈品單號"]
        if trade_no in odd.without_orders or (trade_no in odd.failed_orders and report_type is ReportType.TICKETS):
            continue
        if trade_no in odd.failed_orders:
            row |= {"發行狀態": _STATUS[IssueStatus.FAILED], "發行結果備註": DOCUMENTED_REMARK}
        if trade_no in odd.short_orders and report_type is ReportType.ORDERS:
            row["訂單序號總數量"] = int(str(row["訂單序號總數量"])) - 1
        yield row


def _cut_off(chunks: Iterator[bytes], left: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


def _rows(
    order: StoredOrder, ticket_states: TicketStates, report_type: ReportType, now: datetime
) -> Iterator[dict[str, object]]:
    today = now.astimezone(TAIPEI).date()
    issued = order.status(now) is IssueStatus.ISSUED
    if report_type is ReportType.ORDERS:
        yield _order_row(order, ticket_states.tally(order, today) if issued else _NO_TICKETS, now)
    elif issued:
        for ticket in tickets(order):
            row = _ticket_row(ticket, ticket_states.status(order, ticket, today), ticket_states.of(order, ticket))
            yield {**_common(order), **row}


def _common(order: StoredOrder) -> dict[str, object]:
    request = order.request
    trade_no = request.trade_no
    pickup = any(line.ticket_type is TicketType.PICKUP for line in order.lines)
    return {
        "特店訂單編號": trade_no.value if trade_no.kind is TradeNoKind.MERCHANT else "",
        "贈品單號": trade_no.value if trade_no.kind is TradeNoKind.FREE else "",
        "ECT訂單編號": order.ticket_trade_no,
        "信用卡授權單號": order.sequence + 1 if pickup else "",
        "發行日期": f"{order.received_at.astimezone(TAIPEI):%Y/%m/%d %H:%M:%S}",
        "出券類型": _ISSUE_TYPE[request.issue_type],
        "列印方式": _PRINT_TYPE[request.print_type] if request.print_type else "",
        "購買人姓名": request.customer_name or "",
        "購買人手機": request.customer_phone or "",
        "購買人Email": request.customer_email or "",
        "履約保障到期日": f"{order.received_at.astimezone(TAIPEI) + ESCROW:%Y/%m/%d}" if pickup else "",
    }


def _order_row(order: StoredOrder, tally: Tally, now: datetime) -> dict[str, object]:
    common = _common(order)
    counts, amounts = tally.counts, tally.amounts
    return {
        **common,
        "金流服務商": "綠界金流",
        "付款方式": "信用卡" if common["信用卡授權單號"] else "",
        "發行狀態": _STATUS[order.status(now)],
        "發行結果備註": order.remark(now),
        "訂單序號總數量": order.ticket_count,
        "訂單金額": order.amount,
        "已核銷序號數量": counts.get(UseStatus.REDEEMED, 0),
        "已核銷總金額": amounts.get(UseStatus.REDEEMED, 0),
        "已退貨序號數量": counts.get(UseStatus.REFUNDED, 0),
        "已退貨總金額": amounts.get(UseStatus.REFUNDED, 0),
        "退貨手續費總金額": REFUND_FEE,
        "未使用序號數量": counts.get(UseStatus.UNUSED, 0),
        "未使用序號總金額": amounts.get(UseStatus.UNUSED, 0),
        "已失效票券數量": counts.get(UseStatus.EXPIRED, 0),
    }


def _ticket_row(ticket: Ticket, status: UseStatus, use: TicketUse | None) -> dict[str, object]:
    line = ticket.line
    used_at = f"{use.at.astimezone(TAIPEI):%Y/%m/%d %H:%M}" if use else ""
    return {
        "票券類型": _TICKET_TYPE[line.ticket_type],
        "票券序號": ticket.number,
        "票券使用狀態": _USE_STATUS[status],
        "商品編號": line.item_no or "",
        "商品名稱": line.name,
        "票券面額": line.price,
        "票券生效日": f"{line.start_date:%Y/%m/%d}",
        "核銷日期": used_at if status is UseStatus.REDEEMED else "",
        "退貨日期": used_at if status is UseStatus.REFUNDED else "",
        "退貨手續費": REFUND_FEE if status is UseStatus.REFUNDED else "",
        "贈品券到期日期": f"{line.expire_date:%Y/%m/%d}" if line.expire_date else "",
        # "The response will be returned only when the issuance type is Serial number-only" (spec, OrderDetail).
        "核銷代碼": ticket.redemption_code if line.item_no is None else "",
    }
