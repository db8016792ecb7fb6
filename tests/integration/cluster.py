"""The whole system for one test: topics, an ECTicket, and adapters as separate processes, started as in a pod.

All names are unique, so tests neither collide nor need an empty broker. `end` stops every process and then searches for
customers' data and keys where they must not be: in each process's log, its metrics, and every event.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import signal
import ssl
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import RecordMetadata

from adapter.dev.local_kafka.ports import free_ports
from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS, SandboxSettings
from adapter.kafka import topics
from adapter.kafka.connection import KafkaConnection
from adapter.settings import load
from adapter.settings.groups import TopicSettings
from adapter.wiring import topic_specs
from integration.event_log import SLOW_MACHINE, EventLog, EventReader
from integration.order_source import PaidOrder

MERCHANT = PUBLIC_TEST_MERCHANTS[0]
OTHER_MERCHANT = PUBLIC_TEST_MERCHANTS[2]
TESTS = Path(__file__).parent.parent
RUN = (sys.executable, "-m", "adapter", "run")
PARTITIONS = 4


def dying(topic: str) -> tuple[str, ...]:
    """The command of an adapter that is killed inside its first transaction with an event on this topic."""
    return (sys.executable, "-m", "integration.dying", topic, "run")


NO_TLS = ssl.create_default_context()
NOT_PUBLISHED = " is at ECTicket and was never published as submitted"
SANDBOX = SandboxSettings(port=0, job_seconds=0.5)

QUICK: Mapping[str, str] = {
    "provider.max_calls_per_second": "0",
    "provider.timeout_seconds": "4",
    "kafka.session_timeout_seconds": "6" if os.environ.get("ECTICKET_KAFKA__BOOTSTRAP_SERVERS") else "4",
    "kafka.transaction_timeout_seconds": "8",
    "submit.reissue_after_seconds": "6",
    "submit.refusal_final_after_seconds": "2",
    "submit.defer_seconds": "1",
    "submit.concurrency": "64",
    "confirm.first_query_seconds": "1",
    "confirm.query_interval_seconds": "0.5",
    "shutdown.grace_seconds": "8",
}
"""Minutes become seconds, all by about the same factor: the sandbox's delays stay shorter than the waiting times.

