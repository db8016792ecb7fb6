"""10,000 issuances of three days that wait for their tickets: downloads, memory and CPU time of one process.

A server in this process answers OrderDetail. At first its report has many tickets of other orders and none of those
that wait, so that everything waits through several rounds; then it has all of them. The interval between reports is
shorter than ECPay's minute, so that the measurement takes minutes and not hours; what counts is the number of reports.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from rich.console import Console

from adapter.dev.producing import producing
from adapter.flows.messages.events import IssuanceIssued, Item, Origin, issuance_event
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.order_detail import TICKET_COLUMNS
from benchmarks import subjects
from benchmarks.ground import Ground
from benchmarks.orders import order_id, trade_no
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.sealing import MERCHANT
from benchmarks.subjects import Subject, SubjectFailedError

COUNT = 10_000
OTHER_TICKETS = 100_000
DAYS = 3
ROUNDS = 3
INTERVAL_SECONDS = 5.0
MOST_MIB = 300
MOST_REPORTS = 3
TICKETS = 2
"""Tickets of each issuance."""
_COMMAND = ("-m", "adapter", "run", "--only", "collect")
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 600.0
_ROWS_PER_PIECE = 500


@dataclass(slots=True)
class ReportServer:
    """Answers OrderDetail; counts the downloads."""

    issuances: int = 0
    """How many of the waiting issuances the report has."""
    downloads: int = 0
    sent_bytes: int = 0
    url: str = ""
    _server: asyncio.Server | None = field(default=None, repr=False)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in _pieces(self.issuances):
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.sent_bytes += len(piece)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()
        self.downloads += 1


@asynccontextmanager
async def _report_server() -> AsyncIterator[ReportServer]:
    reports = ReportServer()
    server = await asyncio.start_server(reports.answer, "127.0.0.1", 0)
    async with server:
        reports.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield reports


async def measure(ground: Ground, console: Console, *, count: int = COUNT) -> Report:
    """Have so many wait, and collect them. Raises SubjectFailedError."""
    console.print(f"collect: {count:,} issuances of {DAYS} days", style="dim")
    async with _report_server() as reports:
        given = await ground.settings(
            {
                "provider.environment": "custom",
                "provider.base_url": reports.url,
                "reports.interval_seconds": str(INTERVAL_SECONDS),
                "collect.issue_types": "serial_number",
                "collect.interval_seconds": str(INTERVAL_SECONDS),
            }
        )
        await _write(ground.connection, given["topics.issuances"], count)
        async with subjects.adapter(ground, given, command=_COMMAND) as subject:
            await subject.until_ready()
            rows = [_row("started", subject, reports, 0.0)]
            began = time.perf_counter()
            await _until(subject, "ecticket_collect_waiting", count)
            rows.append(_row("all wait", subject, reports, time.perf_counter() - began))
            began = time.perf_counter()
            await _downloads(subject, reports, reports.downloads + ROUNDS)
            rows.append(_row(f"{ROUNDS} more rounds in vain", subject, reports, time.perf_counter() - began))
            reports.issuances = count
            began = time.perf_counter()
            await _until(subject, "ecticket_tickets_collected_total", count * TICKETS)
            rows.append(_row("all collected", subject, reports, time.perf_counter() - began))
            await subject.stop()
    await ground.remove_topics(given)
    return Report(title=f"{count:,} issuances that wait for their tickets, one process", rows=rows, aims=_aims(rows))


def _row(what: str, subject: Subject, reports: ReportServer, seconds: float) -> dict[str, Cell]:
    return {
        "": what,
        "reports so far": reports.downloads,
        "MB downloaded": reports.sent_bytes / 1e6,
        "seconds": seconds,
        "CPU seconds since the start": subject.cpu_seconds(),
        "MiB": subject.resident_mib(),
    }


def _aims(rows: list[dict[str, Cell]]) -> list[Aim]:
    highest = max(float(row["MiB"] or 0) for row in rows)
    last, before = (float(row["reports so far"] or 0) for row in (rows[-1], rows[-2]))
    return [
        Aim(what=f"under {MOST_MIB} MiB", measured=f"{highest:.0f} MiB", met=highest < MOST_MIB),
        Aim(
            what=f"collected with at most {MOST_REPORTS} reports",
            measured=f"{last - before:.0f}",
            met=last - before <= MOST_REPORTS,
        ),
    ]


async def _until(subject: Subject, metric: str, value: float) -> None:
    """Wait until a metric has this value. Raises SubjectFailedError."""
    deadline = time.perf_counter() + _PATIENCE_SECONDS
    while (now := (await subject.metrics())(metric)) < value:
        subject.must_run()
        if time.perf_counter() > deadline:
            raise SubjectFailedError(f"after {_PATIENCE_SECONDS:.0f} s {metric} is {now:.0f} of {value:.0f}")
        await asyncio.sleep(_LOOK_SECONDS)


async def _downloads(subject: Subject, reports: ReportServer, count: int) -> None:
    while reports.downloads < count:
        subject.must_run()
        await asyncio.sleep(_LOOK_SECONDS)


async def _write(connection: KafkaConnection, topic: str, count: int) -> None:
    now = datetime.now(UTC)
    async with producing(connection, max_batch_size=128 * 1024) as producer:
        for number in range(count):
            issued_at = now - timedelta(days=DAYS - 1) * (number / count)
            data = IssuanceIssued(
                merchant_id=MERCHANT.merchant_id,
                order_id=order_id(number),
                reference={"cart": number, "channel": "web"},
                trade_no=trade_no(number),
                trade_no_kind="merchant",
                issue_type="serial_number",
                part=1,
                parts=1,
                items=(Item(item_no=None, name="SPA課程體驗券", quantity=TICKETS),),
                ticket_count=TICKETS,
                ticket_trade_no=f"{number:016}",
                recovered=False,
                submitted_at=issued_at,
                queries=1,
            )
            origin = Origin(topic="orders.paid", partition=number % 6, offset=number // 6)
            record = issuance_event(data, topic=topic, origin=origin, now=issued_at)
            await producer.send(topic, record.value, record.key, headers=list(record.headers))
        await producer.flush()


def _pieces(issuances: int) -> Iterator[bytes]:
    """A tickets report: others' tickets, then those of the issuances that wait."""
    yield (",".join(TICKET_COLUMNS) + "\r\n").encode("utf-8-sig")
    numbers = [f"CBX{number:017}" for number in range(_ROWS_PER_PIECE)]
    for start in range(0, OTHER_TICKETS, _ROWS_PER_PIECE):
        yield "".join(_line(each, start + index) for index, each in enumerate(numbers)).encode()
    for start in range(0, issuances * TICKETS, _ROWS_PER_PIECE):
        lines = range(start, min(start + _ROWS_PER_PIECE, issuances * TICKETS))
        yield "".join(_line(trade_no(line // TICKETS), OTHER_TICKETS + line) for line in lines).encode()


def _line(number: str, ticket: int) -> str:
    return (
        f"{number},,202603020000,00123456,2026/03/02 10:20:30,純序號,,提貨券,王小明,0912345678,customer@example.com,"
        f"2027/03/01,CB2SY{ticket:011},未使用,,SPA課程體驗券,3200,2026/03/02,,,,,LEU4loi{ticket:011}\r\n"
    )
