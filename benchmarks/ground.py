"""The environment of every benchmark: a broker, unique topics, and orders on one of them.

Every program gets its own topics and consumer group; the orders are shared, so all read the same ones.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from adapter.dev.demo.temporary_topics import remove
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.kafka import topics
from adapter.kafka.connection import KafkaConnection
from adapter.settings import Settings, load
from adapter.settings.groups import TopicSettings
from adapter.wiring import PARTITIONS, topic_specs
from benchmarks.orders import produce
from benchmarks.processes import cpu_seconds, pin, require_proc, share_out_cores
from benchmarks.sealing import MERCHANT


@dataclass(slots=True, kw_only=True)
class Ground:
    """The broker, the orders, and the cores.

    `core` is for the measured process, `others` for all other processes.
    """

    connection: KafkaConnection
    folder: Path
    core: frozenset[int]
    others: frozenset[int]
    broker_pid: int | None
    name: str
    orders: int = 0
    made: set[str] = field(default_factory=set)

    @property
    def orders_topic(self) -> str:
        """The topic of the orders."""
        return f"{self.name}.orders"

    async def have_orders(self, count: int) -> None:
        """Write orders until there are `count`."""
        if count > self.orders:
            already, self.orders = self.orders, count
            await produce(self.connection, self.orders_topic, range(already, count), partitions=PARTITIONS)

    async def settings(self, values: Mapping[str, str], *, own_orders: bool = False) -> dict[str, str]:
        """Settings of an adapter with its own topics, which are made here; the orders are normally shared."""
        run = f"{self.name}.{uuid.uuid4().hex[:8]}"
        given = {
            **{f"topics.{name}": f"{run}.{topic}" for name, topic in TopicSettings().names().items()},
            **({} if own_orders else {"topics.orders_paid": self.orders_topic}),
            "kafka.group_prefix": run,
            "kafka.bootstrap_servers": self.connection.bootstrap_servers,
            f"merchants.{MERCHANT.merchant_id}.hash_key": MERCHANT.credentials.hash_key,
            f"merchants.{MERCHANT.merchant_id}.hash_iv": MERCHANT.credentials.hash_iv,
            "submit.operator": "bench",
            "admin.host": "127.0.0.1",
            **values,
        }
        await self.make_topics(load(None, given))
        return given

    async def make_topics(self, settings: Settings) -> None:
        """Make the topics of these settings, and remember them."""
        specs = topic_specs(settings)
        self.made |= {spec.name for spec in specs}
        await topics.create(self.connection, specs)

    async def remove_topics(self, given: Mapping[str, str]) -> None:
        """Remove what `settings` made, so that the disk does not fill up."""
        names = {name for key, name in given.items() if key.startswith("topics.")} - {self.orders_topic}
        await remove(self.connection, names)
        self.made -= names

    def broker_cpu_seconds(self) -> float:
        """The broker's CPU time so far; 0 for one that is not ours."""
        return cpu_seconds(self.broker_pid) if self.broker_pid is not None else 0.0


@asynccontextmanager
async def ground(broker: str | None = None) -> AsyncIterator[Ground]:
    """Start a broker on other cores than the measured one, or use the one at `broker`; remove everything at the end.

    Raises NotMeasurableError, and LocalKafkaError when no broker can be started.
    """
    require_proc()
    core, others = share_out_cores()
    async with AsyncExitStack() as stack:
        stack.callback(pin, os.getpid(), os.sched_getaffinity(0))
        pin(os.getpid(), others)  # child processes inherit it
        servers, pid = (broker, None) if broker else await _local_kafka(stack)
        here = Ground(
            connection=KafkaConnection(bootstrap_servers=servers),
            folder=Path(stack.enter_context(TemporaryDirectory(prefix="ecticket-bench-"))),
            core=core,
            others=others,
            broker_pid=pid,
            name=f"bench-{uuid.uuid4().hex[:8]}",
        )
        if broker:
            stack.push_async_callback(remove, here.connection, here.made)
        await here.make_topics(load(None, {"topics.orders_paid": here.orders_topic}))
        yield here


async def _local_kafka(stack: AsyncExitStack) -> tuple[str, int | None]:
    kafka = LocalKafka()
    stack.push_async_callback(asyncio.to_thread, kafka.stop)
    await asyncio.to_thread(kafka.start)
    return kafka.bootstrap_servers, kafka.pid
