"""One run of one contender over a backlog of orders: how fast it goes, and what it uses.

Measured in the steady part, from the moment 10 % of the run's orders are committed as submitted to the moment 90 % are,
while more orders lie behind. Afterwards the books are compared.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import subjects
from benchmarks.arrivals import Arrivals
from benchmarks.ground import Ground
from benchmarks.measuring import Moment, Rates, between
from benchmarks.orders import trade_no_of
from benchmarks.processes import cpu_seconds
from benchmarks.stub import Stub, StubBooks
from benchmarks.subjects import ADAPTER, PROFILED, Subject, SubjectFailedError

PATIENCE_SECONDS = 60.0
SPARE_ORDERS = 1.3
"""So many times the orders of a run lie in the topic, so that it does not run dry before the last one."""
_BEGIN, _END = 0.1, 0.9


class BooksDisagreeError(Exception):
    """A contender that promises exactly-once did not keep it; what it measured is worth nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a contender is put to: `orders` are waited for, the stub answers after `delay_ms`."""

    delay_ms: int
    in_flight: int
    orders: int

    @property
    def delay_seconds(self) -> float:
        """The stub's delay."""
        return self.delay_ms / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What came of a run; memory in MiB, the highest seen in the steady part."""

    rates: Rates
    resident_mib: float


async def adapter_run(
    ground: Ground,
    load: Load,
    *,
    command: Sequence[str] = ADAPTER,
    profile: Path | None = None,
    spare: float = SPARE_ORDERS,
) -> Throughput:
    """Run the adapter (or a variant of it, by its command) under this load.

    `spare`: so many times the run's orders are in the topic; 1 when every single one is to be waited for. `profile`:
    the file that a profile of the steady part is written to. Raises SubjectFailedError, BooksDisagreeError.
    """
    await ground.have_orders(round(spare * load.orders))
    with Stub(delay_seconds=load.delay_seconds) as stub:
        given = await ground.settings(adapter_values(stub.base_url, load))
        subject = subjects.adapter(ground, given, command=PROFILED if profile else command, profile=profile)
        arrivals = Arrivals(ground.connection, given["topics.issuances"])
        result, books = await _measured(ground, load, stub, subject, arrivals, profiled=profile is not None)
        disagreements = disagreeing(arrivals, books)
        if disagreements:
            raise BooksDisagreeError("; ".join(disagreements))
        await ground.remove_topics(given)
    return result


async def plain_run(ground: Ground, load: Load, way: str) -> Throughput:
    """Run the plain loop under this load. Raises SubjectFailedError."""
    await ground.have_orders(round(SPARE_ORDERS * load.orders))
    with Stub(delay_seconds=load.delay_seconds) as stub:
        given = await ground.settings(adapter_values(stub.base_url, load))
        options = {
            "bootstrap_servers": ground.connection.bootstrap_servers,
            "group": given["kafka.group_prefix"],
            "orders": ground.orders_topic,
            "issuances": given["topics.issuances"],
            "base_url": stub.base_url,
            "in_flight": load.in_flight,
            "way": way,
        }
        arrivals = Arrivals(ground.connection, given["topics.issuances"])
        result, _ = await _measured(ground, load, stub, subjects.plain_loop(ground, options), arrivals)
        await ground.remove_topics(given)
    return result


def adapter_values(base_url: str, load: Load) -> dict[str, str]:
    """The settings that differ from the defaults: no pace, and as many in flight as asked for."""
    return {
        "provider.environment": "custom",
        "provider.base_url": base_url,
        "provider.max_calls_per_second": "0",
        "provider.max_concurrent_calls": str(max(256, load.in_flight)),
        "submit.concurrency": str(load.in_flight),
    }


async def _measured(
    ground: Ground,
    load: Load,
    stub: Stub,
    contender: AbstractAsyncContextManager[Subject],
    arrivals: Arrivals,
    *,
    profiled: bool = False,
) -> tuple[Throughput, StubBooks]:
    async with arrivals, contender as subject:
        await subject.until_ready()
        begin = await _moment_at(round(_BEGIN * load.orders), ground, stub, subject, arrivals)
        if profiled:
            subject.tell(signal.SIGUSR1)
        async with MemoryWatch(subject) as memory:
            end = await _moment_at(round(_END * load.orders), ground, stub, subject, arrivals)
        if profiled:
            subject.tell(signal.SIGUSR2)
        await _arrived(load.orders, subject, arrivals)
        await subject.stop()
        books = await asyncio.to_thread(stub.books)
        if subject.admin is not None:
            await arrivals.until(len(books.numbers), patience=10, alive=_nothing)
    return Throughput(rates=between(begin, end), resident_mib=memory.highest), books


class MemoryWatch:
    """Looks at a subject's memory now and then; `seen` holds moments and MiB."""

    def __init__(self, subject: Subject, *, every_seconds: float = 0.25) -> None:
        self.seen: list[tuple[float, float]] = []
        self._subject = subject
        self._every = every_seconds

    @property
    def highest(self) -> float:
        """The most that was seen."""
        return max(mib for _, mib in self.seen)

    async def __aenter__(self) -> Self:
        self._look()
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._look()

    def _look(self) -> None:
        self.seen.append((time.perf_counter(), self._subject.resident_mib()))


async def _moment_at(count: int, ground: Ground, stub: Stub, subject: Subject, arrivals: Arrivals) -> Moment:
    """What the counters say when so many orders have been submitted."""
    await _arrived(count, subject, arrivals)
    metrics = await subject.metrics()
    stub_cpu = stub.cpu_seconds()
    return Moment(
        at=time.perf_counter(),
        submitted=arrivals.count,
        cpu=subject.cpu_seconds(),
        others_cpu=stub_cpu + ground.broker_cpu_seconds() + cpu_seconds(os.getpid()),
        stub_cpu=stub_cpu,
        transactions=metrics("ecticket_flush_seconds_count", stage="submit"),
        transaction_seconds=metrics("ecticket_flush_seconds_sum", stage="submit"),
    )


async def _arrived(count: int, subject: Subject, arrivals: Arrivals) -> None:
    if not await arrivals.until(count, patience=PATIENCE_SECONDS, alive=subject.must_run):
        raise SubjectFailedError(
            f"after {arrivals.count} of {count} orders nothing more was submitted for {PATIENCE_SECONDS:.0f} s; "
            f"see {subject.log}"
        )


def disagreeing(arrivals: Arrivals, books: StubBooks) -> list[str]:
    """What is not as exactly-once has it: each order issued once and told once, and nothing else told."""
    told, issued = arrivals.submitted, Counter(books.numbers)
    wrong = {
        "orders were issued more than once": [number for number, times in issued.items() if times > 1],
        "orders were told more than once": [order for order, times in told.items() if times > 1],
        "orders were issued and not told": issued.keys() - {trade_no_of(order) for order in told},
        "orders were told and not issued": {trade_no_of(order) for order in told} - issued.keys(),
        "calls were no Issue calls": [None] * books.refused,
        "kinds of events came beside submitted": list(arrivals.others),
    }
    return [f"{len(found)} {what}" for what, found in wrong.items() if found]


def _nothing() -> None:
    """Nobody is asked whether it is alive: it was stopped."""
