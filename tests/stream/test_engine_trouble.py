"""Leases, failed transactions, fences and recreated logs: what the engine does when it is not sure."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from datetime import datetime

import pytest
from key_words import line_mentions
from log_lines import shown

from adapter.errors import LeaseLost
from adapter.stream import committer, scheduler
from adapter.stream import engine as engine_module
from adapter.stream.engine import Engine
from adapter.stream.observer import NullObserver
from adapter.stream.port import KafkaClientError
from adapter.stream.records import ProducerRecord
from adapter.stream.stage import Outcome, RecordContext
from stream.engine_harness import (
    PAID,
    PAID_TOO,
    Sends,
    StageOfTests,
    outcome_with,
    running,
    until,
)
from stream.fake_kafka import FakeCluster, FakeKafka, FakeMember, FakeTransactionalProducer


async def test_nothing_is_sent_while_the_group_does_not_answer(cluster: FakeCluster) -> None:
    """The record stays open, and is handled again once the lease is good."""
    sends = Sends()
    async with running(StageOfTests(sends), cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.members[0].lease.answers = False
        cluster.append(PAID, "a")
        await asyncio.sleep(0.1)
        assert sends.sent == []

        cluster.members[0].lease.answers = True
        await until(lambda: cluster.published)

    assert sends.sent == ["a"]


async def test_a_send_that_began_before_the_lease_was_lost_counts_as_possibly_sent(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time it is asked for first."""
    monkeypatch.setattr(scheduler, "LEASE_PAUSE_SECONDS", 0.01)
    doubts: list[datetime | None] = []

    async def loses_its_lease(subject: str, context: RecordContext) -> Outcome:
        doubts.append(context.possibly_sent_since)
        context.authorize_send()
        if len(doubts) == 1:
            raise LeaseLost("for the second part")
        return outcome_with(subject)

    cluster.append(PAID, "a")
    async with running(StageOfTests(loses_its_lease), cluster, PAID):
        await until(lambda: cluster.published)

    assert doubts[0] is None
    assert doubts[1] is not None


async def test_a_stage_that_sends_nothing_may_not_send(cluster: FakeCluster) -> None:
    """Its records are not reserved, so no other owner would know."""

    async def sends_after_all(subject: str, context: RecordContext) -> Outcome:
        context.authorize_send()
        return outcome_with(subject)

    cluster.append(PAID, "a")
    async with running(StageOfTests(sends_after_all, sends=False), cluster, PAID):
        await until(lambda: cluster.published)

    assert cluster.published == ["a broken AssertionError"]


async def test_after_a_failed_transaction_the_outcome_is_published_and_nothing_sent_again(cluster: FakeCluster) -> None:
    """The partition is taken over again; a record with a known outcome is not processed again."""
    sends = Sends()
    stage = StageOfTests(sends)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.faults = ["", "failed"]
        cluster.append(PAID, "a", "b")
        await until(lambda: len(cluster.published) == 2)

    assert stage.handled == ["a", "b"]
    assert cluster.published == ["a", "b"]
    assert cluster.epochs[PAID] == 2


class Link:
    """A slow link: a transaction of more than so many bytes takes longer than its time-out."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.tried: list[int] = []

    def refuses(self, producer_records: Sequence[ProducerRecord]) -> bool:
        size = sum(producer_record.size for producer_record in producer_records)
        if size:
            self.tried.append(size)
        return size > self.max_bytes


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    """Between the engine and the cluster."""
    link, publish = Link(1_000_000), FakeTransactionalProducer.publish

    async def publish_over_the_link(
        producer: FakeTransactionalProducer, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str
    ) -> None:
        if link.refuses(producer_records):
            raise KafkaClientError("the transaction timed out")
        await publish(producer, producer_records, offset=offset, metadata=metadata)

    monkeypatch.setattr(FakeTransactionalProducer, "publish", publish_over_the_link)
    return link


async def all_at_once(cluster: FakeCluster, count: int, size: int) -> None:
    """Settle so many records whose outcomes, of that many bytes each, are there at the same moment."""
    cluster.largest = 10**9
    gate = asyncio.Event()
    stage: StageOfTests

    async def large(subject: str, context: RecordContext) -> Outcome:
        if len(stage.handled) == count:
            gate.set()
        await gate.wait()
        return outcome_with(subject + "x" * (size - 1))

    stage = StageOfTests(large, max_in_flight=count, bulkheads=False)
    subjects = [f"{number % 10}" for number in range(count)]
    cluster.append(PAID, *subjects)
    async with running(stage, cluster, PAID):
        await until(lambda: len(cluster.published) == count, 20)
    assert sorted(text[0] for text in cluster.published) == sorted(stage.handled) == sorted(subjects)


async def test_one_transaction_is_bounded_in_bytes(
    cluster: FakeCluster, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much has gathered while the one before was under way."""
    monkeypatch.setattr(committer, "MAX_TRANSACTION_BYTES", 5_000)

    await all_at_once(cluster, count=60, size=1_000)

    assert max(link.tried) == 5_000
    assert sum(link.tried) == 60_000


