"""What an order costs at a shop's own pace, from paid to issued: CPU time, transactions, queries, latency.

The whole adapter, `run`, beside a sandbox. A saturated process shares each transaction and each turn of its event loop
among many orders; at a few orders a second every order pays for its own. With `before`, the adapter of another checkout
is measured too, in turns with this one, so that both see the same machine.

Jobs at the sandbox last four times `confirm.first_query_seconds`, as a job of two minutes does at the default of 30 s.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import SandboxSettings
from benchmarks import subjects
from benchmarks.added_latency import send_evenly
from benchmarks.arrivals import SUBMITTED, Arrivals
from benchmarks.contenders import PATIENCE_SECONDS, ResultsDisagreeError
from benchmarks.ground import Ground
from benchmarks.measuring import percentile
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.sinks import ISSUED
from benchmarks.subjects import ROOT, Subject, SubjectFailedError

RATES = (1.0, 10.0, 50.0, 100.0)
"""Orders a second."""
SECONDS = 30.0
"""How long orders come."""
ROUNDS = 1
FIRST_QUERY_SECONDS = 0.5
JOB_SECONDS = 4 * FIRST_QUERY_SECONDS
SAVED = 0.35
"""The share of CPU time that the present adapter saves at the rates in `SAVED_AT`, compared with `before`."""
SAVED_AT = (50.0, 100.0)
_WARM_UP = 0.25
"""This share of the time is not measured."""
_COMMAND = ("-m", "adapter", "run")
_TRANSACTIONS = "ecticket_transaction_duration_seconds_count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of orders at one rate: CPU in seconds per 1,000 orders, the rest per order; latencies in ms."""

    cpu: float
    broker_cpu: float
    submit_transactions: float
    confirm_transactions: float
    queries: float
    submitted_p50: float
    submitted_p99: float
    issued_p50: float
    issued_p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counters:
    submitted: int
    issued: int
    cpu: float
    broker_cpu: float
    submit_transactions: float
    confirm_transactions: float
    queries: float


async def measure(
    ground: Ground,
    console: Console,
    *,
    rates: Sequence[float] = RATES,
    seconds: float = SECONDS,
    rounds: int = ROUNDS,
    before: Path | None = None,
    changes: Mapping[str, str] | None = None,
) -> Report:
    """Measure each rate in so many rounds; medians count. `changes` are settings of the present adapter.

    Raises SubjectFailedError, ResultsDisagreeError.
    """
    checkouts = {"now": ROOT} if before is None else {"before": before, "now": ROOT}
    found: dict[tuple[float, str], list[Cost]] = {(rate, name): [] for rate in rates for name in checkouts}
    for turn in range(rounds):
        for rate in rates:
            for name, checkout in checkouts.items():
                cost = await _cost(ground, rate, seconds, checkout, (changes or {}) if checkout == ROOT else {})
                found[rate, name].append(cost)
                console.print(
                    f"paced: round {turn + 1}, {rate:g} orders/s, {name}: {cost.cpu:.2f} CPU s per 1,000, "
                    f"{cost.queries:.2f} queries an order",
                    style="dim",
                    highlight=False,
                )
    medians = {key: _median(costs) for key, costs in found.items()}
    return Report(
        title="What an order costs at a shop's own pace, from paid to issued",
        rows=[_row(rate, name, cost) for (rate, name), cost in medians.items()],
        aims=_aims(medians),
        notes=[
            f"Jobs of {JOB_SECONDS:g} s, first query after {FIRST_QUERY_SECONDS:g} s. CPU seconds per 1,000 orders, of "
            "the adapter and of the broker; transactions and queries per order; milliseconds from paid.",
        ],
    )


async def _cost(ground: Ground, rate: float, seconds: float, checkout: Path, changes: Mapping[str, str]) -> Cost:
    count, warm_up = max(1, round(rate * seconds)), round(_WARM_UP * rate * seconds)
    async with RunningSandbox(SandboxSettings(port=0, job_seconds=JOB_SECONDS)) as sandbox:
        given = await ground.settings(_values(sandbox.base_url), own_orders=True)
        topic = given["topics.issuances"]
        async with (
            Arrivals(ground.connection, topic, at_most_every=0) as submitted,
            Arrivals(ground.connection, topic, counted=ISSUED, at_most_every=0) as issued,
            subjects.adapter(ground, {**given, **changes}, command=_COMMAND, checkout=checkout) as subject,
        ):
            await subject.until_ready()
            sending = asyncio.create_task(send_evenly(ground, given["topics.orders_paid"], count, rate))
            await asyncio.sleep(_WARM_UP * seconds)
            begin = await _counters(ground, subject, submitted, issued)
            sent_at = await sending
            end = await _counters(ground, subject, submitted, issued)
            for arrivals in (submitted, issued):
                if not await arrivals.until(count, patience=PATIENCE_SECONDS, alive=subject.must_run):
                    raise SubjectFailedError(f"only {arrivals.count} of {count} orders; {subject.last_lines()}")
            await subject.stop()
        if wrong := _disagreement(count, len(sandbox.order_store), submitted, issued):
            raise ResultsDisagreeError(wrong)
        await ground.remove_topics(given)
    measured = list(sent_at.items())[warm_up:]
    to_submitted = [1000 * (submitted.arrived_at[order] - moment) for order, moment in measured]
    to_issued = [1000 * (issued.arrived_at[order] - moment) for order, moment in measured]
    orders = max(1, end.issued - begin.issued)
    return Cost(
        cpu=1000 * (end.cpu - begin.cpu) / orders,
        broker_cpu=1000 * (end.broker_cpu - begin.broker_cpu) / orders,
        submit_transactions=(end.submit_transactions - begin.submit_transactions)
        / max(1, end.submitted - begin.submitted),
        confirm_transactions=(end.confirm_transactions - begin.confirm_transactions) / orders,
        queries=(end.queries - begin.queries) / orders,
        submitted_p50=percentile(to_submitted, 0.5),
        submitted_p99=percentile(to_submitted, 0.99),
        issued_p50=percentile(to_issued, 0.5),
        issued_p99=percentile(to_issued, 0.99),
    )


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


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(**{name: statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__slots__})


def _row(rate: float, name: str, cost: Cost) -> dict[str, Cell]:
    return {
        "orders/s": rate,
        "adapter": name,
        "CPU": cost.cpu,
        "broker": cost.broker_cpu,
        "tx submit": cost.submit_transactions,
        "tx confirm": cost.confirm_transactions,
        "queries": cost.queries,
        "subm. p50": cost.submitted_p50,
        "subm. p99": cost.submitted_p99,
        "iss. p50": cost.issued_p50,
        "iss. p99": cost.issued_p99,
    }


def _aims(medians: Mapping[tuple[float, str], Cost]) -> list[Aim]:
    """The aims of a comparison; a single adapter has none, because the machine decides about its figures."""
    aims = []
    for rate in sorted({rate for rate, _ in medians}):
        if (rate, "before") not in medians:
            continue
        before, now = medians[rate, "before"], medians[rate, "now"]
        saved = 1 - now.cpu / before.cpu
        if rate in SAVED_AT:
            what = f"at {rate:g} orders/s, {SAVED:.0%} less CPU time"
            aims.append(Aim(what=what, measured=f"{saved:.0%}", met=saved >= SAVED))
    return aims
