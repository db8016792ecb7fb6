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

from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import TopicSpec, create
from stream.crew import Crew, Told
from stream.remote import Remote

PARTITIONS = 4


@pytest.fixture
async def crew(kafka: KafkaConnection, tmp_path: Path) -> AsyncIterator[Crew]:
    """Nobody yet, with topics of its own."""
    group = uuid.uuid4().hex[:12]
    crew = Crew(
        kafka=kafka, group=group, source=f"in-{group}", sink=f"out-{group}", folder=tmp_path, partitions=PARTITIONS
    )
    Remote(crew.remote).close()
    await create(kafka, [TopicSpec(name=name, partitions=PARTITIONS, config={}) for name in (crew.source, crew.sink)])
    yield crew
    await crew.end()


async def check(crew: Crew, expected: int, *, seconds: float = 40) -> tuple[Told, Remote]:
    """Wait until everything was told, then compare."""
    told = await crew.read_sink(lambda counts: len(counts) >= expected, seconds=seconds)
    remote = Remote(crew.remote)
    told.check(expected, remote.counts())
    return told, remote


async def test_two_workers_killed_in_turn_lose_and_repeat_nothing(crew: Crew) -> None:
    """kill -9, three times, with calls on the wire and transactions under way."""
    await crew.start()
    await crew.start()
    feeding = asyncio.create_task(crew.feed(0, 3000, per_second=350))
    for _ in range(3):
        await asyncio.sleep(2.5)
        await crew.kill(crew.workers[0])
        await crew.start()
    await feeding

    told, _ = await check(crew, 3000)

    assert told.how["recovered"] > 0, "no kill hit a call on the wire: the test shows nothing"


async def test_workers_that_come_and_go_lose_and_repeat_nothing(crew: Crew) -> None:
    """A third one joins, the first leaves in good order, and so on; calls take longer than a rebalance waits, some."""
    crew.slow = 2.5
    await crew.start()
    await crew.start()
    feeding = asyncio.create_task(crew.feed(0, 2500, per_second=400))
    codes = []
    for _ in range(2):
        await asyncio.sleep(1.2)
        await crew.start()
        await asyncio.sleep(1.2)
        codes.append(await crew.dismiss(crew.workers[0]))
    await feeding

    await check(crew, 2500)

    assert codes == [0, 0]


async def test_a_zombie_loses_and_repeats_nothing(crew: Crew) -> None:
    """Frozen for longer than its session, then thawed with everything it had in hand."""
    await crew.start()
    zombie = await crew.start()
    feeding = asyncio.create_task(crew.feed(0, 3000, per_second=350))
    for _ in range(2):
        await asyncio.sleep(1.5)
        zombie.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2 * crew.session)
        zombie.send_signal(signal.SIGCONT)
    await feeding

    await check(crew, 3000)

    assert zombie.returncode is None
    assert Counter(await asyncio.gather(*(crew.dismiss(worker) for worker in list(crew.workers)))) == {0: 2}


async def test_a_transaction_that_timed_out_under_a_frozen_owner_is_done_anew(crew: Crew) -> None:
    """Frozen between begin and commit: the broker ends the transaction, the owner hears of it when it thaws."""
    crew.session, crew.transaction = 20.0, 2.0
    owner = await crew.start()
    feeding = asyncio.create_task(crew.feed(0, 1500, per_second=300))
    async with asyncio.timeout(120):
        await asyncio.sleep(1)
        owner.send_signal(signal.SIGSTOP)
        while not await crew.transactions_open():
            owner.send_signal(signal.SIGCONT)
            await asyncio.sleep(random.uniform(0.05, 0.2))
            owner.send_signal(signal.SIGSTOP)
        while await crew.transactions_open():  # noqa: ASYNC110  # a broker signals nothing
            await asyncio.sleep(0.1)
    owner.send_signal(signal.SIGCONT)
    await feeding

    await check(crew, 1500)

    assert "the transaction failed" in crew.said(1)
    assert "dropping the partition and taking it over again" in crew.said(1)
    assert await crew.dismiss(owner) == 0
