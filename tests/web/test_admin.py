"""Probes report only what a restart or waiting would fix."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from adapter.errors import SettingsError
from adapter.web.admin import admin_app
from adapter.web.server import WebServer


@dataclass
class _Health:
    live: Sequence[str] = ()
    ready: Sequence[str] = ()

    def liveness_problems(self) -> Sequence[str]:
        return self.live

    def readiness_problems(self) -> Sequence[str]:
        return self.ready

    def info(self) -> Mapping[str, object]:
        return {"version": "1"}


async def _get(health: _Health, path: str) -> httpx.Response:
    registry = CollectorRegistry()
    Counter("ecticket_example", "An example.", registry=registry).inc()
    transport = httpx.ASGITransport(app=admin_app(health, registry))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        return await client.get(path)


async def test_live_and_ready_are_separate() -> None:
    """A broker outage makes the adapter unready and leaves it alive."""
    health = _Health(ready=("no broker answers",))

    assert (await _get(health, "/livez")).status_code == 200
    answer = await _get(health, "/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "reasons": ["no broker answers"]}


async def test_a_stuck_loop_is_not_live() -> None:
    """A problem that only a restart fixes fails the liveness probe."""
    assert (await _get(_Health(live=("stuck",)), "/livez")).status_code == 503


async def test_metrics_are_read_beside_the_event_loop() -> None:
    """Counting what tens of thousands of records wait for must not hold up an order."""
    threads: list[threading.Thread] = []

    class Slow(Collector):
        def collect(self) -> Iterable[Metric]:
            threads.append(threading.current_thread())
            return ()

    registry = CollectorRegistry()
    registry.register(Slow())
    threads.clear()
    transport = httpx.ASGITransport(app=admin_app(_Health(), registry))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        await client.get("/metrics")

    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_metrics_are_prometheus_text() -> None:
    """Scrapers get the registry's content."""
    assert "ecticket_example_total 1.0" in (await _get(_Health(), "/metrics")).text


async def test_info_is_json() -> None:
    """People get the version and what runs."""
    assert (await _get(_Health(), "/info")).json() == {"version": "1"}


async def test_the_server_serves_on_a_free_port_and_ends() -> None:
    """Started on port 0, asked over a real socket, stopped."""
    server = WebServer(admin_app(_Health(), CollectorRegistry()), host="127.0.0.1", port=0, purpose="admin")
    await server.start()

    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{server.port}/livez")
    await server.stop()

    assert answer.json()["status"] == "ok"


@pytest.mark.parametrize("client", ["127.0.0.1", "[::1]"])
async def test_a_server_on_all_addresses_takes_ipv6_and_ipv4(client: str) -> None:
    """`::` is for pods with either kind of address, whatever the system says of IPv6 sockets."""
    if not await _has_ipv6():
        pytest.skip("this machine has no IPv6")
    server = WebServer(admin_app(_Health(), CollectorRegistry()), host="::", port=0, purpose="admin")
    await server.start()

    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://{client}:{server.port}/livez")
    await server.stop()

    assert answer.json()["status"] == "ok"


async def _has_ipv6() -> bool:
    try:
        (await asyncio.start_server(lambda *_: None, "::1", 0)).close()
    except OSError:
        return False
    return True


async def test_a_taken_port_is_a_settings_error() -> None:
    """The message names the setting."""
    first = WebServer(admin_app(_Health(), CollectorRegistry()), host="127.0.0.1", port=0, purpose="admin")
    await first.start()
    second = WebServer(admin_app(_Health(), CollectorRegistry()), host="127.0.0.1", port=first.port, purpose="admin")

    with pytest.raises(SettingsError, match=r"admin\.port"):
        await second.start()

    await first.stop()


async def test_of_two_that_start_at_once_on_one_port_one_fails() -> None:
    """Both can bind it as long as neither listens; none may believe that it serves when it does not."""
    free = WebServer(admin_app(_Health(), CollectorRegistry()), host="127.0.0.1", port=0, purpose="admin")
    await free.start()
    await free.stop()
    both = [
        WebServer(admin_app(_Health(), CollectorRegistry()), host="127.0.0.1", port=free.port, purpose="admin")
        for _ in range(2)
    ]

    started = await asyncio.gather(*(each.start() for each in both), return_exceptions=True)
    await asyncio.gather(*(each.stop() for each in both))

    assert [type(each) for each in started if each is not None] == [SettingsError]
