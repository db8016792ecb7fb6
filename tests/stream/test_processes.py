"""Exactly once, on a real broker, with processes that die, leave, come and freeze at the worst moments."""

from __future__ import annotations

import asyncio
import random
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from key_words import line_mentions

from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import TopicSpec, create
from stream.remote import Remote
from stream.worker_pool import Published, WorkerPool

PARTITIONS = 4


@pytest.fixture
async def pool(kafka: KafkaConnection, tmp_path: Path) -> AsyncIterator[WorkerPool]:
    """A pool without workers yet, with topics of its own."""
    group = uuid.uuid4().hex[:12]
    pool = WorkerPool(
        kafka=kafka, group=group, source=f"in-{group}", sink=f"out-{group}", folder=tmp_path, partitions=PARTITIONS
    )
    Remote(pool.remote).close()
    await create(kafka, [TopicSpec(name=name, partitions=PARTITIONS, config={}) for name in (pool.source, pool.sink)])
    yield pool
    await pool.end()


async def check(pool: WorkerPool, expected: int, *, seconds: float = 40) -> tuple[Published, Remote]:
    """Wait until everything is published, then compare."""
    outcome_with = await pool.read_sink(lambda counts: len(counts) >= expected, seconds=seconds)
    remote = Remote(pool.remote)
    outcome_with.check(expected, remote.counts())
    return outcome_with, remote


async def test_two_workers_killed_in_turn_lose_and_repeat_nothing(pool: WorkerPool) -> None:
    """kill -9, three times, with calls on the wire and transactions under way."""
    await pool.start()
    await pool.start()
    feeding = asyncio.create_task(pool.feed(0, 3000, per_second=350))
    for _ in range(3):
        await asyncio.sleep(2.5)
        await pool.kill(pool.workers[0])
        await pool.start()
    await feeding

    outcome_with, _ = await check(pool, 3000)

    assert outcome_with.how["recovered"] > 0, "no kill hit a call on the wire: the test shows nothing"


async def test_workers_that_come_and_go_lose_and_repeat_nothing(pool: WorkerPool) -> None:
    """A third worker joins, the first leaves cleanly, and so on; some calls take longer than a rebalance waits."""
    pool.slow = 2.5
    await pool.start()
    await pool.start()
    feeding = asyncio.create_task(pool.feed(0, 2500, per_second=400))
    codes = []
    for _ in range(2):
        await asyncio.sleep(1.2)
        await pool.start()
        await asyncio.sleep(1.2)
        codes.append(await pool.dismiss(pool.workers[0]))
    await feeding

    await check(pool, 2500)

    assert codes == [0, 0]


async def test_a_zombie_loses_and_repeats_nothing(pool: WorkerPool) -> None:
    """Frozen for longer than its session, then thawed with everything it had in hand."""
    await pool.start()
    zombie = await pool.start()
    feeding = asyncio.create_task(pool.feed(0, 3000, per_second=350))
    for _ in range(2):
        await asyncio.sleep(1.5)
        zombie.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2 * pool.session)
        zombie.send_signal(signal.SIGCONT)
    await feeding

    await check(pool, 3000)

    assert zombie.returncode is None
    assert Counter(await asyncio.gather(*(pool.dismiss(worker) for worker in list(pool.workers)))) == {0: 2}


async def test_a_transaction_that_timed_out_under_a_frozen_owner_is_repeated(pool: WorkerPool) -> None:
    """Frozen between begin and commit: the broker ends the transaction, the owner hears of it when it thaws."""
    pool.session, pool.transaction = 20.0, 2.0
    owner = await pool.start()
    feeding = asyncio.create_task(pool.feed(0, 1500, per_second=300))
    async with asyncio.timeout(120):
        await asyncio.sleep(1)
        owner.send_signal(signal.SIGSTOP)
        while not await pool.transactions_open():
            owner.send_signal(signal.SIGCONT)
            await asyncio.sleep(random.uniform(0.05, 0.2))
            owner.send_signal(signal.SIGSTOP)
        while await pool.transactions_open():  # noqa: ASYNC110  # a broker signals nothing
            await asyncio.sleep(0.1)
    owner.send_signal(signal.SIGCONT)
    await feeding

    await check(pool, 1500)

    assert line_mentions(pool.log_of(1), "partition-dropped")
    assert await pool.dismiss(owner) == 0
