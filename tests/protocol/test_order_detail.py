"""OrderDetail: both reports in every form they may come in, and nothing read as a report that is none."""

from __future__ import annotations

import csv
import inspect
import io
import random
from dataclasses import fields
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import UnreadableReply
from adapter.protocol.envelope import open_response, seal_response
from adapter.protocol.issue import IssueType, PrintType, TradeNo, TradeNoKind
from adapter.protocol.order_detail import (
    ISSUE_STATUS_WORDS,
    ISSUE_TYPE_WORDS,
    ORDER_COLUMNS,
    PRINT_TYPE_WORDS,
    TICKET_COLUMNS,
    TICKET_TYPE_WORDS,
    USE_STATUS_WORDS,
    OrderRow,
    ReportRequest,
    ReportType,
    TicketRow,
    UseStatus,
    is_envelope,
    parse_report,
)
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.query_item_info import TicketType

from .samples import MERCHANT, NOW, fast

ORDER = (
    "CBX20220302153064851", "", "2022030215301234", "綠界金流", "信用卡", "00123456", "發行成功", "",
    "2024/03/01 10:20:30", "電子票券", "", "王珊珊", "0912345678", "abc@gmail.com", "2025/03/01",
    "14", "16800", "2", "2400", "1", "1200", "36", "11", "13200", "0",
)  # fmt: skip
TICKET = (
    "CBX20220302153064851", "", "2022030215301234", "00123456", "2024/03/01 10:20:30", "純序號", "廠商列印", "贈品券",
    "王珊珊", "0912345678", "abc@gmail.com", "2025/03/01", "CB2SY20220302153", "已核銷", "VQT04959", "溫泉,(假日)券",
    "1200", "2024/03/02", "2024/03/05 09:08", "2024/03/06 07:06", "36", "2024/12/31", "LEU4loiSZ9TDTWAtxL",
)  # fmt: skip

READ_ORDER = OrderRow(
    merchant_trade_no="CBX20220302153064851",
    free_trade_no=None,
    ticket_trade_no="2022030215301234",
    payment_provider="綠界金流",
    payment_type="信用卡",
    credit_trade_id="00123456",
    issue_status=IssueStatus.ISSUED,
    remark=None,
    issued_at=datetime(2024, 3, 1, 2, 20, 30, tzinfo=UTC),
    issue_type=IssueType.ELECTRONIC,
    print_type=None,
    customer_name="王珊珊",
    customer_phone="0912345678",
    customer_email="abc@gmail.com",
    escrow_expires_on=date(2025, 3, 1),
    ticket_count=14,
    trade_amount=16800,
    redeemed_count=2,
    redeemed_amount=2400,
    refunded_count=1,
    refunded_amount=1200,
    refund_fee=36,
    unused_count=11,
    unused_amount=13200,
    expired_count=0,
)
READ_TICKET = TicketRow(
    merchant_trade_no="CBX20220302153064851",
    free_trade_no=None,
    ticket_trade_no="2022030215301234",
    credit_trade_id="00123456",
    issued_at=datetime(2024, 3, 1, 2, 20, 30, tzinfo=UTC),
    issue_type=IssueType.SERIAL_NUMBER,
    print_type=PrintType.MERCHANT,
    ticket_type=TicketType.GIFT,
    customer_name="王珊珊",
    customer_phone="0912345678",
    customer_email="abc@gmail.com",
    escrow_expires_on=date(2025, 3, 1),
    ticket_no="CB2SY20220302153",
    use_status=UseStatus.REDEEMED,
    item_no="VQT04959",
    item_name="溫泉,(假日)券",
    ticket_price=1200,
    starts_on=date(2024, 3, 2),
    redeemed_at=datetime(2024, 3, 5, 1, 8, tzinfo=UTC),
    refunded_at=datetime(2024, 3, 5, 23, 6, tzinfo=UTC),
    refund_fee=36,
    expires_on=date(2024, 12, 31),
    write_off_no="LEU4loiSZ9TDTWAtxL",
)


