"""The effect on a merchant of another one whose ECTicket does not answer: real sockets, a real broker, one process.

Two merchants have the same number of orders a second on one topic. The stub answers the healthy one after a fixed delay
and never answers the other one, whose calls end by their time-out. Measured is the time from an order's sending to its
committed `submitted` event: with the healthy merchant alone, beside the other one, and beside it without bulkheads.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from rich.console import Console

from adapter.dev.producing import producing
from benchmarks import subjects
from benchmarks.arrivals import Arrivals
from benchmarks.contenders import ADAPTER, Contender
from benchmarks.ground import Ground
from benchmarks.measuring import percentile
from benchmarks.orders import order, order_id
from benchmarks.reporting import Aim, Report
from benchmarks.sealing import MERCHANT
from benchmarks.stub import Stub

SILENT = "2000132"
"""The merchant that gets no answers."""
DELAY_MS = 50
TIMEOUT_SECONDS = 3.0
IN_FLIGHT = 64
PER_SECOND = 50.0
"""Orders of each merchant: those of the silent one need 150 slots, and there are 64."""
MOST_ADDED_MS = 100.0
_WARM_UP = 0.3
_LAST_ONES_SECONDS = 10.0

WITHOUT = Contender(
    name="adapter without bulkheads", command=("-m", "benchmarks.without_bulkheads", "run", "--only", "submit")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run."""

    name: str
    contender: Contender
    silent: bool


CASES = (
    Case(name="alone", contender=ADAPTER, silent=False),
    Case(name="beside a silent one", contender=ADAPTER, silent=True),
    Case(name="the same without bulkheads", contender=WITHOUT, silent=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """The times of the healthy merchant's orders, in milliseconds, and how many arrived."""

    p50_ms: float
    p99_ms: float
    sent: int
    submitted: int
    """Up to ten seconds after the last one was sent."""


async def measure(ground: Ground, console: Console, *, seconds: float) -> Report:
    """Run all cases, one after another. Raises SubjectFailedError."""
    came: dict[str, Came] = {}
    for case in CASES:
        console.print(f"a healthy merchant, {case.name}: {seconds:.0f} s", style="dim", highlight=False)
        came[case.name] = await _run(ground, case, seconds)
    alone, beside = came["alone"], came["beside a silent one"]
    added = beside.p99_ms - alone.p99_ms
    return Report(
        title=f"A healthy merchant beside one whose calls time out after {TIMEOUT_SECONDS:g} s, {IN_FLIGHT} in flight",
        rows=[
            {
                "healthy merchant": name,
                "orders": each.sent,
                "submitted": each.submitted,
                "p50 ms": each.p50_ms,
                "p99 ms": each.p99_ms,
            }
            for name, each in came.items()
        ],
        aims=[
            Aim(
                what=f"a silent merchant adds less than {MOST_ADDED_MS:.0f} ms to one order in a hundred of another",
                measured=f"{added:,.0f} ms",
                met=added < MOST_ADDED_MS,
            ),
            Aim(
                what="every order of the healthy merchant is submitted",
                measured=f"{beside.submitted:,} of {beside.sent:,}",
                met=beside.submitted == beside.sent,
            ),
        ],
        notes=[
            f"{PER_SECOND:.0f} orders/s of each merchant on one topic; the stub answers after {DELAY_MS} ms or never."
        ],
    )


async def _run(ground: Ground, case: Case, seconds: float) -> Came:
    with Stub(delay_seconds=DELAY_MS / 1000, silent=SILENT) as stub:
        given = await ground.settings(_values(stub.base_url), own_orders=True)
        arrivals = Arrivals(ground.connection, given["topics.issuances"], at_most_every=0)
        starting = subjects.adapter(ground, given, command=case.contender.command)
        async with arrivals, starting as subject:
            await subject.until_ready()
            sent_at = await _send(ground, given["topics.orders_paid"], seconds, silent=case.silent)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_ONES_SECONDS):
                    while len(arrivals.arrived_at) < len(sent_at):  # they arrive one by one
                        subject.must_run()
                        await asyncio.sleep(0.05)
        await ground.remove_topics(given)
    now = time.perf_counter()
    measured = list(sent_at.items())[round(_WARM_UP * len(sent_at)) :]
    # An order that has not arrived has taken at least until now.
    times = [1000 * (arrivals.arrived_at.get(order, now) - at) for order, at in measured]
    return Came(
        p50_ms=percentile(times, 0.5),
        p99_ms=percentile(times, 0.99),
        sent=len(sent_at),
        submitted=len(arrivals.arrived_at),
    )


async def _send(ground: Ground, topic: str, seconds: float, *, silent: bool) -> dict[str, float]:
    """Send both merchants' orders evenly; when each of the healthy one's was handed to the producer."""
    sent_at: dict[str, float] = {}
    async with producing(ground.connection, acks="all") as producer:
        begin = time.perf_counter()
        for number in range(round(PER_SECOND * seconds)):
            await asyncio.sleep(max(0.0, begin + number / PER_SECOND - time.perf_counter()))
            healthy, other = order_id(2 * number), order_id(2 * number + 1)
            if silent:
                await producer.send(topic, order(2 * number + 1, merchant_id=SILENT), key=other.encode())
            sent_at[healthy] = time.perf_counter()
            await producer.send(topic, order(2 * number), key=healthy.encode())
        await producer.flush()
    return sent_at


def _values(base_url: str) -> dict[str, str]:
    return {
        "provider.environment": "custom",
        "provider.base_url": base_url,
        "provider.max_calls_per_second": "0",
        "provider.timeout_seconds": str(TIMEOUT_SECONDS),
        "submit.concurrency": str(IN_FLIGHT),
        f"merchants.{SILENT}.hash_key": MERCHANT.credentials.hash_key,
        f"merchants.{SILENT}.hash_iv": MERCHANT.credentials.hash_iv,
    }
