"""Genuine notifications during attacks on the callbacks' port: how many are lost, how much later, and in which memory.

For each attack (`attacks`) a fresh `run --only receive` on a separate core gets genuine notifications at a steady pace,
each over a connection of its own, first alone and then during the attack. A genuine one is lost if it is not answered
200 within ten seconds; none is sent again here, though ECPay would. A probe of `/livez` goes on all the time.
The memory is the peak that the kernel recorded (VmHWM), beyond the peak of the same process before the attack.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import httpx
from rich.console import Console

from adapter.dev.local_kafka.ports import free_ports
from adapter.protocol.envelope import seal_request
from benchmarks import subjects
from benchmarks.attacks import ALL, Attack, AttackProcess
from benchmarks.contenders import ResultsDisagreeError
from benchmarks.ground import Ground
from benchmarks.measuring import percentile
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.sealing import MERCHANT
from benchmarks.subjects import Subject

PER_SECOND = 20
ANSWER_SECONDS = 10.0
PROBE_SECONDS = 0.5
WARM_UP_SECONDS = 2.0
MOST_MIB = 64.0
"""How much more memory than before the attack any attack may cost."""
MOST_ADDED_SECONDS = 1.0
"""How much later than before the attack 99 of 100 notifications may be answered, on a machine without other work."""
_COMMAND = ("-m", "adapter", "run", "--only", "receive")
_HEAD = (
    b"POST /callbacks/ecticket/use-status HTTP/1.1\r\nHost: shop.example\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n"
)


@dataclass(slots=True, kw_only=True)
class _Observed:
    """What happened to genuine notifications for a while."""

    seconds: list[float] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    """By how: `time-out`, the name of an error of the connection, `closed`, or the first line of another answer."""
    probes_failed: int = 0
    cpu: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """One attack: before it and during it."""

    alone: _Observed
    attacked: _Observed
    added_mib: float

    @property
    def added_p99(self) -> float | None:
        """In seconds; None if no notification was answered."""
        if not self.attacked.seconds:
            return None
        return percentile(self.attacked.seconds, 0.99) - percentile(self.alone.seconds, 0.99)


async def measure(ground: Ground, console: Console, *, seconds: float, attacks: Collection[str] = ALL) -> Report:
    """Attack for about so many seconds each, with these attacks. Raises SubjectFailedError, ResultsDisagreeError."""
    rows: list[Mapping[str, Cell]] = []
    results = []
    for name in attacks:
        console.print(f"flood: {name}", style="dim")
        result, sent = await _attack(ground, name, seconds)
        rows.append(_row(name, sent / (seconds + 2), result, seconds))
        results.append(result)
    return Report(
        title=f"Attacks on the callbacks' port, beside {PER_SECOND} notifications/s", rows=rows, aims=_aims(results)
    )


async def _attack(ground: Ground, name: str, seconds: float) -> tuple[_Result, int]:
    """The result of one attack, and how many connections or requests it sent."""
    (port,) = free_ports(1)
    given = await ground.settings({"callbacks.host": "127.0.0.1", "callbacks.port": str(port)})
    async with subjects.adapter(ground, given, command=_COMMAND) as subject:
        await subject.until_ready()
        warm = await _observe(subject, port, WARM_UP_SECONDS, first=0)
        alone = await _observe(subject, port, seconds / 2, first=10_000)
        idle = subject.peak_mib()
        attack = await asyncio.to_thread(AttackProcess, Attack(name=name, port=port, seconds=seconds + 2))
        attacked = await _observe(subject, port, seconds, first=20_000)
        sent = await asyncio.to_thread(attack.result)
        result = _Result(alone=alone, attacked=attacked, added_mib=subject.peak_mib() - idle)
        published = (await subject.metrics())("ecticket_notifications_total", outcome="published")
        await subject.stop()
    await ground.remove_topics(given)
    genuine = sum(len(each.seconds) for each in (warm, alone, attacked))
    if published < genuine:
        raise ResultsDisagreeError(f"{genuine} notifications were answered, and {published:.0f} published")
    return result, sent


def _aims(results: list[_Result]) -> list[Aim]:
    lost = sum(each.attacked.lost.total() for each in results)
    probes = sum(each.attacked.probes_failed for each in results)
    memory = max(each.added_mib for each in results)
    added = max(math.inf if each.added_p99 is None else each.added_p99 for each in results)
    return [
        Aim(what="no genuine notification lost", measured=f"{lost}", met=lost == 0),
        Aim(what="every probe answered", measured=f"{probes} not", met=probes == 0),
        Aim(what=f"at most {MOST_MIB:g} MiB more", measured=f"{memory:.0f}", met=memory <= MOST_MIB),
        Aim(
            what=f"p99 at most {MOST_ADDED_SECONDS:g} s later",
            measured=f"{added:.2f} s",
            met=added <= MOST_ADDED_SECONDS,
        ),
    ]


def _row(name: str, per_second: float, result: _Result, seconds: float) -> Mapping[str, Cell]:
    during = result.attacked
    p50, p99 = (1000 * percentile(during.seconds, share) if during.seconds else None for share in (0.5, 0.99))
    return {
        "attack": name,
        "hostile/s": per_second,
        "genuine": float(len(during.seconds) + during.lost.total()),
        "lost": float(during.lost.total()),
        "how": ", ".join(f"{count} {how}" for how, count in during.lost.most_common()),
        "p50 ms": p50,
        "p99 ms": p99,
        "added p99 ms": None if result.added_p99 is None else 1000 * result.added_p99,
        "CPU": f"{during.cpu / seconds:.0%}",
        "probes failed": float(during.probes_failed),
        "added MiB": result.added_mib,
    }


async def _observe(subject: Subject, port: int, seconds: float, *, first: int) -> _Observed:
    observed = _Observed()
    cpu = subject.cpu_seconds()
    ends = time.monotonic() + seconds
    probing = asyncio.create_task(_probe(subject, ends, observed))
    began = time.monotonic()
    sending = []
    for number in range(int(seconds * PER_SECOND)):
        await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
        sending.append(asyncio.create_task(_send(port, first + number, observed)))
    await asyncio.gather(*sending, probing)
    subject.must_run()
    observed.cpu = subject.cpu_seconds() - cpu
    return observed


async def _send(port: int, number: int, observed: _Observed) -> None:
    payload = {
        "MerchantID": MERCHANT.merchant_id,
        "MerchantTradeNo": f"G{number}",
        "TicketNo": f"CB2SY{number:011}",
        "UseStatus": 2,
    }
    body = seal_request(payload, MERCHANT, timestamp=int(time.time()))
    began = time.perf_counter()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_HEAD % len(body) + body)
            status = await reader.readline()
            writer.close()
    except TimeoutError:
        observed.lost["time-out"] += 1
    except OSError as error:
        observed.lost[type(error).__name__] += 1
    else:
        if status.startswith(b"HTTP/1.1 200"):
            observed.seconds.append(time.perf_counter() - began)
        else:
            observed.lost[status.decode("latin-1").strip() or "closed"] += 1


async def _probe(subject: Subject, ends: float, observed: _Observed) -> None:
    async with httpx.AsyncClient(base_url=subject.admin or "", trust_env=False, timeout=ANSWER_SECONDS) as client:
        while time.monotonic() < ends:
            try:
                observed.probes_failed += (await client.get("/livez")).status_code != 200
            except httpx.HTTPError:
                observed.probes_failed += 1
            await asyncio.sleep(PROBE_SECONDS)