async def test_what_timed_out_is_committed_in_smaller_sets(cluster: FakeCluster, link: Link) -> None:
    """The very same set would time out again, and so on for ever; small ones get through, and grow again."""
    await all_at_once(cluster, count=60, size=100_000)

    failed = [size for size in link.tried if size > link.max_bytes]
    assert failed[0] > 4 * link.max_bytes
    assert len(failed) <= 5
    assert sum(size for size in link.tried if size <= link.max_bytes) == 6_000_000


async def test_sets_grow_again_once_transactions_succeed(cluster: FakeCluster, link: Link) -> None:
    """A broker that was sick for a moment does not slow everything down for good."""
    link.max_bytes = 0
    stage = StageOfTests()
    async with running(stage, cluster, PAID):
        cluster.append(PAID, "a")
        await until(lambda: len(link.tried) >= 2)
        link.max_bytes = 10**9
        await until(lambda: len(cluster.published) == 1)
        link.tried.clear()
        cluster.slow_transactions = 0.02
        cluster.append(PAID, *(f"{number:0>900}" for number in range(200)))
        await until(lambda: len(cluster.published) == 201, 20)

    assert len(link.tried) < 40


async def test_a_transaction_whose_answer_was_lost_is_not_done_again(cluster: FakeCluster) -> None:
    """Whether it was committed is read from the broker, not guessed."""
    stage = StageOfTests()
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.faults = ["", "committed, and failed"]
        cluster.append(PAID, "a", "b")
        await until(lambda: len(cluster.published) == 2)
        cluster.append(PAID, "c")
        await until(lambda: len(cluster.published) == 3)

    assert cluster.published == ["a", "b", "c"]
    assert stage.handled == ["a", "b", "c"]


async def test_a_fenced_partition_is_taken_over_only_when_the_group_has_answered(cluster: FakeCluster) -> None:
    """A new producer of a process that lost the partition would fence its rightful owner."""
    async with running(StageOfTests(), cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        member = cluster.members[0]
        member.lease.answers = False
        cluster.epochs[PAID] += 1
        cluster.append(PAID, "a")
        await until(lambda: not engine.assigned)
        await asyncio.sleep(0.05)
        assert len(member.producers) == 1

        member.lease.answers = True
        await until(lambda: cluster.published)

    assert member.producers[0].ended == "abandoned"
    assert cluster.published == ["a"]


async def test_a_failing_take_over_is_tried_again(cluster: FakeCluster) -> None:
    """A hiccup of the broker leaves no partition dead."""
    cluster.producers_to_fail = 2
    cluster.append(PAID, "a")
    async with running(StageOfTests(), cluster, PAID):
        await until(lambda: cluster.published)

    assert cluster.published == ["a"]


async def test_a_log_that_seems_too_short_for_a_moment_is_read_again(cluster: FakeCluster) -> None:
    """A new leader may not know its own end yet: nothing is read again for that."""
    cluster.append(PAID, "a", "b")
    stage = StageOfTests()
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: len(cluster.published) == 2)
        log, cluster.logs[PAID] = cluster.logs[PAID], []
        moving = asyncio.create_task(cluster.assign([PAID]))
        await asyncio.sleep(0.05)
        cluster.logs[PAID] = log
        await moving
        await until(lambda: engine.assigned)
        cluster.append(PAID, "c")
        await until(lambda: len(cluster.published) == 3)

    assert stage.handled == ["a", "b", "c"]


async def test_a_log_that_was_recreated_is_read_from_its_start(cluster: FakeCluster) -> None:
    """Reading that goes back means another log: the partition is taken over again, and nothing is mixed up."""
    cluster.append(PAID, "a", "b", "c")
    stage = StageOfTests()
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: len(cluster.published) == 3)
        cluster.logs[PAID].clear()
        cluster.append(PAID, "new a")
        cluster.members[0].seek(PAID, 0)
        await until(lambda: len(cluster.published) == 4)

        assert engine.assigned == {("paid", 0)}
    assert cluster.published[3] == "new a"
    assert cluster.commits[PAID].offset == 1


class Losses(NullObserver):
    """How much was lost."""

    def __init__(self) -> None:
        self.lost: list[int] = []

    def records_lost(self, stage: str, topic: str, count: int) -> None:
        self.lost.append(count)


