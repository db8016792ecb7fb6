"""From Kafka to `submitted` on Kafka: the adapter beside the plain loop, in one run, under the same loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.capacity import stub_alone
from benchmarks.ground import Ground
from benchmarks.plain_loop import GATHERED, ONE_BY_ONE
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.throughput import Load, Throughput, adapter_run, plain_run

AIM_AT = (50, 256)
"""Milliseconds of delay and orders in flight for which there are aims."""
LEAST_ORDERS_PER_SECOND = 1000
MOST_CPU_PER_1000 = 0.6
LEAST_RATIO = 5

_EXPECTED = {"adapter": 1000.0, GATHERED: 150.0, ONE_BY_ONE: 150.0}
"""Orders a second that are taken for possible when the length of a run is chosen."""
_LEAST_ROUNDS = 6
"""A run has at least so many times the orders in flight."""


def planned(contender: str, delay_ms: int, in_flight: int, seconds: float) -> Load:
    """A load that keeps the contender busy for about so long."""
    at_once = 1 if contender == ONE_BY_ONE else in_flight
    by_delay = at_once / (delay_ms / 1000) if delay_ms else float("inf")
    orders = max(seconds * min(_EXPECTED[contender], by_delay), _LEAST_ROUNDS * at_once)
    return Load(delay_ms=delay_ms, in_flight=in_flight, orders=round(orders))


async def measure(
    ground: Ground, delays: Sequence[int], in_flights: Sequence[int], *, seconds: float, plain: bool, console: Console
) -> Report:
    """Run every contender under every load, one after another."""
    alone = await stub_alone(ground)
    rows: list[dict[str, Cell]] = []
    aims: list[Aim] = []
    for delay_ms in delays:
        loop = (
            await _plain(ground, planned(ONE_BY_ONE, delay_ms, 1, seconds), ONE_BY_ONE, rows, console)
            if plain
            else None
        )
        for in_flight in in_flights:
            load = planned("adapter", delay_ms, in_flight, seconds)
            console.print(f"adapter, {delay_ms} ms, {in_flight} in flight, {load.orders:,} orders", style="dim")
            ours = await adapter_run(ground, load)
            theirs = None
            if plain:
                theirs = await _plain(ground, planned(GATHERED, delay_ms, in_flight, seconds), GATHERED, rows, console)
            rows.append(_row("adapter", load, ours, theirs, loop))
            if (delay_ms, in_flight) == AIM_AT:
                aims += _aims(ours, theirs)
    return Report(
        title="From Kafka to submitted on Kafka, one process on one core", rows=rows, aims=aims, notes=[alone]
    )


async def profile(ground: Ground, delay_ms: int, in_flight: int, *, seconds: float, file: Path) -> None:
    """Run the adapter once under the sampling profiler, which writes `file`."""
    await adapter_run(ground, planned("adapter", delay_ms, in_flight, seconds), profile=file)


async def _plain(ground: Ground, load: Load, way: str, rows: list[dict[str, Cell]], console: Console) -> Throughput:
    console.print(
        f"plain loop, {way}, {load.delay_ms} ms, {load.in_flight} in flight, {load.orders:,} orders", style="dim"
    )
    came = await plain_run(ground, load, way)
    rows.append(_row(f"plain, {way}", load, came))
    return came


def _row(
    name: str, load: Load, came: Throughput, gathered: Throughput | None = None, loop: Throughput | None = None
) -> dict[str, Cell]:
    rates = came.rates
    return {
        "contender": name,
        "delay ms": load.delay_ms,
        "in flight": load.in_flight,
        "orders": rates.orders,
        "orders/s": rates.orders_per_second,
        "CPU s/1,000": rates.cpu_per_1000,
        "of its core": rates.core_share,
        "beside it": rates.others_share,
        "MiB": came.resident_mib,
        "transactions/s": rates.transactions_per_second or None,
        "s each": rates.transaction_seconds,
        "x gathered": _ratio(came, gathered),
        "x one by one": _ratio(came, loop),
    }


def _ratio(ours: Throughput, theirs: Throughput | None) -> float | None:
    return ours.rates.orders_per_second / theirs.rates.orders_per_second if theirs else None


def _aims(ours: Throughput, gathered: Throughput | None) -> list[Aim]:
    rates, at = ours.rates, "at {} ms and {} in flight".format(*AIM_AT)
    aims = [
        Aim(
            what=f"{LEAST_ORDERS_PER_SECOND:,} orders/s or more on one core {at}",
            measured=f"{rates.orders_per_second:,.0f}, with {rates.core_share:.0%} of the core",
            met=rates.orders_per_second >= LEAST_ORDERS_PER_SECOND,
        ),
        Aim(
            what=f"at most {MOST_CPU_PER_1000} CPU seconds per 1,000 orders {at}",
            measured=f"{rates.cpu_per_1000:.2f}",
            met=rates.cpu_per_1000 <= MOST_CPU_PER_1000,
        ),
    ]
    ratio = _ratio(ours, gathered)
    if ratio is not None:
        measured, met = f"{ratio:.1f} times the gathered one", ratio >= LEAST_RATIO
        aims.append(Aim(what=f"{LEAST_RATIO} times the plain loop's throughput {at}", measured=measured, met=met))
    return aims
