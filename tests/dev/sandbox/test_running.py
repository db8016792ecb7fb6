"""A sandbox on a real socket, within this process and as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from datetime import datetime

import httpx
import pytest
from starlette.applications import Starlette

from adapter.dev.sandbox import RunningSandbox, SandboxSettings, create_app
from adapter.errors import SettingsError
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.envelope import open_response, seal_request

from .helpers import MERCHANT, Client, Clock, paper

SERVE = """
from adapter.dev.sandbox import SandboxSettings, serve
serve(SandboxSettings(port=0), ready=lambda base_url: print(base_url, flush=True))
"""


async def test_without_settings_it_takes_a_free_port_of_loopback() -> None:
    """Several may run side by side."""
    async with RunningSandbox() as first, RunningSandbox() as second:
        assert first.base_url.startswith("http://127.0.0.1:")
        assert first.base_url != second.base_url


async def test_a_taken_port_is_reported_in_a_sentence(client: Client) -> None:
    """Not by a traceback."""
    port = httpx.URL(client.sandbox.base_url).port or 0

    with pytest.raises(SettingsError, match=f"cannot listen at 127.0.0.1:{port} "):
        async with RunningSandbox(SandboxSettings(port=port)):
            pass


async def test_a_sandbox_that_does_not_serve_has_no_url() -> None:
    """Before and after."""
    sandbox = RunningSandbox()
    async with sandbox:
        pass

    with pytest.raises(RuntimeError, match="not serving"):
        _ = sandbox.base_url
    await sandbox.aclose()


async def test_closing_breaks_what_is_under_way(clock: Clock) -> None:
    """A slow answer does not hold a sandbox up, and nothing is left behind."""
    before = asyncio.all_tasks()
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        arrived = asyncio.Event()

        def now() -> datetime:
            arrived.set()
            return clock()

        async with RunningSandbox(now=now) as sandbox:
            client = Client(http=http, sandbox=sandbox, clock=clock)
            await client.arm({"fault": "slow", "seconds": 3600, "endpoint": "issue"})
            call = asyncio.create_task(client.post(Endpoint.ISSUE, paper()))
            await arrived.wait()
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await call

    assert asyncio.all_tasks() == before


async def test_the_order_store_can_be_read_in_the_same_process(client: Client, clock: Clock) -> None:
    """With late effects whose time has come."""
    await client.arm({"fault": "late_effect", "seconds": 5})
    with pytest.raises(httpx.RemoteProtocolError):
        await client.issue(paper())

    counts = [len(client.sandbox.order_store)]
    clock.advance(5)
    counts.append(len(client.sandbox.order_store))

    assert counts == [0, 1]


async def test_elsewhere_an_answer_cannot_be_lost_and_that_is_reported(clock: Clock) -> None:
    """Another server gives no access to the connection; a fault must not be ignored."""
    app = create_app(SandboxSettings(), now=clock)
    assert isinstance(app, Starlette)
    body = seal_request(paper(), MERCHANT, timestamp=int(clock.now.timestamp()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox") as http:
        await http.put("/_/faults", json={"faults": [{"fault": "answer_lost_before"}]})

        with pytest.raises(RuntimeError, match="served by RunningSandbox"):
            await http.post("/api/Ticket/Issue", content=body)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_of_its_own_prints_its_address_and_ends_on_a_signal(number: signal.Signals) -> None:
    """Exit 0, nothing on standard error."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            base_url = process.stdout.readline().strip()
            stats = httpx.get(f"{base_url}/_/stats", trust_env=False).json()
            process.send_signal(number)
            code = process.wait(timeout=10)
        finally:
            process.kill()

        assert stats["orders"] == 0
        assert (code, process.stderr.read()) == (0, "")


async def test_hundreds_of_orders_at_once_are_all_booked(client: Client) -> None:
    """Concurrent calls lose no order and store none twice."""
    seconds = int(client.clock.now.timestamp())
    bodies = [seal_request(paper(f"N{place}"), MERCHANT, timestamp=seconds) for place in range(300)]
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=client.sandbox.base_url, limits=limits, trust_env=False) as session:

        async def issue(body: bytes) -> bytes:
            return (await session.post("/api/Ticket/Issue", content=body, timeout=60)).content

        answers = await asyncio.gather(*map(issue, bodies))
    payloads = [open_response(answer, MERCHANT).payload or {} for answer in answers]

    assert {payload["RtnCode"] for payload in payloads} == {1}
    assert len({payload["TicketTradeNo"] for payload in payloads}) == 300
    assert (client.sandbox.order_store.number_count, client.sandbox.order_store.repeated()) == (300, ())
