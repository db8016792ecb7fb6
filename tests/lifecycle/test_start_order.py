"""The shop, the adapter and the broker of a pod start in any order, and SIGTERM may come before all are there."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
from integration.cluster import (
    NO_TLS,
    Cluster,
    Worker,
    environment_of,
    launch,
    open_cluster,
    settings_for,
    until,
)
from integration.order_source import OrderSource

from adapter.dev.local_kafka.ports import free_ports
from adapter.kafka.connection import KafkaConnection
from lifecycle.silent_names import LOOKING_UP
from lifecycle.tcp_gate import tcp_gate

_SILENT_NAMES = (sys.executable, "-m", "lifecycle.silent_names", "run")
_SHOWS_ITS_IMPORTS = (sys.executable, "-X", "importtime", "-m", "adapter", "run")


async def _health(worker: Worker) -> tuple[int, int]:
    """The codes of /livez and /readyz."""
    return (await worker.get("/livez")).status_code, (await worker.get("/readyz")).status_code


def _is_waiting(worker: Worker) -> bool:
    return '"start-waits"' in worker.log.read_text(encoding="utf-8")


def _calls(cluster: Cluster) -> int:
    return sum(counts.total() for counts in cluster.sandbox.stats.calls.values())


async def test_the_shop_the_adapter_and_a_late_broker_start_in_this_order(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Orders from before the adapter's start wait. Its broker refuses connections, then is silent, then answers.

    After that the shop goes on beside a running adapter. Each order is issued once.
    """
    async with open_cluster(kafka, tmp_path) as cluster, tcp_gate(kafka.bootstrap_servers) as gate:
        source = OrderSource(seed=53)
        await cluster.feed(source.orders(40))

        worker = await cluster.start(ready=False, kafka__bootstrap_servers=gate.address)
        await until(lambda: _is_waiting(worker), seconds=60)
        refused = await _health(worker)
        await gate.accept()
        await gate.accepted.wait()
        silent = await _health(worker)
        called = _calls(cluster)
        gate.open()
        await worker.until_ready()
        await cluster.feed(source.orders(40))
        await cluster.all_delivered(seconds=60)

        assert (refused, silent) == ((200, 503), (200, 503))
        assert called == 0
        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.sandbox.order_store.repeated() == ()
        assert [event for event in cluster.event_log.events if event.data.get("recovered")] == []
        assert await worker.dismiss() == 0


async def test_sigterm_at_every_moment_of_the_start_ends_it(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Exit code 0 and no traceback, four times. Then a process starts that may go on, and issues each order once."""
    async with open_cluster(kafka, tmp_path) as cluster, tcp_gate(kafka.bootstrap_servers) as gate:
        await cluster.feed(OrderSource(seed=59).orders(20))
        codes, logs, called = {}, "", []
        for moment in ("importing", "refused", "silent", "joining"):
            if moment == "silent":
                await gate.accept()
            address = kafka.bootstrap_servers if moment == "joining" else gate.address
            worker = await cluster.start(ready=False, command=_command(moment), kafka__bootstrap_servers=address)
            await _until_in(moment, worker, gate.accepted)
            called.append(_calls(cluster))
            codes[moment] = await worker.dismiss()
            logs += worker.log.read_text(encoding="utf-8")

        worker = await cluster.start()
        await cluster.all_delivered(seconds=60)

        assert codes == {"importing": 0, "refused": 0, "silent": 0, "joining": 0}, logs[-3000:]
        assert "Traceback" not in logs
        assert called[:3] == [0, 0, 0]
        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.sandbox.order_store.repeated() == ()


def _command(moment: str) -> Sequence[str] | None:
    return _SHOWS_ITS_IMPORTS if moment == "importing" else None


async def _until_in(moment: str, worker: Worker, accepted: asyncio.Event) -> None:
    """Wait until the start has come this far."""
    if moment == "silent":
        await accepted.wait()
        return
    line = {"importing": " structlog\n", "refused": '"start-waits"', "joining": '"running"'}[moment]
    await until(lambda: line in worker.log.read_text(encoding="utf-8"), seconds=60)


async def test_a_name_server_that_does_not_answer_delays_no_stop(tmp_path: Path) -> None:
    """The broker's name cannot be looked up: alive, not ready, and SIGTERM ends the process with exit code 0."""
    (port,) = free_ports(1)
    settings = settings_for(KafkaConnection(bootstrap_servers="kafka.shop:9092")) | {"admin.port": str(port)}
    log = tmp_path / "log"
    process = await launch(_SILENT_NAMES, environment_of(settings), log)
    await until(lambda: LOOKING_UP in log.read_text(encoding="utf-8"), seconds=60)
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=NO_TLS), timeout=30) as client:
        health = [(await client.get(f"http://127.0.0.1:{port}/{path}")).status_code for path in ("livez", "readyz")]
    process.send_signal(signal.SIGTERM)
    code = await asyncio.wait_for(process.wait(), 60)

    assert health == [200, 503]
    assert code == 0
