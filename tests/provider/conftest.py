"""A raw server and clients that call it, on every transport."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import httpx
import pytest

from adapter.protocol.endpoints import Family
from adapter.provider.breaker import BreakerState
from adapter.provider.client import EcticketClient
from adapter.provider.limits import CallLimits, ReportLimits
from adapter.provider.observer import CallFinished, ReportEnded
from adapter.provider.time_source import TimeSource
from adapter.provider.transport import TransportKind, make_transport, tls_context

from .server import RawServer

QUICK = CallLimits(timeout_seconds=0.6, connect_timeout_seconds=1.5, max_calls_per_second=0, max_wait_seconds=0.2)
"""Short enough for tests that wait for them, long enough for a machine that is busy with something else."""


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    """A server that does not answer yet."""
    async with RawServer() as running:
        yield running


@pytest.fixture(params=list(TransportKind))
def kind(request: pytest.FixtureRequest) -> TransportKind:
    """All transports: the result of a call must not depend on the choice."""
    chosen: TransportKind = request.param
    return chosen


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    """The usual TLS, made once: reading the system's certificates takes a tenth of a second."""
    return tls_context()


@pytest.fixture
async def transport(kind: TransportKind, tls: ssl.SSLContext) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """A transport of each kind."""
    made = make_transport(kind, tls=tls)
    yield made
    await made.aclose()


class FakeClock:
    """Both clocks of the provider, moved by hand."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.steady = 1000.0
        self._moved = asyncio.Event()

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += timedelta(seconds=seconds)
        self.steady += seconds
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has let so much time pass."""
        until = self.steady + seconds
        while self.steady < until:
            await self._moved.wait()

    @property
    def clock(self) -> TimeSource:
        """The clock to pass to a client."""
        return TimeSource(now=lambda: self.wall, steady=lambda: self.steady, sleep=self.sleep)


@pytest.fixture
def time() -> FakeClock:
    """A clock that stands still until a test moves it."""
    return FakeClock()


class Noted:
    """An observer that keeps its reports."""

    def __init__(self) -> None:
        self.calls: list[CallFinished] = []
        self.reports: list[ReportEnded] = []
        self.states: list[tuple[str, BreakerState]] = []

    def call_finished(self, call: CallFinished) -> None:
        """Keep it."""
        self.calls.append(call)

    def report_ended(self, report: ReportEnded) -> None:
        """Keep it."""
        self.reports.append(report)

    def breaker_changed(self, merchant_id: str, state: BreakerState) -> None:
        """Keep it."""
        self.states.append((merchant_id, state))


@pytest.fixture
def noted() -> Noted:
    """The reports to the provider's observer."""
    return Noted()


class MakeProvider(Protocol):
    """Makes a client that calls an address, with short limits and given changes."""

    def __call__(
        self,
        base_url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        limits: CallLimits = QUICK,
        report_limits: ReportLimits | None = None,
    ) -> EcticketClient: ...


@pytest.fixture
def make_provider(transport: httpx.AsyncBaseTransport, time: FakeClock, noted: Noted) -> MakeProvider:
    """Make clients over the transport of the test, or over another."""
    default = transport

    def make(
        base_url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        limits: CallLimits = QUICK,
        report_limits: ReportLimits | None = None,
    ) -> EcticketClient:
        return EcticketClient(
            base_url=base_url,
            family=Family.TICKET,
            transport=transport or default,
            limits=limits,
            report_limits=report_limits,
            observer=noted,
            clock=time.clock,
        )

    return make


@pytest.fixture
def provider(make_provider: MakeProvider, server: RawServer) -> EcticketClient:
    """A client that calls the raw server."""
    return make_provider(server.url)
