"""OrderDetail: the report of all orders or all tickets (page "Download Order Details", developers.ecpay.com.tw/48558).

This is ECTicket's own account of what was issued, independent of the adapter. One download per merchant and minute is
allowed. The report is plain CSV (`report_csv`); an error is an envelope (`is_envelope`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum, StrEnum, unique
from typing import Literal, Self, overload

from adapter.errors import UnreadableReply
from adapter.protocol.issue import IssueType, PrintType, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.query_item_info import TicketType
from adapter.protocol.report_csv import ReportLine, read_lines, starts_like_json
from adapter.protocol.taipei import compact_date


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

ORDER_COLUMNS = (
    "特店訂單編號",
    "贈品單號",
    "ECT訂單編號",
    "金流服務商",
    "付款方式",
    "信用卡授權單號",
    "發行狀態",
    "發行結果備註",
    "發行日期",
    "出券類型",
    "列印方式",
    "購買人姓名",
    "購買人手機",
    "購買人Email",
    "履約保障到期日",
    "訂單序號總數量",
    "訂單金額",
    "已核銷序號數量",
    "已核銷總金額",
    "已退貨序號數量",
    "已退貨總金額",
    "退貨手續費總金額",
    "未使用序號數量",
    "未使用序號總金額",
    "已失效票券數量",
)
"""The 25 headers of the orders report, in the page's order."""

TICKET_COLUMNS = (
    "特店訂單編號",
    "贈品單號",
    "ECT訂單編號",
    "信用卡授權單號",
    "發行日期",
    "出券類型",
    "列印方式",
    "票券類型",
    "購買人姓名",
    "購買人手機",
    "購買人Email",
    "履約保障到期日",
    "票券序號",
    "票券使用狀態",
    "商品編號",
    "商品名稱",
    "票券面額",
    "票券生效日",
    "核銷日期",
    "退貨日期",
    "退貨手續費",
    "贈品券到期日期",
    "核銷代碼",
)
"""The 23 headers of the tickets report, in the page's order."""

_ONLY_ORDERS = frozenset(ORDER_COLUMNS).difference(TICKET_COLUMNS)
_ONLY_TICKETS = frozenset(TICKET_COLUMNS).difference(ORDER_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
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

    @classmethod
    def from_line(cls, line: ReportLine) -> Self:
        """Read a line of the orders report.

        Raises:
            UnreadableReply: a count, an amount, a date or a time is invalid.
        """
        return cls(
            merchant_trade_no=line.text("特店訂單編號"),
            free_trade_no=line.text("贈品單號"),
            ticket_trade_no=line.text("ECT訂單編號"),
            payment_provider=line.text("金流服務商"),
            payment_type=line.text("付款方式"),
            credit_trade_id=line.text("信用卡授權單號"),
            issue_status=line.word("發行狀態", ISSUE_STATUS_WORDS),
            remark=line.text("發行結果備註"),
            issued_at=line.moment("發行日期"),
            issue_type=line.word("出券類型", ISSUE_TYPE_WORDS),
            print_type=line.word("列印方式", PRINT_TYPE_WORDS),
            customer_name=line.text("購買人姓名"),
            customer_phone=line.text("購買人手機"),
            customer_email=line.text("購買人Email"),
            escrow_expires_on=line.day("履約保障到期日"),
            ticket_count=line.integer("訂單序號總數量"),
            trade_amount=line.integer("訂單金額"),
            redeemed_count=line.integer("已核銷序號數量"),
            redeemed_amount=line.integer("已核銷總金額"),
            refunded_count=line.integer("已退貨序號數量"),
            refunded_amount=line.integer("已退貨總金額"),
            refund_fee=line.integer("退貨手續費總金額"),
            unused_count=line.integer("未使用序號數量"),
            unused_amount=line.integer("未使用序號總金額"),
            expired_count=line.integer("已失效票券數量"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketRow:
    """One line of the tickets report. Amounts in NT$; None is an empty cell or a missing column.

    A word outside of the documented set is kept unchanged. The customer's data, the ticket's number and the
    redemption code are not in `repr`. `write_off_no` (核銷代碼) comes only for serial numbers.
    """

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

    @classmethod
    def from_line(cls, line: ReportLine) -> Self:
        """Read a line of the tickets report.

        Raises:
            UnreadableReply: an amount, a date or a time is invalid.
        """
        return cls(
            merchant_trade_no=line.text("特店訂單編號"),
            free_trade_no=line.text("贈品單號"),
            ticket_trade_no=line.text("ECT訂單編號"),
            credit_trade_id=line.text("信用卡授權單號"),
            issued_at=line.moment("發行日期"),
            issue_type=line.word("出券類型", ISSUE_TYPE_WORDS),
            print_type=line.word("列印方式", PRINT_TYPE_WORDS),
            ticket_type=line.word("票券類型", TICKET_TYPE_WORDS),
            customer_name=line.text("購買人姓名"),
            customer_phone=line.text("購買人手機"),
            customer_email=line.text("購買人Email"),
            escrow_expires_on=line.day("履約保障到期日"),
            ticket_no=line.text("票券序號"),
            use_status=line.word("票券使用狀態", USE_STATUS_WORDS),
            item_no=line.text("商品編號"),
            item_name=line.text("商品名稱"),
            ticket_price=line.integer("票券面額"),
            starts_on=line.day("票券生效日"),
            redeemed_at=line.moment("核銷日期"),
            refunded_at=line.moment("退貨日期"),
            refund_fee=line.integer("退貨手續費"),
            expires_on=line.day("贈品券到期日期"),
            write_off_no=line.text("核銷代碼"),
        )


def is_envelope(body: bytes) -> bool:
    """Whether the answer to OrderDetail is an error in its envelope (`envelope.open_response`) and not a report."""
    return starts_like_json(body)


@overload
def parse_report(body: bytes, report_type: Literal[ReportType.ORDERS]) -> tuple[OrderRow, ...]: ...
@overload
def parse_report(body: bytes, report_type: Literal[ReportType.TICKETS]) -> tuple[TicketRow, ...]: ...
@overload
def parse_report(body: bytes, report_type: ReportType) -> tuple[OrderRow, ...] | tuple[TicketRow, ...]: ...
def parse_report(body: bytes, report_type: ReportType) -> tuple[OrderRow, ...] | tuple[TicketRow, ...]:
    """Read a report's lines.

    Columns are found by header, in any order; unknown ones are ignored, missing ones read as None.

    Raises:
        UnreadableReply: no report, the other report, or a line that cannot be read.
    """
    if is_envelope(body):
        raise UnreadableReply("The answer is an envelope and no report; it is opened with the merchant's keys.")
    if report_type is ReportType.TICKETS:
        return tuple(TicketRow.from_line(line) for line in read_lines(body, TICKET_COLUMNS, _ONLY_ORDERS))
    return tuple(OrderRow.from_line(line) for line in read_lines(body, ORDER_COLUMNS, _ONLY_TICKETS))


def _trade_no(merchant: str | None, free: str | None) -> TradeNo | None:
    """Return the filled one of the two numbers, MerchantTradeNo before FreeTradeNo."""
    if merchant is not None:
        return TradeNo(kind=TradeNoKind.MERCHANT, value=merchant)
    return None if free is None else TradeNo(kind=TradeNoKind.FREE, value=free)
