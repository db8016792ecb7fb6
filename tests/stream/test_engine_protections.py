"""What keeps the engine from sending or losing something in moments that hardly ever come; each has its own test."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from adapter.errors import LeaseLost
from adapter.stream.port import Commit, OffsetRange, TopicPartition
from adapter.stream.records import Record
from adapter.stream.stage import Outcome, RecordContext
from stream.engine_harness import PAID, Sends, StageOfTests, outcome_with, running, until
from stream.fake_kafka import FakeCluster, FakeKafka, FakeLease, FakeMember, FakeTransactionalProducer

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


class KafkaOf(FakeKafka):
    """Joins members of a class that the test writes."""

    def __init__(self, cluster: FakeCluster, member: type[FakeMember]) -> None:
        super().__init__(cluster, (PAID,))
        self._members = member
        self.made: list[FakeMember] = []

    async def connect(self, group: str) -> FakeMember:
        await asyncio.sleep(0)
        self.made.append(self._members(self._cluster, (PAID,)))
        return self.made[-1]


class SilentAfterTheFence(FakeMember):
    """The group does not answer any more by the time the log's range is known."""

    async def offset_range(self, partition: TopicPartition) -> OffsetRange:
        found = await super().offset_range(partition)
        if len(self.producers) == 1:
            self.lease.answers = False
        return found


async def test_a_partition_that_may_have_another_owner_by_now_is_not_worked_on(cluster: FakeCluster) -> None:
    """The group has to answer until the state is built; what was fenced meanwhile is taken over again after it does."""
    sends = Sends()
    kafka = KafkaOf(cluster, SilentAfterTheFence)
    cluster.append(PAID, "a")
    async with running(StageOfTests(sends), cluster, kafka=kafka) as engine:
        await until(lambda: kafka.made and kafka.made[0].producers and kafka.made[0].producers[0].ended == "abandoned")
        assert not engine.assigned

        kafka.made[0].lease.answers = True
        await until(lambda: cluster.published == ["a"])

    assert len(kafka.made[0].producers) == 2


class LeaseProvenByTheTest(FakeLease):
    """It is proven again only when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.queried = 0
        self.proof = asyncio.Event()

    async def proven_after(self, moment: float) -> None:
        self.queried += 1
        await self.proof.wait()


class ProvenByTheTest(FakeMember):
    """A member with such a lease."""

    def __init__(self, cluster: FakeCluster, at_once: Collection[TopicPartition]) -> None:
        super().__init__(cluster, at_once)
        self.lease: LeaseProvenByTheTest = LeaseProvenByTheTest()


async def test_after_a_failed_transaction_no_owner_is_fenced_before_the_group_has_answered(
    cluster: FakeCluster,
) -> None:
    """The failure may mean that the partition has another owner, which a new producer would fence."""
    kafka = KafkaOf(cluster, ProvenByTheTest)
    async with running(StageOfTests(), cluster, kafka=kafka) as engine:
        await until(lambda: engine.assigned)
        (member,) = kafka.made
        assert isinstance(member, ProvenByTheTest)
        cluster.faults = ["failed"]
        cluster.append(PAID, "a")
        await until(lambda: member.lease.queried)

        for _ in range(50):
            await asyncio.sleep(0)
        assert len(member.producers) == 1
        member.lease.proof.set()
        await until(lambda: cluster.published == ["a"])

    assert len(member.producers) == 2


class SlowToCancel(FakeMember):
    """A poll that has its records already when it is cancelled, and hands them out when its partition is back."""

    late: Sequence[Record] = ()

    async def poll(
        self,
        partitions: Collection[TopicPartition],
        *,
        timeout: float,  # noqa: ASYNC109  # as the port has it
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        if not (self.late and PAID in partitions):
            return await super().poll(partitions, timeout=timeout)
        late, self.late = self.late, ()
        self._positions[PAID] = late[-1].offset + 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            while len(self.producers) < 2 or self._positions[PAID] > late[0].offset:  # noqa: ASYNC110  # a fake has no signal
                await asyncio.sleep(0)  # until the partition was taken over again
            return {PAID: late}
        raise AssertionError


async def test_records_that_were_polled_before_their_partition_was_taken_over_again_are_read_again(
    cluster: FakeCluster,
) -> None:
    """They begin beyond what the new state expects, and what lies in between would pass for holes."""
    kafka = KafkaOf(cluster, SlowToCancel)
    may_end = asyncio.Event()

    async def waits(subject: str, context: RecordContext) -> Outcome:
        await may_end.wait()
        return outcome_with(subject)

    async with running(StageOfTests(waits, sends=False), cluster, kafka=kafka) as engine:
        await until(lambda: engine.assigned)
        member = kafka.made[0]
        assert isinstance(member, SlowToCancel)
        cluster.append(PAID, "a")
        await until(lambda: engine._scheduler.in_flight)
        member.late = cluster.append(PAID, "b")
        await until(lambda: not member.late)
        cluster.faults = ["failed"]
        may_end.set()
        await until(lambda: sorted(cluster.published) == ["a", "b"])

    assert cluster.commits[PAID].offset == 2
    assert len(member.producers) == 2


class SlowToFence(FakeMember):
    """Starting a producer takes a minute of the test's clock."""

    clock: Clock

    async def start_producer(self, partition: TopicPartition) -> FakeTransactionalProducer:
        producer = await super().start_producer(partition)
        self.clock.now += timedelta(minutes=1)
        return producer


async def test_what_an_earlier_owner_may_have_sent_may_have_been_sent_until_it_was_fenced(cluster: FakeCluster) -> None:
    """The waiting time begins when the fence stands, and not when it was begun: until then the earlier owner sends."""
    clock, since = Clock(), []

    async def texts(subject: str, context: RecordContext) -> Outcome:
        since.append(context.possibly_sent_since)
        return outcome_with(subject)

    class Member(SlowToFence):
        pass

    Member.clock = clock
    cluster.append(PAID, "a")
    cluster.epochs[PAID] = 1
    cluster.commits[PAID] = Commit(offset=0, metadata="")
    async with running(StageOfTests(texts), cluster, kafka=KafkaOf(cluster, Member), now=clock):
        await until(lambda: since)

    assert since == [NOON + timedelta(minutes=1)]


async def test_an_order_whose_old_call_ended_without_an_answer_counts_as_sent_until_then(cluster: FakeCluster) -> None:
    """Its partition was lost and came back while the call was on the wire, for longer than the fence explains."""
    clock, begun, may_end = Clock(), asyncio.Event(), asyncio.Event()
    since: list[datetime | None] = []

    async def sends_twice(subject: str, context: RecordContext) -> Outcome:
        since.append(context.possibly_sent_since)
        if len(since) == 1:
            context.authorize_send()
            begun.set()
            await may_end.wait()
            raise LeaseLost("the second call of the same order is not allowed any more")
        return outcome_with(subject)

    cluster.append(PAID, "a")
    async with running(StageOfTests(sends_twice), cluster, PAID, now=clock) as engine:
        await begun.wait()
        await cluster.assign([PAID])
        await until(lambda: engine.assigned and engine._gauges().open)
        clock.now += timedelta(minutes=9)
        may_end.set()
        await until(lambda: cluster.published == ["a"])

    assert since == [None, NOON + timedelta(minutes=9)]
