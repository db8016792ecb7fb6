"""Notifications a second: `run --only receive` on a separate core, notified over real connections.

First as fast as they are answered, then at the pace that is the aim. Each answer stands for a record that the broker
has acknowledged, and afterwards as many records are there as were answered.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console

from adapter.dev.local_kafka.ports import free_ports
from adapter.kafka.connection import KafkaConnection
from adapter.wiring import PARTITIONS
from benchmarks import subjects
from benchmarks.contenders import ResultsDisagreeError
from benchmarks.ground import Ground
from benchmarks.measuring import percentile
from benchmarks.notifier import Notifier, Sending, Sent
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.subjects import Subject

PER_SECOND = 1000
CONNECTIONS = 128
WARM_UP = 1000
_RUN = ("run", "--only", "receive")
_COMMAND = ("-m", "adapter", *_RUN)
_PROFILED = ("-m", "benchmarks.profiled", *_RUN)


async def measure(ground: Ground, console: Console, *, seconds: float, profile: Path | None = None) -> Report:
    """Notify for about so many seconds each. Raises SubjectFailedError, ResultsDisagreeError."""
    (port,) = free_ports(1)
    given = await ground.settings({"callbacks.host": "127.0.0.1", "callbacks.port": str(port)})
    command = _PROFILED if profile else _COMMAND
    count = int(PER_SECOND * seconds)
    paces = {"as fast as answered": 0.0} if profile else {"as fast as answered": 0.0, "at a pace": float(PER_SECOND)}
    rows: list[dict[str, Cell]] = []
    async with subjects.adapter(ground, given, command=command, profile=profile) as subject:
        await subject.until_ready()
        await _notify(subject, Sending(port=port, count=WARM_UP, first=0, connections=CONNECTIONS))
        if profile:
            subject.send_signal(signal.SIGUSR1)
        for turn, (name, pace) in enumerate(paces.items()):
            console.print(f"callbacks: {count:,} notifications, {name}", style="dim")
            first = WARM_UP + turn * count
            sending = Sending(port=port, count=count, first=first, connections=CONNECTIONS, per_second=pace)
            rows.append(await _row(name, subject, sending))
        if profile:
            subject.send_signal(signal.SIGUSR2)
        await subject.stop()
    await _compare(ground.connection, given, WARM_UP + count * len(paces))
    await ground.remove_topics(given)
    return Report(title=f"Notifications, {CONNECTIONS} connections", rows=rows, aims=[_aim(rows)])


async def _row(name: str, subject: Subject, sending: Sending) -> dict[str, Cell]:
    before = subject.cpu_seconds()
    sent = await _notify(subject, sending)
    cpu = subject.cpu_seconds() - before
    return {
        "": name,
        "notifications/s": len(sent.each) / sent.seconds,
        "p50 ms": 1000 * percentile(sent.each, 0.5),
        "p99 ms": 1000 * percentile(sent.each, 0.99),
        "CPU s per 1,000": 1000 * cpu / len(sent.each),
        "of its core": f"{cpu / sent.seconds:.0%}",
        "sender's CPU s per 1,000": 1000 * sent.cpu / len(sent.each),
        "MiB": subject.resident_mib(),
    }


async def _notify(subject: Subject, sending: Sending) -> Sent:
    notifier = await asyncio.to_thread(Notifier, sending)
    sent = await asyncio.to_thread(notifier.send)
    subject.must_run()
    if sent.refused:
        raise ResultsDisagreeError(f"{sent.refused} of {len(sent.each)} notifications were not answered with 200")
    return sent


async def _compare(connection: KafkaConnection, given: Mapping[str, str], count: int) -> None:
    """As many records as answers: none is repeated, because no broker was unavailable."""
    consumer = AIOKafkaConsumer(**connection.client_options())
    try:
        await consumer.start()
        ends = await consumer.end_offsets(
            [TopicPartition(given["topics.tickets"], number) for number in range(PARTITIONS)]
        )
    finally:
        await consumer.stop()
    if sum(ends.values()) != count:
        raise ResultsDisagreeError(f"{count} notifications were answered, and {sum(ends.values())} are on the topic")


def _aim(rows: list[dict[str, Cell]]) -> Aim:
    fastest = max(float(row["notifications/s"] or 0) for row in rows)
    return Aim(
        what=f"{PER_SECOND:,} notifications/s on one core", measured=f"{fastest:,.0f}", met=fastest >= PER_SECOND
    )
