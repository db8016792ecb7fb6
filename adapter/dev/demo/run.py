"""Runs the demo: sends the orders, updates the display, and checks the results at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import httpx
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from adapter.dev.demo.display import live_display, result_table, verdict
from adapter.dev.demo.environment import Environment, must_run, set_up
from adapter.dev.demo.orders import SampleOrder, sample_orders, sandbox_faults
from adapter.dev.demo.result_check import ResultCheck
from adapter.dev.local_kafka.progress import Progress
from adapter.dev.producing import producing
from adapter.kafka.reader import follow
from adapter.wiring import kafka_connection

ORDERS_PER_SECOND = 40.0
TIMEOUT_SECONDS = 90.0
"""The run is given up if no event arrives for this long."""


async def run_demo(*, orders: int, keep: bool, broker: str | None, console: Console, progress: Progress) -> bool:
    """Run the demo; True if every order is accounted for and the results agree.

    Raises AdapterError if something in its environment cannot be started.
    """
    samples = sample_orders(orders, today=datetime.now(UTC).date())
    async with set_up(progress, broker=broker) as environment:
        await _arm(environment, samples)
        results = ResultCheck(samples, issuances=environment.settings.topics.issuances)
        began = time.monotonic()
        await _watch(environment, samples, results, console, began)
        seconds = time.monotonic() - began
        there = await _sandbox_orders(environment)
        disagreements = results.disagreements(there)
        console.print(result_table(results.by_kind()))
        tickets = sum(int(str(order["ticket_count"])) for order in there if order["status"] == "issued")
        console.print(verdict(disagreements, orders=len(samples), tickets=tickets, seconds=seconds))
        if keep:
            await _keep(environment, console)
        elif not disagreements:
            console.print("\nWith --keep everything keeps running, for orders of your own.", style="dim")
    if environment.adapter.status != 0:
        console.print(f"[bold red]The adapter did not stop cleanly: exit code {environment.adapter.status}[/]")
    return not disagreements and environment.adapter.status == 0


def _sandbox(environment: Environment) -> httpx.AsyncClient:
    """A client of the sandbox's API; it is on this machine, so the proxy of the environment is not used."""
    return httpx.AsyncClient(base_url=environment.sandbox.base_url, trust_env=False)


async def _arm(environment: Environment, samples: Sequence[SampleOrder]) -> None:
    async with _sandbox(environment) as sandbox:
        answer = await sandbox.put("/_/faults", json={"seed": 1, "faults": sandbox_faults(samples)})
        answer.raise_for_status()


async def _watch(
    environment: Environment, samples: Sequence[SampleOrder], results: ResultCheck, console: Console, began: float
) -> None:
    """Send the orders and update the display until every order has ended, or nothing new arrives."""
    sending = asyncio.create_task(_send(environment, samples, results))
    reading = asyncio.create_task(_read(environment, results))
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
    await asyncio.sleep(1.0)  # a duplicate event would arrive now
    for task in (sending, reading):
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


async def _read(environment: Environment, results: ResultCheck) -> None:
    topics = environment.settings.topics
    async for record in follow(kafka_connection(environment.settings), [topics.issuances, topics.orders_deferred]):
        results.note(record)


async def _sandbox_orders(environment: Environment) -> list[Mapping[str, object]]:
    orders: list[Mapping[str, object]] = []
    async with _sandbox(environment) as sandbox:
        while True:
            page = (await sandbox.get("/_/orders", params={"offset": len(orders), "limit": 1000})).json()
            orders.extend(page["orders"])
            if len(orders) >= page["total"]:
                return orders


async def _keep(environment: Environment, console: Console) -> None:
    settings = environment.settings
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("Kafka", settings.kafka.bootstrap_servers),
        ("orders", settings.topics.orders_paid),
        ("events", settings.topics.issuances),
        ("dead letters", settings.topics.dead_letters),
        ("tickets", f"{settings.topics.tickets} (notifications sent to {settings.callbacks.public_url})"),
        ("sandbox", f"{environment.sandbox.base_url}/ (a page: look at its orders, redeem their tickets)"),
        ("log", str(environment.log)),
    ):
        facts.add_row("", name, value)
    console.print("\nEverything keeps running until Ctrl-C.", facts, highlight=False)
    with contextlib.suppress(asyncio.CancelledError):
        while environment.adapter.status is None:  # noqa: ASYNC110  # a process offers no event
            await asyncio.sleep(0.5)
        must_run(environment)
