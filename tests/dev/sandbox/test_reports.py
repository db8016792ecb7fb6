"""Both reports of OrderDetail, fetched over HTTP and read back by the protocol's own reader."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from adapter.dev.sandbox import SandboxSettings
from adapter.dev.sandbox.codes import ASSUMED, Reason
from adapter.errors import UnreadableReply
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.envelope import open_response
from adapter.protocol.issue import IssueType, PrintType
from adapter.protocol.order_detail import (
    ORDER_COLUMNS,
    TICKET_COLUMNS,
    OrderRow,
    TicketRow,
    UseStatus,
    order_rows,
    ticket_rows,
)
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.query_item_info import TicketType
from adapter.protocol.report_csv import starts_like_json
from adapter.protocol.taipei import TAIPEI

from .conftest import Start
from .helpers import FAMILY_B, START, Client, Clock, electronic, paper, serial


async def fetch(client: Client, report_type: object, begin: object = "20231201", end: object = "20231201") -> bytes:
    merchant_id = client.merchant.merchant_id
    sent = {"MerchantID": merchant_id, "ReportType": report_type, "BeginDate": begin, "EndDate": end}
    response = await client.post(Endpoint.ORDER_DETAIL, sent)
    assert response.status_code == 200
    return response.content


async def refusal(client: Client, *asked: object) -> object:
    body = await fetch(client, *asked)
    assert starts_like_json(body)
    opened = open_response(body, client.merchant)
    assert opened.payload is not None
    return opened.payload["RtnCode"]


async def orders(client: Client, *dates: str) -> tuple[OrderRow, ...]:
    return read_orders(await fetch(client, 1, *dates))


def read_orders(body: bytes) -> tuple[OrderRow, ...]:
    return tuple(order_rows([body], merchant_id="3085676"))


async def tickets(client: Client, *dates: str) -> tuple[TicketRow, ...]:
    return tuple(ticket_rows([await fetch(client, 2, *dates)], merchant_id="3085676"))


@pytest.fixture
async def unlimited(start: Start) -> Client:
    """A sandbox without the limit of one report a minute."""
    return await start(SandboxSettings(port=0, report_interval_seconds=0))


async def test_an_order_is_reported_with_all_its_columns(unlimited: Client, clock: Clock) -> None:
    """Numbers, words, amounts and dates as the page lists them."""
    entries = [
        {"ItemNo": "VQT04959", "TicketAmount": 2},
        {"ItemNo": "GFT00001", "TicketAmount": 1, "ExpireDate": "20231202"},
    ]
    answer = await unlimited.issue(electronic("A1", TicketInfo=entries))
    clock.advance(60)

    (row,) = await orders(unlimited)

    assert (row.merchant_trade_no, row.free_trade_no) == ("A1", None)
    assert row.ticket_trade_no == answer["TicketTradeNo"]
    assert (row.payment_provider, row.payment_type) == ("綠界金流", "信用卡")
    assert (row.issue_status, row.remark, row.issued_at) == (IssueStatus.ISSUED, None, START)
    assert (row.issue_type, row.print_type) == (IssueType.ELECTRONIC, None)
    assert (row.customer_name, row.customer_phone, row.customer_email) == ("王珊珊", "0912345678", "abc@gmail.com")
    assert (row.ticket_count, row.trade_amount) == (3, 2 * 1200 + 120)
    assert (row.unused_count, row.unused_amount, row.expired_count) == (3, 2520, 0)
    assert (row.redeemed_count, row.redeemed_amount, row.refunded_count) == (0, 0, 0)
    assert (row.refunded_amount, row.refund_fee) == (0, 0)
    assert row.escrow_expires_on is not None


async def test_gift_vouchers_expire_and_are_no_credit_card_payment(unlimited: Client, clock: Clock) -> None:
    """付款方式 only when the order has pickup vouchers; the expired are counted apart."""
    gift = {"ItemNo": "GFT00001", "TicketAmount": 2, "ExpireDate": "20231202"}
    await unlimited.issue(paper(MerchantTradeNo=None, FreeTradeNo="F1", TicketInfo=[gift]))
    clock.advance(2 * 86_400)

    (row,) = await orders(unlimited)
    (first, _) = await tickets(unlimited)

    assert (row.merchant_trade_no, row.free_trade_no, row.payment_type, row.credit_trade_id) == (None, "F1", None, None)
    assert (row.unused_count, row.unused_amount, row.expired_count) == (0, 0, 2)
    assert (first.ticket_type, first.use_status) == (TicketType.GIFT, UseStatus.EXPIRED)
    assert f"{first.expires_on}" == "2023-12-02"


@pytest.mark.parametrize(
    ("fault", "status", "remark"),
    [({"fault": "job_fails", "remark": "不符"}, IssueStatus.FAILED, "不符"), (None, IssueStatus.IN_PROGRESS, None)],
)
async def test_an_order_without_tickets_is_reported_as_such(
    unlimited: Client, clock: Clock, fault: dict[str, object] | None, status: IssueStatus, remark: str | None
) -> None:
    """It stands among the orders with its state, and has no line among the tickets."""
    if fault:
        await unlimited.arm(fault)
    await unlimited.issue(electronic())
    clock.advance(60 if fault else 0)

    (row,) = await orders(unlimited)

    assert (row.issue_status, row.remark, row.ticket_count, row.unused_count) == (status, remark, 1, 0)
    assert await tickets(unlimited) == ()


async def test_every_ticket_is_reported(unlimited: Client, clock: Clock) -> None:
    """One line per ticket; the redemption code only for serial numbers."""
    await unlimited.issue(paper("P1"))
    await unlimited.issue(serial("S1"))
    clock.advance(60)

    rows = await tickets(unlimited)

    assert [row.merchant_trade_no for row in rows] == ["P1", "P1", "S1", "S1"]
    assert len({row.ticket_no for row in rows}) == 4
    assert [row.print_type for row in rows] == [PrintType.MERCHANT, PrintType.MERCHANT, None, None]
    assert [(row.item_no, row.item_name, row.ticket_price) for row in rows[1:3]] == [
        ("VQT04959", "主題樂園一日券", 1200),
        (None, "SPA課程體驗券", 3200),
    ]
    assert [len(row.write_off_no or "") for row in rows] == [0, 0, 18, 18]
    assert {row.use_status for row in rows} == {UseStatus.UNUSED}
    assert {row.starts_on for row in rows} == {START.date()}


async def test_a_number_issued_twice_has_two_lines(unlimited: Client) -> None:
    """The report is ECTicket's own account, and that is how reconciliation finds it."""
    await unlimited.arm({"fault": "accept_repeats"})
    await unlimited.issue(paper())
    await unlimited.issue(paper())

    rows = await orders(unlimited)

    assert [row.merchant_trade_no for row in rows] == ["A1", "A1"]
    assert len({row.ticket_trade_no for row in rows}) == 2


