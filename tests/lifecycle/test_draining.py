"""SIGTERM to a sidecar, as Kubernetes sends it: after the shop has ended, while ECPay's callbacks still arrive."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from integration.cluster import open_cluster, until
from integration.ecpay import Ecpay, a_sender, published_notifications
from integration.order_source import OrderSource
from starlette.types import Receive

from adapter.dev.sandbox import web
from adapter.kafka.connection import KafkaConnection
from lifecycle.load import accept_repeats, check_exactly_once

_CALLBACKS = 20


def _hold_answers(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """ECTicket answers a slow call when the event is set, however long that takes."""
    release = asyncio.Event()

    async def gone_before(_receive: Receive, _seconds: float) -> bool:
        await release.wait()
        return False

    monkeypatch.setattr(web, "gone_within", gone_before)
    return release


async def _notify_until_refused(ecpay: Ecpay) -> int:
    """Send notifications one after another until one is refused; how many were accepted."""
    accepted = 0
    while await ecpay.notify(f"E{accepted}"):
        accepted += 1
        await asyncio.sleep(0.02)
    return accepted


async def test_the_sidecar_drains_after_the_shop_has_ended(
    kafka: KafkaConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls on the wire end and are published; callbacks are answered until then; the next pod does the rest."""
    release = _hold_answers(monkeypatch)
    async with (
        open_cluster(kafka, tmp_path, shutdown__grace_seconds="60", provider__timeout_seconds="60") as cluster,
        a_sender(cluster) as ecpay,
    ):
        accept_repeats(cluster, answer_after=1.0)
        (worker,) = cluster.workers
        source = OrderSource(seed=47)
        await cluster.feed([source.order() for _ in range(120)])  # the shop's last orders are acknowledged, and it ends
        await worker.until_on_the_wire(10)

        worker.send(signal.SIGTERM)
        await until(lambda: '"stopping"' in worker.log.read_text(encoding="utf-8"), seconds=20)
        during = [await ecpay.notify(f"D{number}") for number in range(_CALLBACKS)]
        on_the_wire = worker.on_the_wire
        release.set()
        released = time.monotonic()
        afterwards = await _notify_until_refused(ecpay)
        at_refusal = worker.on_the_wire
        code = await asyncio.wait_for(worker.process.wait(), 120)
        took = time.monotonic() - released
        issued = cluster.sandbox.order_store.number_count
        await cluster.start()
        await cluster.all_delivered(seconds=60)
        notified = await published_notifications(cluster)

        assert code == 0
        assert during == [True] * _CALLBACKS
        assert on_the_wire >= 10
        assert at_refusal == 0, "callbacks were refused before the calls had ended"
        assert {number for number, _ in notified} == ecpay.accepted
        assert len(notified) == len(ecpay.accepted)
        assert [event for event in cluster.event_log.events if event.data.get("recovered")] == []
        check_exactly_once(cluster)
        assert await cluster.uncommitted() == []
        print(
            f"\nSIGTERM with {on_the_wire} calls on the wire: exit {code}, {took:.1f} s after they were answered; "
            f"{_CALLBACKS} callbacks answered before that and {afterwards} after; {issued} issuances, none in doubt"
        )
