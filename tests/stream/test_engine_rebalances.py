"""Partitions that come and go, with calls on the wire."""

from __future__ import annotations

import asyncio

from adapter.stream.commit_metadata import CommitMetadata, encode, short_fingerprint
from adapter.stream.port import Commit
from adapter.stream.stage import Outcome, RecordContext
from stream.engine_harness import (
    DEFERRED,
    PAID,
    PAID_TOO,
    Sends,
    StageOfTests,
    metadata_at,
    outcome_with,
    running,
    until,
)
from stream.fake_kafka import CLUSTER_ID, FakeCluster


async def test_a_revoked_partition_waits_for_its_calls_and_commits_the_truth(cluster: FakeCluster) -> None:
    """The next owner learns exactly what may have been sent: nothing, when everything ended in time."""
    on_the_wire, answer = asyncio.Event(), asyncio.Event()

    async def call(subject: str, context: RecordContext) -> Outcome:
        context.authorize_send()
        on_the_wire.set()
        await answer.wait()
        return outcome_with(subject)

    cluster.append(PAID, "a")
    async with running(StageOfTests(call), cluster, PAID) as engine:
        await on_the_wire.wait()
        moving = asyncio.create_task(cluster.assign([]))
        await asyncio.sleep(0.02)
        assert not moving.done()
        answer.set()
        await moving

        assert cluster.published == ["a"]
        assert metadata_at(cluster, PAID).reserved_until == 1
        assert engine.standing_by
        assert cluster.members[0].producers[0].ended == "retired"


async def test_no_send_begins_once_a_partition_is_being_given_up(cluster: FakeCluster) -> None:
    """What had not been written by then is for the next owner to send."""
    sends = Sends()
    go_on = asyncio.Event()

    async def late(subject: str, context: RecordContext) -> Outcome:
        await go_on.wait()
        return await sends(subject, context)

    cluster.append(PAID, "a")
    stage = StageOfTests(late)
    async with running(stage, cluster, PAID):
        await until(lambda: stage.handled)
        moving = asyncio.create_task(cluster.assign([]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go_on.set()
        await moving

    assert sends.sent == []
    assert metadata_at(cluster, PAID).reserved_until == 0


async def test_a_call_still_on_the_wire_is_possibly_sent_for_the_next_owner(cluster: FakeCluster) -> None:
    """It did not end in time; its own end is too late to count."""
    never = asyncio.Event()
    first, second = Sends(), Sends()

    async def hangs(subject: str, context: RecordContext) -> Outcome:
        if subject == "b":
            await first(subject, context)
            await never.wait()
        return outcome_with(subject)

    cluster.append(PAID, "a", "b", "c")
    async with running(StageOfTests(hangs), cluster, PAID):
        await until(lambda: len(cluster.published) == 2)
        await cluster.assign([])
        async with running(StageOfTests(second), cluster) as engine:
            await until(lambda: len(cluster.members) == 2)
            await cluster.assign([], [PAID])
            await until(lambda: len(cluster.published) == 3)
            assert engine.assigned == {("paid", 0)}
            never.set()

    assert second.doubted == ["b"]
    assert sorted(cluster.published) == ["a", "b", "c"]


async def test_a_record_read_again_waits_for_its_old_task(cluster: FakeCluster) -> None:
    """The partition comes back to the same process while a call is on the wire: one call, one outcome."""
    sends, answer = Sends(), asyncio.Event()

    async def call(subject: str, context: RecordContext) -> Outcome:
        outcome = await sends(subject, context)
        await answer.wait()
        return outcome

    cluster.append(PAID, "a", key="order")
    cluster.append(PAID, "b", key="order")
    stage = StageOfTests(call)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: sends.sent)
        await cluster.assign([PAID])
        await until(lambda: engine._gauges().open == 2)
        await asyncio.sleep(0.02)
        assert stage.handled == ["a"]
        answer.set()
        await until(lambda: len(cluster.published) == 2)

    assert stage.handled == ["a", "b"]
    assert cluster.published == ["a", "b"]


async def test_a_record_whose_old_task_sent_nothing_is_handled_again(cluster: FakeCluster) -> None:
    """Its old task ends without an outcome: the new one does the work."""
    sends, go_on = Sends(), asyncio.Event()

    async def late(subject: str, context: RecordContext) -> Outcome:
        await go_on.wait()
        return await sends(subject, context)

    for key in (None, "order"):
        cluster.append(PAID, f"a {key}", key=key)
    stage = StageOfTests(late)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: len(stage.handled) == 2)
        await cluster.assign([PAID])
        await until(lambda: engine._gauges().open == 2)
        go_on.set()
        await until(lambda: len(cluster.published) == 2)

    assert sorted(sends.sent) == ["a None", "a order"]
    assert len(stage.handled) == 4


