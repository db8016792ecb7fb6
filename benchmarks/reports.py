"""What a large report costs: the command `report` downloads and reads a tickets report that is generated on the way.

No broker. A server in this process answers OrderDetail with as many tickets as asked for, in pieces, and the command
runs in a process of its own; its peak memory and CPU time are the operating system's own figures (wait4). A small
report shows what the process needs without the report.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapter.protocol.order_detail import TICKET_COLUMNS
from benchmarks.builds import ROOT
from benchmarks.processes import require_proc
from benchmarks.reporting import Aim, Report
from benchmarks.sealing import MERCHANT
from benchmarks.subjects import SubjectFailedError

TICKETS = 1_000_000
FEW = 1_000
ROWS_PER_PIECE = 500
MAX_MORE_MIB = 48
"""The aim: so much more memory than for the small report, however large the other is."""
_DAYS = ("--from", "2026-03-01", "--to", "2026-03-31")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One way to use the command; `{file}` stands for a file that does not exist yet."""

    name: str
    arguments: Sequence[str]
    encoding: str = "utf-8-sig"


USES = (
    Use(name="-o FILE", arguments=("-o", "{file}")),
    Use(name="-o FILE, CP950", arguments=("-o", "{file}"), encoding="cp950"),
    Use(name="table, to /dev/null", arguments=()),
    Use(name="--json, to /dev/null", arguments=("--json",)),
)


async def measure(tickets: int = TICKETS, *, few: int = FEW, uses: Sequence[Use] = USES) -> Report:
    """Measure every use with a few tickets and with many."""
    require_proc()
    rows: list[dict[str, str | float | None]] = []
    aims: list[Aim] = []
    for use in uses:
        small, large = await _run(use, few), await _run(use, tickets)
        rows += [small.row(), large.row()]
        more = large.peak_mib - small.peak_mib
        aims.append(
            Aim(
                what=f"{use.name}: {tickets:,} tickets need at most {MAX_MORE_MIB} MiB more than {few:,}",
                measured=f"{more:.0f} MiB",
                met=more <= MAX_MORE_MIB,
            )
        )
    return Report(title="the command report, of tickets, in its own process", rows=rows, aims=aims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run of the command cost."""

    use: str
    tickets: int
    sent_bytes: int
    seconds: float
    cpu_seconds: float
    peak_mib: float

    def row(self) -> dict[str, str | float | None]:
        """As a row of the report."""
        return {
            "use": self.use,
            "tickets": self.tickets,
            "MB": self.sent_bytes / 1e6,
            "seconds": self.seconds,
            "CPU seconds": self.cpu_seconds,
            "CPU µs a ticket": 1e6 * self.cpu_seconds / self.tickets,
            "peak MiB": self.peak_mib,
        }


async def _run(use: Use, tickets: int) -> Cost:
    async with _ecticket(tickets, use.encoding) as (url, sent):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tickets.csv"
            arguments = [argument.format(file=file) for argument in use.arguments]
            began = time.perf_counter()
            usage = await asyncio.to_thread(_command, url, arguments)
            seconds = time.perf_counter() - began
            saved = file.stat().st_size if file.exists() else None
        if saved not in (None, sent[0]):
            raise SubjectFailedError(f"{sent[0]} bytes were sent, and {saved} saved")
    return Cost(
        use=use.name,
        tickets=tickets,
        sent_bytes=sent[0],
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
    )


def _command(url: str, arguments: Sequence[str]) -> resource.struct_rusage:
    """Run the command, and return what it used. Raises SubjectFailedError if it fails."""
    keys = {"hash_key": MERCHANT.credentials.hash_key, "hash_iv": MERCHANT.credentials.hash_iv}
    settings = {
        "ECTICKET_MERCHANTS": json.dumps({MERCHANT.merchant_id: keys}),
        "ECTICKET_PROVIDER__ENVIRONMENT": "custom",
        "ECTICKET_PROVIDER__BASE_URL": url,
    }
    command = [sys.executable, "-m", "adapter", "report", "--type", "tickets", *_DAYS, *arguments]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603  # our own program
            command, stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, **settings}, cwd=ROOT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            raise SubjectFailedError(f"report ended with {process.returncode}: {errors.read().decode()}")
    return usage


@asynccontextmanager
async def _ecticket(tickets: int, encoding: str) -> AsyncIterator[tuple[str, list[int]]]:
    """Answer every request with a report; gives the address, and how many bytes were sent."""
    sent = [0]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in report_pieces(tickets, encoding):
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent[0] += len(piece)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", sent


def report_pieces(tickets: int, encoding: str) -> Iterator[bytes]:
    """A tickets report of so many lines, four to an order, each with a number of its own."""
    yield (",".join(TICKET_COLUMNS) + "\r\n").encode(encoding)
    following = "utf-8" if encoding == "utf-8-sig" else encoding
    for start in range(0, tickets, ROWS_PER_PIECE):
        lines = (_line(number) for number in range(start, min(tickets, start + ROWS_PER_PIECE)))
        yield "".join(lines).encode(following)


def _line(number: int) -> str:
    second, order = number // 50 % 60, number // 4
    return (
        f"CBX{order:017},,20260302{order % 100_000_000:08},00123456,2026/03/{1 + number // 40_000 % 28:02} 10:20:"
        f"{second:02},純序號,,提貨券,王小明,0912345678,customer@example.com,2027/03/01,CB2SY{number:011},未使用,VQT04959,"
        f"主題樂園一日券,1200,2026/03/02,,,,,LEU4loi{number:011}\r\n"
    )
