"""ECTicket's notifications reach a running adapter: none is lost in restarts, and no forged one is published."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from jsonschema import Draft202012Validator

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.local_kafka.ports import free_ports
from adapter.flows.messages.schemas import schema_files
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.envelope import open_response, seal_request
from integration.cluster import MERCHANT, NO_TLS, Cluster, open_cluster, until
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
async def _ecpay(cluster: Cluster, *, ready: bool = True) -> AsyncIterator[Ecpay]:
    """A worker that receives notifications, and their sender."""
    (port,) = free_ports(1)
    worker = await cluster.start(ready=ready, callbacks__port=str(port))
    await until(lambda: "listening for notifications" in worker.log.read_text(), seconds=60)
    async with Ecpay(f"http://127.0.0.1:{port}/callbacks/ecticket/use-status") as ecpay:
        yield ecpay


async def _events(cluster: Cluster) -> list[tuple[str, str]]:
    """Trade number and id of every event of tickets that a committed reader finds."""
    found = []
    for record in await all_there(cluster.kafka, cluster.topic("tickets")):
        data = json.loads(record.value)
        SCHEMA.validate(data)
        assert b"TN" not in record.value
        found.append((data["trade_no"], dict(record.headers)["ce_id"].decode()))
    return found


async def test_what_was_answered_is_published_even_when_the_process_dies_with_the_answer(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """kill -9 right behind the answers; forged ones among them are refused and not published."""
    async with open_cluster(kafka, tmp_path) as cluster, _ecpay(cluster) as ecpay:
        tries = [ecpay.notify(f"N{number}", forged=number % 5 == 0) for number in range(150)]
        await asyncio.gather(*tries)
        info = (await cluster.workers[0].get("/info")).json()
        await cluster.workers[0].kill()

        events = await _events(cluster)

        assert ecpay.answers == {"200": 120, "forged 400": 30}
        assert {number for number, _ in events} == ecpay.accepted
        assert len(events) == 120
        assert sorted(info["stages"]) == ["confirm", "receive", "submit"]


async def test_sigterm_answers_what_is_here_and_loses_nothing(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Exit code 0 in the middle of notifications; those without an answer are sent again to the next process."""
    async with open_cluster(kafka, tmp_path) as cluster, _ecpay(cluster) as ecpay:
        coming = [asyncio.create_task(ecpay.insist(f"N{number}")) for number in range(400)]
        await until(lambda: len(ecpay.accepted) > 50, seconds=30)

        code = await cluster.workers[0].dismiss()
        before = len(ecpay.accepted)
        await cluster.restart(cluster.workers[0])
        await asyncio.gather(*coming)
        events = await _events(cluster)

        assert code == 0
        assert before < 400
        assert {number for number, _ in events} == ecpay.accepted
        assert len(ecpay.accepted) == 400


async def test_a_broker_that_is_restarted_loses_no_notification(local_kafka_ready: None, tmp_path: Path) -> None:
    """Unavailable at the start and again in the middle, with notifications all along, and forged ones among them.

    While it is unavailable each is answered with an error, and so sent again; every one is published, under one id.
    """
    broker = LocalKafka(tmp_path / "kafka")
    await asyncio.to_thread(broker.start)
    try:
        connection = KafkaConnection(bootstrap_servers=broker.bootstrap_servers)
        async with open_cluster(connection, tmp_path) as cluster:
            await asyncio.to_thread(broker.kill)
            async with _ecpay(cluster, ready=False) as ecpay:
                sending = asyncio.create_task(_send_all_along(ecpay))
                await until(lambda: ecpay.answers["503"] >= 10, seconds=30)
                await asyncio.to_thread(broker.restart)
                await until(lambda: len(ecpay.accepted) >= 50, seconds=60)

                await asyncio.to_thread(broker.kill)
                errors = ecpay.answers["503"]
                await until(lambda: ecpay.answers["503"] > errors, seconds=30)
                await asyncio.to_thread(broker.restart)
                sent = await sending
                events = await _events(cluster)

                assert sent == ecpay.accepted == {number for number, _ in events}
                assert len({event_id for _, event_id in events}) == len(sent)
                assert ecpay.answers["forged 400"] > 0
                assert set(ecpay.answers) <= {"200", "503", "forged 400"}
                assert await cluster.workers[0].dismiss() == 0
    finally:
        await asyncio.to_thread(broker.stop)


async def _send_all_along(ecpay: Ecpay, *, count: int = 400, per_second: float = 25) -> set[str]:
    """Every notification until it is accepted, and a forged one beside every tenth, once; the numbers of the good
    ones.
    """
    coming: list[asyncio.Task[object]] = []
    for number in range(count):
        coming.append(asyncio.create_task(ecpay.insist(f"G{number}")))
        if number % 10 == 0:
            coming.append(asyncio.create_task(ecpay.notify(f"F{number}", forged=True)))
        await asyncio.sleep(1 / per_second)
    await asyncio.gather(*coming)
    return {f"G{number}" for number in range(count)}
