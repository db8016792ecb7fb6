"""The demo's way to the sandbox: its HTTP API, as an operator or another program uses it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

import httpx

from adapter.protocol.credentials import Merchant
from adapter.protocol.endpoints import Endpoint, Family, path
from adapter.protocol.envelope import seal_request

PAGE_SIZE = 1000

JsonObject: TypeAlias = dict[str, Any]  # the sandbox's answers, as they come


class SandboxClient:
    """Calls of the sandbox. Each raises httpx.HTTPError if the sandbox does not answer or refuses."""

    def __init__(self, http: httpx.AsyncClient, merchant: Merchant) -> None:
        """See `sandbox_client`."""
        self._http = http
        self._merchant = merchant

    async def arm(self, faults: Sequence[Mapping[str, object]]) -> None:
        """Replace the faults."""
        await self._json("PUT", "/_/faults", {"seed": 1, "faults": faults})

    async def orders(self) -> Sequence[JsonObject]:
        """All orders, oldest first."""
        orders: list[JsonObject] = []
        while True:
            page = await self._json("GET", f"/_/orders?offset={len(orders)}&limit={PAGE_SIZE}")
            orders.extend(page["orders"])
            if len(orders) >= page["total"]:
                return orders

    async def ticket_nos(self, trade_no: str) -> frozenset[str]:
        """The numbers of an order's tickets."""
        order = await self._json("GET", f"/_/orders/{self._merchant.merchant_id}/{trade_no}")
        return frozenset(ticket["ticket_no"] for ticket in order["tickets"])

    async def use(self, act: Literal["redeem", "refund"], trade_no: str, ticket_no: str) -> None:
        """Redeem or refund one ticket."""
        url = f"/_/orders/{self._merchant.merchant_id}/{trade_no}/{act}"
        await self._json("POST", url, {"ticket_no": ticket_no})

    async def issue(self, order: Mapping[str, object]) -> None:
        """Issue an order under the merchant's keys, as another program of the shop would."""
        body = seal_request(order, self._merchant, timestamp=int(time.time()))
        (await self._http.post(path(Endpoint.ISSUE, Family.TICKET), content=body)).raise_for_status()

    async def _json(self, method: str, url: str, body: Mapping[str, object] | None = None) -> JsonObject:
        answer = await self._http.request(method, url, json=body)
        answer.raise_for_status()
        found: JsonObject = answer.json()
        return found


@asynccontextmanager
async def sandbox_client(base_url: str, merchant: Merchant) -> AsyncIterator[SandboxClient]:
    """A client for as long as the block runs. The sandbox is on this machine: no proxy of the environment is used."""
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as http:
        yield SandboxClient(http, merchant)
