"""What the operator sees under `/_/`."""

from __future__ import annotations

import pytest
from key_words import mentions

from adapter.dev.sandbox.catalogue import INSTRUCTIONS

from .helpers import Client, Clock, electronic, paper, serial


async def test_an_order_is_shown_with_all_that_counts_and_without_the_customer(client: Client, clock: Clock) -> None:
    """Enough to hold the adapter's events against."""
    url = "https://shop.tw/callbacks"
    answer = await client.issue(electronic(RefundNotifyURL=f"{url}/refund", UseStatusNotifyURL=f"{url}/use"))

    (order,) = await client.orders()

    assert order == {
        "merchant_id": "3085676",
        "trade_no": "A1",
        "trade_no_kind": "merchant",
        "issue_type": "electronic",
        "items": [{"item_no": "VQT04959", "name": "主題樂園一日券", "price": 1200, "quantity": 1}],
        "ticket_count": 1,
        "amount": 1200,
        "times_issued": 1,
        "status": "in_progress",
        "remark": "",
        "use": {"unused": 0, "redeemed": 0, "refunded": 0, "expired": 0},
        "ticket_trade_no": answer["TicketTradeNo"],
        "received_at": "2023-12-01T12:00:00+08:00",
        "refund_notify_url": f"{url}/refund",
        "use_status_notify_url": f"{url}/use",
    }
    clock.advance(60)
    (issued,) = await client.orders()
    assert issued["status"] == "issued"
    assert issued["use"] == {"unused": 1, "redeemed": 0, "refunded": 0, "expired": 0}


async def test_orders_come_in_pages(client: Client) -> None:
    """First come first; the total with every page."""
    for place in range(5):
        await client.issue(serial(f"N{place}"))

    page = (await client.http.get(f"{client.sandbox.base_url}/_/orders?offset=1&limit=2")).json()

    assert (page["total"], page["offset"], page["limit"]) == (5, 1, 2)
    assert [order["trade_no"] for order in page["orders"]] == ["N1", "N2"]
    assert await client.orders("?offset=5") == []


async def test_the_newest_orders_come_first_where_asked_for(client: Client) -> None:
    """All of them, or those whose number holds a text, in either case."""
    for number in ("AB1", "CD2", "ab3"):
        await client.issue(serial(number))

    newest = await client.orders("?order=newest&limit=2")
    found = await client.orders("?search=Ab")

    assert [order["trade_no"] for order in newest] == ["ab3", "CD2"]
    assert [order["trade_no"] for order in found] == ["ab3", "AB1"]


async def test_an_order_is_shown_with_its_tickets(client: Client, clock: Clock) -> None:
    """Numbers of both kinds, dates, and what became of each."""
    await client.issue(serial())
    url = f"{client.sandbox.base_url}/_/orders/3085676/A1"
    before = (await client.http.get(url)).json()
    clock.advance(60)

    after = (await client.http.get(url)).json()

    assert (before["status"], before["tickets"]) == ("in_progress", [])
    (first, _) = after["tickets"]
    assert (len(first["ticket_no"]), len(first["write_off_no"])) == (16, 18)
    assert {name: value for name, value in first.items() if not name.endswith("_no")} == {
        "name": "SPA課程體驗券",
        "price": 3200,
        "ticket_type": "pickup",
        "start_date": "2023-12-01",
        "expire_date": None,
        "use_status": "unused",
        "used_at": None,
    }