def _table(*rows: tuple[str, ...], charset: str = "utf-8-sig", end: str = "\r\n", quoting: int = 0) -> bytes:
    """Write rows as RFC 4180 CSV; `quoting` as in the csv module."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=quoting).writerows(rows)  # type: ignore[arg-type]  # a plain int
    return text.getvalue().encode(charset)


def _one(column: str, cell: str) -> OrderRow:
    """Read an orders report of one line in which one cell is changed."""
    cells = dict(zip(ORDER_COLUMNS, ORDER, strict=True)) | {column: cell}
    (row,) = parse_report(_table(ORDER_COLUMNS, tuple(cells.values())), ReportType.ORDERS)
    return row


# -- the request ---------------------------------------------------------------------------------------------------


def test_request_example_of_the_page() -> None:
    """ReportType is a number, dates are yyyymmdd."""
    request = ReportRequest(
        merchant_id="2000132", report_type=ReportType.ORDERS, begin_date=date(2023, 6, 1), end_date=date(2023, 6, 30)
    )

    payload = request.to_payload()
    assert payload == {"MerchantID": "2000132", "ReportType": 1, "BeginDate": "20230601", "EndDate": "20230630"}
    assert type(payload["ReportType"]) is int


# -- both reports, whole -------------------------------------------------------------------------------------------


def test_columns_are_the_documented_ones() -> None:
    """25 and 23, all different; 11 are in both."""
    assert (len(ORDER_COLUMNS), len(set(ORDER_COLUMNS)), len(fields(OrderRow))) == (25, 25, 25)
    assert (len(TICKET_COLUMNS), len(set(TICKET_COLUMNS)), len(fields(TicketRow))) == (23, 23, 23)
    assert len(set(ORDER_COLUMNS) & set(TICKET_COLUMNS)) == 11


@pytest.mark.parametrize(("row", "columns"), [(OrderRow, ORDER_COLUMNS), (TicketRow, TICKET_COLUMNS)])
def test_every_column_is_read_in_the_pages_order(
    row: type[OrderRow] | type[TicketRow], columns: tuple[str, ...]
) -> None:
    """A header that no field reads, or a misspelt one, would read as None for ever."""
    source = inspect.getsource(row.from_line)

    assert [part.split('"')[1] for part in source.split("line.")[1:]] == list(columns)


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "cp950"])
@pytest.mark.parametrize("end", ["\r\n", "\n"], ids=["crlf", "lf"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL], ids=["bare", "quoted"])
def test_both_reports_are_read_in_every_dress(charset: str, end: str, quoting: int) -> None:
    """Encoding, byte order mark, line ends and quoting are undocumented."""
    orders = _table(ORDER_COLUMNS, ORDER, ORDER, charset=charset, end=end, quoting=quoting)
    tickets = _table(TICKET_COLUMNS, TICKET, TICKET, charset=charset, end=end, quoting=quoting)

    assert parse_report(orders, ReportType.ORDERS) == (READ_ORDER, READ_ORDER)
    assert parse_report(tickets, ReportType.TICKETS) == (READ_TICKET, READ_TICKET)


@fast
@given(st.randoms(use_true_random=False), st.booleans())
def test_order_of_columns_does_not_matter(rng: random.Random, tickets: bool) -> None:
    """Columns are found by header, with strangers in between."""
    columns, cells = (TICKET_COLUMNS, TICKET) if tickets else (ORDER_COLUMNS, ORDER)
    pairs = [*zip(columns, cells, strict=True), ("新欄位", "x"), ("", "y")]
    rng.shuffle(pairs)
    body = _table(tuple(name for name, _ in pairs), tuple(cell for _, cell in pairs))

    if tickets:
        assert parse_report(body, ReportType.TICKETS) == (READ_TICKET,)
    else:
        assert parse_report(body, ReportType.ORDERS) == (READ_ORDER,)


@pytest.mark.parametrize("missing", ORDER_COLUMNS)
def test_missing_column_reads_as_none(missing: str) -> None:
    """The others are read as ever."""
    pairs = [pair for pair in zip(ORDER_COLUMNS, ORDER, strict=True) if pair[0] != missing]
    (row,) = parse_report(_table(tuple(n for n, _ in pairs), tuple(c for _, c in pairs)), ReportType.ORDERS)

    whole = [getattr(READ_ORDER, field.name) for field in fields(OrderRow)]
    read = [getattr(row, field.name) for field in fields(OrderRow)]
    whole[ORDER_COLUMNS.index(missing)] = None
    assert read == whole


def test_headers_are_recognised_with_guards_spaces_and_full_width_characters() -> None:
    """Spreadsheets and people touch files."""
    header = [" 特店訂單編號 ", "ＥＣＴ訂單編號", "購買人email", "\u3000發行 狀態"]
    (row,) = parse_report(_table(tuple(header), ("A1", "22", "a@b.tw", "發行失敗")), ReportType.ORDERS)

    assert (row.merchant_trade_no, row.ticket_trade_no, row.customer_email) == ("A1", "22", "a@b.tw")
    assert row.issue_status is IssueStatus.FAILED


def test_first_of_equal_headers_counts() -> None:
    """Two columns of a name are one too many, and the second is passed over."""
    (row,) = parse_report(_table(("特店訂單編號", "發行狀態", "特店訂單編號"), ("A1", "", "B2")), ReportType.ORDERS)

    assert row.merchant_trade_no == "A1"


def test_report_without_lines_has_no_rows() -> None:
    """Nothing was issued in the period: a header, and blank lines at most."""
    assert parse_report(_table(ORDER_COLUMNS), ReportType.ORDERS) == ()
    assert parse_report(_table(TICKET_COLUMNS) + b"\r\n \r\n,,,\r\n", ReportType.TICKETS) == ()


def test_last_line_needs_no_line_end() -> None:
    """And blank lines between others are no lines."""
    body = _table(ORDER_COLUMNS, ORDER).rstrip() + b"\r\n\r\n" + _table(ORDER, charset="utf-8").rstrip()

    assert parse_report(body, ReportType.ORDERS) == (READ_ORDER, READ_ORDER)


def test_characters_that_no_code_page_knows_cost_one_character() -> None:
    """A name with a user-defined character must not hide a month of orders."""
    body = _table(ORDER_COLUMNS, ORDER, charset="cp950").replace("王".encode("cp950"), b"\xfa\x40")
    (row,) = parse_report(body, ReportType.ORDERS)

    assert row.customer_name is not None
    assert "\ufffd" in row.customer_name
    assert row.customer_name.endswith("珊珊")
    assert row.trade_amount == READ_ORDER.trade_amount


# -- single cells --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["0912345678", '="0912345678"', ' ="0912345678" ', "\t0912345678", '=" 0912345678 "'])
def test_excel_guards_are_taken_off(cell: str) -> None:
    """Written so that a spreadsheet keeps the leading zero."""
    assert _one("購買人手機", cell).customer_phone == "0912345678"


@pytest.mark.parametrize(
    ("before", "after"), [(b"0912345678", b'="0912345678"'), (b"0912345678", b'"=""0912345678"""')]
)
def test_excel_guards_are_taken_off_quoted_or_not(before: bytes, after: bytes) -> None:
    """Byte by byte, as two kinds of writers do it."""
    body = _table(ORDER_COLUMNS, ORDER).replace(before, after)

    assert parse_report(body, ReportType.ORDERS) == (READ_ORDER,)