Less than 6 s of session time-out is refused by a broker that does not say otherwise, as the local one does.
"""


@dataclass(slots=True)
class Worker:
    """One adapter process, and its own endpoint of ECTicket."""

    name: str
    log: Path
    admin: str
    environment: Mapping[str, str]
    endpoint: RunningSandbox
    process: asyncio.subprocess.Process
    command: Sequence[str]

    @property
    def on_the_wire(self) -> int:
        """The number of its calls that ECTicket is answering now."""
        return len(self.endpoint._state.tasks)

    async def get(self, path: str) -> httpx.Response:
        """Ask its admin server."""
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=NO_TLS), timeout=30) as client:
            return await client.get(self.admin + path)

    async def until_ready(self, *, seconds: float = 120) -> None:
        """Wait until it says that it can take orders."""
        async with asyncio.timeout(seconds):
            while not await self._is_ready():
                assert self.process.returncode is None, self.log.read_text()[-3000:]
                await asyncio.sleep(0.1)

    async def until_on_the_wire(self, calls: int, *, seconds: float = 30) -> None:
        """Wait for a moment at which ECTicket is answering it so many calls."""
        await until(lambda: self.on_the_wire >= calls, seconds=seconds)

    async def _is_ready(self) -> bool:
        try:
            return (await self.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def partitions(self, stage: str) -> frozenset[str]:
        """The partitions (`topic/number`) that one of its stages holds now."""
        return frozenset((await self.get("/info")).json()["stages"][stage])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def kill(self) -> int:
        """kill -9; how many calls were on the wire at that moment."""
        on_the_wire = self.on_the_wire
        self.process.kill()
        await self.process.wait()
        return on_the_wire

    async def dismiss(self, *, seconds: float = 20) -> int:
        """SIGTERM, and its exit code."""
        self.send(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), SLOW_MACHINE * seconds)

    @property
    def log_lines(self) -> list[dict[str, object]]:
        """Its log, one mapping for each line."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(each) if each.startswith("{") else {"event": each, "level": "bare"} for each in lines]


@dataclass(slots=True)
class Cluster:
    """One ECTicket, one set of topics, any number of workers."""

    kafka: KafkaConnection
    sandbox: RunningSandbox
    folder: Path
    settings: dict[str, str]
    event_log: EventLog = field(default_factory=EventLog)
    command: Sequence[str] = RUN
    workers: list[Worker] = field(default_factory=list)
    refs: dict[str, int | None] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    metrics: list[str] = field(default_factory=list)
    reader: EventReader = field(init=False)
    _endpoints: list[RunningSandbox] = field(default_factory=list)

    def __post_init__(self) -> None:
        for merchant in (MERCHANT, OTHER_MERCHANT):
            self.secrets |= {merchant.credentials.hash_key, merchant.credentials.hash_iv}
        others = tuple(self.topic(name) for name in ("dead_letters", "orders_deferred", "confirmations"))
        self.reader = EventReader(self.kafka, self.event_log, events=self.topic("issuances"), topics=others)

    def topic(self, name: str) -> str:
        """The full name of a topic by its setting."""
        return self.settings[f"topics.{name}"]

    # --- processes ---------------------------------------------------------------------------------------------------

    async def start(
        self, *, ready: bool = True, command: Sequence[str] | None = None, output: int | None = None, **changes: str
    ) -> Worker:
        """Start one more adapter; `changes` are settings, dots written as `__`.

        `command` starts it instead of the cluster's own; `output` is the file descriptor of its log, if that is not a
        file.
        """
        endpoint = RunningSandbox(self.sandbox.settings)
        endpoint._simulator = self.sandbox._simulator  # one ECTicket, an endpoint for each worker
        self._endpoints.append(await endpoint.__aenter__())
        name = f"worker-{len(self._endpoints)}"
        (port,) = free_ports(1)
        values = {**self.settings, "provider.base_url": endpoint.base_url, "admin.port": str(port)}
        values |= {key.replace("__", "."): value for key, value in changes.items()}
        environment = environment_of(values)
        log = self.folder / f"{name}.log"
        command = command or self.command
        process = await launch(command, environment, log, output=output)
        worker = Worker(name, log, f"http://127.0.0.1:{port}", environment, endpoint, process, command)
        self.workers.append(worker)
        if ready:
            await worker.until_ready()
        return worker

    async def restart(self, worker: Worker) -> None:
        """Start a worker again that was killed: same settings, same log."""
        worker.process = await launch(worker.command, worker.environment, worker.log)

    async def until_shared(self, *, seconds: float = 60) -> None:
        """Wait until the partitions of the order topics are shared out among all running workers, each having some."""
        running = [worker for worker in self.workers if worker.process.returncode is None]
        async with asyncio.timeout(SLOW_MACHINE * seconds):
            while not self._shared([await worker.partitions("submit") for worker in running]):  # noqa: ASYNC110  # as `until`
                await asyncio.sleep(0.1)

    def _shared(self, parts: Sequence[frozenset[str]]) -> bool:
        everything = {
            f"{self.topic(name)}/{number}"
            for name in ("orders_paid", "orders_deferred")
            for number in range(PARTITIONS)
        }
        return all(parts) and sum(map(len, parts)) == len(everything) and everything == set().union(*parts)

    # --- orders ------------------------------------------------------------------------------------------------------

    async def feed(
        self,
        orders: Sequence[PaidOrder],
        *,
        per_second: float = 0,
        partition: int | None = None,
        on: str = "orders_paid",
    ) -> list[str]:
        """Put orders on a topic (at this pace); their coordinates, in order."""
        self.secrets |= {secret for order in orders for secret in order.secrets}
        records = [(order.order_id.encode(), order.value, ()) for order in orders]
        parts = [order.parts for order in orders]
        return await self.put(records, parts=parts, per_second=per_second, partition=partition, on=on)

    async def put(
        self,
        records: Sequence[tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]],
        *,
        parts: Sequence[int | None] = (),
        per_second: float = 0,
        partition: int | None = None,
        on: str = "orders_paid",
    ) -> list[str]:
        """Put records (key, value, headers) on a topic, whatever they hold."""
        producer = await self._producer()
        try:
            began, sent = time.monotonic(), []
            for number, (key, value, headers) in enumerate(records):
                sent.append(await _send(producer, self.topic(on), key, value, list(headers), partition))
                ahead = number / per_second - (time.monotonic() - began) if per_second else 0
                if ahead > 0.02:
                    await asyncio.sleep(ahead)
            places = await asyncio.gather(*sent)
        finally:
            await producer.stop()
        refs = [f"{place.topic}/{place.partition}/{place.offset}" for place in places]
        self.refs.update(zip(refs, parts or [None] * len(refs), strict=True))
        return refs

    async def _producer(self) -> AIOKafkaProducer:
        """The shop's; it waits for a broker that is being restarted, as the shop would."""
        options = {**self.kafka.client_options(), "max_request_size": 4 * 1024 * 1024}
        async with asyncio.timeout(SLOW_MACHINE * 60):
            while True:
                producer = AIOKafkaProducer(**options, enable_idempotence=True, linger_ms=5)
                try:
                    await producer.start()
                except KafkaConnectionError:
                    await producer.stop()
                    await asyncio.sleep(0.2)
                except BaseException:
                    await producer.stop()
                    raise
                else:
                    return producer

    # --- the results -------------------------------------------------------------------------------------------------

    async def all_delivered(self, *, seconds: float) -> None:
        """Wait until the final events of every order are there, and then until no more come."""
        left = list(self.refs)

        def ended() -> bool:
            while left and self.event_log.ended(left[-1]):
                left.pop()
            return not left

        if not await self.reader.until(ended, seconds=seconds):
            still = [ref for ref in left if not self.event_log.ended(ref)]
            raise AssertionError(f"{len(still)} of {len(self.refs)} orders have not ended: {still[:10]}")
        await self.reader.quiet(1.0)

    def disagreements(self) -> list[str]:
        """One sentence for each disagreement between the events and ECTicket's issuances."""
        return [*self.event_log.disagreements(self.refs), *self._against_the_sandbox()]

    def _against_the_sandbox(self) -> list[str]:
        store = self.sandbox.order_store
        wrong = [
            f"{trade_no.value} was issued {len(store.issuances((merchant, trade_no)))} times"
            for merchant, trade_no in store.repeated()
        ]
        there = {(merchant, trade_no.value) for merchant, trade_no in store.numbers()}
        submitted_numbers = {
            (str(e.data["merchant_id"]), str(e.number)) for e in self.event_log.events if e.type == "submitted"
        }
        issued = {(str(e.data["merchant_id"]), str(e.number)) for e in self.event_log.events if e.type == "issued"}
        wrong += [f"{number}{NOT_PUBLISHED}" for _, number in sorted(there - submitted_numbers)]
        wrong += [
            f"{number} was published as submitted and is not at ECTicket"
            for _, number in sorted(submitted_numbers - there)
        ]
        wrong += [
            f"{number} was published as issued and never as submitted"
            for _, number in sorted(issued - submitted_numbers)
        ]
        return wrong

    async def uncommitted(self) -> list[str]:
        """Records of the adapter's inputs that its groups have not committed, by partition."""
        inputs = {"submit": ("orders_paid", "orders_deferred"), "confirm": ("confirmations",)}
        return [
            left
            for stage, names in inputs.items()
            for left in await self._behind(f"{self.settings['kafka.group_prefix']}.{stage}", names)
        ]

    async def _behind(self, group: str, names: tuple[str, ...]) -> list[str]:
        admin = AIOKafkaAdminClient(**self.kafka.client_options())
        try:
            await admin.start()
            places = [TopicPartition(self.topic(name), number) for name in names for number in range(PARTITIONS)]
            commits = await admin.list_consumer_group_offsets(group, partitions=places)
        finally:
            await admin.close()
        last = self._last_records()
        return [
            f"{group}: {place} is committed to {commits[place].offset}, and its last record is {last[place]}"
            for place in places
            if place in last and commits[place].offset <= last[place]
        ]

    def _last_records(self) -> dict[TopicPartition, int]:
        """The offset of the last record of each partition, as fed and as read; behind it may lie markers."""
        fed = (ref.rsplit("/", 2) for ref in self.refs)
        read = (
            (each.topic, each.partition, each.offset)
            for records in self.event_log.by_topic.values()
            for each in records
        )
        last: dict[TopicPartition, int] = {}
        for topic, partition, offset in (*fed, *read):
            place = TopicPartition(topic, int(partition))
            last[place] = max(int(offset), last.get(place, -1))
        return last

    # --- the end -----------------------------------------------------------------------------------------------------

    async def end(self) -> None:
        """Stop everything; raises AssertionError when a secret got out."""
        for worker in self.workers:
            if worker.process.returncode is None:
                worker.send(signal.SIGCONT)
                await self._keep_metrics(worker)
                worker.process.kill()
                await worker.process.wait()
        for endpoint in self._endpoints:
            await endpoint.aclose()
        assert self.leaks() == []

    async def _keep_metrics(self, worker: Worker) -> None:
        try:
            self.metrics.append((await worker.get("/metrics")).text)
            self.metrics.append((await worker.get("/info")).text)
        except httpx.TransportError:
            return

    def leaks(self) -> list[str]:
        """Where a customer's data or a key can be read that must not be there."""
        public = [worker.log.read_text(encoding="utf-8", errors="replace") for worker in self.workers]
        public += self.metrics
        for record in self.event_log.by_topic[self.topic("issuances")]:
            public.append(repr((record.key, record.headers)) + record.value.decode())
        for record in self.event_log.by_topic[self.topic("dead_letters")]:
            public.append(" ".join(repr(text) for name, text in record.headers if name.endswith("message")))
        words = set(re.findall(r"[a-z0-9]{9,}", "\n".join(public).lower()))
        return sorted(f"{secret} got out" for secret in self.secrets & words)


