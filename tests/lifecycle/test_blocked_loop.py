"""A process whose event loop is blocked: its liveness probe fails, and the kubelet replaces it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import httpx
from integration.cluster import NO_TLS, Worker, open_cluster, until
from integration.order_source import OrderSource

from adapter.kafka.connection import KafkaConnection
from lifecycle.load import accept_repeats, check_exactly_once

_PLUGIN = """
import pathlib, re
from adapter import hookimpl

FOLDER = pathlib.Path(__file__).parent

@hookimpl
def accept_order(order):
    if (FOLDER / "block").exists():
        (FOLDER / "blocked").touch()
        re.match("(a+)+$", 60 * "a" + "b")
"""
"""A regular expression that takes years, and does not release the interpreter: no other thread runs meanwhile.

It blocks once the file `block` is there. Hooks run in threads of their own, so other code cannot block the event loop.
"""


async def _probe(worker: Worker) -> bool:
    """Whether `/livez` is good, as a kubelet with the default `timeoutSeconds` of 1 sees it."""
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=NO_TLS), timeout=1) as client:
        try:
            return (await client.get(f"{worker.admin}/livez")).status_code == 200
        except httpx.TransportError:
            return False


async def test_a_blocked_event_loop_fails_the_liveness_probe_and_a_restart_recovers(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """The probe fails three times, SIGTERM has no effect, SIGKILL follows; the next start issues each order once."""
    plugin = tmp_path / "blocking.py"
    plugin.write_text(_PLUGIN, encoding="utf-8")
    async with open_cluster(kafka, tmp_path, plugins__paths=str(plugin)) as cluster:
        accept_repeats(cluster, answer_after=0.5)
        worker = await cluster.start()
        before = (await worker.get("/livez")).status_code
        source = OrderSource(seed=83)
        await cluster.feed(source.orders(60))
        await worker.until_on_the_wire(3)

        (tmp_path / "block").touch()
        await cluster.feed(source.orders(20))
        await until((tmp_path / "blocked").exists, seconds=30)
        probes = [await _probe(worker) for _ in range(3)]
        worker.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.process.wait(), 1)
        await worker.kill()
        (tmp_path / "block").unlink()
        await cluster.restart(worker)
        await cluster.all_delivered(seconds=60)

        assert before == 200
        assert probes == [False, False, False]
        check_exactly_once(cluster)
        assert await cluster.uncommitted() == []
