"""From a paid serial number to its redemption code: every ticket is published once, whatever process dies meanwhile.

`independent_check` compares the events with the sandbox's own tickets, which the adapter sees only in its reports.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from prometheus_client.parser import text_string_to_metric_families

from adapter.dev.sandbox.fault_types import Slow
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.order_store import tickets
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from adapter.values import replace
from integration.cluster import MERCHANT, PARTITIONS, RUN, SANDBOX, Cluster, Worker, dying, open_cluster, until
from integration.commands import independently_checked
from integration.event_log import SLOW_MACHINE, all_there
from integration.order_source import OrderSource, PaidOrder, line

MAILER = """
from pathlib import Path
from adapter import hookimpl

class Mailer:
    name = "mailer"
    types = ["ecticket.ticket.collected.v1"]

    async def deliver(self, event):
        with (Path(__file__).parent / "mailed").open("a") as mailed:
            mailed.write(event.type + " " + event.id + "\\n")

@hookimpl
def notification_sinks():
    return [Mailer()]
"""
"""A sink that asks for collected tickets."""
INSTANT_REPORTS = replace(SANDBOX, report_interval_seconds=0)
COLLECTING: Mapping[str, str] = {
    "collect__issue_types": "serial_number",
    "collect__interval_seconds": "0.5",
    "reports__interval_seconds": "0.5",
}


def serial_orders(count: int) -> list[PaidOrder]:
    """Orders of one to three serial numbers, and a tenth as many electronic tickets, which are not collected."""
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


def keep_secret(cluster: Cluster) -> None:
    """No record but the collected ones has a ticket number or redemption code; the cluster's end searches the rest."""
    store = cluster.sandbox.order_store
    orders = [order for key in store.numbers() for order in store.issuances(key)]
    numbers = {text for order in orders for each in tickets(order) for text in (each.number, each.redemption_code)}
    records = [record for of_topic in cluster.event_log.by_topic.values() for record in of_topic]
    words = {
        word for record in records for word in re.findall(r"\w+", repr((record.key, record.headers, record.value)))
    }

    assert len(numbers) > len(orders)
    assert numbers & words == set()
    cluster.secrets |= {number.lower() for number in numbers}


async def collected(cluster: Cluster, count: int) -> list[ConsumerRecord]:
    """Wait until so many events are there, and return all."""
    async with asyncio.timeout(SLOW_MACHINE * 120):
        while len(records := await all_there(cluster.kafka, cluster.topic("collected"))) < count:  # noqa: ASYNC110  # other processes write them
            await asyncio.sleep(0.2)
    return records


async def all_collected(cluster: Cluster, count: int) -> None:
    """Every ticket is collected once: by the independent check, and under its issuance's key."""
    before_the_end = await collected(cluster, count)
    await cluster.reader.quiet(1.0)
    records = await all_there(cluster.kafka, cluster.topic("collected"))
    checked = await independently_checked(cluster, "tickets", "collected")

    assert (checked.code, checked.err.strip()) == (0, "")
    assert json.loads(checked.out)["events"] == len(records) == len(before_the_end) == count
    assert all(
        record.key == f"{MERCHANT.merchant_id}/{json.loads(record.value)['trade_no']}".encode() for record in records
    )
    assert cluster.event_log.by_topic[cluster.topic("dead_letters")] == []
    assert cluster.disagreements() == []
    keep_secret(cluster)


@pytest.mark.alone
async def test_every_ticket_is_collected_once_although_processes_are_killed(
    kafka: KafkaConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one dies between its first event and the commit, two others while some tickets are collected.

    None of them leaves a temporary file behind.
    """
    orders, topic, temporary = 2000, f"{tmp_path.name}.collected", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    async with open_cluster(kafka, tmp_path, sandbox=INSTANT_REPORTS, topics__collected=topic, **COLLECTING) as cluster:
        first = await cluster.start(command=dying(topic))
        feeding = asyncio.create_task(cluster.feed(serial_orders(orders), per_second=orders / 8))
        await until(lambda: first.process.returncode is not None, seconds=60)
        assert await all_there(kafka, topic) == []
        first.command = RUN
        await cluster.restart(first)
        others = await asyncio.gather(*(cluster.start() for _ in range(2)))
        for number, worker in enumerate(others, 1):
            await collected(cluster, number * orders // 4)
            await worker.kill()
            await cluster.restart(worker)
            await worker.until_ready()
        await feeding
        await cluster.all_delivered(seconds=240)

        await all_collected(cluster, orders)
        assert os.listdir(temporary) == []


async def test_a_merchant_that_moves_during_its_report_is_collected_by_its_new_owner(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """The earlier owner waits for a report when another process gets its partition: it stops, and publishes nothing."""
    topic, mailer, mailed = f"{tmp_path.name}.collected", tmp_path / "mailer.py", tmp_path / "mailed"
    mailer.write_text(MAILER)
    settings = {"topics__collected": topic, "plugins__paths": str(mailer), "log__level": "debug", **COLLECTING}
    async with open_cluster(kafka, tmp_path, sandbox=INSTANT_REPORTS, **settings) as cluster:
        cluster.sandbox.faults.arm(FaultRule(behaviour=Slow(seconds=3600), endpoint=Endpoint.ORDER_DETAIL))
        earlier = await cluster.start()
        await cluster.feed(serial_orders(30))
        await cluster.all_delivered(seconds=60)
        await until(lambda: earlier.on_the_wire == 1, seconds=60)
        cluster.sandbox.faults.clear()
        # Partitions are dealt out in the order of the members' names, which are random: one of two new ones gets it.
        newcomers: list[Worker] = []
        while await owner(cluster) is earlier:
            newcomers.append(await cluster.start())
            assert len(newcomers) <= 2
        assert await owner(cluster) in newcomers

        await all_collected(cluster, 30)
        await until(lambda: earlier.on_the_wire == 0, seconds=60)

        ids = {dict(record.headers)["ce_id"].decode() for record in await all_there(kafka, topic)}
        await until(lambda: mailed.exists() and mailed.read_text().count("\n") >= len(ids), seconds=60)
        assert set(mailed.read_text().splitlines()) == {f"ecticket.ticket.collected.v1 {each}" for each in ids}
        assert await tickets_of(earlier) == 0
        assert sum([await tickets_of(each) for each in newcomers]) == 60


async def owner(cluster: Cluster) -> Worker:
    """Which worker collects for the merchant, once every partition has an owner."""
    merchants_partition = f"{cluster.topic('confirmations')}/3"
    async with asyncio.timeout(SLOW_MACHINE * 60):
        while True:
            owned = [await worker.partitions("collect") for worker in cluster.workers]
            owners = [each for each, held in zip(cluster.workers, owned, strict=True) if merchants_partition in held]
            if all(owned) and sum(map(len, owned)) == 2 * PARTITIONS and len(owners) == 1:
                return owners[0]
            await asyncio.sleep(0.1)


async def tickets_of(worker: Worker) -> float:
    """How many tickets a process has published."""
    families = text_string_to_metric_families((await worker.get("/metrics")).text)
    samples = [sample for family in families for sample in family.samples]
    return sum(each.value for each in samples if each.name == "ecticket_tickets_collected_total")
