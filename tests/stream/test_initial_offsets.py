"""A new group of a stage that wants it begins at the end, once and for all partitions; every other one at the start."""

from __future__ import annotations

import pytest
from conftest import TopicFactory

from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.stream.initial_offsets import commit_latest_offsets
from adapter.stream.port import TopicPartition
from stream.engine_harness import DEFERRED, PAID, PAID_TOO, StageOfTests, metadata_at, running, until
from stream.fake_kafka import FakeCluster, FakeKafka

TOPICS = ("paid", "deferred")


async def test_a_new_group_begins_at_the_end(cluster: FakeCluster) -> None:
    """What was there before is not for it; what comes then is, from the first record on."""
    cluster.append(PAID, "old", "older")
    async with running(StageOfTests(starts_at_latest=True), cluster, PAID):
        await until(lambda: cluster.members)
        cluster.append(PAID, "new")
        await until(lambda: cluster.published)

    assert cluster.published == ["new"]


async def test_what_came_while_it_was_away_is_not_skipped(cluster: FakeCluster) -> None:
    """Only a group that never committed begins at the end."""
    cluster.append(PAID, "old")
    async with running(StageOfTests(starts_at_latest=True), cluster, PAID):
        await until(lambda: cluster.members)
    cluster.append(PAID, "meanwhile")
    async with running(StageOfTests(starts_at_latest=True), cluster, PAID):
        await until(lambda: cluster.published)

    assert cluster.published == ["meanwhile"]


async def test_a_partition_that_was_added_later_is_read_from_its_start(cluster: FakeCluster) -> None:
    """Its first records came after the group was born."""
    cluster.append(PAID, "old")
    async with running(StageOfTests(starts_at_latest=True), cluster, PAID):
        await until(lambda: cluster.members)
    cluster.append(PAID_TOO, "first-of-new")
    async with running(StageOfTests(starts_at_latest=True), cluster, PAID, PAID_TOO):
        await until(lambda: cluster.published)

    assert cluster.published == ["first-of-new"]


async def test_an_owner_that_died_before_its_first_commit_leaves_the_end_to_its_successor(cluster: FakeCluster) -> None:
    """The beginning is committed before a member joins, so a fenced producer changes nothing."""
    cluster.append(PAID, "old")
    member = await FakeKafka(cluster).connect("group")
    assert await commit_latest_offsets(member, TOPICS, fingerprint="one")
    await member.start_producer(PAID)
    cluster.append(PAID, "new")

    async with running(StageOfTests(starts_at_latest=True), cluster, PAID):
        await until(lambda: cluster.published)

    assert cluster.published == ["new"]
    assert metadata_at(cluster, PAID).committed == 2


async def test_a_group_that_has_a_member_is_not_changed(cluster: FakeCluster) -> None:
    """The member that joined first has decided where it begins."""
    cluster.append(DEFERRED, "old")
    first = await FakeKafka(cluster).connect("group")
    cluster.members.append(first)
    second = await FakeKafka(cluster).connect("group")

    assert not await commit_latest_offsets(second, TOPICS, fingerprint="one")
    assert cluster.commits == {}


@pytest.mark.parametrize("starts_at_latest", [True, False])
async def test_how_far_behind_is_known_where_nothing_is_read(cluster: FakeCluster, starts_at_latest: bool) -> None:
    """The port reports what was not returned."""
    cluster.append(PAID, "a", "b", "c")
    member = await FakeKafka(cluster).connect("group")
    if starts_at_latest:
        await commit_latest_offsets(member, TOPICS, fingerprint="one")
    member.join(TOPICS, revoked=_nothing, assigned=lambda: None)
    member.give([PAID])

    assert await member.lag([PAID]) == {PAID: 0 if starts_at_latest else 3}


async def _nothing() -> None:
    pass


async def test_the_end_of_every_partition_is_committed_on_a_real_broker(
    kafka: KafkaConnection, topic: TopicFactory
) -> None:
    """Once; and a group that has a member is left alone."""
    name = await topic("events", partitions=3)
    connecting = AioKafka(kafka)
    first, second = await connecting.connect(f"group-{name}"), await connecting.connect(f"group-{name}")
    try:
        assert await first.partitions_of([name]) == {TopicPartition(name, number) for number in range(3)}
        assert await commit_latest_offsets(first, [name], fingerprint="one")
        assert not await commit_latest_offsets(second, [name], fingerprint="one")
        commits = [await second.committed(TopicPartition(name, number)) for number in range(3)]
        assert [commit and commit.offset for commit in commits] == [0, 0, 0]

        assigned = False

        def is_assigned() -> None:
            nonlocal assigned
            assigned = True

        first.join([name], revoked=_nothing, assigned=is_assigned)
        await until(lambda: assigned, 20)
        commit = commits[0]
        assert commit is not None
        assert not await second.commit_before_join({TopicPartition(name, 0): commit})
    finally:
        await first.leave()
        await second.leave()
