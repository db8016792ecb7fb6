"""Issue: the page's own examples, field by field, in both directions."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from datetime import date

import pytest

from adapter.errors import UnreadableReply
from adapter.protocol.issue import IssuedItem, IssueReply, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.values import replace

from .samples import CONVENIENCE_STORE, ELECTRONIC, EXAMPLES, GIFT, NUMBER, PAPER, SERIAL_NUMBER

ANSWER: dict[str, object] = {
    "RtnCode": 1,
    "RtnMsg": "success",
    "MerchantTradeNo": "CBX20220302153064851",
    "FreeTradeNo": "",
    "TicketTradeNo": "2022030215301234",
    "TicketData": [{"ItemNo": "BR103218", "TicketAmount": 3}, {"ItemNo": "CK851236", "TicketAmount": 5}],
}
"""The page's example of an answer."""


# -- requests ------------------------------------------------------------------------------------------------------


def test_convenience_store_example_of_the_page() -> None:
    """The first example, exactly: nothing added, nothing empty."""
    assert CONVENIENCE_STORE.to_payload() == {
        "MerchantID": "3085676",
        "MerchantTradeNo": "CBX20220302153064851",
        "IssueType": "1",
        "UseStatusNotifyURL": "http://www.happybuy123.com.tw/notifyurl",
        "Operator": "AngelaChan",
        "CustomerEmail": "abc@gmail.com",
        "TicketInfo": [{"ItemNo": "VQT04959", "TicketAmount": 4}, {"ItemNo": "VNS21400", "TicketAmount": 4}],
    }


def test_paper_example_of_the_page() -> None:
    """The second example."""
    assert PAPER.to_payload() == {
        "MerchantID": "3085676",
        "MerchantTradeNo": "CBX20220302153064851",
        "IssueType": "2",
        "PrintType": "2",
        "UseStatusNotifyURL": "http://www.happybuy123.com.tw/notifyurl",
        "Operator": "AngelaChan",
        "CustomerName": "王珊珊",
        "TicketInfo": [{"ItemNo": "VQT04959", "TicketAmount": 10}, {"ItemNo": "VNS21400", "TicketAmount": 10}],
    }


def test_electronic_example_of_the_page() -> None:
    """The third example; dates as yyyymmdd."""
    assert ELECTRONIC.to_payload() == {
        "MerchantID": "3085676",
        "MerchantTradeNo": "CBX20220302153064851",
        "IssueType": "3",
        "IsImmediate": "2",
        "Operator": "AngelaChan",
        "CustomerName": "王珊珊",
        "CustomerPhone": "0912345678",
        "CustomerEmail": "abc@gmail.com",
        "TicketInfo": [
            {"ItemNo": "VQT04959", "TicketAmount": 8, "StartDate": "20240302"},
            {"ItemNo": "VNS21400", "TicketAmount": 6, "StartDate": "20240302"},
        ],
    }


def test_serial_number_example_of_the_page() -> None:
    """The fourth example; prices and amounts are numbers on the wire."""
    assert SERIAL_NUMBER.to_payload() == {
        "MerchantID": "3085676",
        "MerchantTradeNo": "CBX20220302153064851",
        "IssueType": "4",
        "UseStatusNotifyURL": "http://www.happybuy123.com.tw/notifyurl",
        "Operator": "AngelaChan",
        "TicketInfo": [
            {"ItemName": "五星渡假飯店假日住宿券", "TicketPrice": 6600, "TicketAmount": 2},
            {"ItemName": "SPA課程體驗券", "TicketPrice": 3200, "TicketAmount": 4},
        ],
    }


def test_gift_vouchers_go_under_their_own_number() -> None:
    """All items are gift vouchers: FreeTradeNo, and MerchantTradeNo is not filled in."""
    payload = GIFT.to_payload()

    assert payload["FreeTradeNo"] == "FREE2022030215306485"
    assert "MerchantTradeNo" not in payload
    assert payload["TicketInfo"] == [{"ItemNo": "VQT04959", "TicketAmount": 1, "ExpireDate": "20241231"}]


