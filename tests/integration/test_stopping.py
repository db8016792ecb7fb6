"""Processes that are asked to stop, and processes that stand still and come back as zombies."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from adapter.dev.sandbox.fault_types import AcceptRepeats, Slow
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from integration.cluster import Cluster, open_cluster
from integration.order_source import OrderSource


def _slow_and_forgetful(cluster: Cluster, seconds: float) -> None:
    """Every Issue is answered late, and a repeated one issues again."""
    slow = FaultRule(behaviour=Slow(seconds=seconds), endpoint=Endpoint.ISSUE)
    cluster.sandbox.faults.arm(FaultRule(behaviour=AcceptRepeats()), slow)


@pytest.mark.parametrize(("grace", "answer_after"), [(8.0, 1.0), (1.5, 3.0)], ids=["in-time", "too-late"])
async def test_sigterm_in_the_middle_of_work_ends_well_and_another_process_goes_on(
    kafka: KafkaConnection, tmp_path: Path, grace: float, answer_after: float
) -> None:
    """Exit code 0 within the grace. Calls that end in time leave no doubt behind; the others are queried."""
    async with open_cluster(kafka, tmp_path, shutdown__grace_seconds=str(grace)) as cluster:
        _slow_and_forgetful(cluster, answer_after)
        worker = await cluster.start()
        await cluster.feed(OrderSource(seed=7).orders(120))
        await worker.until_on_the_wire(10)

        on_the_wire, began = worker.on_the_wire, time.monotonic()
        code = await worker.dismiss()
        took = time.monotonic() - began
        begun_by_the_first = cluster.sandbox.order_store.number_count
        cluster.sandbox.faults.arm(FaultRule(behaviour=AcceptRepeats()))
        await cluster.start()
        await cluster.all_delivered(seconds=60)

        assert code == 0
        assert took < grace + 4
        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        recovered = sum(1 for e in cluster.event_log.events if e.type == "submitted" and e.data["recovered"])
        print(
            f"\nSIGTERM with {on_the_wire} calls on the wire: exit {code} after {took:.1f} s of {grace:g} s grace; "
            f"{begun_by_the_first} of {cluster.sandbox.order_store.number_count} issuances were there, {recovered} "
            "recovered"
        )
        assert (recovered > 0) == (answer_after > grace)


async def test_a_zombie_issues_nothing_twice(kafka: KafkaConnection, tmp_path: Path) -> None:
    """SIGSTOP for longer than the session, twice, with calls on the wire; then it wakes up beside its successor."""
    async with open_cluster(kafka, tmp_path) as cluster:
        session = float(cluster.settings["kafka.session_timeout_seconds"])
        _slow_and_forgetful(cluster, 0.8)
        zombie, other = await asyncio.gather(cluster.start(), cluster.start())
        feeding = asyncio.create_task(cluster.feed(OrderSource(seed=9).orders(300), per_second=20))
        frozen = []
        for _ in range(2):
            await zombie.until_on_the_wire(3)
            frozen.append(zombie.on_the_wire)
            zombie.send(signal.SIGSTOP)
            await asyncio.sleep(session + 2)
            zombie.send(signal.SIGCONT)
            await asyncio.sleep(1)
        await feeding
        await cluster.all_delivered(seconds=60)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert zombie.process.returncode is None
        assert [await zombie.dismiss(), await other.dismiss()] == [0, 0]
        recovered = sum(1 for e in cluster.event_log.events if e.type == "submitted" and e.data["recovered"])
        print(f"\nfrozen for {session + 2:g} s each with {frozen} calls on the wire; recovered {recovered}")
