"""One process on one core, and two processes on two cores: how many more orders two of them submit.

Both get the same orders and share the partitions of one consumer group. Each process has a core of its own. Broker,
stub and reader keep to the others: on a machine with two cores they share the core of the second process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.console import Console

from adapter.wiring import PARTITIONS
from benchmarks import subjects
from benchmarks.arrivals import Arrivals
from benchmarks.contenders import ADAPTER, refuse_disagreements, submit_values, until_arrived
from benchmarks.ground import Ground
from benchmarks.orders import produce
from benchmarks.processes import pin
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.stub import Stub
from benchmarks.subjects import START_SECONDS, Subject
from benchmarks.submit import AIM_AT, planned

PROCESSES = (1, 2)
_LAST_ONES_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the processes did together; CPU in seconds per 1,000 orders, `core_shares` of each process's core."""

    orders_per_second: float
    cpu: float
    broker_cpu: float
    core_shares: Sequence[float]


async def measure(ground: Ground, console: Console, *, seconds: float) -> Report:
    """Measure each number of processes. Raises SubjectFailedError, ResultsDisagreeError."""
    delay_ms, in_flight = AIM_AT
    load = planned(ADAPTER, delay_ms, in_flight, seconds)
    rows: list[dict[str, Cell]] = []
    found: list[Fleet] = []
    for processes in PROCESSES:
        console.print(f"fleet: {processes} processes", style="dim", highlight=False)
        warm_up, orders = processes * load.warm_up, processes * load.orders
        fleet = await together(ground, processes, warm_up=warm_up, orders=orders)
        found.append(fleet)
        rows.append(
            {
                "processes": processes,
                "orders/s": fleet.orders_per_second,
                "CPU": fleet.cpu,
                "broker": fleet.broker_cpu,
                "of their cores": ", ".join(f"{share:.0%}" for share in fleet.core_shares),
                "orders/s, times one": fleet.orders_per_second / found[0].orders_per_second,
            }
        )
    return Report(
        title=f"Processes of one group, {delay_ms} ms, {in_flight} in flight each",
        rows=rows,
        aims=[
            Aim(
                what="two processes submit more than one",
                measured=f"{found[-1].orders_per_second / found[0].orders_per_second:.2f} times",
                met=found[-1].orders_per_second > found[0].orders_per_second,
            )
        ],
        notes=["CPU and broker: CPU seconds per 1,000 orders."],
    )


async def together(ground: Ground, processes: int, *, warm_up: int, orders: int) -> Fleet:
    """Have so many processes submit the same orders. Raises SubjectFailedError, ResultsDisagreeError."""
    name, (delay_ms, in_flight) = f"{processes} processes", AIM_AT
    cores = sorted(ground.core | ground.others, reverse=True)
    async with AsyncExitStack() as stack:
        stub = stack.enter_context(Stub(delay_seconds=delay_ms / 1000))
        given = await ground.settings(submit_values(stub.base_url, in_flight), own_orders=True)
        arrivals = await stack.enter_async_context(Arrivals(ground.connection, given["topics.issuances"]))
        fleet: list[Subject] = []
        for number in range(processes):
            starting = subjects.adapter(ground, given, command=ADAPTER.command)
            fleet.append(await stack.enter_async_context(starting))
            pin(fleet[-1].process.pid, {cores[number % len(cores)]})
            await fleet[-1].until_ready()
        await _until_shared_out(fleet)
        count = 2 * warm_up + orders
        await produce(ground.connection, given["topics.orders_paid"], range(count), partitions=PARTITIONS)
        await until_arrived(name, arrivals, warm_up, *fleet)
        began, first, broker = time.perf_counter(), arrivals.count, ground.broker_cpu_seconds()
        cpu = [subject.cpu_seconds() for subject in fleet]
        await until_arrived(name, arrivals, warm_up + orders, *fleet)
        seconds, done = time.perf_counter() - began, arrivals.count - first
        broker = ground.broker_cpu_seconds() - broker
        used = [subject.cpu_seconds() - before for subject, before in zip(fleet, cpu, strict=True)]
        for subject in fleet:
            await subject.stop()
        results = await asyncio.to_thread(stub.results)
        await arrivals.until(len(results.numbers), patience=_LAST_ONES_SECONDS, alive=lambda: None)
        refuse_disagreements(name, arrivals, results)
    await ground.remove_topics(given)
    return Fleet(
        orders_per_second=done / seconds,
        cpu=1000 * sum(used) / done,
        broker_cpu=1000 * broker / done,
        core_shares=[each / seconds for each in used],
    )


async def _until_shared_out(fleet: Sequence[Subject]) -> None:
    """Wait until all processes have equally many partitions. Raises TimeoutError."""
    async with asyncio.timeout(START_SECONDS):
        while 0 in (counts := {await subject.partitions("submit") for subject in fleet}) or len(counts) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
