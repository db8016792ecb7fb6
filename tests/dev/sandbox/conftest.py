"""Fixtures: a clock, and clients of sandboxes that serve on real sockets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from adapter.dev.sandbox import RunningSandbox, SandboxSettings

from .helpers import Client, Clock

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Plain HTTP needs no certificates, and loading them for every client takes longer than most tests."""

Start = Callable[[SandboxSettings], Awaitable[Client]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def start(clock: Clock) -> AsyncIterator[Start]:
    """Starts a sandbox with these settings and gives a client of it."""
    async with AsyncExitStack() as stack:

        async def client_of(settings: SandboxSettings) -> Client:
            sandbox = await stack.enter_async_context(RunningSandbox(settings, now=clock))
            http = await stack.enter_async_context(httpx.AsyncClient(timeout=5, trust_env=False, verify=NO_TLS))
            return Client(http=http, sandbox=sandbox, clock=clock)

        yield client_of


@pytest.fixture
async def client(start: Start) -> Client:
    """A client of a sandbox with the default settings."""
    return await start(SandboxSettings(port=0))