async def test_a_ticket_is_redeemed_and_the_rest_refunded(client: Client) -> None:
    """The answer is the order as it then is."""
    await client.issue(paper())
    url = f"{client.sandbox.base_url}/_/orders/3085676/A1"
    first, second = (each["ticket_no"] for each in (await client.http.get(url)).json()["tickets"])

    redeemed = (await client.http.post(f"{url}/redeem", json={"ticket_no": first})).json()
    refunded = (await client.http.post(f"{url}/refund", json={})).json()

    assert (redeemed["used"], redeemed["notifications"]) == ([first], 0)
    assert redeemed["use"] == {"unused": 1, "redeemed": 1, "refunded": 0, "expired": 0}
    assert refunded["used"] == [second]
    assert [each["use_status"] for each in refunded["tickets"]] == ["redeemed", "refunded"]
    assert refunded["tickets"][0]["used_at"] == "2023-12-01T12:00:00+08:00"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("A2/redeem", b"{}", 404, "order number"),
        ("A1/redeem?kind=free", b"{}", 404, "order number"),
        ("A1/redeem?kind=paid", b"{}", 404, "order number"),
        ("A1/burn", b"{}", 404, "redeem refund"),
        ("A1/redeem", b'{"ticket_no": "CB0"}', 404, "A1 CB0"),
        ("A1/redeem", b'{"ticket_no": 5}', 400, "ticket_no text"),
        ("A1/redeem", b'{"ticket_no": "\\ud800"}', 400, "ticket_no ASCII"),
        ("A1/redeem", b'{"tickets": []}', 400, "body ticket_no"),
        ("A1/redeem", b"nonsense", 400, "body JSON"),
        ("B1/refund", b"", 409, "B1 issued"),
    ],
)
async def test_what_cannot_be_done_with_a_ticket_is_reported(
    client: Client, path: str, body: bytes, status: int, words: str
) -> None:
    """With its status and what is wrong, and nothing is done."""
    await client.issue(paper("A1"))
    await client.issue(electronic("B1"))
    url = f"{client.sandbox.base_url}/_/orders/3085676/{path}"

    answer = await client.http.post(url, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == status
    assert mentions(answer.json()["problems"][0], words)
    assert all(order["use"]["redeemed"] == 0 for order in await client.orders())  # type: ignore[index] # JSON


@pytest.mark.parametrize("query", ["?limit=0", "?limit=1001", "?limit=x", "?offset=-1", "?offset=1.5", "?offset=²"])
async def test_a_wrong_page_is_refused(client: Client, query: str) -> None:
    """With the bounds."""
    answer = await client.http.get(f"{client.sandbox.base_url}/_/orders{query}")

    assert answer.status_code == 400
    assert "limit from 1 to 1000" in answer.json()["problems"][0]


async def test_a_fresh_sandbox_counts_nothing(client: Client) -> None:
    """Every counter is there from the start."""
    assert await client.stats() == {
        "calls": {"issue": {}, "query_issue_result": {}, "query_item_info": {}, "order_detail": {}},
        "refusals": {},
        "late_effects": {"done": 0, "refused": 0, "pending": 0},
        "orders": 0,
        "tickets": 0,
        "repeats": {"count": 0, "orders": []},
        "faults": {},
        "notifications": {
            "waiting": 0,
            "under_way": 0,
            "answered": 0,
            "given_up": 0,
            "answers": {},
            "tampered_accepted": 0,
        },
    }


async def test_items_are_shown_made_and_changed(client: Client) -> None:
    """A new item can be issued at once."""
    url = f"{client.sandbox.base_url}/_/items"
    made = await client.http.put(f"{url}/NEW00001", json={"ticket_type": "pickup", "price": 5, "name": "新"})

    assert made.json() == {
        "item_no": "NEW00001",
        "name": "新",
        "ticket_type": "pickup",
        "price": 5,
        "listed": True,
        "modified_at": "2023-12-01T12:00:00+08:00",
        "instructions": [
            {"issue_type": issue_type.name.lower(), "description": description}
            for issue_type, description in INSTRUCTIONS
        ],
    }
    assert made.json() in (await client.http.get(url)).json()["items"]
    entry = {"ItemNo": "NEW00001", "TicketAmount": 1}
    assert (await client.issue(paper(TicketInfo=[entry])))["RtnCode"] == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"lsited": true}'])
async def test_a_wrong_item_is_refused(client: Client, body: bytes) -> None:
    """HTTP 400 with a sentence."""
    answer = await client.http.put(f"{client.sandbox.base_url}/_/items/VQT04959", content=body)

    assert answer.status_code == 400
    assert answer.json()["problems"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/_/orders"), ("POST", "/_/faults"), ("DELETE", "/_/items/X")])
async def test_other_methods_are_refused(client: Client, method: str, path: str) -> None:
    """The operator's requests are few."""
    assert (await client.http.request(method, client.sandbox.base_url + path, json={})).status_code == 405
