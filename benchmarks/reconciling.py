"""What a comparison with ECPay's order report needs: memory, disk and time, for any number of issuances.

A report of so many rows is written as a file, and the two events of each issuance are made while they are read, as
records of Kafka. Everything else is as in production: the report is parsed, the events are decoded, both sides are
sorted and compared in the temporary table, and the differences are written as records. No broker and no ECTicket: what
is measured is the adapter's own part. A process of its own does the work, so that its peak is that of nothing else.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from adapter.flows.messages.events import IssuanceIssued, IssuanceSubmitted, Origin, issuance_event
from adapter.flows.reconcile import ReconciledPeriod, Reconciler
from adapter.issuance.reconciliation import ReconcilePolicy
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo
from adapter.protocol.order_detail import ORDER_COLUMNS, ReportRequest
from adapter.protocol.query_issue_result import ResultReply
from adapter.protocol.taipei import TAIPEI
from adapter.provider.call_limiter import Purpose
from adapter.provider.report_file import ReportFile
from adapter.stream.records import ProducerRecord, Record
from adapter.testing.events import SAMPLES
from adapter.testing.fakes import TOPICS
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.sealing import MERCHANT

COUNT = 1_000_000
DIFFERENT = 1000
"""One of so many issuances has another number of tickets in the report."""
MOST_MIB = 200
"""Above the memory of a process that has only imported the adapter."""
_DAY = datetime(2026, 3, 4, tzinfo=TAIPEI)
_RUN_AT = datetime(2026, 3, 5, 5, tzinfo=TAIPEI)
_PERIOD = ReconciledPeriod.of_run(_RUN_AT.date(), 3)
_POLICY = ReconcilePolicy(settles_after=timedelta(minutes=10), result_within=timedelta(hours=24))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one comparison needed."""

    idle_mib: float
    peak_mib: float
    seconds: float
    cpu_seconds: float
    differences: int
    written: int
    report_mib: float


async def measure(count: int) -> Report:
    """Compare so many issuances, and a hundredth of them: the memory must not grow with the number."""
    rows: list[dict[str, Cell]] = []
    found: list[Measured] = []
    for number in (max(count // 100, 1), count):
        measured = await asyncio.to_thread(_in_process, number)
        found.append(measured)
        rows.append(
            {
                "issuances": number,
                "report MiB": round(measured.report_mib, 1),
                "seconds": round(measured.seconds, 1),
                "CPU seconds": round(measured.cpu_seconds, 1),
                "memory before MiB": round(measured.idle_mib),
                "at most MiB": round(measured.peak_mib),
                "differences": measured.differences,
                "records written": measured.written,
            }
        )
    most = found[-1].peak_mib - found[-1].idle_mib
    return Report(
        title="Reconciling",
        rows=rows,
        aims=[
            Aim(
                what=f"{count:,} issuances need at most {MOST_MIB} MiB more than an idle process",
                measured=f"{most:.0f} MiB",
                met=most <= MOST_MIB,
            ),
            Aim(
                what="every planted difference is found, and no other",
                measured=f"{found[-1].differences} of {-(-count // DIFFERENT)}",
                met=found[-1].differences == -(-count // DIFFERENT),
            ),
        ],
    )


def _in_process(count: int) -> Measured:
    """Measure in a new process."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(count, sending))
    process.start()
    sending.close()
    try:
        measured = receiving.recv()
    finally:
        process.join()
    if not isinstance(measured, Measured):
        raise TypeError(measured)
    return measured


def _measure(count: int, answer: Connection) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.csv"
        _write_report(report, count)
        answer.send(asyncio.run(_compare(report, count)))


async def _compare(report: Path, count: int) -> Measured:
    idle = _peak_mib()
    world = _World(report, count)
    reconciler = Reconciler(
        topics=TOPICS,
        reports=world,
        queries=world,
        read=world.read,
        open_writer=world.open_writer,
        transactional_prefix="bench",
        policy=_POLICY,
        now=lambda: _RUN_AT,
    )
    began, cpu = time.monotonic(), time.process_time()
    async with reconciler.compare(MERCHANT, _PERIOD, publish=True, wait=_never) as comparison:
        differences = comparison.counts.differences
    return Measured(
        idle_mib=idle,
        peak_mib=_peak_mib(),
        seconds=time.monotonic() - began,
        cpu_seconds=time.process_time() - cpu,
        differences=differences,
        written=world.written,
        report_mib=os.stat(report).st_size / 2**20,  # a moment, when all is measured
    )


def _peak_mib() -> float:
    """The peak of this process; on Linux not that of the process that started it, which `getrusage` includes."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (each for each in status.read_text(encoding="utf-8").splitlines() if each.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


async def _never(until: datetime, count: int) -> None:
    raise AssertionError(f"{count} numbers are too young until {until}")


@dataclass(slots=True)
class _World:
    """The ports of the flow, without a broker and without ECTicket."""

    report: Path
    count: int
    written: int = 0

    @asynccontextmanager
    async def download(self, merchant: Merchant, request: ReportRequest) -> AsyncIterator[ReportFile]:
        with self.report.open("rb", buffering=0) as file:
            yield ReportFile(file, request, os.fstat(file.fileno()).st_size)

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply:
        raise AssertionError("no issuance is recovered")

    async def read(self, topics: Collection[str], *, since: datetime) -> AsyncGenerator[Record, None]:
        if TOPICS.issuances in topics:
            for number in range(self.count):
                for record in _events(number):
                    yield record
                if number % 250 == 0:
                    await asyncio.sleep(0)

    @asynccontextmanager
    async def open_writer(self, name: str) -> AsyncIterator[_World]:
        yield self

    async def write(self, producer_records: Iterable[ProducerRecord]) -> None:
        for _ in producer_records:
            self.written += 1


def _number(number: int) -> str:
    return f"CBX{number * 7919 % 10**9:09}{number:08}"


def _moment(number: int) -> datetime:
    return _DAY + timedelta(milliseconds=number * 70_000_000 // COUNT)


_TEMPLATES = [
    issuance_event(
        model.model_validate({**SAMPLES[model], "merchant_id": MERCHANT.merchant_id, "trade_no": "NUMBER"}),
        topic=TOPICS.issuances,
        origin=Origin(topic="orders.paid", partition=0, offset=1),
        now=_DAY,
    )
    for model in (IssuanceSubmitted, IssuanceIssued)
]


def _events(number: int) -> Iterable[Record]:
    """Both events of an issuance, as they are on the topic; only number and time differ."""
    trade_no, moment = _number(number).encode(), _moment(number)
    at = moment.isoformat(timespec="milliseconds").encode()
    for offset, template in enumerate(_TEMPLATES):
        yield Record(
            topic=template.topic,
            partition=0,
            offset=2 * number + offset,
            timestamp=moment,
            key=f"{MERCHANT.merchant_id}/".encode() + trade_no,
            value=(template.value or b"").replace(b"NUMBER", trade_no).replace(b"2026-03-01T12:00:00.000Z", at),
            headers=tuple((name, at if name == "ce_time" else value) for name, value in template.headers),
        )


def _write_report(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        file.write(",".join(ORDER_COLUMNS) + "\r\n")
        for number in range(count):
            tickets = 3 if number % DIFFERENT == 0 else 2
            issued_at = f"{_moment(number):%Y/%m/%d %H:%M:%S}"
            file.write(
                f"{_number(number)},,ECT{number},綠界金流,信用卡,{number},發行成功,,{issued_at},電子票券,,"
                f"王小明,0912345678,ming{number}@example.com,2027/03/04,{tickets},1000,0,0,0,0,0,{tickets},1000,0\r\n"
            )
