"""An operator holds one merchant while orders flow, and releases it; processes die meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from key_words import mentions

from adapter.kafka.connection import KafkaConnection
from integration import commands
from integration.cluster import MERCHANT, OTHER_MERCHANT, Cluster, Worker, merchants, open_cluster
from integration.event_log import SLOW_MACHINE
from integration.order_source import OrderSource, PaidOrder

HELD, FREE = MERCHANT.merchant_id, OTHER_MERCHANT.merchant_id


async def _until_info(worker: Worker, condition: Callable[[dict[str, object]], bool]) -> None:
    """Wait until what a process reports about itself is so."""
    async with asyncio.timeout(10 * SLOW_MACHINE):
        while not condition((await worker.get("/info")).json()["holds"]):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)


def _issued(cluster: Cluster) -> int:
    """How many numbers of the held merchant ECTicket has."""
    return sum(merchant_id == HELD for merchant_id, _ in cluster.sandbox.order_store.numbers())


async def test_a_held_merchants_orders_wait_through_a_crash_and_are_issued_once(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Two processes, one killed and started again during the hold: nothing is sent, lost, parked or counted."""
    source = OrderSource(seed=31)

    def orders(count: int) -> list[PaidOrder]:
        return [source.order(merchant_id=(HELD, FREE)[number % 2]) for number in range(count)]

    async with open_cluster(kafka, tmp_path, merchants=merchants(HELD, FREE)) as cluster:
        workers = [await cluster.start(), await cluster.start()]
        await cluster.until_shared()
        flowing = asyncio.create_task(cluster.feed(orders(160), per_second=80))
        await cluster.reader.until(lambda: bool(cluster.event_log.events), seconds=30)
        held = await commands.run(workers[0], "hold", HELD, "--reason", "a test", "--json")
        assert (held.code, "until" in held.lines[0]) == (0, False)
        began = time.monotonic()
        for worker in workers:
            await _until_info(worker, lambda holds: HELD in holds)
        in_force_after = time.monotonic() - began
        flowed = await flowing
        late = await cluster.feed(orders(60))
        free = [ref for refs in (flowed, late) for ref in refs[1::2]]
        assert await cluster.reader.until(lambda: all(cluster.event_log.ended(ref) for ref in free), seconds=60)
        before = _issued(cluster)

        await workers[1].kill()
        await cluster.restart(workers[1])
        await workers[1].until_ready()
        await cluster.until_shared()
        await _until_info(workers[1], lambda holds: HELD in holds)
        more = await cluster.feed(orders(40))
        assert await cluster.reader.until(lambda: all(cluster.event_log.ended(ref) for ref in more[1::2]), seconds=60)
        assert _issued(cluster) == before
        assert not any(cluster.event_log.of(ref) for ref in (*late[::2], *more[::2]))
        metrics = (await workers[1].get("/metrics")).text
        assert f'ecticket_merchant_held{{merchant_id="{HELD}"}} 1.0' in metrics
        assert "ecticket_holds_known 1.0" in metrics
        checked = json.loads((await commands.run(workers[0], "check", "--json")).out)
        (finding,) = (each for each in checked["findings"] if each["about"] == "holds")
        assert finding["level"] == "warning"
        assert mentions(finding["message"], f"{HELD} a test release")

        assert (await commands.run(workers[0], "release", HELD)).code == 0
        began = time.monotonic()
        await cluster.all_delivered(seconds=60)
        all_ended_after = time.monotonic() - began

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert all(cluster.event_log.types(ref) == {"submitted": 1, "issued": 1} for ref in (*flowed, *late, *more))
        deferred = cluster.event_log.by_topic[cluster.topic("orders_deferred")]
        waited = [dict(record.headers) for record in deferred if "ecticket-held-at" in dict(record.headers)]
        assert len(waited) >= len(late[::2]) + len(more[::2])
        never_sent = [headers for headers in waited if "ecticket-possibly-sent-at" not in headers]
        assert {headers["ecticket-attempts"] for headers in never_sent} == {b"0"}
        print(
            f"\nheld in both processes {in_force_after:.2f} s after the command ended; {len(waited)} records waited; "
            f"all issued {all_ended_after:.1f} s after the release"
        )


async def test_a_topic_that_is_made_later_makes_holds_possible(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Without it the adapter starts and issues; `hold` names the cure, and no restart is needed. A hold ends itself."""
    source = OrderSource(seed=37)
    async with open_cluster(kafka, tmp_path) as cluster:
        worker = await cluster.start(topics__control=f"{cluster.topic('control')}.later")
        await cluster.feed([source.order()])
        await cluster.all_delivered(seconds=30)
        refused = await commands.run(worker, "hold", HELD)
        assert refused.code == 1
        assert "topics --create" in refused.err
        assert "ecticket_holds_known 0.0" in (await worker.get("/metrics")).text
        assert (await commands.run(worker, "topics", "--create", "--replication", "1")).code == 0
        async with asyncio.timeout(20 * SLOW_MACHINE):
            while "ecticket_holds_known 1.0" not in (await worker.get("/metrics")).text:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.1)

        held = await commands.run(worker, "hold", HELD, "--until", "10s", "--json")
        await _until_info(worker, lambda holds: HELD in holds)
        (waiting,) = await cluster.feed([source.order()])
        deferred = cluster.event_log.by_topic[cluster.topic("orders_deferred")]
        assert await cluster.reader.until(lambda: bool(deferred), seconds=10)
        await cluster.all_delivered(seconds=30)

        until = datetime.fromisoformat(held.lines[0]["until"])
        (submitted,) = (event for event in cluster.event_log.of(waiting) if event.type == "submitted")
        assert datetime.fromisoformat(submitted.attributes["time"]) >= until
        assert cluster.disagreements() == []
        assert await worker.dismiss() == 0
