"""What an order costs the whole adapter: calls, CPU, memory and bytes on the topics, for docs/operations/sizing.md.

The whole adapter, `run`, beside a sandbox, from the order to its `issued` event. Orders come at several rates, because
a busy process commits more of them at once and needs less CPU time for each. Under the default pace of calls
(`provider.max_calls_per_second`), more orders come than one process carries.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from rich.console import Console

from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.kafka.reader import read_to_end
from benchmarks import subjects
from benchmarks.added_latency import send_evenly
from benchmarks.arrivals import Arrivals
from benchmarks.contenders import PATIENCE_SECONDS, ResultsDisagreeError
from benchmarks.ground import Ground
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.sinks import ISSUED
from benchmarks.subjects import SubjectFailedError
from benchmarks.throughput import MemoryWatch

SECONDS = 15.0
"""How long orders come."""
RATES = (12.0, 25.0, 50.0, 100.0)
"""Orders a second that come while calls are not limited."""
BURST = 100.0
"""Orders a second that come while calls are limited: more than a process carries."""
PACE = 50.0
"""The default of `provider.max_calls_per_second`."""
SHORT, LONG = 0.5, 3.0
"""Seconds that jobs last: about one query for each issuance, and about three."""
_QUERY_SECONDS = 1.0
_TOLERANCE = 1.1
"""The first second of a pace may have a burst."""
_COMMAND = ("-m", "adapter", "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """So many orders at this pace, and what limits the calls (0: nothing)."""

    orders: int
    orders_per_second: float
    calls_per_second: float = 0
    job_seconds: float = SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the orders of a load took, from the first one sent to the last one issued."""

    calls_per_order: float
    orders_per_second: float
    cpu_per_1000: float
    core_share: float
    mib: float
    bytes_per_order: float


async def measure(ground: Ground, console: Console, *, seconds: float = SECONDS) -> Report:
    """Measure each load. Raises SubjectFailedError, ResultsDisagreeError."""
    rows: list[dict[str, Cell]] = []
    paced: list[Cost] = []
    for load in _loads(seconds):
        console.print(f"sizing: {load.orders:,} orders, jobs of {load.job_seconds:g} s", style="dim", highlight=False)
        cost = await cost_of(ground, load)
        paced += [cost] if load.calls_per_second else []
        rows.append(
            {
                "orders/s sent": load.orders_per_second,
                "calls/s allowed": load.calls_per_second or "unlimited",
                "orders/s": cost.orders_per_second,
                "calls per order": cost.calls_per_order,
                "CPU s per 1,000": cost.cpu_per_1000,
                "of a core": cost.core_share,
                "MiB": cost.mib,
                "bytes per order": cost.bytes_per_order,
            }
        )
    calls = [each.orders_per_second * each.calls_per_order for each in paced]
    return Report(
        title="What an order costs one process, from the order to issued",
        rows=rows,
        aims=[
            Aim(
                what=f"a process makes at most {PACE:.0f} calls a second",
                measured=", ".join(f"{each:.0f}" for each in calls),
                met=max(calls) <= PACE * _TOLERANCE,
            )
        ],
    )


def _loads(seconds: float) -> Sequence[Load]:
    def orders(per_second: float) -> int:
        return max(1, round(per_second * seconds))

    return (
        *(Load(orders=orders(rate), orders_per_second=rate) for rate in RATES),
        Load(orders=orders(RATES[-1]), orders_per_second=RATES[-1], job_seconds=LONG),
        *(
            Load(orders=orders(PACE / 2), orders_per_second=BURST, calls_per_second=PACE, job_seconds=job_seconds)
            for job_seconds in (SHORT, LONG)
        ),
    )


async def cost_of(ground: Ground, load: Load) -> Cost:
    """Send the orders and wait until all are issued. Raises SubjectFailedError, ResultsDisagreeError."""
    async with RunningSandbox(SandboxSettings(port=0, job_seconds=load.job_seconds)) as sandbox:
        given = await ground.settings(_values(sandbox.base_url, load), own_orders=True)
        arrivals = Arrivals(ground.connection, given["topics.issuances"], counted=ISSUED, at_most_every=0.1)
        async with arrivals, subjects.adapter(ground, given, command=_COMMAND) as subject:
            await subject.until_ready()
            cpu, began = subject.cpu_seconds(), time.perf_counter()
            async with MemoryWatch(subject) as memory:
                await send_evenly(ground, given["topics.orders_paid"], load.orders, load.orders_per_second)
                if not await arrivals.until(load.orders, patience=PATIENCE_SECONDS, alive=subject.must_run):
                    raise SubjectFailedError(
                        f"only {arrivals.count} of {load.orders} orders were issued; {subject.last_lines()}"
                    )
            seconds, cpu = time.perf_counter() - began, subject.cpu_seconds() - cpu
            calls = (await subject.metrics())("ecticket_provider_requests_total")
            await subject.stop()
        if len(sandbox.order_store) != load.orders:
            raise ResultsDisagreeError(f"{len(sandbox.order_store)} issuances are at the sandbox and not {load.orders}")
        size = await _bytes_on_topics(ground, given)
        await ground.remove_topics(given)
    return Cost(
        calls_per_order=calls / load.orders,
        orders_per_second=load.orders / seconds,
        cpu_per_1000=1000 * cpu / load.orders,
        core_share=cpu / seconds,
        mib=memory.highest,
        bytes_per_order=size / load.orders,
    )


async def _bytes_on_topics(ground: Ground, given: Mapping[str, str]) -> int:
    """Keys, values and headers of all records, without compression and without the framing of batches."""
    topics = [name for key, name in given.items() if key.startswith("topics.")]
    size = 0
    async with aclosing(read_to_end(ground.connection, topics)) as records:
        async for record in records:
            headers = sum(len(name) + len(value or b"") for name, value in record.headers)
            size += len(record.key or b"") + len(record.value or b"") + headers
    return size


def _values(base_url: str, load: Load) -> dict[str, str]:
    return {
        "provider.environment": "custom",
        "provider.base_url": base_url,
        "provider.max_calls_per_second": str(load.calls_per_second),
        "confirm.first_query_seconds": str(_QUERY_SECONDS),
        "confirm.query_interval_seconds": str(_QUERY_SECONDS),
        "callbacks.enabled": "false",
    }
