"""50,000 issuances whose results are awaited: their memory, and the time to take them over.

Their first query lies an hour ahead, so nothing is queried: they only wait. The adapter is started with an empty topic,
the confirmations are written, and when all wait it is restarted on the full topic, as after a crash.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from rich.console import Console

from adapter.dev.producing import producing
from adapter.flows.messages.confirmation import AwaitedIssuance, Confirmation, OriginData, confirmation_record
from adapter.flows.messages.events import Item
from adapter.kafka.connection import KafkaConnection
from benchmarks import subjects
from benchmarks.ground import Ground
from benchmarks.orders import order_id, trade_no
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.sealing import MERCHANT
from benchmarks.subjects import Subject, SubjectFailedError

COUNT = 50_000
MOST_MIB = 300
_COMMAND = ("-m", "adapter", "run", "--only", "confirm")
_HOUR = timedelta(hours=1)
_LOOK_SECONDS = 0.5
_QUIET_SECONDS = 3.0
_PATIENCE_SECONDS = 300.0


async def measure(ground: Ground, console: Console, *, count: int = COUNT) -> Report:
    """Have so many wait. Raises SubjectFailedError."""
    given = await ground.settings({"provider.environment": "custom", "provider.base_url": "http://127.0.0.1:9"})
    rows: list[dict[str, Cell]] = []
    console.print(f"waiting: {count:,} confirmations", style="dim")
    async with subjects.adapter(ground, given, command=_COMMAND) as subject:
        await subject.until_ready()
        await asyncio.sleep(_QUIET_SECONDS)
        rows.append(_row("none waits", subject, 0, None))
        began = time.perf_counter()
        await _write(ground.connection, given["topics.confirmations"], count)
        rows.append(_row("all wait, read as they were written", subject, count, await _all(subject, count, began)))
        await subject.stop()
    async with subjects.adapter(ground, given, command=_COMMAND) as subject:
        await subject.until_ready()
        seconds = await _all(subject, count, time.perf_counter())
        rows.append(_row("all wait, read after a restart", subject, count, seconds))
        await subject.stop()
    await ground.remove_topics(given)
    return Report(title="Confirmations that wait, one process", rows=rows, aims=[_aim(rows, count)])


def _row(what: str, subject: Subject, count: int, seconds: float | None) -> dict[str, Cell]:
    return {
        "": what,
        "waiting": count,
        "MiB": subject.resident_mib(),
        "seconds": seconds,
        "CPU seconds since the start": subject.cpu_seconds(),
    }


def _aim(rows: list[dict[str, Cell]], count: int) -> Aim:
    highest = max(float(row["MiB"] or 0) for row in rows)
    return Aim(what=f"{count:,} waiting under {MOST_MIB} MiB", measured=f"{highest:.0f} MiB", met=highest < MOST_MIB)


async def _all(subject: Subject, count: int, began: float) -> float:
    """Wait until all wait; the seconds since `began`, to about one second. Raises SubjectFailedError."""
    deadline = time.perf_counter() + _PATIENCE_SECONDS
    while True:
        subject.must_run()
        waiting = (await subject.metrics())("ecticket_records", stage="confirm", state="waiting")
        if waiting >= count:
            return time.perf_counter() - began
        if time.perf_counter() > deadline:
            raise SubjectFailedError(f"after {_PATIENCE_SECONDS:.0f} s only {waiting:.0f} of {count} wait")
        await asyncio.sleep(_LOOK_SECONDS)


async def _write(connection: KafkaConnection, topic: str, count: int) -> None:
    now = datetime.now(UTC)
    async with producing(connection, max_batch_size=128 * 1024) as producer:
        for number in range(count):
            record = confirmation_record(_confirmation(number, now), topic=topic)
            await producer.send(topic, record.value, record.key, headers=list(record.headers))
        await producer.flush()


def _confirmation(number: int, now: datetime) -> Confirmation:
    issuance = AwaitedIssuance(
        merchant_id=MERCHANT.merchant_id,
        order_id=order_id(number),
        reference={"cart": number, "channel": "web"},
        trade_no=trade_no(number),
        trade_no_kind="merchant",
        issue_type="electronic",
        part=1,
        parts=1,
        items=(Item(item_no="VQT04959", name=None, quantity=2), Item(item_no="VNS21400", name=None, quantity=1)),
        ticket_count=3,
        ticket_trade_no=f"{number:016}",
    )
    return Confirmation(
        issuance=issuance,
        recovered=False,
        submitted_at=now,
        not_before=now + _HOUR,
        origin=OriginData(topic="orders.paid", partition=number % 6, offset=number // 6),
    )
