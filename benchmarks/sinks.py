"""The effect of a sink on the time until tickets are issued: none, whether it is healthy, refuses or does not answer.

The whole adapter, `run`, beside a sandbox: orders come in live and evenly, and each is followed until its committed
`issued` event is read. Rounds without a sink, with a webhook that is answered, with one whose port is closed and with
one that is never answered take turns, so that a busy machine slows each of them alike; the median of the ratios to the
round without a sink counts. Afterwards the deliveries of each kind must fit its name.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console

from adapter.dev.local_kafka.ports import free_ports
from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.wiring import PARTITIONS
from benchmarks import subjects
from benchmarks.added_latency import send_evenly, waited
from benchmarks.arrivals import Arrivals
from benchmarks.contenders import PATIENCE_SECONDS, ResultsDisagreeError
from benchmarks.ground import Ground
from benchmarks.measuring import percentile
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.subjects import START_SECONDS, Subject, SubjectFailedError

ORDERS = 1_000
ROUNDS = 3
PER_SECOND = 40.0
ISSUED = b"ecticket.issuance.issued.v1"
WARM_UP = 0.2
"""The share of the orders that come first and are not measured."""
NOT_CHANGED = 0.1
"""By how much the median of the ratios may be away from 1 before a sink is said to change the time to `issued`."""
_COMMAND = ("-m", "adapter", "run")
_JOB_SECONDS = 0.1
_TIMEOUT_SECONDS = 1.0
_SINK = "webhook-bench"
_TAKEN = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


class Receiver(StrEnum):
    """The behaviour of the sink's receiver."""

    NONE = "no sink"
    HEALTHY = "healthy"
    REFUSING = "down: refuses connections"
    SILENT = "down: never answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: seconds to `issued` of half of the orders and of all but one in a hundred, and what it took."""

    p50: float
    p99: float
    cpu_per_1000: float
    delivered: float
    failed: float


async def measure(ground: Ground, console: Console, *, orders: int = ORDERS, rounds: int = ROUNDS) -> Report:
    """Measure all kinds in turns. Raises SubjectFailedError, ResultsDisagreeError."""
    came: dict[Receiver, list[Round]] = {receiver: [] for receiver in Receiver}
    for number in range(rounds):
        for receiver in _turns(number):
            console.print(f"sinks: {orders:,} orders, {receiver}", style="dim", highlight=False)
            came[receiver].append(await _round(ground, receiver, orders))
    return Report(
        title=f"Orders to issued, {orders:,} at {PER_SECOND:.0f} a second, {rounds} rounds in turns",
        rows=[_row(receiver, found, came[Receiver.NONE]) for receiver, found in came.items()],
        aims=[_aim(receiver, came) for receiver in (Receiver.REFUSING, Receiver.SILENT)],
    )


def _turns(number: int) -> Sequence[Receiver]:
    """All kinds, in one order and back again, so that none always follows the same one."""
    return tuple(Receiver) if number % 2 == 0 else tuple(reversed(Receiver))


def _row(receiver: Receiver, found: Sequence[Round], base: Sequence[Round]) -> dict[str, Cell]:
    return {
        "sink": receiver.value,
        "p50 ms": 1000 * statistics.median(each.p50 for each in found),
        "p99 ms": 1000 * statistics.median(each.p99 for each in found),
        "CPU s per 1,000": statistics.median(each.cpu_per_1000 for each in found),
        "p50, times without": _ratio(found, base, lambda each: each.p50),
        "p99, times without": _ratio(found, base, lambda each: each.p99),
        "delivered": sum(each.delivered for each in found),
        "tries that failed": sum(each.failed for each in found),
    }


def _ratio(found: Sequence[Round], base: Sequence[Round], figure: Callable[[Round], float]) -> float:
    """The median of what each round took, divided by what the one beside it took without a sink."""
    return statistics.median(figure(each) / figure(other) for each, other in zip(found, base, strict=True))


def _aim(receiver: Receiver, came: Mapping[Receiver, Sequence[Round]]) -> Aim:
    found = _ratio(came[receiver], came[Receiver.NONE], lambda each: each.p50)
    return Aim(
        what=f"a sink that is {receiver} does not change the time to issued",
        measured=f"{found:.2f} times",
        met=found <= 1 + NOT_CHANGED,
    )


