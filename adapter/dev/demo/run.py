"""Runs the demo: sends the orders, updates the display, and checks the results at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from adapter.dev.demo.day import FOREIGN_TRADE_NO, Day
from adapter.dev.demo.day_check import DayCheck
from adapter.dev.demo.display import day_table, live_display, result_table, verdict
from adapter.dev.demo.environment import MERCHANT, Environment, must_run, set_up
from adapter.dev.demo.orders import SampleOrder, sample_orders, sandbox_faults
from adapter.dev.demo.result_check import ResultCheck
from adapter.dev.demo.sandbox_client import sandbox_client
from adapter.dev.local_kafka.progress import Progress
from adapter.dev.producing import producing
from adapter.kafka.reader import follow
from adapter.settings import Settings
from adapter.wiring import kafka_connection

ORDERS_PER_SECOND = 40.0
TIMEOUT_SECONDS = 90.0
"""The run is given up if no event arrives for this long."""
EXPLAINED = "answer lost before effect"
"""The kind of the order that the demo explains."""


async def run_demo(*, orders: int, keep: bool, broker: str | None, console: Console, progress: Progress) -> bool:
    """Run the demo; True if every order is accounted for and the results agree.

    Raises AdapterError if something in its environment cannot be started.
    """
    samples = sample_orders(orders, today=datetime.now(UTC).date())
    async with (
        set_up(progress, broker=broker) as environment,
        sandbox_client(environment.sandbox.base_url, MERCHANT) as sandbox,
    ):
        await sandbox.arm(sandbox_faults(samples))
        results, day_check = ResultCheck(samples, issuances=environment.settings.topics.issuances), DayCheck()
        began = time.monotonic()
        async with _background(_read(environment, results, day_check)) as reading:
            await _watch(environment, samples, results, console, reading)
            seconds = time.monotonic() - began
            console.print(result_table(results.by_kind()))
            day = Day(environment, sandbox, results.issued(), day_check)
            await _rest_of_the_day(day, samples, console, progress)
            await asyncio.sleep(1.0)  # a duplicate event would arrive now
        there = [order for order in await sandbox.orders() if order["trade_no"] != FOREIGN_TRADE_NO]
        disagreements = [*results.disagreements(there), *day_check.disagreements()]
        console.print(day_table(day_check.counts()))
        tickets = sum(order["ticket_count"] for order in there if order["status"] == "issued")
        console.print(verdict(disagreements, orders=len(samples), tickets=tickets, seconds=seconds))
        if keep:
            await _keep(environment, console)
        elif not disagreements:
            console.print("\nWith --keep everything keeps running, for orders of your own.", style="dim")
    if environment.adapter.status != 0:
        console.print(f"[bold red]The adapter did not stop cleanly: exit code {environment.adapter.status}[/]")
    return not disagreements and environment.adapter.status == 0


async def _rest_of_the_day(day: Day, samples: Sequence[SampleOrder], console: Console, progress: Progress) -> None:
    progress.step("redeeming and refunding tickets at the sandbox")
    await day.use_tickets()
    progress.step("collecting the ticket numbers of serial numbers")
    await day.collect()
    console.print("\n$ ecticket-adapter reconcile --publish", style="bold", highlight=False)
    await day.reconcile()
    odd = next((sample for sample in samples if sample.kind.name == EXPLAINED), samples[0])
    console.print(f"\n$ ecticket-adapter explain {odd.order_id}", style="bold", highlight=False)
    await day.explain(odd.order_id)


async def _watch(
    environment: Environment,
    samples: Sequence[SampleOrder],
    results: ResultCheck,
    console: Console,
    reading: asyncio.Task[None],
) -> None:
    """Send the orders and update the display until every order has ended, or nothing new arrives."""
    began = time.monotonic()
    async with _background(_send(environment, samples, results)) as sending:
        with Live(console=console, refresh_per_second=8, transient=not console.is_terminal) as live:
            last_news, seen = time.monotonic(), 0
            while results.open and time.monotonic() - last_news < TIMEOUT_SECONDS:
                must_run(environment)
                for task in (sending, reading):
                    if task.done() and task.exception() is not None:
                        task.result()
                if results.noted != seen:
                    last_news, seen = time.monotonic(), results.noted
                live.update(_display(results, samples, began))
                await asyncio.sleep(0.1)
            live.update(_display(results, samples, began))


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` beside the block, and cancel it at the block's end."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _display(results: ResultCheck, samples: Sequence[SampleOrder], began: float) -> RenderableType:
    return live_display(
        results.counts(),
        orders=len(samples),
        issuances=sum(sample.kind.parts for sample in samples),
        seconds=time.monotonic() - began,
    )


async def _send(environment: Environment, samples: Sequence[SampleOrder], results: ResultCheck) -> None:
    async with producing(kafka_connection(environment.settings), acks="all") as producer:
        for sample in samples:
            await producer.send(environment.settings.topics.orders_paid, sample.value, key=sample.order_id.encode())
            results.sent += 1
            await asyncio.sleep(1 / ORDERS_PER_SECOND)
        await producer.flush()


async def _read(environment: Environment, results: ResultCheck, day_check: DayCheck) -> None:
    topics = environment.settings.topics
    of_orders = [topics.issuances, topics.orders_deferred]
    of_the_day = [topics.tickets, topics.reconciliations]
    async for record in follow(kafka_connection(environment.settings), [*of_orders, *of_the_day]):
        if record.topic in of_orders:
            results.note(record)
        else:
            day_check.note(record)


def kept_facts(settings: Settings, *, sandbox_url: str, log: Path) -> tuple[tuple[str, str], ...]:
    """What `--keep` prints: where everything that keeps running is."""
    topics = settings.topics
    return (
        ("Kafka", settings.kafka.bootstrap_servers),
        ("orders", topics.orders_paid),
        ("events", topics.issuances),
        ("dead letters", topics.dead_letters),
        ("tickets", f"{topics.tickets} (notifications sent to {settings.callbacks.public_url})"),
        ("sandbox", f"{sandbox_url}/ (a page: look at its orders, redeem their tickets)"),
        (
            "console",
            f"http://{settings.console.host}:{settings.console.port}/ (a page: what waits, and an order's timeline)",
        ),
        ("log", str(log)),
    )


async def _keep(environment: Environment, console: Console) -> None:
    facts = Table.grid(padding=(0, 2))
    for name, value in kept_facts(environment.settings, sandbox_url=environment.sandbox.base_url, log=environment.log):
        facts.add_row("", name, value)
    console.print("\nEverything keeps running until Ctrl-C.", facts, highlight=False)
    with contextlib.suppress(asyncio.CancelledError):
        while environment.adapter.status is None:  # noqa: ASYNC110  # a process offers no event
            await asyncio.sleep(0.5)
        must_run(environment)
