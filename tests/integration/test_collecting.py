"""From a paid serial number to its redemption code: every ticket is published once, whatever process dies meanwhile.

What the events say is compared with the sandbox's own tickets, which the adapter sees only in its reports.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from adapter.dev.sandbox.order_store import tickets
from adapter.kafka.connection import KafkaConnection
from integration.cluster import MERCHANT, SANDBOX, Cluster, open_cluster
from integration.event_log import SLOW_MACHINE, all_there
from integration.order_source import OrderSource, PaidOrder, line

INSTANT_REPORTS = replace(SANDBOX, report_interval_seconds=0)
COLLECTING: Mapping[str, str] = {
    "collect__issue_types": "serial_number",
    "collect__interval_seconds": "0.5",
    "reports__interval_seconds": "0.5",
}
Book = dict[str, list[tuple[str, str]]]
"""Ticket numbers and redemption codes by trade number."""


def serial_orders(count: int) -> list[PaidOrder]:
    """Orders of one to three serial numbers, and as many electronic tickets, which are not collected."""
    source = OrderSource(seed=3)
    serials = [
        source.order(
            issue_type="serial_number",
            lines=[line("SERIAL", 1 + number % 3, name="SPA課程體驗券", unit_price=3200)],
        )
        for number in range(count)
    ]
    others = [source.order() for _ in range(count // 10)]
    return [*serials, *others]


def books(cluster: Cluster) -> Book:
    """The tickets of all serial-number orders, as ECTicket has them."""
    store = cluster.sandbox.order_store
    return {
        trade_no.value: [(each.number, each.redemption_code) for each in tickets(order)]
        for merchant_id, trade_no in store.numbers()
        for order in store.issuances((merchant_id, trade_no))
        if order.request.issue_type.name == "SERIAL_NUMBER"
    }


def published(records: list[ConsumerRecord]) -> Book:
    """The tickets in the events; a number twice, or an event twice, fails here."""
    found: Book = {}
    ids = set()
    for record in records:
        headers = dict(record.headers)
        assert headers["ce_type"] == b"ecticket.ticket.collected.v1"
        data = json.loads(record.value)
        assert len(data["tickets"]) == data["ticket_count"]
        assert data["trade_no"] not in found
        found[data["trade_no"]] = [(each["ticket_no"], each["redemption_code"]) for each in data["tickets"]]
        ids.add(headers["ce_id"])
    assert len(ids) == len(records)
    return found


async def collected(cluster: Cluster, count: int) -> list[ConsumerRecord]:
    """Wait until so many events are there, and return all."""
    async with asyncio.timeout(SLOW_MACHINE * 120):
        while len(records := await all_there(cluster.kafka, cluster.topic("collected"))) < count:  # noqa: ASYNC110  # other processes write them
            await asyncio.sleep(0.2)
    return records


@pytest.mark.parametrize(
    ("orders", "processes"), [(200, 2), pytest.param(2000, 3, marks=pytest.mark.alone)], ids=["200", "2000"]
)
async def test_every_ticket_is_collected_once_although_processes_are_killed(
    kafka: KafkaConnection, tmp_path: Path, orders: int, processes: int
) -> None:
    """kill -9 of each process while some tickets are collected; at the end the events are the sandbox's tickets."""
    topic = f"{tmp_path.name}-{orders}.collected"
    async with open_cluster(kafka, tmp_path, sandbox=INSTANT_REPORTS, topics__collected=topic, **COLLECTING) as cluster:
        for _ in range(processes):
            await cluster.start()
        feeding = asyncio.create_task(cluster.feed(serial_orders(orders), per_second=orders / 8))
        for number, worker in enumerate(list(cluster.workers), 1):
            await collected(cluster, number * orders // (processes + 2))
            await worker.kill()
            await cluster.restart(worker)
            await worker.until_ready()
        await feeding
        await cluster.all_delivered(seconds=240)
        before_the_end = await collected(cluster, orders)
        await cluster.reader.quiet(1.0)
        records = await all_there(cluster.kafka, cluster.topic("collected"))
        expected = books(cluster)
        for codes in expected.values():
            cluster.secrets |= {text.lower() for pair in codes for text in pair}

        assert len(expected) == orders
        assert len(before_the_end) == len(records)
        assert published(records) == expected
        assert cluster.event_log.by_topic[cluster.topic("dead_letters")] == []
        assert cluster.disagreements() == []
        assert {record.key for record in records} == {f"{MERCHANT.merchant_id}/{each}".encode() for each in expected}