async def _send(
    producer: AIOKafkaProducer,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    partition: int | None,
) -> asyncio.Future[RecordMetadata]:
    """Send one record; also one of nothing at all, which aiokafka refuses and other producers send."""
    if (key, value) != (None, None):
        sent: asyncio.Future[RecordMetadata] = await producer.send(
            topic, value, key, partition=partition, headers=headers
        )
        return sent
    batch = producer.create_batch()
    batch.append(key=None, value=None, timestamp=None, headers=headers)
    alone: asyncio.Future[RecordMetadata] = await producer.send_batch(batch, topic, partition=partition or 0)
    return alone


async def until(condition: Callable[[], bool], *, seconds: float) -> None:
    """Wait until something outside this process is so. Raises TimeoutError after `seconds`, times `SLOW_MACHINE`."""
    async with asyncio.timeout(SLOW_MACHINE * seconds):
        while not condition():  # noqa: ASYNC110  # processes, sockets and files offer no event
            await asyncio.sleep(0.005)


def environment_of(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process with these settings and no others."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ECTICKET_")}
    return environment | {f"ECTICKET_{key.upper().replace('.', '__')}": value for key, value in settings.items()}


async def launch(
    command: Sequence[str], environment: Mapping[str, str], log: Path, *, output: int | None = None
) -> asyncio.subprocess.Process:
    """Run the adapter by this command; it does not outlive this process. It writes to `output`, or into `log`."""
    with log.open("ab") as file:
        into = file.fileno() if output is None else output
        return await asyncio.create_subprocess_exec(
            *command, env=dict(environment), stdout=into, stderr=into, preexec_fn=_die_with_the_test, cwd=TESTS
        )


