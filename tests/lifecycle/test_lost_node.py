"""A node dies with everything on it, and a broker that stands still while a process has to commit."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from integration.cluster import open_cluster, until
from integration.order_source import OrderSource

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.kafka.connection import KafkaConnection
from lifecycle.load import accept_repeats, check_exactly_once

pytestmark = pytest.mark.broker


def _connection(broker: LocalKafka) -> KafkaConnection:
    return KafkaConnection(bootstrap_servers=broker.bootstrap_servers)


async def test_a_lost_node_loses_and_repeats_nothing(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """kill -9 of two adapters and the only broker in one moment, with calls on the wire; then all start again."""
    async with open_cluster(_connection(own_kafka), tmp_path) as cluster:
        accept_repeats(cluster, answer_after=1.0)
        workers = await asyncio.gather(cluster.start(), cluster.start())
        await cluster.until_shared()
        await cluster.feed(OrderSource(seed=73).orders(150))
        for worker in workers:
            await worker.until_on_the_wire(3)

        killed_with, _ = await asyncio.gather(
            asyncio.gather(*(worker.kill() for worker in workers)), asyncio.to_thread(own_kafka.kill)
        )
        issued = cluster.sandbox.order_store.number_count
        for worker in workers:
            await cluster.restart(worker)
        await asyncio.to_thread(own_kafka.start)
        began = time.time()
        await cluster.all_delivered(seconds=90)

        assert min(killed_with) > 0
        check_exactly_once(cluster)
        assert await cluster.uncommitted() == []
        assert issued < cluster.sandbox.order_store.number_count
        recovered = sum(1 for event in cluster.event_log.events if event.data.get("recovered"))
        assert recovered > 0
        times = [event.record.timestamp / 1000 for event in cluster.event_log.events if event.type == "submitted"]
        first = min(at for at in times if at > began)
        print(
            f"\nkilled with {killed_with} calls on the wire, {issued} issuances; {recovered} recovered; first event "
            f"{first - began:.1f} s after the broker's start, with a session time-out of "
            f"{cluster.settings['kafka.session_timeout_seconds']} s"
        )


async def test_sigterm_in_the_middle_of_a_commit_finishes_it(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """The broker stands still when the outcomes are to be written, and goes on after SIGTERM: no doubt is left."""
    async with open_cluster(
        _connection(own_kafka),
        tmp_path,
        kafka__session_timeout_seconds="30",
        kafka__transaction_timeout_seconds="60",
        shutdown__grace_seconds="60",
    ) as cluster:
        accept_repeats(cluster, answer_after=1.0)
        worker = await cluster.start()
        source = OrderSource(seed=79)
        await cluster.feed([source.order() for _ in range(40)])
        await worker.until_on_the_wire(10)

        broker = own_kafka.pid
        assert broker is not None
        os.kill(broker, signal.SIGSTOP)
        try:
            await until(lambda: worker.on_the_wire == 0, seconds=30)
            published = cluster.event_log.count("submitted")
            worker.send(signal.SIGTERM)
            await until(lambda: '"stopping"' in worker.log.read_text(encoding="utf-8"), seconds=30)
        finally:
            os.kill(broker, signal.SIGCONT)
        code = await asyncio.wait_for(worker.process.wait(), 120)
        issued = cluster.sandbox.order_store.number_count
        await cluster.start()
        await cluster.all_delivered(seconds=60)

        assert code == 0
        assert published < issued, "nothing was left to commit when the broker stood still"
        assert [event for event in cluster.event_log.events if event.data.get("recovered")] == []
        check_exactly_once(cluster)
        assert await cluster.uncommitted() == []
