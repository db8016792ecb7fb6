"""The endpoints' manners: paths, content types, queries, items, Chinese text."""

from __future__ import annotations

import pytest

from adapter.dev.sandbox import SandboxSettings
from adapter.dev.sandbox.codes import ASSUMED, Reason
from adapter.protocol.endpoints import Endpoint, Family
from adapter.protocol.query_item_info import ItemReply, ItemStatus

from .conftest import Start
from .helpers import FAMILY_B, Client, Clock, Payload, electronic, paper, serial

UNKNOWN = ASSUMED[Reason.UNKNOWN_TRADE_NO]


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("endpoint", Endpoint)
async def test_both_families_find_all_endpoints(
    client: Client, clock: Clock, family: Family, endpoint: Endpoint
) -> None:
    """Answered by an envelope or a file, never by 404."""
    caller = Client(http=client.http, sandbox=client.sandbox, clock=clock, merchant=FAMILY_B, family=family)

    response = await caller.post(endpoint, {"MerchantID": "3362787"})

    assert caller.opened(response).trans_code == 1


@pytest.mark.parametrize(("strict", "status"), [(False, 200), (True, 404)])
@pytest.mark.parametrize("path", ["/api/ticket/issue", "/API/Ticket/ISSUE", "/api/Issuance/Issue"])
async def test_paths_are_case_insensitive_unless_set_otherwise(
    start: Start, strict: bool, status: int, path: str
) -> None:
    """As ASP.NET is; assumed, so it can be switched."""
    client = await start(SandboxSettings(port=0, strict_paths=strict))

    assert (await client.http.post(client.sandbox.base_url + path, content=b"{}")).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/Ticket/Issue", 405), ("POST", "/api/Ticket/WriteOff", 404), ("GET", "/api", 404)],
)
async def test_what_is_not_there_is_not_there(client: Client, method: str, path: str, status: int) -> None:
    """Only POST, only the four endpoints."""
    assert (await client.http.request(method, client.sandbox.base_url + path)).status_code == status


@pytest.mark.parametrize("answer_type", ["text/html; charset=utf-8", "application/json"])
async def test_answers_come_as_html_or_json(start: Start, answer_type: str) -> None:
    """The page's clients ask for text/html, and a client must not care."""
    client = await start(SandboxSettings(port=0, answer_type=answer_type))  # type: ignore[arg-type] # one of the two

    assert (await client.post(Endpoint.ISSUE, paper())).headers["content-type"] == answer_type


async def test_chinese_text_comes_back_unharmed(client: Client) -> None:
    """In names, through encryption and checksum, both ways."""
    name = "五星渡假飯店假日住宿券"

    answer = await client.issue(serial(TicketInfo=[{"ItemName": name, "TicketPrice": 6600, "TicketAmount": 1}]))

    assert answer["TicketData"] == [{"ItemName": name, "TicketPrice": 6600, "TicketAmount": 1}]
    assert (await client.query("A1"))["RtnMsg"] == "成功"
    assert [order["items"] for order in await client.orders()] == [
        [{"item_no": None, "name": name, "price": 6600, "quantity": 1}]
    ]


async def test_answers_are_proof_against_every_encoder(client: Client) -> None:
    """No disputed character is left in the plaintext, so any client's checksum fits."""
    opened = client.opened(await client.post(Endpoint.QUERY_ITEM_INFO, {"MerchantID": "3085676", "ItemNo": "VTMT5062"}))

    assert opened.plaintext is not None
    assert not set(opened.plaintext) & set(" !*'()~")


async def test_an_unknown_number_and_an_invisible_one_are_answered_alike(start: Start, clock: Clock) -> None:
    """ "Not yet" looks like "never"; as soon as the order is visible, it is known."""
    client = await start(SandboxSettings(port=0, visible_after_seconds=20, job_seconds=5))
    await client.issue(electronic())

    invisible, unknown = await client.query("A1"), await client.query("Z9")
    clock.advance(19.9)
    still_invisible = await client.query("A1")
    clock.advance(0.1)
    visible = await client.query("A1")

    assert invisible == unknown == still_invisible
    assert invisible["RtnCode"] == UNKNOWN
    assert (visible["RtnCode"], visible["Status"]) == (1, 1)


async def test_an_invisible_orders_number_is_already_used_up(start: Start) -> None:
    """The rule of uniqueness does not wait for visibility."""
    client = await start(SandboxSettings(port=0, visible_after_seconds=20))
    await client.issue(paper())

    assert (await client.issue(paper()))["RtnCode"] == ASSUMED[Reason.REPEATED_TRADE_NO]


async def test_a_number_is_known_to_its_own_merchant_only(client: Client, clock: Clock) -> None:
    """Another merchant's order is an unknown order."""
    await client.issue(paper())
    other = Client(http=client.http, sandbox=client.sandbox, clock=clock, merchant=FAMILY_B)

    assert (await other.query("A1"))["RtnCode"] == UNKNOWN


@pytest.mark.parametrize(
    "payload",
    [
        {"MerchantID": "3085676"},
        {"MerchantID": "3085676", "MerchantTradeNo": "", "FreeTradeNo": None},
        {"MerchantID": "3085676", "MerchantTradeNo": "A1", "FreeTradeNo": "F1"},
        {"MerchantID": "3085676", "MerchantTradeNo": 1},
        {"MerchantID": "3085676", "MerchantTradeNo": "A_1"},
        {"MerchantID": "3085676", "MerchantTradeNo": "A" * 26},
        {"MerchantID": "3085676", "FreeTradeNo": "A" * 21},
    ],
)
async def test_a_query_of_another_form_is_refused(client: Client, payload: Payload) -> None:
    """Exactly one number, alphanumeric, not too long."""
    assert (await client.call(Endpoint.QUERY_ISSUE_RESULT, payload))["RtnCode"] == ASSUMED[Reason.FIELD]


@pytest.mark.parametrize(
    ("item_no", "reason"),
    [("XXX00001", Reason.ITEM_UNKNOWN), ("", Reason.FIELD), (12345678, Reason.FIELD), ("VQT049590", Reason.FIELD)],
)
async def test_an_item_that_is_not_there_is_refused(client: Client, item_no: object, reason: Reason) -> None:
    """Unknown, missing, no text, too long."""
    answer = await client.call(Endpoint.QUERY_ITEM_INFO, {"MerchantID": "3085676", "ItemNo": item_no})

    assert answer["RtnCode"] == ASSUMED[reason]


async def test_an_item_goes_off_the_shelf_and_back(client: Client) -> None:
    """Issue refuses it meanwhile, and QueryItemInfo gives its state."""
    url = f"{client.sandbox.base_url}/_/items/VQT04959"
    query = {"MerchantID": "3085676", "ItemNo": "VQT04959"}

    await client.http.put(url, json={"listed": False})
    refused = await client.issue(paper("A1"))
    delisted = ItemReply.from_payload(await client.call(Endpoint.QUERY_ITEM_INFO, query))
    await client.http.put(url, json={"listed": True})
    accepted = await client.issue(paper("A1"))

    assert (refused["RtnCode"], accepted["RtnCode"]) == (ASSUMED[Reason.ITEM_OFF_SHELF], 1)
    assert (delisted.rtn_code, delisted.item_status) == (1, ItemStatus.DELISTED)
    assert delisted.modify_date == client.clock.now
