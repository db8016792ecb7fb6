"""One run of one contender over a backlog of orders: how fast it goes, and what it uses.

Measured in the steady part. It begins when as many orders are committed as submitted as the contender can have in hand,
because until then it works on orders whose end is not counted; and it ends while as many still lie behind.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.contenders import PROFILED, Contender, running
from benchmarks.ground import Ground
from benchmarks.measuring import Rates, between
from benchmarks.subjects import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load of a run: the stub answers after `delay_ms`; `warm_up` orders go by before `orders` count."""

    delay_ms: int
    in_flight: int
    warm_up: int
    orders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """The result of a run; memory in MiB, the highest seen in the steady part."""

    rates: Rates
    resident_mib: float


async def throughput(ground: Ground, contender: Contender, load: Load) -> Throughput:
    """Run a contender under this load. Raises SubjectFailedError, ResultsDisagreeError."""
    await ground.have_orders(2 * load.warm_up + load.orders)
    async with running(ground, contender, delay_ms=load.delay_ms, in_flight=load.in_flight) as run:
        await run.submitted(load.warm_up)
        begin = await run.moment()
        async with MemoryWatch(run.subject) as memory:
            await run.submitted(begin.submitted + load.orders)
            end = await run.moment()
        await run.finish()
    return Throughput(rates=between(begin, end), resident_mib=memory.highest)


async def profile(ground: Ground, load: Load, file: Path) -> None:
    """Run the adapter under the sampling profiler; `file` gets the stacks of the steady part."""
    await ground.have_orders(2 * load.warm_up + load.orders)
    async with running(ground, PROFILED, delay_ms=load.delay_ms, in_flight=load.in_flight, profile=file) as run:
        await run.submitted(load.warm_up)
        run.subject.send_signal(signal.SIGUSR1)
        await run.submitted(run.arrivals.count + load.orders)
        run.subject.send_signal(signal.SIGUSR2)
        await run.finish()


class MemoryWatch:
    """Samples a subject's memory; `seen` holds moments (seconds) and MiB."""

    def __init__(self, subject: Subject, *, every_seconds: float = 0.25) -> None:
        self.seen: list[tuple[float, float]] = []
        self._subject = subject
        self._every = every_seconds

    @property
    def highest(self) -> float:
        """The largest sample."""
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
