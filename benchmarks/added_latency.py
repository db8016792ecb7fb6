"""The latency that the adapter adds to an order: orders arrive live, at a share of its throughput.

From the moment an order is handed to the producer to the moment its committed `submitted` event is read, minus the
stub's delay. Both moments are seen by one process on one clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from adapter.dev.producing import producing
from benchmarks.contenders import Contender, running
from benchmarks.ground import Ground
from benchmarks.measuring import Rates, between, percentile
from benchmarks.orders import order, order_id

SHARE = 0.5
"""Of the orders a second that were measured for the same contender under the same load."""
_WARM_UP = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Orders come at this pace, evenly, for so long."""

    delay_ms: int
    in_flight: int
    orders_per_second: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """The milliseconds added to the stub's delay, and the resources used."""

    p50_ms: float
    p99_ms: float
    orders: int
    rates: Rates


async def added_latency(ground: Ground, contender: Contender, pace: Pace) -> Added:
    """Send orders at a pace; the first fifth is not measured. Raises SubjectFailedError, BooksDisagreeError."""
    count = round(pace.orders_per_second * pace.seconds)
    warm_up = round(_WARM_UP * count)
    async with running(
        ground, contender, delay_ms=pace.delay_ms, in_flight=pace.in_flight, own_orders=True, look_every=0
    ) as run:
        sending = asyncio.create_task(send_evenly(ground, run.orders_topic, count, pace.orders_per_second))
        await run.submitted(warm_up)
        begin = await run.moment()
        sent_at = await sending
        await run.submitted(count)
        end = await run.moment()
        await run.finish()
    times = waited(sent_at, run.arrivals.arrived_at, first=warm_up)
    return Added(
        p50_ms=1000 * percentile(times, 0.5) - pace.delay_ms,
        p99_ms=1000 * percentile(times, 0.99) - pace.delay_ms,
        orders=len(times),
        rates=between(begin, end),
    )


async def send_evenly(ground: Ground, topic: str, count: int, per_second: float) -> Mapping[str, float]:
    """Send so many orders at this pace; when each was handed to the producer."""
    sent_at: dict[str, float] = {}
    async with producing(ground.connection, acks="all") as producer:
        begin = time.perf_counter()
        for number in range(count):
            ahead = begin + number / per_second - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            sent_at[order_id(number)] = time.perf_counter()
            await producer.send(topic, order(number), key=order_id(number).encode())
        await producer.flush()
    return sent_at


def waited(sent_at: Mapping[str, float], arrived_at: Mapping[str, float], *, first: int) -> list[float]:
    """Seconds from sent to arrived, of all orders but the first ones."""
    return [arrived_at[order] - moment for order, moment in list(sent_at.items())[first:]]
