"""OrderDetail: the report of all orders or all tickets (page "Download Order Details", developers.ecpay.com.tw/48558).

This is ECTicket's own account of what was issued, independent of the adapter. One download per merchant and minute is
allowed. The report is plain CSV, read row by row (`report_csv`); an error is an envelope (`starts_like_json`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum, StrEnum, unique
from functools import lru_cache
from typing import Final

from msgspec import Struct

from adapter.protocol.issue import IssueType, PrintType, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.query_item_info import TicketType
from adapter.protocol.report_csv import (
    ReportColumn,
    ReportLayout,
    ReportRows,
    UnreadableCell,
    identifier,
    whole_number,
    word,
)
from adapter.protocol.taipei import compact_date, parse_date, parse_time


@unique
class ReportType(IntEnum):
    """ReportType, Int: what the lines of a report are."""

    ORDERS = 1
    TICKETS = 2


@unique
class UseStatus(StrEnum):
    """票券使用狀態: the state of a ticket."""

    UNUSED = "unused"
    REDEEMED = "redeemed"
    REFUNDED = "refunded"
    EXPIRED = "expired"


ISSUE_STATUS_WORDS = {
    "發行成功": IssueStatus.ISSUED,
    "發行失敗": IssueStatus.FAILED,
    "發行作業處理中": IssueStatus.IN_PROGRESS,
}
"""The words of 發行狀態."""

ISSUE_TYPE_WORDS = {
    "超商票券": IssueType.CONVENIENCE_STORE,
    "紙本票券": IssueType.PAPER,
    "電子票券": IssueType.ELECTRONIC,
    "純序號": IssueType.SERIAL_NUMBER,
}
"""The words of 出券類型."""

PRINT_TYPE_WORDS = {"綠界列印": PrintType.ECPAY, "廠商列印": PrintType.MERCHANT}
"""The words of 列印方式; empty if not paper."""

TICKET_TYPE_WORDS = {"提貨券": TicketType.PICKUP, "贈品券": TicketType.GIFT}
"""The words of 票券類型."""

USE_STATUS_WORDS = {
    "未使用": UseStatus.UNUSED,
    "已核銷": UseStatus.REDEEMED,
    "已退貨": UseStatus.REFUNDED,
    "已失效": UseStatus.EXPIRED,
}
"""The words of 票券使用狀態."""

# A report repeats its dates and times, and to find one again is cheaper than to parse it again.
_read_date: Final = lru_cache(maxsize=4096)(parse_date)
_read_time: Final = lru_cache(maxsize=4096)(parse_time)


def _identifier(name: str, header: str) -> ReportColumn:
    return ReportColumn(field=name, header=header, read=identifier)


def _number(name: str, header: str) -> ReportColumn:
    return ReportColumn(field=name, header=header, read=whole_number, expected="a whole number")


def _date(name: str, header: str) -> ReportColumn:
    return ReportColumn(field=name, header=header, read=_read_date, expected="a date yyyy/mm/dd")


def _time(name: str, header: str) -> ReportColumn:
    return ReportColumn(field=name, header=header, read=_read_time, expected="a time yyyy/mm/dd hh:mm:ss")


_ORDER_CELLS: Final = (
    _identifier("merchant_trade_no", "特店訂單編號"),
    _identifier("free_trade_no", "贈品單號"),
    _identifier("ticket_trade_no", "ECT訂單編號"),
    ReportColumn(field="payment_provider", header="金流服務商", read=str),
    ReportColumn(field="payment_type", header="付款方式", read=str),
    _identifier("credit_trade_id", "信用卡授權單號"),
    ReportColumn(field="issue_status", header="發行狀態", read=word(ISSUE_STATUS_WORDS)),
    ReportColumn(field="remark", header="發行結果備註", read=str),
    _time("issued_at", "發行日期"),
    ReportColumn(field="issue_type", header="出券類型", read=word(ISSUE_TYPE_WORDS)),
    ReportColumn(field="print_type", header="列印方式", read=word(PRINT_TYPE_WORDS)),
    ReportColumn(field="customer_name", header="購買人姓名", read=str),
    ReportColumn(field="customer_phone", header="購買人手機", read=str),
    ReportColumn(field="customer_email", header="購買人Email", read=str),
    _date("escrow_expires_on", "履約保障到期日"),
    _number("ticket_count", "訂單序號總數量"),
    _number("trade_amount", "訂單金額"),
    _number("redeemed_count", "已核銷序號數量"),
    _number("redeemed_amount", "已核銷總金額"),
    _number("refunded_count", "已退貨序號數量"),
    _number("refunded_amount", "已退貨總金額"),
    _number("refund_fee", "退貨手續費總金額"),
    _number("unused_count", "未使用序號數量"),
    _number("unused_amount", "未使用序號總金額"),
    _number("expired_count", "已失效票券數量"),
)
_TICKET_CELLS: Final = (
    _identifier("merchant_trade_no", "特店訂單編號"),
    _identifier("free_trade_no", "贈品單號"),
    _identifier("ticket_trade_no", "ECT訂單編號"),
    _identifier("credit_trade_id", "信用卡授權單號"),
    _time("issued_at", "發行日期"),
    ReportColumn(field="issue_type", header="出券類型", read=word(ISSUE_TYPE_WORDS)),
    ReportColumn(field="print_type", header="列印方式", read=word(PRINT_TYPE_WORDS)),
    ReportColumn(field="ticket_type", header="票券類型", read=word(TICKET_TYPE_WORDS)),
    ReportColumn(field="customer_name", header="購買人姓名", read=str),
    ReportColumn(field="customer_phone", header="購買人手機", read=str),
    ReportColumn(field="customer_email", header="購買人Email", read=str),
    _date("escrow_expires_on", "履約保障到期日"),
    _identifier("ticket_no", "票券序號"),
    ReportColumn(field="use_status", header="票券使用狀態", read=word(USE_STATUS_WORDS)),
    _identifier("item_no", "商品編號"),
    ReportColumn(field="item_name", header="商品名稱", read=str),
    _number("ticket_price", "票券面額"),
    _date("starts_on", "票券生效日"),
    _time("redeemed_at", "核銷日期"),
    _time("refunded_at", "退貨日期"),
    _number("refund_fee", "退貨手續費"),
    _date("expires_on", "贈品券到期日期"),
    _identifier("write_off_no", "核銷代碼"),
)

ORDER_COLUMNS: Final = tuple(column.header for column in _ORDER_CELLS)
"""The 25 headers of the orders report, in the page's order."""

