"""An event loop that a policy around the adapter chooses does not get into the way to ECTicket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

import httpx
import pytest
import uvloop

from adapter import event_loop
from adapter.errors import SettingsError
from adapter.provider.asyncio_transport import AsyncioTransport


@pytest.fixture
def foreign_policy() -> Iterator[None]:
    """As a plugin or a wrapper that calls `uvloop.install()` leaves it."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    yield
    asyncio.set_event_loop_policy(before)


async def _loop_type() -> type[asyncio.AbstractEventLoop]:
    return type(asyncio.get_running_loop())


@pytest.mark.usefixtures("foreign_policy")
def test_the_adapter_runs_on_asyncios_own_loop() -> None:
    """Whatever the policy says."""
    assert asyncio.run(_loop_type()) is uvloop.Loop
    assert event_loop.run(_loop_type()) is asyncio.SelectorEventLoop


def test_the_transport_refuses_a_foreign_loop() -> None:
    """Before it connects; the loop's module is named."""

    async def post() -> None:
        transport = AsyncioTransport(tls=ssl.create_default_context(), keep_alive_seconds=1.0)
        await transport.handle_async_request(httpx.Request("POST", "http://127.0.0.1:1"))

    with pytest.raises(SettingsError, match="uvloop"):
        uvloop.run(post())
