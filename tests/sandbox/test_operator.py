"""What the operator sees under `/_/`."""

from __future__ import annotations

import pytest

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
        "times_issued": 1,
        "status": "in_progress",
        "remark": "",
        "ticket_trade_no": answer["TicketTradeNo"],
        "received_at": "2023-12-01T12:00:00+08:00",
        "refund_notify_url": f"{url}/refund",
        "use_status_notify_url": f"{url}/use",
    }
    clock.advance(60)
    assert (await client.orders())[0]["status"] == "issued"


async def test_orders_come_in_pages(client: Client) -> None:
    """First come first; the total with every page."""
    for place in range(5):
        await client.issue(serial(f"N{place}"))

    page = (await client.http.get(f"{client.sandbox.base_url}/_/orders?offset=1&limit=2")).json()

    assert (page["total"], page["offset"], page["limit"]) == (5, 1, 2)
    assert [order["trade_no"] for order in page["orders"]] == ["N1", "N2"]
    assert await client.orders("?offset=5") == []


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
    assert (await client.http.request(method, client.sandbox.base_url + path)).status_code == 405
