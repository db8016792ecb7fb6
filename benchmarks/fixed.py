"""What the adapter costs without orders: its start, its idle CPU time, its memory. And the memory with 256 in flight.

The whole adapter, `run`, with its default settings, beside the stub. One order is on the topic before the process
starts, so the start ends with its committed `submitted` event. The local broker has no delay for the first member of a
group (`group.initial.rebalance.delay.ms` is 0; a real broker's default is 3 s, which a start then takes longer).

Other builds, such as another checkout, are measured too, in turns with this one.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from adapter.dev.local_kafka.ports import free_ports
from benchmarks import subjects
from benchmarks.arrivals import Arrivals
from benchmarks.builds import PRESENT, Build
from benchmarks.contenders import refuse_disagreements, until_arrived
from benchmarks.ground import Ground
from benchmarks.orders import produce
from benchmarks.processes import pin
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.stub import Stub
from benchmarks.subjects import Subject, SubjectFailedError
from benchmarks.throughput import MemoryWatch

IDLE_SECONDS = 30.0
"""How long the idle adapter is measured ..."""
SETTLE_SECONDS = 10.0
"""... so long after its first event."""
ORDERS = 2_048
"""Orders at once, for the memory with as many in flight as by default."""
IN_FLIGHT = 256
ROUNDS = 1
MOST_IDLE = 0.005
"""The aims: this share of a core without orders, ..."""
LONGEST_START_SECONDS = 2.0
"""... so long from the start of the process to the first event, ..."""
MOST_IDLE_MIB = 75.0
"""... and so much memory without orders ..."""
MOST_BUSY_MIB = 120.0
"""... and with `IN_FLIGHT` orders."""
_DELAY_SECONDS = 0.25
_IMPORTS = ("-c", "import adapter.cli.main, adapter.app")
_HELP = ("-m", "adapter", "--help")
_RUN = ("-m", "adapter", "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedCost:
    """What one process cost; the seconds of the start are counted from the start of the process."""

    help_seconds: float
    imported: float
    """The interpreter and all imports, in a process of their own."""
    built: float | None
    """Settings are read, and all parts are built; None for a build that does not log this moment by the present name.
    """
    running: float | None
    """The broker, the topics and the groups are checked, and the stages start; None as for `built`."""
    submitted: float
    """The first event is committed, and read by a subscriber."""
    idle_share: float
    broker_share: float
    idle_mib: float
    busy_mib: float


async def measure(
    ground: Ground,
    console: Console,
    *,
    seconds: float = IDLE_SECONDS,
    settle_seconds: float = SETTLE_SECONDS,
    orders: int = ORDERS,
    rounds: int = ROUNDS,
    builds: Sequence[Build] = (PRESENT,),
) -> Report:
    """Measure in so many rounds; medians count. Raises SubjectFailedError, ResultsDisagreeError."""
    found: dict[str, list[FixedCost]] = {build.name: [] for build in builds}
    for turn in range(rounds):
        for build in builds:
            console.print(f"fixed: round {turn + 1}, {build.name}", style="dim", highlight=False)
            found[build.name].append(await _cost(ground, build, seconds, settle_seconds, orders))
    medians = {name: _median(costs) for name, costs in found.items()}
    return Report(
        title="What the adapter costs without orders, and its start",
        rows=[_row(name, cost) for name, cost in medians.items()],
        aims=_aims(medians[PRESENT.name]),
        notes=[
            *[await build.facts() for build in builds],
            "Seconds from the start of the process, none where the build does not log that moment by its present name; "
            "shares of a core without orders; MiB in RAM.",
        ],
    )


async def _cost(ground: Ground, build: Build, idle_seconds: float, settle_seconds: float, orders: int) -> FixedCost:
    await asyncio.to_thread(_seconds_of, ground, build, _IMPORTS)  # compiles
    help_seconds = await asyncio.to_thread(_seconds_of, ground, build, _HELP)
    imported = await asyncio.to_thread(_seconds_of, ground, build, _IMPORTS)
    with Stub(delay_seconds=_DELAY_SECONDS) as stub:
        given = await ground.settings(_values(stub.base_url), own_orders=True)
        topic = given["topics.orders_paid"]
        await produce(ground.connection, topic, range(1), partitions=1)
        arrivals = Arrivals(ground.connection, given["topics.issuances"], at_most_every=0)
        async with arrivals:
            started_at, began = time.time(), time.perf_counter()
            async with subjects.adapter(ground, given, command=_RUN, build=build) as subject:
                await until_arrived(build.name, arrivals, 1, subject)
                submitted = next(iter(arrivals.arrived_at.values())) - began
                await asyncio.sleep(settle_seconds)
                idle_share, broker_share = await _idle(ground, subject, idle_seconds)
                idle_mib = subject.resident_mib()
                async with MemoryWatch(subject, every_seconds=0.1) as memory:
                    await produce(ground.connection, topic, range(1, 1 + orders), partitions=6)
                    await until_arrived(build.name, arrivals, 1 + orders, subject)
                await subject.stop()
                moments = _moments(subject.log, started_at)
        refuse_disagreements(build.name, arrivals, await asyncio.to_thread(stub.results))
        await ground.remove_topics(given)
    return FixedCost(
        help_seconds=help_seconds,
        imported=imported,
        built=moments.get("plugins-loaded"),
        running=moments.get("running"),
        submitted=submitted,
        idle_share=idle_share,
        broker_share=broker_share,
        idle_mib=idle_mib,
        busy_mib=memory.highest,
    )


async def _idle(ground: Ground, subject: Subject, seconds: float) -> tuple[float, float]:
    """The shares of a core that the adapter and the broker need meanwhile."""
    began, cpu, broker_cpu = time.perf_counter(), subject.cpu_seconds(), ground.broker_cpu_seconds()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    return (subject.cpu_seconds() - cpu) / took, (ground.broker_cpu_seconds() - broker_cpu) / took


def _seconds_of(ground: Ground, build: Build, command: Sequence[str]) -> float:
    """How long a command takes on the measured core. Raises SubjectFailedError."""
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603  # our own program
        [str(build.python), *command],
        env=subjects.own_environment(ground, build.checkout),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    pin(process.pid, ground.core)
    _, errors = process.communicate()
    if process.returncode:
        raise SubjectFailedError(f"{' '.join(command)} ended with {process.returncode}: {errors.decode()}")
    return time.perf_counter() - began


def _moments(log: Path, started_at: float) -> Mapping[str, float]:
    """When each log event came first, in seconds since the start."""
    moments: dict[str, float] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        moments.setdefault(fields["event"], datetime.fromisoformat(fields["timestamp"]).timestamp() - started_at)
    return moments


def _values(base_url: str) -> dict[str, str]:
    """The settings that are no defaults: free ports, no pace of calls, and no query before the end."""
    callbacks, console = free_ports(2)
    return {
        "provider.environment": "custom",
        "provider.base_url": base_url,
        "provider.max_calls_per_second": "0",
        "submit.concurrency": str(IN_FLIGHT),
        "confirm.first_query_seconds": "3600",
        "callbacks.port": str(callbacks),
        "console.port": str(console),
    }


def _median(costs: Sequence[FixedCost]) -> FixedCost:
    return FixedCost(**{name: _median_of([getattr(each, name) for each in costs]) for name in FixedCost.__slots__})


def _median_of(values: Sequence[Any]) -> Any:  # a float, or None for what the build does not log
    return None if None in values else statistics.median(values)


def _row(name: str, cost: FixedCost) -> dict[str, Cell]:
    return {
        "adapter": name,
        "--help": cost.help_seconds,
        "imported": cost.imported,
        "built": cost.built,
        "running": cost.running,
        "submitted": cost.submitted,
        "idle": f"{cost.idle_share:.2%}",
        "broker": f"{cost.broker_share:.2%}",
        "MiB idle": cost.idle_mib,
        f"MiB at {IN_FLIGHT}": cost.busy_mib,
    }


def _aims(cost: FixedCost) -> list[Aim]:
    return [
        Aim(
            what=f"below {MOST_IDLE:.1%} of a core without orders",
            measured=f"{cost.idle_share:.2%}",
            met=cost.idle_share < MOST_IDLE,
        ),
        Aim(
            what=f"from the start to the first event below {LONGEST_START_SECONDS:g} s",
            measured=f"{cost.submitted:.2f} s",
            met=cost.submitted < LONGEST_START_SECONDS,
        ),
        Aim(
            what=f"at most {MOST_IDLE_MIB:g} MiB without orders",
            measured=f"{cost.idle_mib:.0f} MiB",
            met=cost.idle_mib <= MOST_IDLE_MIB,
        ),
        Aim(
            what=f"at most {MOST_BUSY_MIB:g} MiB with {IN_FLIGHT} in flight",
            measured=f"{cost.busy_mib:.0f} MiB",
            met=cost.busy_mib <= MOST_BUSY_MIB,
        ),
    ]
