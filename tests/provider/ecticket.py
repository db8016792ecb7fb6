"""Answers of a simple ECTicket, and the merchant who calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.endpoints import Endpoint, Family, path
from adapter.protocol.envelope import Request, open_request, seal_response
from adapter.protocol.issue import IssueRequest, IssueType, TicketInfo, TradeNo, TradeNoKind

from .server import Visit

HASH_KEY, HASH_IV = "7b53896b742849d3", "37a0ad3c6ffa428b"  # docs/ecticket-protocol.md, 7
MERCHANT = Merchant(merchant_id="3085676", credentials=Credentials(hash_key=HASH_KEY, hash_iv=HASH_IV))
OTHER = Merchant(
    merchant_id="3362787", credentials=Credentials(hash_key="c539115ea7674f20", hash_iv="86f625e60cb1473a")
)
TRADE_NO = TradeNo(kind=TradeNoKind.MERCHANT, value="CBX20220302153064851")
CUSTOMER = "王小明"

ISSUE = IssueRequest(
    merchant_id=MERCHANT.merchant_id,
    trade_no=TRADE_NO,
    issue_type=IssueType.ELECTRONIC,
    operator="clerk",
    is_immediate=True,
    customer_name=CUSTOMER,
    customer_phone="0912345678",
    customer_email="ming@example.com",
    ticket_info=(TicketInfo(item_no="VQT04959", ticket_amount=2),),
)

Payload = Mapping[str, object]


def sealed(
    payload: Payload | None, *, merchant: Merchant = MERCHANT, trans_code: int = 1, timestamp: int = 1_700_000_000
) -> bytes:
    """Seal an answer."""
    return seal_response(payload, merchant, timestamp=timestamp, trans_code=trans_code, trans_msg="refused")


def opened(visit: Visit) -> Request:
    """Open the request."""
    known = {merchant.merchant_id: merchant for merchant in (MERCHANT, OTHER)}
    return open_request(visit.body, lambda merchant_id, _: known.get(merchant_id))


def endpoint(visit: Visit) -> Endpoint:
    """Return the endpoint of the request."""
    asked = visit.head.split(b" ", 2)[1].decode()
    return next(each for each in Endpoint if path(each, Family.TICKET) == asked)


def issued(payload: Payload) -> Payload:
    """Receive an Issue."""
    return {
        "RtnCode": 1,
        "RtnMsg": "成功",
        "MerchantTradeNo": payload.get("MerchantTradeNo", ""),
        "FreeTradeNo": payload.get("FreeTradeNo", ""),
        "TicketTradeNo": "2022030215301234",
        "TicketData": [{"ItemNo": "VQT04959", "TicketAmount": 2}],
    }


def known(payload: Payload) -> Payload:
    """Know a number."""
    return {
        "RtnCode": 1,
        "RtnMsg": "成功",
        "MerchantTradeNo": payload.get("MerchantTradeNo", ""),
        "FreeTradeNo": payload.get("FreeTradeNo", ""),
        "Status": 1,
        "Remark": "",
    }


def unknown(_: Payload) -> Payload:
    """Know no number."""
    return {"RtnCode": 5000001, "RtnMsg": "查無資料"}


async def answer(visit: Visit, reply: Callable[[Payload], Payload]) -> None:
    """Answer the request with a sealed reply, under the same merchant's keys."""
    request = opened(visit)
    await visit.answer(sealed(reply(request.payload), merchant=request.merchant))


async def healthy(visit: Visit) -> None:
    """Issue every request, and know no control numbers."""
    if endpoint(visit) is Endpoint.ISSUE:
        return await answer(visit, issued)
    number = opened(visit).payload.get("MerchantTradeNo", "")
    return await answer(visit, known if str(number).startswith("CBX") else unknown)
