"""Every rule of the Issue page broken one by one, over HTTP: refused with RtnCode ≠ 1, and nothing is booked."""

from __future__ import annotations

import pytest

from adapter.dev.sandbox import SandboxSettings
from adapter.dev.sandbox.codes import ASSUMED, Reason
from adapter.protocol.endpoints import Endpoint, Family

from .conftest import Start
from .helpers import FAMILY_B, Client, Clock, Payload, electronic, paper, serial, without_none

GIFT = {"ItemNo": "GFT00001", "TicketAmount": 1, "ExpireDate": "20240131"}
PICKUP = {"ItemNo": "VQT04959", "TicketAmount": 1}


def gifts(**changes: object) -> dict[str, object]:
    """A good order of gift vouchers only."""
    return without_none({**paper(MerchantTradeNo=None), "FreeTradeNo": "F1", "TicketInfo": [GIFT], **changes})


def store(**changes: object) -> dict[str, object]:
    """A good order of convenience-store tickets."""
    return without_none({**paper(IssueType="1", PrintType=None), "CustomerEmail": "abc@gmail.com", **changes})


def entry(**changes: object) -> list[dict[str, object]]:
    """TicketInfo with one changed entry."""
    changed: dict[str, object] = {**PICKUP, **changes}
    return [{name: value for name, value in changed.items() if value is not None}]


def serial_entry(**changes: object) -> list[dict[str, object]]:
    changed: dict[str, object] = {"ItemName": "SPA課程體驗券", "TicketPrice": 3200, "TicketAmount": 1, **changes}
    return [{name: value for name, value in changed.items() if value is not None}]


FIELD = Reason.FIELD

