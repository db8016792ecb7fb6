"""OrderDetail: both reports in every form they may come in, and nothing read as a report that is none."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
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
    order_rows,
    ticket_rows,
)
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.query_item_info import TicketType
from adapter.protocol.report_csv import MAX_ROW_CHARACTERS, UnreadableCell, starts_like_json, whole_number
from adapter.protocol.report_repeats import RepeatedNumbers
from adapter.values import replace

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
    line=2,
    unreadable=(),
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
    line=2,
    unreadable=(),
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


def _orders(body: bytes, piece: int | None = None) -> tuple[OrderRow, ...]:
    """Read an orders report, in pieces of this size."""
    return tuple(order_rows(_pieces(body, piece), merchant_id=MERCHANT.merchant_id))


def _tickets(body: bytes, piece: int | None = None) -> tuple[TicketRow, ...]:
    """Read a tickets report likewise."""
    return tuple(ticket_rows(_pieces(body, piece), merchant_id=MERCHANT.merchant_id))


def _read(body: bytes, report_type: ReportType) -> tuple[OrderRow, ...] | tuple[TicketRow, ...]:
    return _orders(body) if report_type is ReportType.ORDERS else _tickets(body)


def _pieces(body: bytes, size: int | None) -> Iterator[bytes]:
    size = size or max(1, len(body))
    return (body[start : start + size] for start in range(0, len(body), size))


def _one(column: str, cell: str) -> OrderRow:
    """Read an orders report of one line in which one cell is changed."""
    cells = dict(zip(ORDER_COLUMNS, ORDER, strict=True)) | {column: cell}
    (row,) = _orders(_table(ORDER_COLUMNS, tuple(cells.values())))
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
    assert (len(ORDER_COLUMNS), len(set(ORDER_COLUMNS)), len(fields(OrderRow)[2:])) == (25, 25, 25)
    assert (len(TICKET_COLUMNS), len(set(TICKET_COLUMNS)), len(fields(TicketRow)[2:])) == (23, 23, 23)
    assert len(set(ORDER_COLUMNS) & set(TICKET_COLUMNS)) == 11


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "cp950"])
@pytest.mark.parametrize("end", ["\r\n", "\n"], ids=["crlf", "lf"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL], ids=["bare", "quoted"])
def test_both_reports_are_read_in_every_dress(charset: str, end: str, quoting: int) -> None:
    """Encoding, byte order mark, line ends and quoting are undocumented."""
    orders = _table(ORDER_COLUMNS, ORDER, ORDER, charset=charset, end=end, quoting=quoting)
    tickets = _table(TICKET_COLUMNS, TICKET, TICKET, charset=charset, end=end, quoting=quoting)

    assert _orders(orders) == (READ_ORDER, replace(READ_ORDER, line=3))
    assert _tickets(tickets) == (READ_TICKET, replace(READ_TICKET, line=3))


@fast
@given(st.randoms(use_true_random=False), st.booleans())
def test_order_of_columns_does_not_matter(rng: random.Random, tickets: bool) -> None:
    """Columns are found by header, with strangers in between."""
    columns, cells = (TICKET_COLUMNS, TICKET) if tickets else (ORDER_COLUMNS, ORDER)
    pairs = [*zip(columns, cells, strict=True), ("新欄位", "x"), ("", "y")]
    rng.shuffle(pairs)
    body = _table(tuple(name for name, _ in pairs), tuple(cell for _, cell in pairs))

    if tickets:
        assert _tickets(body) == (READ_TICKET,)
    else:
        assert _orders(body) == (READ_ORDER,)


@pytest.mark.parametrize("missing", ORDER_COLUMNS)
def test_missing_column_reads_as_none(missing: str) -> None:
    """The others are read as ever."""
    pairs = [pair for pair in zip(ORDER_COLUMNS, ORDER, strict=True) if pair[0] != missing]
    (row,) = _orders(_table(tuple(n for n, _ in pairs), tuple(c for _, c in pairs)))

    whole = [getattr(READ_ORDER, field.name) for field in fields(OrderRow)]
    read = [getattr(row, field.name) for field in fields(OrderRow)]
    whole[2 + ORDER_COLUMNS.index(missing)] = None
    assert read == whole


def test_headers_are_recognised_with_guards_spaces_and_full_width_characters() -> None:
    """Spreadsheets and people touch files."""
    header = [" 特店訂單編號 ", "ＥＣＴ訂單編號", "購買人email", "\u3000發行 狀態"]
    (row,) = _orders(_table(tuple(header), ("A1", "22", "a@b.tw", "發行失敗")))

    assert (row.merchant_trade_no, row.ticket_trade_no, row.customer_email) == ("A1", "22", "a@b.tw")
    assert row.issue_status is IssueStatus.FAILED


def test_first_of_equal_headers_counts() -> None:
    """Two columns of a name are one too many, and the second is passed over."""
    (row,) = _orders(_table(("特店訂單編號", "發行狀態", "特店訂單編號"), ("A1", "", "B2")))

    assert row.merchant_trade_no == "A1"


def test_report_without_lines_has_no_rows() -> None:
    """Nothing was issued in the period: a header, and blank lines at most."""
    assert _orders(_table(ORDER_COLUMNS)) == ()
    assert _tickets(_table(TICKET_COLUMNS) + b"\r\n \r\n,,,\r\n") == ()


def test_last_line_needs_no_line_end() -> None:
    """And blank lines between others are no lines."""
    body = _table(ORDER_COLUMNS, ORDER).rstrip() + b"\r\n\r\n" + _table(ORDER, charset="utf-8").rstrip()

    assert _orders(body) == (READ_ORDER, replace(READ_ORDER, line=4))


def test_characters_that_no_code_page_knows_cost_one_character() -> None:
    """A name with a user-defined character must not hide a month of orders."""
    body = _table(ORDER_COLUMNS, ORDER, charset="cp950").replace("王".encode("cp950"), b"\xfa\x40")
    (row,) = _orders(body)

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

    assert _orders(body) == (READ_ORDER,)


@pytest.mark.parametrize(
    ("cell", "amount"),
    [("0", 0), ("1200", 1200), ("1,200", 1200), ("1,234,567", 1234567), ("1200.00", 1200), ("-36", -36), ("", None),
     (" 7 ", 7), ('="7"', 7), ('=""', None)],
)  # fmt: skip
def test_amounts_are_whole_numbers(cell: str, amount: int | None) -> None:
    """Typed String in the page, and so in whatever form strings are written."""
    assert _one("訂單金額", cell).trade_amount == amount


@pytest.mark.parametrize(
    "cell", ["x", "1.5", "1,2", "12,34,567", "1e3", "NT$5", "５", "--1", "9" * 20, "1 200", ",", "."]
)
def test_amount_that_is_none_costs_one_field(cell: str) -> None:
    """Line, column and the expected form are reported, the cell is not; all other fields are read."""
    row = _one("訂單金額", cell)

    (unreadable,) = row.unreadable
    assert unreadable == UnreadableCell(line=2, column="訂單金額", expected="a whole number")
    assert str(unreadable) == "Line 2, 訂單金額: must be a whole number."
    assert replace(row, unreadable=()) == replace(READ_ORDER, trade_amount=None)


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
def test_time_or_date_that_is_none_costs_one_field(column: str, cell: str) -> None:
    """The row can still be counted, and its consumer sees that the field is not merely empty."""
    row = _one(column, cell)

    assert [(each.line, each.column) for each in row.unreadable] == [(2, column)]
    assert (row.merchant_trade_no, row.trade_amount) == (READ_ORDER.merchant_trade_no, READ_ORDER.trade_amount)


@pytest.mark.parametrize("charset", ["utf-8-sig", "cp950"])
def test_number_that_lost_a_character_is_unreadable(charset: str) -> None:
    """A ticket number with U+FFFD in it is no ticket number; a name with it is still a name."""
    body = _table(TICKET_COLUMNS, TICKET, charset=charset)
    (row,) = _tickets(body.replace(b"CB2SY20220302153", b"CB2SY2022\xff302153"))

    assert row.ticket_no is None
    assert [each.column for each in row.unreadable] == ["票券序號"]
    assert row.write_off_no == READ_TICKET.write_off_no


def test_broken_byte_costs_one_character_of_a_utf8_report() -> None:
    """The header decides the encoding, so one bad byte in a million lines does not turn the rest into CP950."""
    body = _table(ORDER_COLUMNS, ORDER, ORDER)
    first, second = _orders(body.replace("王珊珊".encode(), "王珊".encode() + b"\xe7\x8f", 1))

    assert first.customer_name == "王珊\ufffd"
    assert first.unreadable == ()
    assert second == replace(READ_ORDER, line=3)


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

    assert _orders(orders)[0].trade_no == expected
    assert _tickets(tickets)[0].trade_no == expected


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

    assert starts_like_json(body)
    assert open_response(body, MERCHANT).payload == {"RtnCode": 7, "RtnMsg": "查詢區間錯誤"}
    with pytest.raises(UnreadableReply):
        _orders(body)


@pytest.mark.parametrize("body", [_table(ORDER_COLUMNS), _table(ORDER_COLUMNS, charset="cp950"), b"x{", b"[]"])
def test_what_starts_with_no_brace_is_no_envelope(body: bytes) -> None:
    """A report is taken for a report."""
    assert starts_like_json(body) is False


@pytest.mark.parametrize("start", [b"", b"\xef", b"\xef\xbb", b"\xef\xbb\xbf", b"\xef\xbb\xbf \r\n", b" "])
def test_start_may_be_too_short_to_know(start: bytes) -> None:
    """The next piece decides."""
    assert starts_like_json(start) is None


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
        _read(body, report_type)


def test_other_report_is_refused() -> None:
    """Eleven columns are in both, so it would read well and be wrong."""
    with pytest.raises(UnreadableReply, match="header"):
        _orders(_table(TICKET_COLUMNS, TICKET))
    with pytest.raises(UnreadableReply, match="header"):
        _tickets(_table(ORDER_COLUMNS, ORDER))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("綠界金流", "綠界,金流"),
        ("綠界金流,信用卡", "綠界金流"),
        ("綠界金流", '"綠界" 金流'),
        ("綠界金流", "x" * 140_000),
    ],
    ids=["a comma too many", "a cell too few", "text behind quotes", "an endless cell"],
)
def test_line_of_another_shape_costs_one_row(before: str, after: str) -> None:
    """Cells may be shifted, so none of them is believed; the lines around it are read."""
    body = _table(ORDER_COLUMNS, ORDER, ORDER, ORDER).decode("utf-8-sig").split("\r\n")
    body[2] = body[2].replace(before, after)
    first, shifted, last = _orders("\r\n".join(body).encode())

    assert (first, last) == (READ_ORDER, replace(READ_ORDER, line=4))
    assert {getattr(shifted, field.name) for field in fields(shifted)[2:]} == {None}
    assert [(each.line, each.column) for each in shifted.unreadable] == [(3, None)]


def _all_or_error(*pieces: bytes) -> tuple[list[OrderRow], str]:
    """The rows before the error, and its message."""
    rows: list[OrderRow] = []
    try:
        for row in order_rows(pieces, merchant_id=MERCHANT.merchant_id):
            rows.append(row)  # those before an error count
    except UnreadableReply as error:
        return rows, str(error)
    return rows, ""


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL], ids=["bare", "quoted"])
def test_file_that_was_cut_off_in_a_line_is_refused_at_its_end(quoting: int) -> None:
    """Wherever the last line ends, unless all its cells are there; the message names the line."""
    whole = _table(ORDER_COLUMNS, ORDER, ORDER, quoting=quoting)
    start, end = whole.rstrip().rindex(b"\n") + 2, len(whole) - 2 - (3 if quoting else 1)

    for cut in range(start, end):
        rows, message = _all_or_error(whole[:cut])
        assert [row.line for row in rows] == [2]
        assert "cut off" in message
        assert "line 3" in message


@pytest.mark.parametrize(
    ("end", "quoting", "ends_open"),
    [("\r\n", csv.QUOTE_MINIMAL, False), ("\n", csv.QUOTE_MINIMAL, False), ("\r", csv.QUOTE_MINIMAL, False),
     ("", csv.QUOTE_MINIMAL, True), ("", csv.QUOTE_ALL, False)],
)  # fmt: skip
def test_last_cell_may_be_cut_off_if_nothing_ends_it(end: str, quoting: int, ends_open: bool) -> None:
    """A line end or a closing quote shows that the last cell is whole; it is known with the row."""
    rows = order_rows(
        [_table(ORDER_COLUMNS, ORDER, ORDER, quoting=quoting).rstrip() + end.encode()],
        merchant_id=MERCHANT.merchant_id,
    )

    assert [rows.ends_open for _ in rows] == [False, ends_open]


def test_header_that_was_cut_off_is_refused() -> None:
    """It would look like an empty report without some columns."""
    whole = _table(ORDER_COLUMNS).rstrip()

    for cut in range(3, len(whole) - 2):
        with pytest.raises(UnreadableReply):
            _orders(whole[:cut])
    assert _orders(whole) == ()


def test_quotes_that_stay_open_make_the_rest_unreadable() -> None:
    """Where the next line begins is unknown then; lines before it were read."""
    lines = _table(ORDER_COLUMNS, *[ORDER] * 9_000).decode("utf-8-sig").split("\r\n")
    lines[3] = lines[3].replace("王珊珊", '"王珊珊')
    rows, message = _all_or_error("\r\n".join(lines).encode())

    assert [row.line for row in rows] == [2, 3]
    assert "Line 4" in message


def test_file_without_line_ends_does_not_fill_the_memory() -> None:
    """Reading stops soon after the longest row that is allowed."""
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield _table(ORDER_COLUMNS)
        while True:
            taken += 65_536
            yield b"x" * 65_536

    with pytest.raises(UnreadableReply, match="Line 2"):
        tuple(order_rows(endless(), merchant_id=MERCHANT.merchant_id))
    assert taken < 2 * MAX_ROW_CHARACTERS


@pytest.mark.parametrize("header", ["特店編號", "MerchantID", " merchantid "])
def test_report_of_another_merchant_is_refused(header: str) -> None:
    """If the report shows its merchant; the documented ones do not."""
    own = _table((*ORDER_COLUMNS, header), (*ORDER, MERCHANT.merchant_id), (*ORDER, ""))
    foreign = _table((*ORDER_COLUMNS, header), (*ORDER, MERCHANT.merchant_id), (*ORDER, "2000132"))

    assert len(_orders(own)) == 2
    with pytest.raises(UnreadableReply, match="Line 3 is another merchant's"):
        _orders(foreign)


def test_columns_that_are_missing_or_additional_are_known_before_the_first_row() -> None:
    """Missing ones by name, additional ones by number; a consumer refuses what it cannot do without."""
    header = tuple(name for name in ORDER_COLUMNS if name not in ("贈品單號", "發行狀態"))
    reading = order_rows([_table((*header, "新欄位", "")), b""], merchant_id=MERCHANT.merchant_id)

    assert (reading.missing_columns, reading.additional_columns) == (("贈品單號", "發行狀態"), 2)
    reading.require("特店訂單編號", "訂單金額")
    with pytest.raises(UnreadableReply, match="發行狀態") as caught:
        reading.require("特店訂單編號", "發行狀態")
    assert "特店訂單編號" not in str(caught.value)


# -- pieces --------------------------------------------------------------------------------------------------------

NASTY = (*ORDER[:7], '多行\r\n備註, "引號"', *ORDER[8:11], "王堃珊", *ORDER[12:])


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "cp950"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"], ids=["crlf", "lf", "cr"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_pieces_may_end_anywhere(charset: str, end: str, size: int) -> None:
    """Within a character, a line end, a byte order mark or quotes."""
    text = _table(ORDER_COLUMNS, ORDER, NASTY, ORDER, end=end).decode("utf-8-sig")
    body = text.encode(charset, errors="replace")

    rows = _orders(body, size)
    assert rows == _orders(body)
    assert [row.line for row in rows] == [2, 3, 5]
    assert rows[1].remark == '多行\r\n備註, "引號"'


@fast
@given(
    st.lists(st.sampled_from([ORDER, NASTY, ORDER[:-1], (*ORDER, "x"), (*ORDER[:16], "x", *ORDER[17:])]), max_size=5),
    st.sampled_from(["utf-8", "utf-8-sig", "cp950"]),
    st.integers(0, 40),
    st.lists(st.integers(1, 200)),
)
def test_any_cut_into_pieces_gives_the_same_rows(
    rows: list[tuple[str, ...]], charset: str, missing: int, sizes: list[int]
) -> None:
    """Whole reports and cut-off ones; the same rows or the same error."""
    whole = _table(ORDER_COLUMNS, *rows).decode("utf-8-sig").encode(charset, errors="replace")
    body = whole[: len(whole) - missing]
    pieces, rest = [], body
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]

    assert _all_or_error(*pieces, rest) == _all_or_error(body)


@fast
@given(st.integers(-(10**16), 10**16), st.booleans(), st.booleans())
def test_whole_numbers_are_read_as_they_are_written(number: int, separated: bool, decimals: bool) -> None:
    """With or without separators and decimals, up to 15 digits."""
    text = f"{number:,}" if separated else str(number)

    assert whole_number(text + (".00" if decimals else "")) == (number if abs(number) < 10**15 else None)


# -- numbers that repeat -------------------------------------------------------------------------------------------


@fast
@given(st.lists(st.integers(0, 30), max_size=60))
def test_repeated_numbers_are_found_with_their_lines(numbers: list[int]) -> None:
    """The first line of each, with every later one."""
    repeats = RepeatedNumbers()
    for line, number in enumerate(numbers, 2):
        repeats.add(f"CBX{number}", line)

    expected = [
        (numbers.index(number) + 2, line) for line, number in enumerate(numbers, 2) if numbers.index(number) + 2 < line
    ]
    assert sorted(repeats.repeated()) == sorted(expected)


def test_empty_cells_behind_the_last_column_are_passed_over() -> None:
    """Some writers end each line with a comma."""
    body = _table(ORDER_COLUMNS, (*ORDER, "", " "[:0]))

    assert _orders(body) == (READ_ORDER,)