async def _round(ground: Ground, receiver: Receiver, orders: int) -> Round:
    sandbox = RunningSandbox(SandboxSettings(port=0, job_seconds=_JOB_SECONDS))
    async with sandbox, _receiving(receiver) as port:
        given = await ground.settings(_values(sandbox.base_url, port), own_orders=True)
        arrivals = Arrivals(ground.connection, given["topics.issuances"], counted=ISSUED, at_most_every=0)
        async with arrivals, subjects.adapter(ground, given, command=_COMMAND) as subject:
            await _until_ready(subject, sinks=0 if port is None else 1)
            before = subject.cpu_seconds()
            sent_at = await send_evenly(ground, given["topics.orders_paid"], orders, PER_SECOND)
            if not await arrivals.until(orders, patience=PATIENCE_SECONDS, alive=subject.must_run):
                raise SubjectFailedError(
                    f"only {arrivals.count} of {orders} orders were issued; {subject.last_lines()}"
                )
            cpu = subject.cpu_seconds() - before
            published = await _delivery_counts(subject, receiver, orders)
            await subject.stop()
        _compare(sandbox, receiver, orders, published)
        await ground.remove_topics(given)
    times = waited(sent_at, arrivals.arrived_at, first=round(WARM_UP * orders))
    return Round(
        p50=percentile(times, 0.5),
        p99=percentile(times, 0.99),
        cpu_per_1000=1000 * cpu / orders,
        delivered=published["delivered"],
        failed=published["failed"] + published["timed_out"],
    )


def _values(base_url: str, port: int | None) -> dict[str, str]:
    endpoint = {
        "url": f"http://127.0.0.1:{port}/",
        "secrets": ["whsec_" + base64.b64encode(bytes(32)).decode()],
        "allow_http": True,
        "allow_networks": ["127.0.0.0/8"],
        "timeout_seconds": _TIMEOUT_SECONDS,
    }
    sections = {} if port is None else {"webhook": {"endpoints": {"bench": endpoint}}}
    return {
        "provider.environment": "custom",
        "provider.base_url": base_url,
        "provider.max_calls_per_second": "0",
        "confirm.first_query_seconds": str(2 * _JOB_SECONDS),
        "confirm.query_interval_seconds": str(_JOB_SECONDS),
        "callbacks.enabled": "false",
        "plugins.settings": json.dumps(sections),
    }


@asynccontextmanager
async def _receiving(receiver: Receiver) -> AsyncIterator[int | None]:
    """The port that the sink posts to, with its receiver."""
    if receiver is Receiver.NONE:
        yield None
    elif receiver is Receiver.REFUSING:
        yield free_ports(1)[0]
    else:
        connected = _answer if receiver is Receiver.HEALTHY else _keep_silent
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
            writer.write(_TAKEN)
    writer.close()


async def _keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while await reader.read(64 * 1024):
            pass
    writer.close()


async def _until_ready(subject: Subject, *, sinks: int) -> None:
    """Wait until orders can be taken, and the sink has its partitions: before that it misses events."""
    await subject.until_ready()
    async with asyncio.timeout(START_SECONDS):
        while await subject.partitions(f"sink.{_SINK}") < 2 * PARTITIONS * sinks:
            subject.must_run()
            await asyncio.sleep(0.1)


async def _delivery_counts(subject: Subject, receiver: Receiver, orders: int) -> Mapping[str, float]:
    """The number of deliveries by outcome, once all were made or one has failed, or after a time-out."""
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while True:
        metrics = await subject.metrics()
        published = {
            outcome: metrics("ecticket_deliveries_total", sink=_SINK, outcome=outcome)
            for outcome in ("delivered", "failed", "timed_out")
        }
        if not _disagreements(receiver, orders, published) or time.perf_counter() > deadline:
            return published
        await asyncio.sleep(0.1)


def _disagreements(receiver: Receiver, orders: int, published: Mapping[str, float]) -> list[str]:
    """How the deliveries differ from the sink's kind; a healthy one gets two events for each order."""
    delivered = 2 * orders if receiver is Receiver.HEALTHY else 0
    down = receiver in (Receiver.REFUSING, Receiver.SILENT)
    wrong = {
        f"{published['delivered']:.0f} events were delivered and not {delivered}": published["delivered"] != delivered,
        "no delivery failed": down and not published["failed"],
    }
    return [what for what, is_so in wrong.items() if is_so]


def _compare(sandbox: RunningSandbox, receiver: Receiver, orders: int, published: Mapping[str, float]) -> None:
    """Check that each order was issued once, and that the deliveries fit the sink's kind. Raises
    ResultsDisagreeError.
    """
    wrong = _disagreements(receiver, orders, published)
    if len(sandbox.order_store) != orders:
        wrong.append(f"{len(sandbox.order_store)} issuances are at the sandbox and not {orders}")
    if wrong:
        raise ResultsDisagreeError(f"{receiver}: {'; '.join(wrong)}")
