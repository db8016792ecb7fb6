"""A shop that sells all the time, and the longest pause in what the adapter publishes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

from integration.cluster import Cluster
from integration.order_source import OrderSource

from adapter.dev.sandbox.fault_types import AcceptRepeats, Slow
from adapter.dev.sandbox.faults import FaultRule
from adapter.protocol.endpoints import Endpoint

_AT_ONCE = 20


def accept_repeats(cluster: Cluster, *, answer_after: float) -> None:
    """ECTicket issues again for a repeated number, and answers Issue after so many seconds."""
    slow = FaultRule(behaviour=Slow(seconds=answer_after), endpoint=Endpoint.ISSUE)
    cluster.sandbox.faults.arm(FaultRule(behaviour=AcceptRepeats()), slow)


@asynccontextmanager
async def selling(cluster: Cluster, source: OrderSource, *, per_second: float) -> AsyncIterator[None]:
    """Orders come at this pace while the block runs; at its end the last ones are on the topic."""
    closed = asyncio.Event()

    async def sell() -> None:
        while not closed.is_set():
            await cluster.feed(source.orders(_AT_ONCE), per_second=per_second)

    shop = asyncio.create_task(sell())
    try:
        yield
    finally:
        closed.set()
        await shop


def longest_pause(cluster: Cluster) -> float:
    """The longest time between two `submitted` events, in seconds."""
    times = sorted(event.record.timestamp for event in cluster.event_log.events if event.type == "submitted")
    return max((later - earlier for earlier, later in pairwise(times)), default=0) / 1000


def check_exactly_once(cluster: Cluster) -> None:
    """Nothing is lost, and nothing was bought or published twice."""
    assert cluster.disagreements() == []
    assert cluster.sandbox.order_store.repeated() == ()
