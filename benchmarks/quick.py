"""A few orders, each of which is awaited: shows that the benchmarks work and the results agree.

Too short to measure anything; what it counts is exact.
"""

from __future__ import annotations

from benchmarks.contenders import ADAPTER, running
from benchmarks.ground import Ground
from benchmarks.reporting import Aim, Report

_DELAY_MS = 10
_IN_FLIGHT = 64


async def measure(ground: Ground, orders: int) -> Report:
    """Have the adapter submit every order. Raises SubjectFailedError, ResultsDisagreeError."""
    await ground.have_orders(orders)
    async with running(ground, ADAPTER, delay_ms=_DELAY_MS, in_flight=_IN_FLIGHT) as run:
        begin = await run.moment()
        await run.submitted(ground.orders)
        end = await run.moment()
        results = await run.finish()
    once = len(results.numbers) == ground.orders == run.arrivals.count
    return Report(
        title="A quick look",
        rows=[
            {
                "orders": ground.orders,
                "Issue calls": len(results.numbers),
                "submitted events": run.arrivals.count,
                "seconds": end.at - begin.at,
                "CPU seconds": end.cpu - begin.cpu,
            }
        ],
        aims=[Aim(what="each order issued once and published once", measured=f"{ground.orders:,} orders", met=once)],
    )