TICKET_COLUMNS: Final = tuple(column.header for column in _TICKET_CELLS)
"""The 23 headers of the tickets report, in the page's order."""


class ReportRequest(Struct, frozen=True, kw_only=True):
    """Requests a report by issue date, both days included; at most 3 months at once, once per merchant and minute."""

    merchant_id: str
    report_type: ReportType
    begin_date: date
    end_date: date

    def to_payload(self) -> dict[str, object]:
        """Write the plaintext of `Data`."""
        return {
            "MerchantID": self.merchant_id,
            "ReportType": int(self.report_type),
            "BeginDate": compact_date(self.begin_date),
            "EndDate": compact_date(self.end_date),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """One line of the orders report. Amounts in NT$; None is an empty cell or a missing column.

    A word outside of the documented set is kept unchanged. The customer's data are not in `repr`.
    """

    line: int
    """The line in the file, from 1, which is the header."""
    unreadable: tuple[UnreadableCell, ...]
    """The cells that could not be read: their fields are None, and not empty."""
    merchant_trade_no: str | None
    free_trade_no: str | None
    ticket_trade_no: str | None
    payment_provider: str | None
    payment_type: str | None
    credit_trade_id: str | None
    issue_status: IssueStatus | str | None
    remark: str | None
    issued_at: datetime | None
    issue_type: IssueType | str | None
    print_type: PrintType | str | None
    customer_name: str | None = field(repr=False)
    customer_phone: str | None = field(repr=False)
    customer_email: str | None = field(repr=False)
    escrow_expires_on: date | None
    ticket_count: int | None
    trade_amount: int | None
    redeemed_count: int | None
    redeemed_amount: int | None
    refunded_count: int | None
    refunded_amount: int | None
    refund_fee: int | None
    unused_count: int | None
    unused_amount: int | None
    expired_count: int | None

    @property
    def trade_no(self) -> TradeNo | None:
        """The number under which the order was issued."""
        return _trade_no(self.merchant_trade_no, self.free_trade_no)


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketRow:
    """One line of the tickets report. Amounts in NT$; None is an empty cell or a missing column.

    A word outside of the documented set is kept unchanged. The customer's data, the ticket's number and the
    redemption code are not in `repr`. `write_off_no` (核銷代碼) comes only for serial numbers.
    """

    line: int
    """The line in the file, from 1, which is the header."""
    unreadable: tuple[UnreadableCell, ...]
    """The cells that could not be read: their fields are None, and not empty."""
    merchant_trade_no: str | None
    free_trade_no: str | None
    ticket_trade_no: str | None
    credit_trade_id: str | None
    issued_at: datetime | None
    issue_type: IssueType | str | None
    print_type: PrintType | str | None
    ticket_type: TicketType | str | None
    customer_name: str | None = field(repr=False)
    customer_phone: str | None = field(repr=False)
    customer_email: str | None = field(repr=False)
    escrow_expires_on: date | None
    ticket_no: str | None = field(repr=False)
    use_status: UseStatus | str | None
    item_no: str | None
    item_name: str | None
    ticket_price: int | None
    starts_on: date | None
    redeemed_at: datetime | None
    refunded_at: datetime | None
    refund_fee: int | None
    expires_on: date | None
    write_off_no: str | None = field(repr=False)

    @property
    def trade_no(self) -> TradeNo | None:
        """The number under which the ticket was issued."""
        return _trade_no(self.merchant_trade_no, self.free_trade_no)


def _trade_no(merchant: str | None, free: str | None) -> TradeNo | None:
    """Return the filled one of the two numbers, MerchantTradeNo before FreeTradeNo."""
    if merchant is not None:
        return TradeNo(kind=TradeNoKind.MERCHANT, value=merchant)
    return None if free is None else TradeNo(kind=TradeNoKind.FREE, value=free)


_ORDERS: Final = ReportLayout(
    columns=_ORDER_CELLS, foreign=frozenset(TICKET_COLUMNS).difference(ORDER_COLUMNS), make_row=OrderRow
)
_TICKETS: Final = ReportLayout(
    columns=_TICKET_CELLS, foreign=frozenset(ORDER_COLUMNS).difference(TICKET_COLUMNS), make_row=TicketRow
)


def order_rows(pieces: Iterable[bytes], *, merchant_id: str) -> ReportRows[OrderRow]:
    """Read the orders report of a merchant from its bytes, which may be cut anywhere.

    Raises:
        UnreadableReply: this is no orders report. The iteration raises it too, if the file is cut off or broken.
    """
    return ReportRows(pieces, _ORDERS, merchant_id=merchant_id)


def ticket_rows(pieces: Iterable[bytes], *, merchant_id: str) -> ReportRows[TicketRow]:
    """Read the tickets report of a merchant, as `order_rows` does."""
    return ReportRows(pieces, _TICKETS, merchant_id=merchant_id)
