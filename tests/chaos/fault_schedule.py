"""Injects the scheduled faults of a plan into the processes of a cluster and into its broker.

Records what it hit. Does not judge: `result_check` decides about an exit code that is not 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from aiokafka import AIOKafkaProducer
from integration.cluster import PARTITIONS, Cluster, Worker, until

from adapter.dev.local_kafka.broker import LocalKafka
from chaos.scenario import FaultKind, Plan, ScheduledFault

PLUGIN = "our_mapping.py"
MOST_SLEEP_SECONDS = 7.0
"""How long a frozen process waits for its successor, at most: its connections must still be there when it wakes."""


@dataclass(slots=True)
class FaultSchedule:
    """Runs one plan on one cluster. `broker` is needed for faults of the broker."""

    plan: Plan
    cluster: Cluster
    broker: LocalKafka | None = None
    hit: list[str] = field(default_factory=list)
    """The injected faults: the kind, and the calls on the wire if they matter."""
    bad_exits: list[str] = field(default_factory=list)
    """Processes that did not end as they should."""
    _mappings: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._mappings = cycle(self.plan.scenario.mappings)

    @property
    def plugin(self) -> Path:
        """The path of the merchant's mapping."""
        return self.cluster.folder / PLUGIN

    async def begin(self) -> None:
        """Start the plan's processes and wait until the partitions are shared out, so that faults hit their victims."""
        self._release()
        await asyncio.gather(*(self.cluster.start() for _ in range(self.plan.scenario.processes)))
        await self.cluster.until_shared()

    async def run(self) -> None:
        """Inject every fault."""
        scenario, faults = self.plan.scenario, self.cluster.sandbox.faults
        await until(lambda: faults.fired.total() >= scenario.after_faults, seconds=60)
        for scheduled in self.plan.scheduled_faults:
            await asyncio.sleep(scheduled.pause)
            await self._deal(scheduled)

    def ended_by_themselves(self) -> list[str]:
        """Processes that ended although the schedule did not stop them."""
        codes = ((worker.name, worker.process.returncode) for worker in self.cluster.workers)
        return [f"{name} ended by itself with exit code {code}" for name, code in codes if code is not None]

    def _release(self) -> None:
        """Install the merchant's next mapping, if there is one, for later starts."""
        text = next(self._mappings, None)
        if text is not None:
            self.plugin.write_text(text, encoding="utf-8")

    async def _deal(self, scheduled: ScheduledFault) -> None:
        victim = self.cluster.workers[scheduled.victim % len(self.cluster.workers)]
        if scheduled.kind in (FaultKind.KILL, FaultKind.TERM, FaultKind.FREEZE):
            await victim.until_ready()  # it may still be starting after the previous fault
        match scheduled.kind:
            case FaultKind.KILL:
                self.hit.append(f"kill:{await self._kill(victim)}")
            case FaultKind.TERM:
                self.hit.append(f"term:{victim.on_the_wire}")
                await self._terminate(victim)
            case FaultKind.FREEZE:
                self.hit.append(f"freeze:{victim.on_the_wire}")
                await self._freeze(victim)
            case FaultKind.FENCE:
                self.hit.append("fence")
                await self._fence()
            case FaultKind.BROKER:
                self.hit.append("broker")
                await self._restart_broker()
            case FaultKind.JOIN:
                self.hit.append("join")
                await self.cluster.start()
            case FaultKind.CLEAR:
                self.cluster.sandbox.faults.clear()

    async def _kill(self, victim: Worker) -> int:
        """Kill it in a moment in which ECTicket is answering it, if there is such a moment soon."""
        with contextlib.suppress(TimeoutError):  # it may have no partition, or nothing to do
            await victim.until_on_the_wire(2, seconds=1.5)
        on_the_wire = await victim.kill()
        await self._restart(victim)
        return on_the_wire

    async def _terminate(self, victim: Worker) -> None:
        code = await victim.dismiss(seconds=40)
        if code != 0:
            self.bad_exits.append(f"{victim.name} was asked to stop and ended with exit code {code}")
        await self._restart(victim)

    async def _restart(self, victim: Worker) -> None:
        self._release()
        await self.cluster.restart(victim)

    async def _freeze(self, victim: Worker) -> None:
        victim.send(signal.SIGSTOP)
        await asyncio.sleep(float(self.cluster.settings["kafka.session_timeout_seconds"]) + 2)
        if self.plan.scenario.wakes_when_published:
            with contextlib.suppress(TimeoutError):
                await until(self._all_published, seconds=MOST_SLEEP_SECONDS)
        victim.send(signal.SIGCONT)

    def _all_published(self) -> bool:
        return bool(self.cluster.refs) and all(self.cluster.event_log.of(ref) for ref in self.cluster.refs)

    async def _fence(self) -> None:
        """What an earlier owner, or a second deployment by mistake, would do to the writers of all order partitions."""
        group = f"{self.cluster.settings['kafka.group_prefix']}.submit"
        for partition in range(PARTITIONS):
            writer = AIOKafkaProducer(
                **self.cluster.kafka.client_options(),
                transactional_id=f"{group}.{self.cluster.topic('orders_paid')}.{partition}",
            )
            try:
                await writer.start()
            finally:
                await writer.stop()

    async def _restart_broker(self) -> None:
        if self.broker is None:
            raise AssertionError("this schedule has no broker of its own")
        await asyncio.to_thread(self.broker.kill)
        await asyncio.to_thread(self.broker.start)


@asynccontextmanager
async def running(schedule: FaultSchedule) -> AsyncIterator[None]:
    """Inject the faults while the block runs; at its end all of them have happened."""
    task = asyncio.create_task(schedule.run())
    try:
        yield
        await task
    finally:
        task.cancel()
