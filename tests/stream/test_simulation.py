"""Three engines, one fake cluster, and chance: whatever happens, every record is sent once and published once.

The chances are drawn from a seed, so that a failure can be looked at again. Members are frozen (their lease lapses, the
others take over, then they thaw with everything in hand), made to join again, or killed (nothing of theirs has any
effect any more).
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from adapter.stream import engine as engine_module
from adapter.stream import scheduler
from adapter.stream.engine import Engine
from adapter.stream.port import TopicPartition
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater
from stream.fake_kafka import FakeCluster, FakeKafka, FakeMember

PARTITIONS = [TopicPartition("paid", number) for number in range(4)]
RECORDS = 240
MOVES = 25


class Remote:
    """Keeps every sending."""

    def __init__(self) -> None:
        self.sent: list[str] = []


class Sender:
    """A stage of one process: alive or not, it queries before it sends if required."""

    name = "sender"
    group = "group"
    topics = ("paid",)
    sends = True
    starts_at_latest = False
    max_in_flight = 6
    max_waiting = 50
    fingerprint = "one"

    def __init__(self, remote: Remote, chance: random.Random) -> None:
        self._remote = remote
        self._chance = chance
        self.linger_seconds = chance.choice([0.0, 0.01, 0.05])
        self.alive = True

    async def prepare(self, record: Record) -> PreparedRecord[str]:
        await asyncio.sleep(0)
        return PreparedRecord(lane=record.key, subject=(record.value or b"").decode())

    async def handle(self, subject: str, context: RecordContext) -> Outcome | RetryLater[str]:
        if self._chance.random() < 0.05:
            return RetryLater(not_before=datetime.now(UTC) + timedelta(seconds=0.004), subject=subject)
        await self._takes_a_while()
        if not (context.possibly_sent_since and subject in self._remote.sent):
            context.authorize_send()
            if not self.alive:
                await asyncio.Event().wait()
            self._remote.sent.append(subject)
            await self._takes_a_while()
        return Outcome(records=(ProducerRecord(topic="out", key=context.record.key, value=subject.encode()),))

    async def _takes_a_while(self) -> None:
        if self._chance.random() < 0.02:
            await asyncio.sleep(0.15)
        else:
            await asyncio.sleep(self._chance.random() * 0.003)

    def hand_off(self, record: Record, subject: str, context: RecordContext) -> Outcome:
        raise AssertionError("nothing is handed off here")

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        raise error


class World:
    """Engines that come and go."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.cluster = FakeCluster()
        self.remote = Remote()
        self.engines: list[tuple[Engine[str], asyncio.Task[None], Sender]] = []
        self.dead: list[asyncio.Task[None]] = []

    async def hire(self) -> None:
        sender = Sender(self.remote, self.chance)
        kafka = FakeKafka(self.cluster)
        engine = Engine(sender, kafka)
        members = len(self.cluster.members)
        self.engines.append((engine, asyncio.create_task(engine.run()), sender))
        while len(self.cluster.members) == members:  # noqa: ASYNC110  # joining has no signal
            await asyncio.sleep(0.001)

    async def rebalance(self) -> None:
        """Partitions at random among those who answer; one fenced away by accident now and then."""
        answering = [member for member in self.cluster.members if member.lease.answers]
        shares: list[list[TopicPartition]] = [[] for _ in answering]
        for partition in PARTITIONS:
            self.chance.choice(shares).append(partition)
        await self.cluster.assign(*shares)

    async def freeze(self) -> None:
        """A member does not answer; the others take over; it thaws, and joins again."""
        member = self.chance.choice(self.cluster.members)
        member.lease.answers = False
        if any(other.lease.answers for other in self.cluster.members):
            await self.rebalance()
        await asyncio.sleep(self.chance.random() * 0.05)
        member.lease.answers = True
        member.lease.generation = -1
        await self.rebalance()

    async def rejoin(self) -> None:
        """A member can go on no more, with transactions that fail on the way out: its process joins as another one."""
        member = self.chance.choice(self.cluster.members)
        self.cluster.faults = self.chance.choices(["", "failed", "committed, and failed"], k=6)
        self.cluster.generation += self.chance.choice([0, 1, 3])
        member.fails_to_poll = True
        count = len(self.cluster.members)
        while member in self.cluster.members or len(self.cluster.members) < count:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0.001)
        await self.rebalance()

    async def kill(self) -> None:
        """kill -9: nothing of it has any effect any more; another one comes."""
        engine, task, sender = self.engines.pop(self.chance.randrange(len(self.engines)))
        member = engine._member
        assert isinstance(member, FakeMember), "every engine has joined"
        sender.alive = False
        member.die()
        self.dead.append(task)
        await self.hire()
        await self.rebalance()

    async def leave(self) -> None:
        """SIGTERM, and another one comes."""
        engine, task, _ = self.engines.pop(0)
        await engine.stop(self.chance.choice([0.02, 0.5]))
        await task
        await self.hire()
        await self.rebalance()

    async def fail(self) -> None:
        """The next transactions fail, or succeed without saying so."""
        self.cluster.faults = self.chance.choices(["", "failed", "committed, and failed"], k=4)
        self.cluster.producers_to_fail = self.chance.choice([0, 0, 1])

    async def end(self) -> None:
        for engine, task, _ in self.engines:
            await engine.stop(0.2)
            await task
        for task in self.dead:
            task.cancel()
        await asyncio.gather(*self.dead, return_exceptions=True)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_every_record_is_sent_once_and_published_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a lane's records are published in their order."""
    monkeypatch.setattr(scheduler, "LEASE_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(engine_module, "MIN_COMMIT_SECONDS", 0.05)
    world = World(seed)
    for _ in range(3):
        await world.hire()
    await world.rebalance()
    moves = [world.rebalance, world.freeze, world.kill, world.leave, world.rejoin, world.fail, world.fail]
    number = 0
    for _ in range(MOVES):
        for _ in range(RECORDS // MOVES + 1):
            lane = number // 3
            partition = PARTITIONS[lane % len(PARTITIONS)]
            world.cluster.append(partition, str(number), key=f"{lane}", hole=world.chance.choice([0, 0, 1]))
            number += 1
        await world.chance.choice(moves)()
        await asyncio.sleep(world.chance.random() * 0.02)
    world.cluster.faults = []
    await world.rebalance()
    async with asyncio.timeout(10):
        while len(set(world.cluster.published)) < number:  # noqa: ASYNC110  # the engines signal nothing to tests
            await asyncio.sleep(0.005)
    await world.end()

    outcome_with = world.cluster.published
    assert sorted(outcome_with, key=int) == [str(one) for one in range(number)]
    assert sorted(world.remote.sent, key=int) == [str(one) for one in range(number)]
    lanes = [[text for text in outcome_with if int(text) // 3 == lane] for lane in range(number // 3)]
    assert all(lane == sorted(lane, key=int) for lane in lanes)
