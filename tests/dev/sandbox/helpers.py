"""A clock that the test moves, and a client that seals and opens envelopes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx

from adapter.dev.sandbox import RunningSandbox
from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS
from adapter.protocol.credentials import Merchant
from adapter.protocol.endpoints import Endpoint, Family, path
from adapter.protocol.envelope import Response, open_response, seal_request
from adapter.protocol.taipei import TAIPEI

Payload = Mapping[str, object]

MERCHANT = PUBLIC_TEST_MERCHANTS[0]
"""Family A's public test merchant, for itself."""
BY_PLATFORM = PUBLIC_TEST_MERCHANTS[1]
"""The same merchant through the public test platform."""
FAMILY_B = PUBLIC_TEST_MERCHANTS[2]

START = datetime(2023, 12, 1, 12, 0, tzinfo=TAIPEI)
"""A month before the StartDate of the specification's examples."""


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def paper(trade_no: str = "A1", **changes: object) -> dict[str, object]:
    """A good order of paper tickets, with `changes`; a change to None leaves the field out."""
    order: dict[str, object] = {
        "MerchantID": "3085676",
        "MerchantTradeNo": trade_no,
        "IssueType": "2",
        "PrintType": "2",
        "Operator": "AngelaChan",
        "TicketInfo": [{"ItemNo": "VQT04959", "TicketAmount": 2}],
    }
    return without_none({**order, **changes})


def electronic(trade_no: str = "A1", **changes: object) -> dict[str, object]:
    """A good order of electronic tickets, with `changes`."""
    order: dict[str, object] = {
        "MerchantID": "3085676",
        "MerchantTradeNo": trade_no,
        "IssueType": "3",
        "IsImmediate": "1",
        "Operator": "AngelaChan",
        "CustomerName": "王珊珊",
        "CustomerPhone": "0912345678",
        "CustomerEmail": "abc@gmail.com",
        "TicketInfo": [{"ItemNo": "VQT04959", "TicketAmount": 1}],
    }
    return without_none({**order, **changes})


def serial(trade_no: str = "A1", **changes: object) -> dict[str, object]:
    """A good order of serial numbers, with `changes`."""
    order: dict[str, object] = {
        "MerchantID": "3085676",
        "MerchantTradeNo": trade_no,
        "IssueType": "4",
        "Operator": "AngelaChan",
        "TicketInfo": [{"ItemName": "SPA課程體驗券", "TicketPrice": 3200, "TicketAmount": 2}],
    }
    return without_none({**order, **changes})


def without_none(payload: Payload) -> dict[str, object]:
    """The payload without the fields that are None."""
    return {name: value for name, value in payload.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Talks to a sandbox as one merchant, by the sandbox's own clock."""

    http: httpx.AsyncClient
    sandbox: RunningSandbox
    clock: Clock
    merchant: Merchant = MERCHANT
    family: Family = Family.TICKET

    async def post(self, endpoint: Endpoint, payload: Payload) -> httpx.Response:
        """Send one sealed request and give the bare HTTP answer."""
        body = seal_request(payload, self.merchant, timestamp=int(self.clock.now.timestamp()))
        return await self.send(endpoint, body)

    async def send(self, endpoint: Endpoint, body: bytes) -> httpx.Response:
        """Send these bytes."""
        url = self.sandbox.base_url + path(endpoint, self.family)
        return await self.http.post(url, content=body, headers={"content-type": "application/json"})

    async def call(self, endpoint: Endpoint, payload: Payload) -> Payload:
        """Send one request and give the opened answer's payload."""
        response = await self.post(endpoint, payload)
        opened = self.opened(response)
        assert opened.payload is not None, f"TransCode {opened.trans_code}: {opened.trans_msg}"
        return opened.payload

    async def issue(self, payload: Payload) -> Payload:
        """Issue."""
        return await self.call(Endpoint.ISSUE, payload)

    async def query(self, trade_no: str, field: str = "MerchantTradeNo") -> Payload:
        """QueryIssueResult of a number."""
        payload = {"MerchantID": self.merchant.merchant_id, field: trade_no}
        return await self.call(Endpoint.QUERY_ISSUE_RESULT, payload)

    def opened(self, response: httpx.Response) -> Response:
        """Open an answer's envelope."""
        assert response.status_code == 200
        return open_response(response.content, self.merchant)

    async def orders(self, query: str = "") -> list[dict[str, object]]:
        """The sandbox's orders as `/_/orders` shows them."""
        document = (await self.http.get(f"{self.sandbox.base_url}/_/orders{query}")).json()
        return list(document["orders"])

    async def stats(self) -> dict[str, object]:
        """The counters."""
        return dict((await self.http.get(f"{self.sandbox.base_url}/_/stats")).json())

    async def arm(self, *faults: Payload, seed: int = 0) -> None:
        """Put faults in force over HTTP."""
        answer = await self.http.put(
            f"{self.sandbox.base_url}/_/faults", content=json.dumps({"seed": seed, "faults": faults})
        )
        assert answer.status_code == 200, answer.text