def test_every_field_has_its_name_on_the_wire() -> None:
    """All at once, in the page's order."""
    request = replace(
        ELECTRONIC,
        print_type=PrintType.ECPAY,
        is_immediate=True,
        store_id="TP01",
        refund_notify_url="https://a.tw/r",
        use_status_notify_url="https://a.tw/u",
        customer_address="台北市南港區三重路19號",
        payment_provider="1",
        ticket_info=(
            TicketInfo(
                item_no="A1",
                item_name="溫泉券一",
                ticket_price=0,
                ticket_amount=1,
                start_date=date(2024, 1, 2),
                expire_date=date(2025, 1, 2),
            ),
        ),
    )

    assert list(request.to_payload().items()) == [
        ("MerchantID", "3085676"),
        ("MerchantTradeNo", "CBX20220302153064851"),
        ("IssueType", "3"),
        ("PrintType", "1"),
        ("IsImmediate", "1"),
        ("PaymentProvider", "1"),
        ("RefundNotifyURL", "https://a.tw/r"),
        ("UseStatusNotifyURL", "https://a.tw/u"),
        ("StoreID", "TP01"),
        ("Operator", "AngelaChan"),
        ("CustomerName", "王珊珊"),
        ("CustomerPhone", "0912345678"),
        ("CustomerEmail", "abc@gmail.com"),
        ("CustomerAddress", "台北市南港區三重路19號"),
        (
            "TicketInfo",
            [
                {
                    "ItemNo": "A1",
                    "ItemName": "溫泉券一",
                    "TicketPrice": 0,
                    "TicketAmount": 1,
                    "StartDate": "20240102",
                    "ExpireDate": "20250102",
                }
            ],
        ),
    ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_payloads_hold_plain_json_and_nothing_absent(name: str) -> None:
    """No null and no "": what is not there is left out, and so takes no part in the checksum."""
    payload = EXAMPLES[name].to_payload()

    assert json.loads(json.dumps(payload)) == payload
    assert None not in payload.values()
    assert "" not in payload.values()


def test_value_sets_are_the_documented_ones() -> None:
    """Numbers in quotes, as the wire has them."""
    assert [(kind.name, kind.value) for kind in IssueType] == [
        ("CONVENIENCE_STORE", "1"),
        ("PAPER", "2"),
        ("ELECTRONIC", "3"),
        ("SERIAL_NUMBER", "4"),
    ]
    assert [(kind.name, kind.value) for kind in PrintType] == [("ECPAY", "1"), ("MERCHANT", "2")]
    assert [(kind.value, kind.field_name) for kind in TradeNoKind] == [
        ("merchant", "MerchantTradeNo"),
        ("free", "FreeTradeNo"),
    ]


def test_requests_do_not_change() -> None:
    """They are values: a plugin that wants another makes another."""
    with pytest.raises(FrozenInstanceError):
        CONVENIENCE_STORE.operator = "X"  # type: ignore[misc]  # that it is refused is the point


# -- answers -------------------------------------------------------------------------------------------------------


def test_answer_example_of_the_page() -> None:
    """Received, with ECTicket's own number and what it took in."""
    assert IssueReply.from_payload(ANSWER) == IssueReply(
        rtn_code=1,
        rtn_msg="success",
        trade_no=NUMBER,
        ticket_trade_no="2022030215301234",
        items=(
            IssuedItem(item_no="BR103218", item_name=None, ticket_price=None, ticket_amount=3),
            IssuedItem(item_no="CK851236", item_name=None, ticket_price=None, ticket_amount=5),
        ),
    )


def test_answer_for_serial_numbers_names_and_prices_its_items() -> None:
    """ItemName and TicketPrice "will only be returned when" IssueType is 4."""
    items = [{"ItemName": "SPA課程體驗券", "TicketPrice": 3200, "TicketAmount": 4}]

    assert IssueReply.from_payload(ANSWER | {"TicketData": items}).items == (
        IssuedItem(item_no=None, item_name="SPA課程體驗券", ticket_price=3200, ticket_amount=4),
    )


@pytest.mark.parametrize(
    ("merchant", "free", "expected"),
    [
        ("A1", "", TradeNo(kind=TradeNoKind.MERCHANT, value="A1")),
        ("", "B1", TradeNo(kind=TradeNoKind.FREE, value="B1")),
        (None, "B1", TradeNo(kind=TradeNoKind.FREE, value="B1")),
        ("A1", "B1", TradeNo(kind=TradeNoKind.MERCHANT, value="A1")),
        (123, None, TradeNo(kind=TradeNoKind.MERCHANT, value="123")),
        (None, "", None),
    ],
)
def test_number_echoed_is_the_filled_one(merchant: object, free: object, expected: TradeNo | None) -> None:
    """An order with a pickup voucher is numbered by MerchantTradeNo, whatever else is filled."""
    assert IssueReply.from_payload(ANSWER | {"MerchantTradeNo": merchant, "FreeTradeNo": free}).trade_no == expected


@pytest.mark.parametrize("value", [None, ""])
def test_answer_without_details_is_an_answer(value: object) -> None:
    """Only RtnCode must be there; what ECTicket did not say is None."""
    details = dict.fromkeys(("RtnMsg", "MerchantTradeNo", "FreeTradeNo", "TicketTradeNo", "TicketData"), value)

    for payload in ({"RtnCode": 1}, {"RtnCode": "1", **details}):
        assert IssueReply.from_payload(payload) == IssueReply(
            rtn_code=1, rtn_msg="", trade_no=None, ticket_trade_no=None, items=()
        )


def test_refusal_is_an_answer() -> None:
    """A refusal is an outcome, and TicketData of one is not looked at."""
    reply = IssueReply.from_payload(
        {"RtnCode": 10200047, "RtnMsg": "訂單編號重複", "TicketData": {}, "TicketTradeNo": ""}
    )

    assert (reply.rtn_code, reply.rtn_msg, reply.items) == (10200047, "訂單編號重複", ())


@pytest.mark.parametrize(
    "changed",
    [
        {"RtnCode": None},
        {"RtnCode": ""},
        {"RtnCode": True},
        {"RtnCode": "success"},
        {"RtnCode": 1.5},
        {"RtnCode": [1]},
        {"RtnMsg": {}},
        {"MerchantTradeNo": ["A"]},
        {"TicketTradeNo": {}},
    ],
    ids=str,
)
def test_answer_of_another_form_is_unreadable(changed: dict[str, object]) -> None:
    """What cannot be read is in doubt, and is not guessed at."""
    with pytest.raises(UnreadableReply):
        IssueReply.from_payload(ANSWER | changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"TicketData": "x"},
        {"TicketData": {"ItemNo": "A"}},
        {"TicketData": ["A"]},
        {"TicketData": [{"ItemNo": "A"}]},
        {"TicketData": [{"ItemNo": [], "TicketAmount": 1}]},
        {"TicketData": [{"ItemNo": "A", "TicketAmount": "many"}]},
        {"TicketData": [{"ItemName": "A", "TicketPrice": "free", "TicketAmount": 1}]},
    ],
    ids=str,
)
def test_ticket_data_of_another_form_takes_nothing_from_rtn_code_1(changed: dict[str, object]) -> None:
    """ECTicket took the order in; what it says of the items is only compared."""
    reply = IssueReply.from_payload(ANSWER | changed)

    assert (reply.rtn_code, reply.items) == (1, None)
    assert reply.ticket_trade_no == ANSWER["TicketTradeNo"]