async def test_the_file_is_utf8_with_bom_crlf_and_rfc_4180_quotes(unlimited: Client) -> None:
    """Assumed, as nothing but the headers is documented."""
    await unlimited.issue(paper(CustomerName="王珊珊", CustomerEmail="a@b.tw"))
    await unlimited.issue(serial("S1", TicketInfo=[{"ItemName": "SPA,課程", "TicketPrice": 1, "TicketAmount": 1}]))
    unlimited.clock.advance(60)

    body = await fetch(unlimited, 2)

    lines = body.decode("utf-8-sig").split("\r\n")
    assert body.startswith(b"\xef\xbb\xbf")
    assert body.count(b"\xef\xbb\xbf") == 1
    assert lines[0] == ",".join(TICKET_COLUMNS)
    assert '"SPA,課程"' in lines[3]
    assert lines[-1] == ""


async def test_the_file_can_be_cp950(start: Start) -> None:
    """The reader must take both; what the code page lacks (堃) becomes a question mark."""
    client = await start(SandboxSettings(port=0, report_encoding="cp950"))
    await client.issue(paper(CustomerName="王堃珊"))

    body = await fetch(client, 1)

    assert body.startswith(",".join(ORDER_COLUMNS).encode("cp950"))
    assert read_orders(body)[0].customer_name == "王?珊"


async def test_one_report_a_minute_and_merchant(client: Client, clock: Clock) -> None:
    """The next one is refused in an envelope; another merchant has its own minute; refused ones do not count."""
    other = Client(http=client.http, sandbox=client.sandbox, clock=clock, merchant=FAMILY_B)

    assert await refusal(client, 3) == ASSUMED[Reason.FIELD]
    assert not starts_like_json(await fetch(client, 1))
    clock.advance(59.9)
    assert await refusal(client, 2) == ASSUMED[Reason.REPORT_TOO_SOON]
    assert not starts_like_json(await fetch(other, 2))
    clock.advance(0.1)
    assert not starts_like_json(await fetch(client, 2))


@pytest.mark.parametrize(
    "asked",
    [
        (None,),
        ("1",),
        (3,),
        (True,),
        (1, "20231201", "20231130"),
        (1, "20230901", "20231202"),
        (1, "2023/12/01", "20231201"),
        (1, "20231301", "20231301"),
        (1, 20231201, "20231201"),
        (1, "", "20231201"),
        (1, "20231201", None),
    ],
)
async def test_a_report_of_another_form_is_refused(client: Client, asked: tuple[object, ...]) -> None:
    """ReportType is an Int, dates are yyyymmdd, at most 3 months and not backwards."""
    assert await refusal(client, *asked) == ASSUMED[Reason.FIELD]


