"""What reservations cost: the adapter as it is against `without_reservations`, in turns, pair by pair.

The load changes nothing between the two, and the machine little, so the ratio within a pair counts; the median over all
pairs is the answer, and the spread shows how reliable it is.
"""

from __future__ import annotations

from statistics import median

from rich.console import Console

from benchmarks.contenders import ADAPTER, UNRESERVED
from benchmarks.ground import Ground
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.submit import AIM_AT, planned
from benchmarks.throughput import throughput

MOST_COST = 0.02


async def measure(ground: Ground, console: Console, *, seconds: float, pairs: int) -> Report:
    """Run so many pairs. Raises SubjectFailedError, ResultsDisagreeError."""
    rows: list[dict[str, Cell]] = []
    in_cpu, in_speed = [], []
    load = planned(ADAPTER, *AIM_AT, seconds)
    for pair in range(1, pairs + 1):
        console.print(f"reservations: pair {pair} of {pairs}, {load.orders:,} orders each", style="dim")
        # Who is first changes from pair to pair, so that a machine that gets slower or faster favours neither.
        order = (ADAPTER, UNRESERVED) if pair % 2 else (UNRESERVED, ADAPTER)
        came = {contender: (await throughput(ground, contender, load)).rates for contender in order}
        reserving, free = came[ADAPTER], came[UNRESERVED]
        in_cpu.append(reserving.cpu_per_1000 / free.cpu_per_1000 - 1)
        in_speed.append(1 - reserving.orders_per_second / free.orders_per_second)
        rows.append(
            {
                "pair": pair,
                "CPU s/1,000 with": reserving.cpu_per_1000,
                "without": free.cpu_per_1000,
                "orders/s with": reserving.orders_per_second,
                "without ": free.orders_per_second,
                "transactions/s with": reserving.transactions_per_second,
                "without  ": free.transactions_per_second,
                "cost in CPU": f"{in_cpu[-1]:+.1%}",
                "cost in orders/s": f"{in_speed[-1]:+.1%}",
            }
        )
    title = "Cost of reservations, at {} ms and {} in flight".format(*AIM_AT)
    unsure = max(in_cpu) - min(in_cpu) > MOST_COST
    notes = ["The pairs differ by more than the aim: measure on a quiet machine, or more pairs."] if unsure else []
    return Report(title=title, rows=rows, aims=[_aim(in_cpu, in_speed)], notes=notes)


def _aim(in_cpu: list[float], in_speed: list[float]) -> Aim:
    return Aim(
        what=f"reservations cost less than {MOST_COST:.0%} of CPU (median over the pairs)",
        measured=f"{_spread(in_cpu)} of CPU, {_spread(in_speed)} of orders/s",
        met=median(in_cpu) < MOST_COST,
    )


def _spread(costs: list[float]) -> str:
    return f"{median(costs):+.1%} ({min(costs):+.1%} to {max(costs):+.1%})"
