"""What an order costs at a shop's own pace, from paid to issued: CPU time, transactions, queries, latency.

The whole adapter, `run`, beside a sandbox. A saturated process shares each transaction and each turn of its event loop
among many orders; at a few orders a second every order pays for its own.

Jobs at the sandbox last four times `confirm.first_query_seconds`, as a job of two minutes does at the default of 30 s.
The adapter learns that within a few of them, and is measured afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import SandboxSettings
from benchmarks import subjects
from benchmarks.added_latency import send_evenly, waited
from benchmarks.arrivals import SUBMITTED, Arrivals
from benchmarks.builds import Build
from benchmarks.contenders import ResultsDisagreeError, until_arrived
from benchmarks.costs import Cost
from benchmarks.ground import Ground
from benchmarks.measuring import percentile
from benchmarks.sinks import ISSUED
from benchmarks.subjects import Subject
from benchmarks.throughput import MemoryWatch

RATES = (1.0, 10.0, 50.0, 100.0)
"""Orders a second."""
FIRST_QUERY_SECONDS = 0.5
JOB_SECONDS = 4 * FIRST_QUERY_SECONDS
WARM_UP_SECONDS = 6 * JOB_SECONDS
"""Orders of so long are not measured: the first jobs are queried too early, because their time is not known yet."""
_COMMAND = ("-m", "adapter", "run")
_TRANSACTIONS = "ecticket_transaction_duration_seconds_count"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counters:
    at: float
    submitted: int
    issued: int
    cpu: float
    broker_cpu: float
    submit_transactions: float
    confirm_transactions: float
    queries: float


async def cost(ground: Ground, build: Build, *, rate: float, seconds: float, warm_up_seconds: float) -> Cost:
    """Measure orders that come evenly for so long, after a warm-up. Raises SubjectFailedError, ResultsDisagreeError."""
    warm_up = round(rate * warm_up_seconds)
    count = warm_up + max(1, round(rate * seconds))
    async with RunningSandbox(SandboxSettings(port=0, job_seconds=JOB_SECONDS)) as sandbox:
        given = await ground.settings(_values(sandbox.base_url), own_orders=True)
        topic = given["topics.issuances"]
        async with (
            Arrivals(ground.connection, topic, at_most_every=0) as submitted,
            Arrivals(ground.connection, topic, counted=ISSUED, at_most_every=0) as issued,
            subjects.adapter(ground, given, command=_COMMAND, build=build) as subject,
        ):
            await subject.until_ready()
            sending = asyncio.create_task(send_evenly(ground, given["topics.orders_paid"], count, rate))
            await asyncio.sleep(warm_up_seconds)
            begin = await _counters(ground, subject, submitted, issued)
            async with MemoryWatch(subject) as memory:
                sent_at = await sending
                end = await _counters(ground, subject, submitted, issued)
            for arrivals in (submitted, issued):
                await until_arrived(build.name, arrivals, count, subject)
            await subject.stop()
        if wrong := _disagreement(count, len(sandbox.order_store), submitted, issued):
            raise ResultsDisagreeError(wrong)
        await ground.remove_topics(given)
    to_submitted = _milliseconds(sent_at, submitted, warm_up)
    to_issued = _milliseconds(sent_at, issued, warm_up)
    orders = max(1, end.issued - begin.issued)
    return Cost(
        orders_per_second=orders / (end.at - begin.at),
        cpu=1000 * (end.cpu - begin.cpu) / orders,
        broker_cpu=1000 * (end.broker_cpu - begin.broker_cpu) / orders,
        mib=memory.highest,
        submit_transactions=(end.submit_transactions - begin.submit_transactions)
        / max(1, end.submitted - begin.submitted),
        confirm_transactions=(end.confirm_transactions - begin.confirm_transactions) / orders,
        queries=(end.queries - begin.queries) / orders,
        submitted_p50=percentile(to_submitted, 0.5),
        submitted_p99=percentile(to_submitted, 0.99),
        issued_p50=percentile(to_issued, 0.5),
        issued_p99=percentile(to_issued, 0.99),
    )


def _milliseconds(sent_at: Mapping[str, float], arrivals: Arrivals, first: int) -> list[float]:
    return [1000 * seconds for seconds in waited(sent_at, arrivals.arrived_at, first=first)]


def _disagreement(count: int, at_sandbox: int, submitted: Arrivals, issued: Arrivals) -> str | None:
    """What contradicts the promise: each order is issued once, and only `submitted` and `issued` are published."""
    published = (submitted.published.total(), len(submitted.published), issued.published.total(), len(issued.published))
    others = {name: number for name, number in issued.others.items() if name.encode() != SUBMITTED}
    if at_sandbox == count and published == (count,) * 4 and not others:
        return None
    return f"of {count} orders {at_sandbox} are at the sandbox, and events are {published}; others {others}"


async def _counters(ground: Ground, subject: Subject, submitted: Arrivals, issued: Arrivals) -> _Counters:
    metrics = await subject.metrics()
    return _Counters(
        at=time.perf_counter(),
        submitted=submitted.count,
        issued=issued.count,
        cpu=subject.cpu_seconds(),
        broker_cpu=ground.broker_cpu_seconds(),
        submit_transactions=metrics(_TRANSACTIONS, stage="submit"),
        confirm_transactions=metrics(_TRANSACTIONS, stage="confirm"),
        queries=metrics("ecticket_provider_requests_total", endpoint="query_issue_result"),
    )


def _values(base_url: str) -> dict[str, str]:
    return {
        "provider.environment": "custom",
        "provider.base_url": base_url,
        "provider.max_calls_per_second": "0",
        "confirm.first_query_seconds": str(FIRST_QUERY_SECONDS),
        "confirm.query_interval_seconds": str(FIRST_QUERY_SECONDS),
        "callbacks.enabled": "false",
    }