BROKEN: dict[str, tuple[Payload, Reason]] = {
    # MerchantID
    "MerchantID missing": (paper(MerchantID=None), Reason.MERCHANT_MISMATCH),
    "MerchantID not the envelope's": (paper(MerchantID="3362787"), Reason.MERCHANT_MISMATCH),
    "MerchantID a number": (paper(MerchantID=3085676), Reason.MERCHANT_MISMATCH),
    # Trade numbers
    "no trade number": (paper(MerchantTradeNo=None), FIELD),
    "empty trade numbers": (paper(MerchantTradeNo="", FreeTradeNo=""), FIELD),
    "both trade numbers": (paper(FreeTradeNo="F1"), FIELD),
    "MerchantTradeNo a number": (paper(MerchantTradeNo=12), FIELD),
    "MerchantTradeNo of 26": (paper(MerchantTradeNo="A" * 26), FIELD),
    "MerchantTradeNo with a sign": (paper(MerchantTradeNo="A-1"), FIELD),
    "MerchantTradeNo full-width": (paper(MerchantTradeNo="Ａ1"), FIELD),
    "FreeTradeNo of 21": (gifts(FreeTradeNo="F" * 21), FIELD),
    "FreeTradeNo with a space": (gifts(FreeTradeNo="F 1"), FIELD),
    "MerchantTradeNo for gifts only": (gifts(FreeTradeNo=None, MerchantTradeNo="A1"), FIELD),
    "FreeTradeNo for a pickup voucher": (paper(MerchantTradeNo=None, FreeTradeNo="F1"), FIELD),
    "FreeTradeNo for a mixture": (gifts(TicketInfo=[GIFT, PICKUP]), FIELD),
    "FreeTradeNo for a pickup voucher that says it expires": (
        gifts(TicketInfo=entry(ExpireDate="20240131")),
        FIELD,
    ),
    # IssueType, PrintType, IsImmediate
    "IssueType missing": (paper(IssueType=None), FIELD),
    "IssueType unknown": (paper(IssueType="5"), FIELD),
    "IssueType a number": (paper(IssueType=2), FIELD),
    "PrintType missing for paper": (paper(PrintType=None), FIELD),
    "PrintType unknown": (paper(PrintType="3"), FIELD),
    "PrintType a number": (paper(PrintType=2), FIELD),
    "IsImmediate missing for electronic": (electronic(IsImmediate=None), FIELD),
    "IsImmediate unknown": (electronic(IsImmediate="0"), FIELD),
    "IsImmediate a boolean": (electronic(IsImmediate=True), FIELD),
    # URLs, store, operator
    "RefundNotifyURL of 201": (paper(RefundNotifyURL="https://a.tw/" + "x" * 188), FIELD),
    "RefundNotifyURL no URL": (paper(RefundNotifyURL="a.tw"), FIELD),
    "UseStatusNotifyURL of 201": (paper(UseStatusNotifyURL="https://a.tw/" + "x" * 188), FIELD),
    "UseStatusNotifyURL a number": (paper(UseStatusNotifyURL=1), FIELD),
    "StoreID of 1": (paper(StoreID="T"), FIELD),
    "StoreID of 21": (paper(StoreID="T" * 21), FIELD),
    "StoreID with a sign": (paper(StoreID="TPE-01"), FIELD),
    "StoreID unknown": (paper(StoreID="TPE02"), Reason.STORE),
    "StoreID not active": (paper(StoreID="OLD99"), Reason.STORE),
    "Operator missing": (paper(Operator=None), FIELD),
    "Operator empty": (paper(Operator=""), FIELD),
    "Operator of 11": (paper(Operator="AngelaChan1"), FIELD),
    "Operator with a space": (paper(Operator="A Chan"), FIELD),
    "Operator full-width": (paper(Operator="Ａngela"), FIELD),
    "Operator a number": (paper(Operator=7), FIELD),
    # Customer
    "CustomerName missing for electronic": (electronic(CustomerName=None), FIELD),
    "CustomerName of 1": (electronic(CustomerName="王"), FIELD),
    "CustomerName of 21": (electronic(CustomerName="A" * 21), FIELD),
    "CustomerName mixed": (electronic(CustomerName="王Amy"), FIELD),
    "CustomerPhone missing for electronic": (electronic(CustomerPhone=None), FIELD),
    "CustomerPhone not 09": (electronic(CustomerPhone="0812345678"), FIELD),
    "CustomerPhone of 9": (electronic(CustomerPhone="091234567"), FIELD),
    "CustomerPhone of 11": (electronic(CustomerPhone="09123456789"), FIELD),
    "CustomerPhone with signs": (electronic(CustomerPhone="0912-34567"), FIELD),
    "CustomerPhone a number": (electronic(CustomerPhone=912345678), FIELD),
    "CustomerEmail missing for electronic": (electronic(CustomerEmail=None), FIELD),
    "CustomerEmail missing for a store": (store(CustomerEmail=None), FIELD),
    "CustomerEmail of 81": (store(CustomerEmail="a" * 72 + "@gmail.tw"), FIELD),
    "CustomerEmail no address": (store(CustomerEmail="abc"), FIELD),
    "CustomerName missing for an address": (paper(CustomerAddress="台北市南港區"), FIELD),
    "CustomerAddress of 101": (paper(CustomerAddress="路" * 101), FIELD),
    "CustomerAddress with HTML": (paper(CustomerAddress="<b>路</b>"), FIELD),
    # TicketInfo
    "TicketInfo missing": (paper(TicketInfo=None), FIELD),
    "TicketInfo empty": (paper(TicketInfo=[]), FIELD),
    "TicketInfo an object": (paper(TicketInfo=PICKUP), FIELD),
    "TicketInfo a text": (paper(TicketInfo="[]"), FIELD),
    "TicketInfo of numbers": (paper(TicketInfo=[1]), FIELD),
    "TicketInfo of 201": (paper(TicketInfo=[PICKUP] * 201), FIELD),
    "ItemNo missing": (paper(TicketInfo=entry(ItemNo=None)), FIELD),
    "ItemNo of 9": (paper(TicketInfo=entry(ItemNo="VQT049590")), FIELD),
    "ItemNo with a sign": (paper(TicketInfo=entry(ItemNo="VQT-0495")), FIELD),
    "ItemNo a number": (paper(TicketInfo=entry(ItemNo=12345678)), FIELD),
    "ItemNo twice": (paper(TicketInfo=[PICKUP, PICKUP]), FIELD),
    "ItemNo unknown": (paper(TicketInfo=entry(ItemNo="XXX00001")), Reason.ITEM_UNKNOWN),
    "ItemNo in lower case": (paper(TicketInfo=entry(ItemNo="vqt04959")), Reason.ITEM_UNKNOWN),
    "ItemNo delisted": (paper(TicketInfo=entry(ItemNo="OFF00001")), Reason.ITEM_OFF_SHELF),
    "one of two delisted": (paper(TicketInfo=[PICKUP, {**PICKUP, "ItemNo": "OFF00001"}]), Reason.ITEM_OFF_SHELF),
    "TicketAmount missing": (paper(TicketInfo=entry(TicketAmount=None)), FIELD),
    "TicketAmount 0": (paper(TicketInfo=entry(TicketAmount=0)), FIELD),
    "TicketAmount negative": (paper(TicketInfo=entry(TicketAmount=-1)), FIELD),
    "TicketAmount a text": (paper(TicketInfo=entry(TicketAmount="1")), FIELD),
    "TicketAmount a fraction": (paper(TicketInfo=entry(TicketAmount=1.5)), FIELD),
    "TicketAmount a boolean": (paper(TicketInfo=entry(TicketAmount=True)), FIELD),
    "9 tickets for a store": (store(TicketInfo=entry(TicketAmount=9)), FIELD),
    "9 tickets of two items for a store": (
        store(TicketInfo=[{**PICKUP, "TicketAmount": 5}, {"ItemNo": "VNS21400", "TicketAmount": 4}]),
        FIELD,
    ),
    "101 paper tickets": (paper(TicketInfo=entry(TicketAmount=101)), FIELD),
    "101 electronic tickets": (electronic(TicketInfo=entry(TicketAmount=101)), FIELD),
    "101 serial numbers": (serial(TicketInfo=serial_entry(TicketAmount=101)), FIELD),
    # Serial numbers
    "ItemName missing": (serial(TicketInfo=serial_entry(ItemName=None)), FIELD),
    "ItemName of 3": (serial(TicketInfo=serial_entry(ItemName="住宿券")), FIELD),
    "ItemName of 21": (serial(TicketInfo=serial_entry(ItemName="券" * 21)), FIELD),
    "ItemName full-width": (serial(TicketInfo=serial_entry(ItemName="ＳＰＡ課程")), FIELD),
    "ItemName with another sign": (serial(TicketInfo=serial_entry(ItemName="SPA課程!")), FIELD),
    "TicketPrice missing": (serial(TicketInfo=serial_entry(TicketPrice=None)), FIELD),
    "TicketPrice negative": (serial(TicketInfo=serial_entry(TicketPrice=-1)), FIELD),
    "TicketPrice of 1,000,000,000": (serial(TicketInfo=serial_entry(TicketPrice=1_000_000_000)), FIELD),
    "TicketPrice a text": (serial(TicketInfo=serial_entry(TicketPrice="3200")), FIELD),
    "FreeTradeNo for serial numbers that do not expire": (serial(MerchantTradeNo=None, FreeTradeNo="F1"), FIELD),
    # Dates; today is 2023-12-01
    "StartDate missing for later use": (electronic(IsImmediate="2"), FIELD),
    "StartDate today": (electronic(IsImmediate="2", TicketInfo=entry(StartDate="20231201")), FIELD),
    "StartDate with slashes": (electronic(IsImmediate="2", TicketInfo=entry(StartDate="2024/01/01")), FIELD),
    "StartDate no day": (electronic(IsImmediate="2", TicketInfo=entry(StartDate="20240230")), FIELD),
    "StartDate a number": (electronic(IsImmediate="2", TicketInfo=entry(StartDate=20240101)), FIELD),
    "ExpireDate missing for a gift": (gifts(TicketInfo=[{"ItemNo": "GFT00001", "TicketAmount": 1}]), FIELD),
    "ExpireDate missing for the gift in a mixture": (
        paper(TicketInfo=[PICKUP, {"ItemNo": "GFT00001", "TicketAmount": 1}]),
        FIELD,
    ),
    "ExpireDate for the pickup voucher in a mixture": (
        paper(TicketInfo=[{**PICKUP, "ExpireDate": "20240131"}, {"ItemNo": "VNS21400", "TicketAmount": 1}]),
        FIELD,
    ),
    "ExpireDate past": (gifts(TicketInfo=[{**GIFT, "ExpireDate": "20231130"}]), FIELD),
    "ExpireDate before StartDate": (
        electronic(
            MerchantTradeNo=None,
            FreeTradeNo="F1",
            IsImmediate="2",
            TicketInfo=[{**GIFT, "StartDate": "20240201"}],
        ),
        FIELD,
    ),
    "ExpireDate with slashes": (gifts(TicketInfo=[{**GIFT, "ExpireDate": "2024/01/31"}]), FIELD),
}