def _die_with_the_test() -> None:
    """Whatever becomes of the tests, no adapter outlives them (Linux; elsewhere the fixture's end must do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


TOPICS = tuple(name for name in TopicSettings().names() if name != "collected")
"""The settings of a cluster's topics; collected tickets are on the topic `tickets`."""


def settings_for(kafka: KafkaConnection) -> dict[str, str]:
    """Settings of an adapter with unique topics and groups."""
    run = f"it-{uuid.uuid4().hex[:10]}"
    return {
        **QUICK,
        "kafka.bootstrap_servers": kafka.bootstrap_servers,
        "kafka.group_prefix": run,
        **{f"topics.{name}": f"{run}.{name}" for name in TOPICS},
        "provider.environment": "custom",
        "provider.base_url": "http://127.0.0.1:9",
        "merchants": merchants(MERCHANT.merchant_id),
        "submit.operator": "house",
        "submit.derive_trade_no": "always",
        "callbacks.host": "127.0.0.1",
        "callbacks.port": "0",
        "admin.host": "127.0.0.1",
        "console.port": "0",
    }


def merchants(*merchant_ids: str) -> str:
    """The `merchants` setting for some of the public test merchants."""
    keys = {each.merchant_id: each.credentials for each in (MERCHANT, OTHER_MERCHANT)}
    return json.dumps({key: {"hash_key": keys[key].hash_key, "hash_iv": keys[key].hash_iv} for key in merchant_ids})


@asynccontextmanager
async def open_cluster(
    kafka: KafkaConnection,
    folder: Path,
    *,
    sandbox: SandboxSettings = SANDBOX,
    command: Sequence[str] = RUN,
    **changes: str,
) -> AsyncIterator[Cluster]:
    """A cluster with its topics, its ECTicket and its reader; no adapter runs yet."""
    values = settings_for(kafka) | {key.replace("__", "."): value for key, value in changes.items()}
    specs = topic_specs(load(None, values), partitions=PARTITIONS, replication=1)
    await topics.create(kafka, specs)
    async with RunningSandbox(sandbox) as ecticket:
        cluster = Cluster(kafka=kafka, sandbox=ecticket, folder=folder, settings=values, command=command)
        async with cluster.reader:
            try:
                yield cluster
            finally:
                await cluster.end()
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await admin.start()
        await admin.delete_topics([spec.name for spec in specs])
    finally:
        await admin.close()