async def test_an_outcome_left_in_memory_does_not_count_when_another_owner_settled_it(cluster: FakeCluster) -> None:
    """What is committed is read from the broker when the partition comes back."""
    cluster.slow_transactions = 30

    cluster.append(PAID, "a")
    first = StageOfTests(sends=False)
    async with running(first, cluster, PAID):
        await until(lambda: first.handled)
        moving = asyncio.create_task(cluster.assign([]))
        await moving
        cluster.slow_transactions = 0
        async with running(StageOfTests(sends=False), cluster):
            await until(lambda: len(cluster.members) == 2)
            await cluster.assign([], [PAID])
            await until(lambda: cluster.published)
            await cluster.assign([PAID], [])
            cluster.append(PAID, "b")
            await until(lambda: len(cluster.published) == 2)

    assert cluster.published == ["a", "b"]
    assert first.handled == ["a", "b"]


async def test_an_outcome_left_in_memory_does_not_count_when_another_owner_may_have_sent_since(
    cluster: FakeCluster,
) -> None:
    """Its record is open, but "deferred, last sent at noon" or "failed" may be wrong by now: it is queried again."""
    handled: list[bool] = []
    sends, never = Sends(), asyncio.Event()

    async def as_it_was_then(subject: str, context: RecordContext) -> Outcome:
        handled.append(context.possibly_sent_since is not None)
        return outcome_with(f"{subject}, handling {len(handled)}")

    async def sends_and_hangs(subject: str, context: RecordContext) -> Outcome:
        await sends(subject, context)
        await never.wait()
        return outcome_with(subject)

    async with running(StageOfTests(as_it_was_then), cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.append(PAID, "a")
        await until(lambda: cluster.published)
        cluster.slow_transactions, begun = 30, cluster.transactions_begun
        cluster.append(PAID, "b")
        await until(lambda: len(handled) == 2 and cluster.transactions_begun > begun)
        cluster.slow_transactions = 0
        cut_off = cluster.members[0].lease
        cut_off.answers = False
        async with running(StageOfTests(sends_and_hangs), cluster, grace=0):
            await until(lambda: len(cluster.members) == 2)
            await cluster.assign([PAID])
            await until(lambda: sends.sent == ["b"])
            cut_off.answers = True
            await cluster.assign([PAID], [])
            await until(lambda: len(cluster.published) == 2)

    assert handled == [False, False, True]
    assert cluster.published == ["a, handling 1", "b, handling 3"]


async def test_records_of_an_earlier_owner_are_possibly_sent_up_to_its_reservation(cluster: FakeCluster) -> None:
    """Those beyond it were never sent; another fingerprint is reported."""
    metadata = CommitMetadata(
        cluster_id=CLUSTER_ID,
        committed=1,
        reserved_until=3,
        other_fingerprint_until=0,
        fingerprint=short_fingerprint("another"),
        settled=((2, 3),),
    )
    contexts: dict[str, tuple[bool, bool]] = {}

    async def look(subject: str, context: RecordContext) -> Outcome:
        contexts[subject] = (context.possibly_sent_since is not None, context.fingerprint_changed)
        return outcome_with(subject)

    cluster.append(PAID, "0", "1", "2", "3")
    cluster.commits[PAID] = Commit(offset=1, metadata=encode(metadata))
    async with running(StageOfTests(look), cluster, PAID):
        await until(lambda: len(cluster.published) == 2)

    assert contexts == {"1": (True, True), "3": (False, False)}


async def test_a_batch_read_across_a_change_is_thrown_away_and_read_again(cluster: FakeCluster) -> None:
    """Partitions come and go under running polls: each record is published once, and none is missing."""
    for partition in (PAID, PAID_TOO, DEFERRED):
        cluster.append(partition, *(f"{partition} {number}" for number in range(200)), hole=1)
    stage = StageOfTests()
    async with running(stage, cluster, PAID):
        for partitions in ([PAID, PAID_TOO], [PAID_TOO], [DEFERRED, PAID], [PAID, PAID_TOO, DEFERRED]):
            await asyncio.sleep(0.004)
            await cluster.assign(partitions)
        await until(lambda: len(cluster.published) >= 600)

    assert len(cluster.published) == len(set(cluster.published)) == 600
