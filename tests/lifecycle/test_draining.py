"""SIGTERM to a sidecar, as Kubernetes sends it: after the shop has ended, while ECPay's callbacks still arrive."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from integration.cluster import Worker, open_cluster, until
from integration.ecpay import Ecpay, a_sender, published_notifications
from integration.order_source import OrderSource

from adapter.dev.sandbox.fault_types import AcceptRepeats, Slow
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint

_ANSWER_SECONDS = 2.0
"""How long ECTicket takes: a small part of the grace period."""


async def _notify_until_the_end(worker: Worker, ecpay: Ecpay) -> tuple[list[int], int]:
    """Send notifications one after another until one is refused.

    Return the number of calls on the wire after each that was accepted, and after the refusal.
    """
    accepted: list[int] = []
    while await ecpay.notify(f"D{len(accepted)}"):
        accepted.append(worker.on_the_wire)
        await asyncio.sleep(0.02)
    return accepted, worker.on_the_wire


async def test_the_sidecar_drains_after_the_shop_has_ended(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Calls on the wire end and are published; callbacks are answered until then; the next pod does the rest."""
    async with (
        open_cluster(kafka, tmp_path, shutdown__grace_seconds="25") as cluster,
        a_sender(cluster) as ecpay,
    ):
        slow = FaultRule(behaviour=Slow(seconds=_ANSWER_SECONDS), endpoint=Endpoint.ISSUE)
        cluster.sandbox.faults.arm(FaultRule(behaviour=AcceptRepeats()), slow)
        (worker,) = cluster.workers
        source = OrderSource(seed=47)
        await cluster.feed([source.order() for _ in range(120)])  # the shop's last orders are acknowledged, and it ends
        await worker.until_on_the_wire(10)

        worker.send(signal.SIGTERM)
        began, at_sigterm = time.monotonic(), worker.on_the_wire
        await until(lambda: '"stopping"' in worker.log.read_text(), seconds=20)
        notifying = asyncio.create_task(_notify_until_the_end(worker, ecpay))
        code = await asyncio.wait_for(worker.process.wait(), 60)
        took = time.monotonic() - began
        during, at_refusal = await notifying
        issued = cluster.sandbox.order_store.number_count
        cluster.sandbox.faults.arm(FaultRule(behaviour=AcceptRepeats()))
        await cluster.start()
        await cluster.all_delivered(seconds=60)
        notified = await published_notifications(cluster)

        assert code == 0
        assert during[:1] > [0], "no callback was answered while calls were on the wire"
        assert at_refusal == 0, "callbacks were refused before the calls had ended"
        assert {number for number, _ in notified} == ecpay.accepted
        assert len(notified) == len(ecpay.accepted)
        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert [event for event in cluster.event_log.events if event.data.get("recovered")] == []
        print(
            f"\nSIGTERM with {at_sigterm} calls on the wire: exit {code} after {took:.1f} s, {len(during)} callbacks "
            f"answered meanwhile; {issued} issuances by then, and none in doubt"
        )