async def test_a_topic_recreated_under_its_reader_is_noticed_by_its_id(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no rebalance, and the new log is as long as the old one was: its records would pass for settled ones."""
    monkeypatch.setattr(engine_module, "WATCH_SECONDS", 0.02)
    sends = Sends()
    cluster.append(PAID, "a", "b", "c")
    async with running(StageOfTests(sends), cluster, PAID) as engine:
        await until(lambda: len(cluster.published) == 3)
        cluster.remake("paid")
        cluster.append(PAID, "new a", "new b", "new c")
        await until(lambda: len(cluster.published) == 6)
        await until(lambda: engine.assigned)
        cluster.append(PAID, "new d")
        await until(lambda: len(cluster.published) == 7)

    assert cluster.published[3:] == ["new a", "new b", "new c", "new d"]
    assert sends.doubted == ["new a", "new b", "new c"]


async def test_outcomes_of_a_recreated_topic_are_published_first(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sent; that its record is gone does not undo it."""
    monkeypatch.setattr(engine_module, "WATCH_SECONDS", 0.02)
    entered, may_end = asyncio.Event(), asyncio.Event()

    async def slow(subject: str, context: RecordContext) -> Outcome:
        if subject == "slow":
            entered.set()
            await may_end.wait()
        return outcome_with(subject)

    cluster.append(PAID, "slow")
    async with running(StageOfTests(slow), cluster, PAID):
        await entered.wait()
        cluster.remake("paid")
        cluster.append(PAID, "new a")
        await asyncio.sleep(0.05)
        may_end.set()
        await until(lambda: len(cluster.published) == 2)

    assert cluster.published == ["slow", "new a"]


async def test_records_deleted_before_they_were_read_are_counted_and_those_in_hand_go_on(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Retention does not wait for a reader who is held up."""
    may_end, durability_warnings = asyncio.Event(), Losses()

    async def waits(subject: str, context: RecordContext) -> Outcome:
        await may_end.wait()
        return outcome_with(subject)

    # Room is for 2 * 8 + 100 records: a batch of 50 three times.
    cluster.append(PAID, *(str(number) for number in range(300)))
    async with running(StageOfTests(waits), cluster, PAID, observer=durability_warnings):
        await until(lambda: len(cluster.members) == 1 and cluster.members[0]._positions.get(PAID) == 150)
        cluster.delete_before(PAID, 290)
        may_end.set()
        await until(lambda: len(cluster.published) == 160)

    assert sorted(cluster.published, key=int) == [str(number) for number in (*range(150), *range(290, 300))]
    assert durability_warnings.lost == [140]
    assert line_mentions(shown(caplog.records), "records-lost count=140 offset=290")
    assert cluster.commits[PAID].offset == 300


async def test_records_deleted_while_no_process_read_are_counted_once(cluster: FakeCluster) -> None:
    """The owner who finds the loss commits it."""
    durability_warnings = Losses()
    cluster.append(PAID, *"abc")
    async with running(StageOfTests(), cluster, PAID, PAID_TOO, observer=durability_warnings):
        await until(lambda: len(cluster.published) == 3)
    cluster.append(PAID, *"defgh")
    cluster.delete_before(PAID, 7)
    for _ in range(2):
        async with running(StageOfTests(), cluster, PAID, PAID_TOO, observer=durability_warnings):
            await until(lambda: cluster.published == [*"abch"] and cluster.commits[PAID].offset == 8)

    assert durability_warnings.lost == [4]


async def test_a_log_that_was_settled_and_emptied_has_lost_nothing(cluster: FakeCluster) -> None:
    """The last transaction's marker is no order: while the process runs, when it joins again, and for the next one."""
    durability_warnings = Losses()
    async with running(StageOfTests(), cluster, PAID, observer=durability_warnings):
        for text in "abc":
            cluster.append(PAID, text)
            cluster.end_transaction(PAID)
        await until(lambda: len(cluster.published) == 3 and cluster.commits[PAID].offset == 6)
        cluster.delete_before(PAID, 6)
        await cluster.assign([PAID])
        cluster.append(PAID, "d")
        await until(lambda: len(cluster.published) == 4)
        cluster.end_transaction(PAID, 3)
        await until(lambda: cluster.commits[PAID].offset == cluster.end(PAID))
    cluster.delete_before(PAID, cluster.end(PAID))
    async with running(StageOfTests(), cluster, PAID, observer=durability_warnings) as engine:
        await until(lambda: engine.assigned)
        cluster.append(PAID, "e")
        await until(lambda: len(cluster.published) == 5)

    assert durability_warnings.lost == []


async def test_a_log_of_nothing_but_aborted_records_has_lost_nothing(cluster: FakeCluster) -> None:
    """Their transaction was aborted; retention deletes records that no reader can see."""
    durability_warnings = Losses()
    cluster.end_transaction(PAID, 20)
    async with running(StageOfTests(), cluster, PAID, observer=durability_warnings):
        await until(lambda: PAID in cluster.commits and cluster.commits[PAID].offset == 20)
    cluster.delete_before(PAID, 20)
    async with running(StageOfTests(), cluster, PAID, observer=durability_warnings) as engine:
        await until(lambda: engine.assigned)

    assert durability_warnings.lost == []


async def test_a_catching_up_commit_does_not_pass_an_order_that_is_open(cluster: FakeCluster) -> None:
    """Deleted before it was settled, it is still reported as lost."""
    durability_warnings = Losses()
    never = asyncio.Event()

    async def hangs(subject: str, context: RecordContext) -> Outcome:
        await never.wait()
        return outcome_with(subject)

    cluster.end_transaction(PAID, 2)
    cluster.append(PAID, "a")
    cluster.end_transaction(PAID)
    async with running(StageOfTests(hangs), cluster, PAID, observer=durability_warnings, grace=0.0):
        await until(lambda: PAID in cluster.commits and cluster.commits[PAID].offset == 2)
        await asyncio.sleep(0.05)
    assert cluster.commits[PAID].offset == 2
    cluster.delete_before(PAID, 4)
    async with running(StageOfTests(), cluster, PAID, observer=durability_warnings) as engine:
        await until(lambda: engine.assigned)

    assert len(durability_warnings.lost) == 1
    assert cluster.published == []


async def test_a_group_whose_offsets_are_gone_queries_before_it_sends(cluster: FakeCluster) -> None:
    """Deleted by a tool, or expired: the brokers remember a producer, so anything may have been sent."""
    sends = Sends()
    cluster.append(PAID, "a", "b")
    async with running(StageOfTests(sends), cluster, PAID):
        await until(lambda: len(cluster.published) == 2)
    cluster.commits.clear()
    cluster.append(PAID, "c")
    async with running(StageOfTests(sends), cluster, PAID):
        await until(lambda: len(cluster.published) == 5)

    assert sends.sent == ["a", "b", "c"]
    assert sends.doubted == ["a", "b", "c"]


async def test_a_group_whose_first_owner_was_interrupted_has_not_lost_its_offsets(
    cluster: FakeCluster,
) -> None:
    """Processes that are started together rebalance while the first is still taking over."""
    sends = Sends()
    cluster.append(PAID, "a", "b")
    cluster.slow_starts = 0.02
    async with running(StageOfTests(sends), cluster, PAID) as engine:
        await until(lambda: cluster.epochs[PAID] == 1)
        await cluster.assign([PAID])
        await until(lambda: engine.assigned and len(cluster.published) == 2)

    assert cluster.epochs[PAID] == 2
    assert sends.doubted == []


async def test_an_outage_is_logged_once_a_session_is_over_and_again_when_it_ends(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why nothing is processed, and when processing resumes."""
    caplog.set_level(logging.INFO)
    async with running(StageOfTests(), cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.members[0].lease.answers = False
        await until(lambda: "no broker answers" in shown(caplog.records))
        assert not line_mentions(shown(caplog.records), "stage-connected")
        assert not engine.connected
        cluster.members[0].lease.answers = True
        await until(lambda: line_mentions(shown(caplog.records), "stage-connected"))

        assert engine.connected


async def test_a_session_that_ends_quickly_makes_the_next_one_wait_longer(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joining over and over would fence the writers each time; the cause is named as long as it goes on."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def sleeps(seconds: float) -> None:
        if seconds >= 0.4:
            waits.append(seconds)
        await sleep(0)

    class Fails(FakeKafka):
        async def connect(self, group: str) -> FakeMember:
            member = await super().connect(group)
            member.fails_to_poll = True
            return member

    monkeypatch.setattr(asyncio, "sleep", sleeps)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    engine = Engine(StageOfTests(), Fails(cluster, (PAID,)))
    running = asyncio.create_task(engine.run())
    try:
        async with asyncio.timeout(10):
            while len(waits) - waits.count(5.0) < 7:
                await sleep(0.001)
        assert any("poll failed" in problem for problem in engine.problems)
    finally:
        await engine.stop(0)
        await running

    assert [wait for wait in waits if wait != 5.0][:7] == [0.5, 1.5, 3.5, 7.5, 15.5, 30.0, 30.0]