@pytest.mark.parametrize(
    ("cell", "amount"),
    [("0", 0), ("1200", 1200), ("1,200", 1200), ("1,234,567", 1234567), ("1200.00", 1200), ("-36", -36), ("", None),
     (" 7 ", 7), ('="7"', 7), ('=""', None)],
)  # fmt: skip
def test_amounts_are_whole_numbers(cell: str, amount: int | None) -> None:
    """Typed String in the page, and so in whatever form strings are written."""
    assert _one("訂單金額", cell).trade_amount == amount


@pytest.mark.parametrize("cell", ["x", "1.5", "1,2", "12,34,567", "1e3", "NT$5", "５", "--1", "9" * 20, "1 200"])
def test_amount_that_is_none_is_unreadable(cell: str) -> None:
    """The message names line and column, and not the cell."""
    with pytest.raises(UnreadableReply, match="Line 2, 訂單金額") as caught:
        _one("訂單金額", cell)

    assert cell not in str(caught.value).replace("Line 2", "").replace(f"{len(cell)} characters", "")


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("發行日期", "2024/03/01"),
        ("發行日期", "soon"),
        ("發行日期", "2024/02/30 10:00:00"),
        ("履約保障到期日", "2024/13/01"),
        ("履約保障到期日", "2024/03/01 10:00"),
    ],
)
def test_time_or_date_that_is_none_is_unreadable(column: str, cell: str) -> None:
    """A line that cannot be placed in time cannot be reconciled."""
    with pytest.raises(UnreadableReply, match=column):
        _one(column, cell)


def test_words_are_the_documented_ones() -> None:
    """Each word has its own meaning, and every meaning a word."""
    for words, meanings in (
        (ISSUE_STATUS_WORDS, IssueStatus),
        (ISSUE_TYPE_WORDS, IssueType),
        (PRINT_TYPE_WORDS, PrintType),
        (TICKET_TYPE_WORDS, TicketType),
        (USE_STATUS_WORDS, UseStatus),
    ):
        assert sorted(words.values()) == sorted(meanings)


@pytest.mark.parametrize("word", ISSUE_STATUS_WORDS)
def test_status_word_is_read(word: str) -> None:
    """發行成功, 發行失敗, 發行作業處理中."""
    assert _one("發行狀態", word).issue_status is ISSUE_STATUS_WORDS[word]


def test_word_outside_the_set_stays_as_it_came() -> None:
    """One new word of ECPay's must not hide all other lines, nor be lost."""
    assert _one("發行狀態", "發行審核中").issue_status == "發行審核中"
    assert _one("出券類型", "").issue_type is None


