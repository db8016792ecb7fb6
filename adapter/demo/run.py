"""The demo itself: orders go in, the picture moves, and at the end the books are compared."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import httpx
from aiokafka import AIOKafkaProducer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from adapter.demo.books import Books
from adapter.demo.orders import Sample, sample_orders, troubles
from adapter.demo.picture import ending_table, live_picture, verdict
from adapter.demo.stage import Stage, must_run, set_up
from adapter.local.progress import Progress
from adapter.stream.reading import follow
from adapter.wiring import kafka_connection

ORDERS_PER_SECOND = 40.0
PATIENCE_SECONDS = 90.0
"""Without anything new for so long, the run is given up."""


async def run_demo(*, orders: int, keep: bool, broker: str | None, console: Console, progress: Progress) -> bool:
    """Run the demo; True when every order is accounted for and the books agree.

    Raises AdapterError when something around it cannot be started.
    """
    samples = sample_orders(orders, today=datetime.now(UTC).date())
    async with set_up(progress, broker=broker) as stage:
        await _arm(stage, samples)
        books = Books(samples, issuances=stage.settings.topics.issuances)
        began = time.monotonic()
        await _watch(stage, samples, books, console, began)
        seconds = time.monotonic() - began
        there = await _sandbox_orders(stage)
        disagreements = books.disagreements(there)
        console.print(ending_table(books.by_kind()))
        tickets = sum(int(str(order["ticket_count"])) for order in there if order["status"] == "issued")
        console.print(verdict(disagreements, orders=len(samples), tickets=tickets, seconds=seconds))
        if keep:
            await _keep(stage, console)
        elif not disagreements:
            console.print("\nWith --keep everything goes on running, for orders of your own.", style="dim")
    if stage.adapter.status != 0:
        console.print(f"[bold red]The adapter did not stop in good order: exit code {stage.adapter.status}[/]")
    return not disagreements and stage.adapter.status == 0


def _sandbox(stage: Stage) -> httpx.AsyncClient:
    """The sandbox's own pages; it is on this machine, so a proxy that the environment names is not asked."""
    return httpx.AsyncClient(base_url=stage.sandbox.base_url, trust_env=False)


async def _arm(stage: Stage, samples: Sequence[Sample]) -> None:
    async with _sandbox(stage) as sandbox:
        answer = await sandbox.put("/_/faults", json={"seed": 1, "faults": troubles(samples)})
        answer.raise_for_status()


async def _watch(stage: Stage, samples: Sequence[Sample], books: Books, console: Console, began: float) -> None:
    """Send the orders and show what becomes of them until all is told, or nothing new comes any more."""
    sending = asyncio.create_task(_send(stage, samples, books))
    reading = asyncio.create_task(_read(stage, books))
    with Live(console=console, refresh_per_second=8, transient=not console.is_terminal) as live:
        last_news, seen = time.monotonic(), 0
        while books.open and time.monotonic() - last_news < PATIENCE_SECONDS:
            must_run(stage)
            for task in (sending, reading):
                if task.done() and task.exception() is not None:
                    task.result()
            if books.noted != seen:
                last_news, seen = time.monotonic(), books.noted
            live.update(_picture(books, samples, began))
            await asyncio.sleep(0.1)
        live.update(_picture(books, samples, began))
    await asyncio.sleep(1.0)  # an event told twice would come now
    for task in (sending, reading):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _picture(books: Books, samples: Sequence[Sample], began: float) -> RenderableType:
    return live_picture(
        books.counts(),
        orders=len(samples),
        issuances=sum(sample.kind.parts for sample in samples),
        seconds=time.monotonic() - began,
    )


async def _send(stage: Stage, samples: Sequence[Sample], books: Books) -> None:
    producer = AIOKafkaProducer(**kafka_connection(stage.settings).client_options(), acks="all")
    try:
        await producer.start()
        for sample in samples:
            await producer.send(stage.settings.topics.orders_paid, sample.value, key=sample.order_id.encode())
            books.sent += 1
            await asyncio.sleep(1 / ORDERS_PER_SECOND)
        await producer.flush()
    finally:
        await producer.stop()


async def _read(stage: Stage, books: Books) -> None:
    topics = stage.settings.topics
    async for record in follow(kafka_connection(stage.settings), [topics.issuances, topics.orders_deferred]):
        books.note(record)


async def _sandbox_orders(stage: Stage) -> list[Mapping[str, object]]:
    orders: list[Mapping[str, object]] = []
    async with _sandbox(stage) as sandbox:
        while True:
            page = (await sandbox.get("/_/orders", params={"offset": len(orders), "limit": 1000})).json()
            orders.extend(page["orders"])
            if len(orders) >= page["total"]:
                return orders


async def _keep(stage: Stage, console: Console) -> None:
    settings = stage.settings
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("Kafka", settings.kafka.bootstrap_servers),
        ("orders", settings.topics.orders_paid),
        ("events", settings.topics.issuances),
        ("dead letters", settings.topics.dead_letters),
        ("tickets", f"{settings.topics.tickets} (what comes to {settings.callbacks.public_url})"),
        ("sandbox", f"{stage.sandbox.base_url}/ (a page: see its orders, redeem their tickets)"),
        ("log", str(stage.log)),
    ):
        facts.add_row("", name, value)
    console.print("\nEverything keeps running until Ctrl-C.", facts, highlight=False)
    with contextlib.suppress(asyncio.CancelledError):
        while stage.adapter.status is None:  # noqa: ASYNC110  # a process offers no event
            await asyncio.sleep(0.5)
        must_run(stage)
