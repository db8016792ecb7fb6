"""The programs that can be measured, and one of them running with its own stub, topics and reader.

At the end the results are compared: the stub's answers, and the events on Kafka.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapter.stream.partition_manager import max_open_for
from adapter.wiring import PARTITIONS
from benchmarks import subjects
from benchmarks.arrivals import Arrivals
from benchmarks.builds import PRESENT, Build
from benchmarks.ground import Ground
from benchmarks.measuring import Moment
from benchmarks.orders import trade_no_of
from benchmarks.processes import cpu_seconds
from benchmarks.stub import Stub, StubResults
from benchmarks.subjects import Subject, SubjectFailedError

PATIENCE_SECONDS = 60.0
"""A run is given up if no event arrives for this long."""
_LAST_ONES_SECONDS = 10.0


class ResultsDisagreeError(Exception):
    """A contender that promises exactly-once did not keep it; its figures are worthless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """The adapter of a build, started by `command`; or the plain loop written in this `way`."""

    name: str
    command: tuple[str, ...] = ()
    way: str | None = None
    build: Build = PRESENT

    def in_hand(self, in_flight: int) -> int:
        """The most orders it can have consumed and not yet published: a run is steady only after more than these."""
        if self.way is None:
            return PARTITIONS * max_open_for(in_flight)
        return in_flight if self is GATHERED else 10


ADAPTER = Contender(name="adapter", command=("-m", "adapter", "run", "--only", "submit"))
PROFILED = Contender(name="adapter, profiled", command=("-m", "benchmarks.profiled", "run", "--only", "submit"))
UNRESERVED = Contender(
    name="adapter without reservations", command=("-m", "benchmarks.without_reservations", "run", "--only", "submit")
)
ONE_BY_ONE = Contender(name="plain, one by one", way="one by one")
GATHERED = Contender(name="plain, gathered", way="gathered")


@dataclass(slots=True, kw_only=True)
class Running:
    """A contender at work; `orders_topic` is where it takes its orders from."""

    ground: Ground
    contender: Contender
    subject: Subject
    stub: Stub
    arrivals: Arrivals
    orders_topic: str

    async def submitted(self, count: int) -> None:
        """Wait until so many orders have been submitted. Raises SubjectFailedError if no more arrive."""
        await until_arrived(self.contender.name, self.arrivals, count, self.subject)

    async def moment(self) -> Moment:
        """The present values of all counters."""
        metrics = await self.subject.metrics()
        stub_cpu, broker_cpu = self.stub.cpu_seconds(), self.ground.broker_cpu_seconds()
        return Moment(
            at=time.perf_counter(),
            submitted=self.arrivals.count,
            cpu=self.subject.cpu_seconds(),
            others_cpu=stub_cpu + broker_cpu + cpu_seconds(os.getpid()),
            stub_cpu=stub_cpu,
            broker_cpu=broker_cpu,
            transactions=metrics("ecticket_transaction_duration_seconds_count", stage="submit"),
            transaction_seconds=metrics("ecticket_transaction_duration_seconds_sum", stage="submit"),
        )

    async def finish(self) -> StubResults:
        """Stop it cleanly and compare the results. Raises SubjectFailedError, ResultsDisagreeError."""
        await self.subject.stop()
        results = await asyncio.to_thread(self.stub.results)
        if self.contender.way is None:
            await self.arrivals.until(len(results.numbers), patience=_LAST_ONES_SECONDS, alive=_nothing)
            refuse_disagreements(self.contender.name, self.arrivals, results)
        return results


async def until_arrived(name: str, arrivals: Arrivals, count: int, *subjects: Subject) -> None:
    """Wait until so many events have arrived. Raises SubjectFailedError if no more arrive or a subject ends."""

    def must_run() -> None:
        for subject in subjects:
            subject.must_run()

    if not await arrivals.until(count, patience=PATIENCE_SECONDS, alive=must_run):
        raise SubjectFailedError(
            f"{name}: after {arrivals.count} of {count} events nothing more arrived for {PATIENCE_SECONDS:.0f} s; "
            f"{subjects[0].last_lines()}"
        )


def refuse_disagreements(name: str, arrivals: Arrivals, results: StubResults) -> None:
    """Raises ResultsDisagreeError for `disagreements` of what was published and what the stub has issued."""
    if wrong := disagreements(arrivals.published, results, Counter(arrivals.others)):
        raise ResultsDisagreeError(f"{name}: {'; '.join(wrong)}")


@asynccontextmanager
async def running(
    ground: Ground,
    contender: Contender,
    *,
    delay_ms: int,
    in_flight: int,
    own_orders: bool = False,
    look_every: float = 0.02,
    profile: Path | None = None,
) -> AsyncIterator[Running]:
    """Start a contender on the ground's orders, or on its own empty topic, and wait until it is ready."""
    with Stub(delay_seconds=delay_ms / 1000) as stub:
        given = await ground.settings(submit_values(stub.base_url, in_flight), own_orders=own_orders)
        arrivals = Arrivals(ground.connection, given["topics.issuances"], at_most_every=look_every)
        starting = _starting(ground, contender, given, in_flight, profile)
        async with arrivals, starting as subject:
            await subject.until_ready()
            yield Running(
                ground=ground,
                contender=contender,
                subject=subject,
                stub=stub,
                arrivals=arrivals,
                orders_topic=given["topics.orders_paid"],
            )
        await ground.remove_topics(given)


def submit_values(base_url: str, in_flight: int) -> dict[str, str]:
    """The settings that differ from the defaults: no pace, and as many in flight as asked for."""
    return {
        "provider.environment": "custom",
        "provider.base_url": base_url,
        "provider.max_calls_per_second": "0",
        "provider.max_concurrent_calls": str(max(256, in_flight)),
        "submit.concurrency": str(in_flight),
    }


def _starting(
    ground: Ground, contender: Contender, given: dict[str, str], in_flight: int, profile: Path | None
) -> AbstractAsyncContextManager[Subject]:
    if contender.way is None:
        return subjects.adapter(ground, given, command=contender.command, profile=profile, build=contender.build)
    options = {
        "bootstrap_servers": ground.connection.bootstrap_servers,
        "group": given["kafka.group_prefix"],
        "orders": given["topics.orders_paid"],
        "issuances": given["topics.issuances"],
        "base_url": given["provider.base_url"],
        "in_flight": in_flight,
        "way": contender.way,
    }
    return subjects.plain_loop(ground, options)


def disagreements(submitted: Counter[str], results: StubResults, others: Counter[str]) -> list[str]:
    """The violations of exactly-once: each order is issued once and published once, and nothing else is published.

    `submitted` counts the events by order, `others` those of other types.
    """
    published, issued = {trade_no_of(order) for order in submitted}, Counter(results.numbers)
    wrong = {
        "orders were issued more than once": sum(times > 1 for times in issued.values()),
        "orders were published more than once": sum(times > 1 for times in submitted.values()),
        "orders were issued and not published": len(issued.keys() - published),
        "orders were published and not issued": len(published - issued.keys()),
        "calls were no Issue calls": results.refused,
        "events were no submitted ones": others.total(),
    }
    return [f"{count} {what}" for what, count in wrong.items() if count]


def _nothing() -> None:
    """No check of the process: it was stopped."""
