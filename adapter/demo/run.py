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
        console.print(ending_table(books))
        tickets = sum(int(str(order["ticket_count"])) for order in there if order["status"] == "issued")
        console.print(verdict(disagreements, orders=len(samples), tickets=tickets, seconds=seconds))
        if keep:
            await _keep(stage, console)
    if stage.adapter.status != 0:
        console.print(f"[bold red]The adapter did not stop in good order: exit code {stage.adapter.status}[/]")
    return not disagreements and stage.adapter.status == 0


async def _arm(stage: Stage, samples: Sequence[Sample]) -> None:
    async with httpx.AsyncClient(base_url=stage.sandbox.base_url) as sandbox:
        answer = await sandbox.put("/_/faults", json={"seed": 1, "faults": troubles(samples)})
        answer.raise_for_status()


async def _watch(stage: Stage, samples: Sequence[Sample], books: Books, console: Console, began: float) -> None:
    """Send the orders and show what becomes of them until all is told, or nothing new comes any more."""
    sending = asyncio.create_task(_send(stage, samples))
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
    settled = len(samples) - len(books.open)
    return live_picture(books.counts(), in_doubt=books.in_doubt, seconds=time.monotonic() - began, settled=settled)


async def _send(stage: Stage, samples: Sequence[Sample]) -> None:
    producer = AIOKafkaProducer(**kafka_connection(stage.settings).client_options(), acks="all")
    await producer.start()
    try:
        for sample in samples:
            await producer.send(stage.settings.topics.orders_paid, sample.value, key=sample.order_id.encode())
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
    async with httpx.AsyncClient(base_url=stage.sandbox.base_url) as sandbox:
        while True:
            page = (await sandbox.get("/_/orders", params={"offset": len(orders), "limit": 1000})).json()
            orders.extend(page["orders"])
            if len(orders) >= page["total"]:
                return orders


async def _keep(stage: Stage, console: Console) -> None:
    console.print(
        f"Everything keeps running until Ctrl-C.\n"
        f"  Kafka    {stage.settings.kafka.bootstrap_servers}\n"
        f"  orders   {stage.settings.topics.orders_paid}\n"
        f"  events   {stage.settings.topics.issuances}\n"
        f"  sandbox  {stage.sandbox.base_url}/_/orders\n"
        f"  log      {stage.log}"
    )
    with contextlib.suppress(asyncio.CancelledError):
        while stage.adapter.status is None:  # noqa: ASYNC110  # a process offers no event
            await asyncio.sleep(0.5)
