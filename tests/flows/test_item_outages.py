"""QueryItemInfo fails in every way that a server has, over real sockets and under load; no order waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from adapter.dev.sandbox import RunningSandbox, SandboxSettings
from adapter.dev.sandbox.fault_types import (
    AnswerFault,
    AnswerLostBefore,
    CorruptedChecksum,
    Garbage,
    Maintenance,
    NotAcceptedEnvelope,
    ServerError,
    Slow,
)
from adapter.dev.sandbox.faults import FaultRule
from adapter.protocol.endpoints import Endpoint, Family
from adapter.provider.client import EcticketClient
from adapter.provider.limits import CallLimits
from adapter.provider.time_source import TimeSource
from adapter.provider.transport import TransportKind, make_transport, tls_context
from adapter.testing.clock import NOON, Clock
from flows.harness import Harness, line

ORDERS = 40
LIMITS = CallLimits(
    timeout_seconds=20, connect_timeout_seconds=20, max_calls_per_second=0, max_wait_seconds=20, max_concurrent_calls=8
)


def _outage(behaviour: AnswerFault | Slow) -> FaultRule:
    return FaultRule(behaviour=behaviour, endpoint=Endpoint.QUERY_ITEM_INFO)


OUTAGES = {
    "no answer in time": _outage(Slow(seconds=3600)),
    "HTTP 500": _outage(ServerError(status=500)),
    "HTTP 404": _outage(ServerError(status=404)),
    "HTTP 403": _outage(ServerError(status=403)),
    "HTTP 429": _outage(ServerError(status=429, retry_after_seconds=600)),
    "HTTP 503, wait": _outage(ServerError(status=503, retry_after_seconds=600)),
    "closed": _outage(AnswerLostBefore()),
    "reset": _outage(AnswerLostBefore(reset=True)),
    "garbage": _outage(Garbage()),
    "a page": _outage(Garbage(body="<html><body>maintenance</body></html>")),
    "a wrong checksum": _outage(CorruptedChecksum()),
    "another TransCode": _outage(NotAcceptedEnvelope()),
    "another RtnCode": _outage(Maintenance()),
    "an undocumented RtnCode": _outage(Maintenance(rtn_code=2)),
}


@asynccontextmanager
async def _house(mode: Literal["off", "warn", "require"]) -> AsyncIterator[tuple[Harness, RunningSandbox]]:
    """A submit stage with a real provider, and the sandbox that it calls; one clock for both."""
    times, clients = [Clock()], list[EcticketClient]()
    transport = make_transport(TransportKind.DIRECT, tls=tls_context())
    async with RunningSandbox(SandboxSettings(port=0, job_seconds=0), now=lambda: times[-1]()) as sandbox:

        def provider(clock: Clock) -> EcticketClient:
            times.append(clock)
            client = EcticketClient(
                base_url=sandbox.base_url,
                family=Family.TICKET,
                transport=transport,
                limits=LIMITS,
                clock=TimeSource(now=clock, steady=lambda: (clock() - NOON).total_seconds()),
            )
            clients.append(client)
            return client

        harness = Harness(make_ecticket=provider, check_items=mode, item_wait_seconds=0.05)
        setattr(harness.ecticket, "item", clients[0].item)  # noqa: B010  # products are queried at the sandbox too
        try:
            yield harness, sandbox
        finally:
            if harness.submit._item_checks is not None:
                await harness.submit._item_checks.close()
            await transport.aclose()


@pytest.mark.parametrize(
    ("mode", "outage"), [("off", "HTTP 500"), *((mode, outage) for mode in ("warn", "require") for outage in OUTAGES)]
)
async def test_no_order_is_held_up_by_an_outage_of_queryiteminfo(
    mode: Literal["off", "warn", "require"], outage: str
) -> None:
    """Forty orders at once, eight calls at once: all are issued; few queries for products are made in vain."""
    async with _house(mode) as (harness, sandbox):
        sandbox.faults.arm(OUTAGES[outage])
        orders = [
            harness.order(line("VQT04959" if number % 2 else "BR103218"), order_id=f"A-{number}")
            for number in range(ORDERS)
        ]

        published = await asyncio.gather(*map(harness.work, orders))

        assert [each.types for each in published] == [["submitted"]] * ORDERS
        assert sandbox.order_store.number_count == ORDERS
        queries = sandbox.faults.fired.total()
        assert (queries == 0) if mode == "off" else (1 <= queries <= 4)
        assert {result for _, result in harness.observer.of("items_checked")} == (
            set() if mode == "off" else {"unanswered"}
        )