@pytest.mark.parametrize(
    ("merchant", "free", "expected"),
    [
        ("A1", "", TradeNo(kind=TradeNoKind.MERCHANT, value="A1")),
        ("", "B1", TradeNo(kind=TradeNoKind.FREE, value="B1")),
        ("A1", "B1", TradeNo(kind=TradeNoKind.MERCHANT, value="A1")),
        ("", "", None),
    ],
)
def test_line_is_known_by_its_filled_number(merchant: str, free: str, expected: TradeNo | None) -> None:
    """特店訂單編號 before 贈品單號, in both reports."""
    orders = _table(("特店訂單編號", "贈品單號", "訂單金額"), (merchant, free, "1"))
    tickets = _table(("特店訂單編號", "贈品單號", "票券序號"), (merchant, free, "T"))

    assert parse_report(orders, ReportType.ORDERS)[0].trade_no == expected
    assert parse_report(tickets, ReportType.TICKETS)[0].trade_no == expected


def test_rows_hide_customer_ticket_and_redemption_code() -> None:
    """Codes and ticket numbers are shown on purpose or not at all."""
    shown = repr(READ_ORDER) + repr(READ_TICKET)

    for hidden in ("王珊珊", "0912345678", "abc@gmail.com", "CB2SY20220302153", "LEU4loiSZ9TDTWAtxL"):
        assert hidden not in shown
    assert "CBX20220302153064851" in shown


# -- what is no report ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" \r\n", b"\xef\xbb\xbf\t "])
def test_error_envelope_is_distinguished_from_a_report(before: bytes) -> None:
    """A body that starts with a brace is an envelope, and is opened as one."""
    body = before + seal_response({"RtnCode": 7, "RtnMsg": "查詢區間錯誤"}, MERCHANT, timestamp=NOW)

    assert is_envelope(body)
    assert open_response(body, MERCHANT).payload == {"RtnCode": 7, "RtnMsg": "查詢區間錯誤"}
    with pytest.raises(UnreadableReply, match="envelope"):
        parse_report(body, ReportType.ORDERS)


@pytest.mark.parametrize("body", [_table(ORDER_COLUMNS), _table(ORDER_COLUMNS, charset="cp950"), b"", b"x{", b"[]"])
def test_what_starts_with_no_brace_is_no_envelope(body: bytes) -> None:
    """A report is taken for a report."""
    assert not is_envelope(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"  \r\n", b"\xef\xbb\xbf", b"<html><body>403</body></html>", b"1|OK", b"\x00\x01\x02", b"\xff" * 100,
     b"a,b\n1,2", "報表,查無資料".encode(), "特店訂單編號".encode("utf-16"), _table(ORDER),
     "特店訂單編號\n".encode()[1:]],
    ids=lambda body: ascii(body[:20]),
)  # fmt: skip
@pytest.mark.parametrize("report_type", ReportType)
def test_garbage_is_no_report(body: bytes, report_type: ReportType) -> None:
    """No header, no report; not even an empty one, for a cut-off answer would look the same."""
    with pytest.raises(UnreadableReply):
        parse_report(body, report_type)


def test_other_report_is_refused() -> None:
    """Eleven columns are in both, so it would read well and be wrong."""
    with pytest.raises(UnreadableReply, match="header"):
        parse_report(_table(TICKET_COLUMNS, TICKET), ReportType.ORDERS)
    with pytest.raises(UnreadableReply, match="header"):
        parse_report(_table(ORDER_COLUMNS, ORDER), ReportType.TICKETS)


def test_lines_that_are_cut_or_shifted_are_refused() -> None:
    """A comma without quotes, or a download that ended early, must not move amounts to other columns."""
    whole = _table(ORDER_COLUMNS, ORDER)

    with pytest.raises(UnreadableReply, match="Line 2 has 26 cells"):
        parse_report(whole.replace("綠界金流".encode(), "綠界,金流".encode()), ReportType.ORDERS)
    with pytest.raises(UnreadableReply, match="Line 2 has 24 cells"):
        parse_report(whole[: whole.rindex(b",")], ReportType.ORDERS)
    with pytest.raises(UnreadableReply, match="Line 2"):
        parse_report(_table(ORDER_COLUMNS, ORDER, quoting=csv.QUOTE_ALL)[:-3], ReportType.ORDERS)


def test_empty_cells_behind_the_last_column_are_passed_over() -> None:
    """Some writers end each line with a comma."""
    body = _table(ORDER_COLUMNS, (*ORDER, "", " "[:0]))

    assert parse_report(body, ReportType.ORDERS) == (READ_ORDER,)