async def test_three_months_are_not_too_long(client: Client) -> None:
    """To the day."""
    assert not starts_like_json(await fetch(client, 1, "20230901", "20231201"))


async def test_a_report_goes_by_taipeis_date(unlimited: Client, clock: Clock) -> None:
    """An order just after midnight in Taipei is of the new day, whatever UTC says."""
    clock.now = START.replace(hour=0, minute=5).astimezone(TAIPEI)
    await unlimited.issue(paper())

    assert len(await orders(unlimited, "20231201", "20231201")) == 1
    assert await orders(unlimited, "20231130", "20231130") == ()


async def test_a_large_report_comes_whole(unlimited: Client) -> None:
    """In pieces on the way, in order at the end."""
    for place in range(30):
        await unlimited.issue(paper(f"N{place}", TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 100}]))

    rows = await tickets(unlimited)

    assert len({row.ticket_no for row in rows}) == len(rows) == 3_000


async def test_both_reports_say_what_became_of_the_tickets(unlimited: Client, clock: Clock) -> None:
    """Counts and amounts of the order, state and minute of each ticket."""
    await unlimited.issue(paper(TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 3}]))
    numbers = [row.ticket_no for row in await tickets(unlimited)]
    clock.advance(90)
    unlimited.sandbox.redeem("3085676", "A1", numbers[0])
    clock.advance(90)
    unlimited.sandbox.refund("3085676", "A1", numbers[1])

    (order,) = await orders(unlimited)
    redeemed, refunded, unused = await tickets(unlimited)

    assert (order.redeemed_count, order.redeemed_amount) == (1, 1200)
    assert (order.refunded_count, order.refunded_amount, order.refund_fee) == (1, 1200, 0)
    assert (order.unused_count, order.unused_amount, order.expired_count) == (1, 1200, 0)
    statuses = [row.use_status for row in (redeemed, refunded, unused)]
    assert statuses == [UseStatus.REDEEMED, UseStatus.REFUNDED, UseStatus.UNUSED]
    assert (redeemed.redeemed_at, redeemed.refunded_at) == (START + timedelta(minutes=1), None)
    assert (refunded.redeemed_at, refunded.refunded_at) == (None, START + timedelta(minutes=3))
    assert (refunded.refund_fee, unused.redeemed_at, unused.refund_fee) == (0, None, None)


async def test_a_report_can_have_another_form(unlimited: Client) -> None:
    """Encoding, columns, a cell and lines that repeat, all at once; the reader names each."""
    for number in ("A1", "A2"):
        await unlimited.issue(paper(number))
    await unlimited.arm(
        {
            "fault": "odd_report",
            "encoding": "cp950",
            "without_columns": ["發行狀態", "購買人姓名"],
            "additional_columns": 2,
            "unreadable_column": "訂單金額",
            "repeat_lines": True,
        }
    )

    body = await fetch(unlimited, 1)
    reading = order_rows([body], merchant_id="3085676")
    rows = tuple(reading)

    body.decode("cp950")
    assert (reading.missing_columns, reading.additional_columns) == (("發行狀態", "購買人姓名"), 2)
    assert [row.merchant_trade_no for row in rows] == ["A1", "A1", "A2", "A2"]
    assert [[cell.column for cell in row.unreadable] for row in rows] == [["訂單金額"], ["訂單金額"], [], []]


async def test_a_report_can_disagree_with_the_sandbox_about_orders(unlimited: Client) -> None:
    """One is missing, one failed, one has a ticket less; the others are as they are."""
    for number in ("A1", "A2", "A3", "A4"):
        await unlimited.issue(paper(number, TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 2}]))
    changes = {"without_orders": ["A1"], "failed_orders": ["A2"], "short_orders": ["A3"]}
    await unlimited.arm({"fault": "odd_report", "additional_columns": 0, **changes})

    found = {row.merchant_trade_no: (row.issue_status, row.ticket_count) for row in await orders(unlimited)}
    listed = Counter(row.merchant_trade_no for row in await tickets(unlimited))

    issued, failed = IssueStatus.ISSUED, IssueStatus.FAILED
    assert found == {"A2": (failed, 2), "A3": (issued, 1), "A4": (issued, 2)}
    assert listed == {"A3": 2, "A4": 2}


async def test_a_report_can_be_cut_off(unlimited: Client) -> None:
    """After so many bytes, with an answer that looks complete."""
    await unlimited.issue(paper())
    whole = await fetch(unlimited, 1)
    await unlimited.arm({"fault": "odd_report", "additional_columns": 0, "keep_bytes": len(whole) - 20})

    body = await fetch(unlimited, 1)

    assert body == whole[:-20]
    with pytest.raises(UnreadableReply, match="cut off in line 2"):
        read_orders(body)
