"""Workers as processes: started, killed, frozen for a while; and what they wrote, compared with what they read."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED
from aiokafka.protocol.offset import OffsetRequest

from adapter.dev.producing import producing
from adapter.kafka.connection import KafkaConnection
from stream.worker import READY

LANE_LENGTH = 3


@dataclass
class WorkerPool:
    """Workers of one group, their source and sink, and the remote side's file."""

    kafka: KafkaConnection
    group: str
    source: str
    sink: str
    folder: Path
    partitions: int
    session: float = 2.0
    transaction: float = 8.0
    slow: float = 0.5
    started: int = 0
    workers: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def remote(self) -> Path:
        return self.folder / "remote.db"

    async def start(self) -> asyncio.subprocess.Process:
        """One more worker."""
        self.started += 1
        task = {
            "bootstrap": self.kafka.bootstrap_servers,
            "group": self.group,
            "source": self.source,
            "sink": self.sink,
            "remote": str(self.remote),
            "name": f"worker-{self.started}",
            "session": str(self.session),
            "transaction": str(self.transaction),
            "slow": str(self.slow),
        }
        with (self.folder / f"worker-{self.started}.log").open("w") as log:
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "stream.worker",
                json.dumps(task),
                cwd=Path(__file__).parent.parent,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        await self._until_it_listens(self.folder / f"worker-{self.started}.log")
        return worker

    @staticmethod
    async def _until_it_listens(log: Path) -> None:
        """A process that is not up yet knows no SIGTERM."""
        async with asyncio.timeout(120):
            while READY not in log.read_text(encoding="utf-8"):  # noqa: ASYNC110, ASYNC240  # a small file, looked at
                await asyncio.sleep(0.02)

    async def kill(self, worker: asyncio.subprocess.Process) -> None:
        """No farewell."""
        self.workers.remove(worker)
        worker.kill()
        await worker.wait()

    async def dismiss(self, worker: asyncio.subprocess.Process) -> int:
        """SIGTERM, and its exit code."""
        self.workers.remove(worker)
        worker.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(worker.wait(), 60)

    async def end(self) -> None:
        for worker in list(self.workers):
            if worker.returncode is None:
                worker.kill()
                await worker.wait()

    async def feed(self, first: int, past: int, *, per_second: float) -> None:
        """Put numbers into the source, a few to each lane, at this pace."""
        async with producing(self.kafka, enable_idempotence=True) as producer:
            began = time.monotonic()
            for number in range(first, past):
                await producer.send(self.source, b"%d" % number, key=b"lane %d" % (number // LANE_LENGTH))
                ahead = (number - first) / per_second - (time.monotonic() - began)
                if ahead > 0.05:
                    await asyncio.sleep(ahead)
            await producer.flush()

    def log_of(self, number: int) -> str:
        """What a worker's log says; they are counted from 1."""
        return (self.folder / f"worker-{number}.log").read_text(encoding="utf-8")

    async def transactions_open(self) -> bool:
        """Whether some transaction that wrote to the sink has not ended: committed readers see less than others."""
        client = AIOKafkaClient(**self.kafka.client_options())
        try:
            await client.bootstrap()
            return await self._ends(client, READ_COMMITTED) != await self._ends(client, READ_UNCOMMITTED)
        finally:
            await client.close()

    async def _ends(self, client: AIOKafkaClient, isolation_level: int) -> list[tuple[object, ...]]:
        latest = [(number, -1) for number in range(self.partitions)]
        answer = await client.send(client.get_random_node(), OffsetRequest(-1, isolation_level, [(self.sink, latest)]))
        return sorted(answer.topics[0][1])

    async def read_sink(self, enough: Callable[[Counter[str]], bool], *, seconds: float, quiet: float = 2) -> Published:
        """What was published, read committed, until it is enough and nothing came for a while."""
        consumer = AIOKafkaConsumer(
            self.sink, **self.kafka.client_options(), auto_offset_reset="earliest", isolation_level="read_committed"
        )
        outcome_with = Published()
        until, last = time.monotonic() + seconds, time.monotonic()
        try:
            await consumer.start()
            while time.monotonic() < until and not (enough(outcome_with.counts) and time.monotonic() - last > quiet):
                for records in (await consumer.getmany(timeout_ms=300)).values():
                    last = time.monotonic()
                    for record in records:
                        outcome_with.add(record.key, *record.value.decode().split())
        finally:
            await consumer.stop()
        return outcome_with


@dataclass
class Published:
    """What the sink holds."""

    counts: Counter[str] = field(default_factory=Counter)
    how: Counter[str] = field(default_factory=Counter)
    lanes: defaultdict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, lane: bytes, record: str, how: str, worker: str) -> None:
        self.counts[record] += 1
        self.how[how] += 1
        self.lanes[lane].append(int(record))

    def check(self, expected: int, sent: Counter[str]) -> None:
        """Nothing lost, nothing published twice, nothing sent twice, and every lane in its order."""
        lost = [number for number in range(expected) if str(number) not in self.counts]
        published_twice = {record: count for record, count in self.counts.items() if count > 1}
        sent_twice = {record: count for record, count in sent.items() if count > 1}
        disorderly = {lane: numbers for lane, numbers in self.lanes.items() if numbers != sorted(numbers)}
        assert (lost, published_twice, sent_twice, disorderly) == ([], {}, {}, {})
        assert len(sent) == expected