KEPT: dict[str, Payload] = {
    "paper": paper(),
    "electronic": electronic(),
    "store": store(),
    "serial numbers": serial(),
    "gifts only": gifts(),
    "a mixture": paper(TicketInfo=[PICKUP, GIFT]),
    "serial numbers that expire are gifts": serial(
        MerchantTradeNo=None, FreeTradeNo="F1", TicketInfo=serial_entry(ExpireDate="20240131")
    ),
    "the longest MerchantTradeNo": paper("A" * 25),
    "the longest FreeTradeNo": gifts(FreeTradeNo="F" * 20),
    "unused fields empty or null": paper(FreeTradeNo="", StoreID="", CustomerEmail="") | {"CustomerPhone": None},
    "8 tickets for a store": store(TicketInfo=entry(TicketAmount=8)),
    "100 paper tickets": paper(TicketInfo=entry(TicketAmount=100)),
    "an active branch": paper(StoreID="TPE01"),
    "StartDate tomorrow": electronic(IsImmediate="2", TicketInfo=entry(StartDate="20231202")),
    "ExpireDate today": gifts(TicketInfo=[{**GIFT, "ExpireDate": "20231201"}]),
    "a serial number for nothing": serial(TicketInfo=serial_entry(TicketPrice=0)),
    "the longest serial name": serial(TicketInfo=serial_entry(ItemName="券" * 20)),
    "an unknown field": paper(Remark="x"),
    # "When IssueType=2 (paper ticket), this field is required"; nothing forbids it elsewhere.
    "PrintType that is not needed": electronic(PrintType="1"),
    # "Other types of ticket issuance do not require filling out this field".
    "IsImmediate that is not needed": paper(IsImmediate="1"),
    "presale that is not meant": store(IsImmediate="2", TicketInfo=entry(StartDate="20240101")),
    # "When [IsImmediate]=1, this field is fixed as the date of ticket issuance".
    "StartDate that is not needed": electronic(TicketInfo=entry(StartDate="20240101")),
    "StartDate of another type, and past": paper(TicketInfo=entry(StartDate="20200101")),
    "ExpireDate before a StartDate that means nothing": gifts(TicketInfo=[{**GIFT, "StartDate": "20240201"}]),
    # "If paper tickets need to be sent to the customer": nothing says whether they do.
    "paper by ECPay without an address": paper(PrintType="1"),
    "paper with a name alone": paper(PrintType="1", CustomerName="王珊珊"),
    "paper that is sent": paper(PrintType="1", CustomerName="王珊珊", CustomerAddress="台北市南港區"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_rule_is_refused_and_nothing_is_booked(client: Client, name: str) -> None:
    """RtnCode ≠ 1, the reason in words, no tickets."""
    payload, reason = BROKEN[name]

    answer = await client.issue(payload)

    assert answer["RtnCode"] == ASSUMED[reason], answer
    assert 0 < len(str(answer["RtnMsg"])) <= 200
    assert len(client.sandbox.order_store) == 0
    assert client.sandbox.stats.refusals == {reason: 1}


@pytest.mark.parametrize("name", KEPT)
async def test_what_keeps_the_rules_is_accepted(client: Client, name: str) -> None:
    """The good orders, and the values at the limits."""
    answer = await client.issue(KEPT[name])

    assert answer["RtnCode"] == 1, answer
    assert len(client.sandbox.order_store) == 1


async def test_a_refusal_never_repeats_a_customers_data(client: Client) -> None:
    """Messages end up in logs."""
    answer = await client.issue(electronic(CustomerName="王Amy", CustomerPhone="0812345678", CustomerEmail="abc"))

    assert answer["RtnCode"] == ASSUMED[Reason.FIELD]
    assert not any(secret in str(answer["RtnMsg"]) for secret in ("Amy", "0812345678", "abc"))


@pytest.mark.parametrize(
    "second", [paper(), electronic(), paper(TicketInfo=[{"ItemNo": "VNS21400", "TicketAmount": 1}])]
)
async def test_a_trade_number_is_accepted_once_for_ever(client: Client, clock: Clock, second: Payload) -> None:
    """With the same order or another, a second or a year later."""
    await client.issue(paper())
    clock.advance(365 * 86_400)

    answer = await client.issue(second)

    assert answer["RtnCode"] == ASSUMED[Reason.REPEATED_TRADE_NO]
    assert len(client.sandbox.order_store) == 1


async def test_a_failed_issues_number_is_used_up(client: Client, clock: Clock) -> None:
    """docs/ecticket-protocol.md, question 15: it is not reusable."""
    await client.arm({"fault": "job_fails"})
    await client.issue(paper())

    assert (await client.issue(paper()))["RtnCode"] == ASSUMED[Reason.REPEATED_TRADE_NO]


async def test_a_refused_issues_number_is_not_used_up(client: Client) -> None:
    """Nothing was received under it."""
    await client.issue(paper(Operator=None))

    assert (await client.issue(paper()))["RtnCode"] == 1


async def test_a_merchant_and_a_free_number_of_the_same_text_are_two(client: Client) -> None:
    """Two kinds, two spaces."""
    await client.issue(paper("X1"))

    assert (await client.issue(gifts(FreeTradeNo="X1")))["RtnCode"] == 1


async def test_a_full_order_store_refuses(start: Start) -> None:
    """Memory is bounded, and the refusal says so."""
    client = await start(SandboxSettings(port=0, max_orders=1))
    await client.issue(paper("A1"))

    assert (await client.issue(paper("A2")))["RtnCode"] == ASSUMED[Reason.ORDER_STORE_FULL]


async def test_serial_numbers_can_be_closed(start: Start) -> None:
    """Two crawls of ECPay's page say that they are not open yet."""
    client = await start(SandboxSettings(port=0, serial_numbers_open=False))

    assert (await client.issue(serial()))["RtnCode"] == ASSUMED[Reason.NOT_OPEN]


async def test_codes_can_be_changed(start: Start) -> None:
    """They are assumed, so a client must work with any."""
    client = await start(SandboxSettings(port=0, codes={"field": 777}))

    assert (await client.issue(paper(Operator=None)))["RtnCode"] == 777


@pytest.mark.parametrize(
    ("family", "required", "provider", "accepted"),
    [
        (Family.ISSUANCE, True, "1", True),
        (Family.ISSUANCE, True, "2", True),
        (Family.ISSUANCE, True, "3", False),
        (Family.ISSUANCE, True, None, False),
        (Family.ISSUANCE, False, None, True),
        (Family.TICKET, True, None, True),
    ],
)
async def test_family_issuance_asks_for_the_payment_provider(
    start: Start, clock: Clock, family: Family, required: bool, provider: str | None, accepted: bool
) -> None:
    """Only on its own path, and only with 1 or 2."""
    plain = await start(SandboxSettings(port=0, payment_provider_required=required))
    client = Client(http=plain.http, sandbox=plain.sandbox, clock=clock, merchant=FAMILY_B, family=family)

    answer = await client.call(Endpoint.ISSUE, paper(MerchantID="3362787", PaymentProvider=provider))

    assert (answer["RtnCode"] == 1) is accepted
