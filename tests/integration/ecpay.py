"""The sender of ECTicket's notifications, and what the adapter has published of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from jsonschema import Draft202012Validator

from adapter.dev.local_kafka.ports import free_ports
from adapter.flows.messages.schemas import schema_files
from adapter.protocol.envelope import open_response, seal_request
from integration.cluster import MERCHANT, NO_TLS, Cluster, until
from integration.event_log import all_there

SCHEMA = Draft202012Validator(json.loads(schema_files()["ticket-status-changed.v1.json"]))


@dataclass
class Ecpay:
    """Sends notifications, and sends again what was not answered with RtnCode 1; seconds for ECPay's minutes."""

    url: str
    answers: Counter[str] = field(default_factory=Counter)
    accepted: set[str] = field(default_factory=set)
    _client: httpx.AsyncClient = field(init=False)

    async def __aenter__(self) -> Ecpay:
        transport = httpx.AsyncHTTPTransport(verify=NO_TLS, limits=httpx.Limits(max_connections=50))
        self._client = httpx.AsyncClient(transport=transport, timeout=120)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def notify(self, number: str, *, forged: bool = False) -> bool:
        """Send one notification once; whether it was accepted."""
        try:
            answer = await self._client.post(self.url, content=_sealed(number, forged=forged))
        except httpx.TransportError:
            self.answers["none"] += 1
            return False
        self.answers[f"{'forged ' if forged else ''}{answer.status_code}"] += 1
        if answer.status_code != 200:
            return False
        payload = open_response(answer.content, MERCHANT).payload
        assert payload is not None
        assert payload["RtnCode"] == 1
        self.accepted.add(number)
        return True

    async def insist(self, number: str) -> None:
        """Send one until it is accepted."""
        while not await self.notify(number):  # noqa: ASYNC110  # this is the sending again itself
            await asyncio.sleep(0.5)


def _sealed(number: str, *, forged: bool) -> bytes:
    payload = {"MerchantID": MERCHANT.merchant_id, "MerchantTradeNo": number, "TicketNo": f"TN{number}", "UseStatus": 2}
    body = seal_request(payload, MERCHANT, timestamp=int(time.time()))
    if not forged:
        return body
    envelope = json.loads(body)
    checksum = envelope["CheckMacValue"]
    return json.dumps(envelope | {"CheckMacValue": ("0" if checksum[0] != "0" else "1") + checksum[1:]}).encode()


@asynccontextmanager
async def a_sender(cluster: Cluster, *, ready: bool = True) -> AsyncIterator[Ecpay]:
    """A worker that receives notifications, and their sender."""
    (port,) = free_ports(1)
    worker = await cluster.start(ready=ready, callbacks__port=str(port))
    await until(lambda: "callbacks-listening" in worker.log.read_text(), seconds=60)
    async with Ecpay(f"http://127.0.0.1:{port}/callbacks/ecticket/use-status") as ecpay:
        yield ecpay


async def published_notifications(cluster: Cluster) -> list[tuple[str, str]]:
    """Trade number and id of every event of tickets that a committed reader finds."""
    found = []
    for record in await all_there(cluster.kafka, cluster.topic("tickets")):
        data = json.loads(record.value)
        SCHEMA.validate(data)
        assert b"TN" not in record.value
        found.append((data["trade_no"], dict(record.headers)["ce_id"].decode()))
    return found
