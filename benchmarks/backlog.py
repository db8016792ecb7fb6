"""A backlog of a million orders: does the unread part cost memory?

The adapter works through the first orders twice, once with little behind them and once with everything; at the same
counts of submitted orders the memory is compared. A straight line through the second run's memory says what it would
come to at the backlog's end.
"""

from __future__ import annotations

import time

from rich.console import Console

from benchmarks.contenders import ADAPTER, running
from benchmarks.ground import Ground
from benchmarks.measuring import slope
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.submit import AIM_AT

COUNT = 1_000_000
WORKED = 30_000
LITTLE = 60_000
"""The small backlog has so many at least: enough to fill what the Kafka client fetches ahead of each partition."""
MOST_DIFFERENCE = 0.05
_POINTS = 10


async def measure(ground: Ground, console: Console, *, count: int = COUNT, worked: int = WORKED) -> Report:
    """Compare a backlog of little more than `worked` with one of `count`. Raises SubjectFailedError."""
    little = max(2 * worked, LITTLE)
    console.print(f"backlog: {worked:,} of {little:,} orders", style="dim")
    before = await _memory(ground, little, worked)
    console.print(f"backlog: writing {count:,} orders", style="dim")
    began = time.perf_counter()
    written = max(count - ground.orders, 0)
    await ground.have_orders(count)
    seconds = time.perf_counter() - began
    console.print(f"backlog: {worked:,} of {count:,} orders", style="dim")
    after = await _memory(ground, count, worked)
    rows: list[dict[str, Cell]] = [
        {"submitted": submitted, f"MiB, {little:,} behind": small, f"MiB, {count:,} behind": large}
        for (submitted, small), (_, large) in zip(before, after, strict=True)
    ]
    per_order = slope([(submitted, mib) for submitted, mib in after[_POINTS // 2 :]])
    return Report(
        title=f"A backlog of {count:,} orders",
        rows=rows,
        aims=[_aim(before[-1][1], after[-1][1], count)],
        notes=[
            f"Writing {written:,} orders took {seconds:.0f} s.",
            f"Second half of the run: {10_000 * per_order:+.2f} MiB per 10,000 orders submitted.",
        ],
    )


async def _memory(ground: Ground, count: int, worked: int) -> list[tuple[int, float]]:
    """Submitted orders, and memory in MiB then, at even steps."""
    await ground.have_orders(count)
    seen = []
    async with running(ground, ADAPTER, delay_ms=0, in_flight=AIM_AT[1]) as run:
        for step in range(1, _POINTS + 1):
            await run.submitted(step * worked // _POINTS)
            seen.append((step * worked // _POINTS, run.subject.resident_mib()))
        await run.finish()
    return seen


def _aim(small: float, large: float, count: int) -> Aim:
    difference = large / small - 1
    return Aim(
        what=f"memory is the same with {count:,} orders behind (within {MOST_DIFFERENCE:.0%})",
        measured=f"{small:.0f} and {large:.0f} MiB, {difference:+.1%}",
        met=difference <= MOST_DIFFERENCE,
    )
