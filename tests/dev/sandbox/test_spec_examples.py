"""The specification's own examples, sent as they are printed and answered as documented."""

from __future__ import annotations

import pytest

from adapter.dev.sandbox import SandboxSettings
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.issue import IssueReply, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus, ResultReply
from adapter.protocol.query_item_info import ItemReply, ItemStatus, TicketType

from .conftest import Start
from .helpers import Client, Clock, Payload

EXAMPLE_MERCHANT = Merchant(
    merchant_id="2000132", credentials=Credentials(hash_key="7b53896b742849d3", hash_iv="37a0ad3c6ffa428b")
)
"""The placeholder merchant of the pages, under the public test keys."""

ISSUE_EXAMPLES: dict[str, Payload] = {
    "convenience store": {
        "MerchantID": "2000132",
        "MerchantTradeNo": "CBX20220302153064851",
        "IssueType": "1",
        "UseStatusNotifyURL": "http://www.happybuy123.com.tw/notifyurl",
        "Operator": "AngelaChan",
        "CustomerEmail": "abc@gmail.com",
        "TicketInfo": [{"ItemNo": "VQT04959", "TicketAmount": 4}, {"ItemNo": "VNS21400", "TicketAmount": 4}],
    },
    "paper": {
        "MerchantID": "2000132",
        "MerchantTradeNo": "CBX20220302153064851",
        "IssueType": "2",
        "PrintType": "2",
        "UseStatusNotifyURL": "http://www.happybuy123.com.tw/notifyurl",
        "Operator": "AngelaChan",
        "CustomerName": "王珊珊",
        "TicketInfo": [{"ItemNo": "VQT04959", "TicketAmount": 10}, {"ItemNo": "VNS21400", "TicketAmount": 10}],
    },
    "electronic": {
        "MerchantID": "2000132",
        "MerchantTradeNo": "CBX20220302153064851",
        "IssueType": "3",
        "IsImmediate": "2",
        "Operator": "AngelaChan",
        "CustomerName": "王珊珊",
        "CustomerPhone": "0912345678",
        "CustomerEmail": "abc@gmail.com",
        "TicketInfo": [
            {"ItemNo": "VQT04959", "TicketAmount": 8, "StartDate": "20240101"},
            {"ItemNo": "VNS21400", "TicketAmount": 6, "StartDate": "20240101"},
        ],
    },
    "serial number": {
        "MerchantID": "2000132",
        "MerchantTradeNo": "CBX20220302153064851",
        "IssueType": "4",
        "UseStatusNotifyURL": "http://www.happybuy123.com.tw/notifyurl",
        "Operator": "AngelaChan",
        "TicketInfo": [
            {"ItemName": "五星渡假飯店假日住宿券", "TicketPrice": 6600, "TicketAmount": 2},
            {"ItemName": "SPA課程體驗券", "TicketPrice": 3200, "TicketAmount": 4},
        ],
    },
}


@pytest.fixture
async def example(start: Start, clock: Clock) -> Client:
    client = await start(SandboxSettings(port=0, merchants=(EXAMPLE_MERCHANT,)))
    return Client(http=client.http, sandbox=client.sandbox, clock=clock, merchant=EXAMPLE_MERCHANT)


@pytest.mark.parametrize("name", ISSUE_EXAMPLES)
async def test_the_issue_examples_are_accepted(example: Client, name: str) -> None:
    """Each of the four, answered with its number, ECTicket's number and what was taken in."""
    sent = ISSUE_EXAMPLES[name]

    answer = await example.issue(sent)

    reply = IssueReply.from_payload(answer)
    entries = sent["TicketInfo"]
    assert isinstance(entries, list)
    assert reply.rtn_code == 1
    assert reply.trade_no is not None
    assert (reply.trade_no.kind, reply.trade_no.value) == (TradeNoKind.MERCHANT, sent["MerchantTradeNo"])
    assert answer["FreeTradeNo"] == ""
    assert len(reply.ticket_trade_no or "") == 16
    assert answer["TicketData"] == [
        {field: value for field, value in entry.items() if field != "StartDate"} for entry in entries
    ]


@pytest.mark.parametrize(
    ("name", "at_once", "later"),
    [
        ("convenience store", IssueStatus.IN_PROGRESS, IssueStatus.ISSUED),
        ("paper", IssueStatus.ISSUED, IssueStatus.ISSUED),
        ("electronic", IssueStatus.IN_PROGRESS, IssueStatus.ISSUED),
        ("serial number", IssueStatus.IN_PROGRESS, IssueStatus.ISSUED),
    ],
)
async def test_the_query_example_shows_how_the_job_goes(
    example: Client, clock: Clock, name: str, at_once: IssueStatus, later: IssueStatus
) -> None:
    """Paper is issued during the call, all else by a job."""
    await example.issue(ISSUE_EXAMPLES[name])
    query = {"MerchantID": "2000132", "MerchantTradeNo": "CBX20220302153064851", "FreeTradeNo": ""}

    first = await example.call(Endpoint.QUERY_ISSUE_RESULT, query)
    clock.advance(example.sandbox.settings.job_seconds)
    second = await example.call(Endpoint.QUERY_ISSUE_RESULT, query)

    assert [ResultReply.from_payload(each).status for each in (first, second)] == [at_once, later]
    assert set(first) == {"RtnCode", "RtnMsg", "MerchantTradeNo", "FreeTradeNo", "Status", "Remark"}


async def test_the_item_example_is_described(example: Client) -> None:
    """Every documented field, instructions as an array with several entries for a type."""
    answer = await example.call(Endpoint.QUERY_ITEM_INFO, {"MerchantID": "2000132", "ItemNo": "VTMT5062"})

    reply = ItemReply.from_payload(answer)
    assert (reply.item_no, reply.item_name, reply.item_amount) == ("VTMT5062", "Holiday meal voucher", 1200)
    assert (reply.ticket_type, reply.item_status) == (TicketType.PICKUP, ItemStatus.LISTED)
    assert answer["ModifyDate"] == "20220801 15:30"
    assert answer["MerchantID"] == "2000132"
    assert len(reply.instructions) > len({each.issue_type for each in reply.instructions})


async def test_the_report_example_is_answered_with_a_file(example: Client) -> None:
    """A bare CSV, no envelope."""
    sent = {"MerchantID": "2000132", "ReportType": 1, "BeginDate": "20230601", "EndDate": "20230630"}

    response = await example.post(Endpoint.ORDER_DETAIL, sent)

    assert response.headers["content-type"] == "text/csv"
    assert response.content.startswith("\ufeff特店訂單編號,".encode())
