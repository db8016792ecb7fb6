"""One merchant's trouble in the engine: what others' records notice of it, in places, in reading and in waiting."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from adapter.stream.records import Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext
from stream.engine_harness import DEFERRED, PAID, Sends, StageOfTests, outcome_with, running, until
from stream.fake_kafka import FakeCluster


class Stuck:
    """A handler whose records of A do not end before the test lets them."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun: list[str] = []

    async def __call__(self, subject: str, context: RecordContext) -> Outcome:
        context.authorize_send()
        self.begun.append(subject)
        if subject.startswith("A"):
            await self.may_end.wait()
        return outcome_with(subject)

    def has_begun(self, count: int) -> bool:
        return len([subject for subject in self.begun if subject.startswith("A")]) == count


def _is_published(cluster: FakeCluster, text: str) -> bool:
    return text in cluster.published


@pytest.mark.parametrize("slots", [2, 8, 16])
async def test_a_merchant_that_is_stuck_leaves_slots_to_others(cluster: FakeCluster, slots: int) -> None:
    """A has every order of the last hour under way, and none of them ends; each order of B is handled at once."""
    stuck = Stuck()
    cluster.append(PAID, *(f"A {number}" for number in range(40)))
    async with running(StageOfTests(stuck, max_in_flight=slots), cluster, PAID) as engine:
        await until(partial(stuck.has_begun, slots - max(1, slots // 8)))
        for number in range(20):
            cluster.append(PAID, f"B {number}")
            await until(partial(_is_published, cluster, f"B {number}"))

        assert engine._scheduler.in_flight < slots
        stuck.may_end.set()
        await until(lambda: len(cluster.published) == 60)

    assert [text for text in stuck.begun if text.startswith("A")] == [f"A {number}" for number in range(40)]


async def test_a_merchant_that_is_alone_uses_nearly_every_slot(cluster: FakeCluster) -> None:
    """Seven of eight, and all of them where it is the only one configured."""
    for bulkheads, most in ((True, 7), (False, 8)):
        stuck, topic = Stuck(), FakeCluster()
        topic.append(PAID, *(f"A {number}" for number in range(40)))
        async with running(StageOfTests(stuck, bulkheads=bulkheads), topic, PAID):
            await until(partial(stuck.has_begun, most))
            stuck.may_end.set()


async def test_the_backlog_of_a_stuck_merchant_does_not_keep_others_from_being_read(cluster: FakeCluster) -> None:
    """Two thousand orders of A are before each of B, in one partition, and far more than may be in hand."""
    stuck = Stuck()
    cluster.append(PAID, "B first")
    for number in range(2000):
        cluster.append(PAID, f"A {number}")
    cluster.append(PAID, "B last")
    stage = StageOfTests(stuck, max_in_flight=8, max_waiting=100)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: "B last" in cluster.published, 20)

        assert engine._gauges().open < 100 + 2 * 8 + 100 + 50
        stuck.may_end.set()
        await until(lambda: len(cluster.published) == 2002)

    handed_on = [text for text in cluster.published if text.endswith("handed off")]
    assert 1500 < len(handed_on) < 2000
    assert len(set(cluster.published)) == 2002


async def test_what_waits_for_room_waits_in_memory_while_there_is_no_other(cluster: FakeCluster) -> None:
    """A rush of one merchant's orders is read as fast as it is handled, and nothing of it is rewritten."""
    stuck = Stuck()
    for number in range(400):
        cluster.append(PAID, f"A {number}")
    async with running(StageOfTests(stuck, max_waiting=100), cluster, PAID) as engine:
        await until(lambda: engine._gauges().waiting["paid"] >= 100)
        stuck.may_end.set()
        await until(lambda: len(cluster.published) == 400)

    assert cluster.published == [f"A {number}" for number in range(400)]


async def test_records_due_far_ahead_do_not_keep_those_behind_from_being_read(cluster: FakeCluster) -> None:
    """A thousand orders of a merchant that is locked out, of which a hundred may wait here, and one that is due."""
    cluster.append(DEFERRED, *(f"next century {number}" for number in range(1000)))
    cluster.append(DEFERRED, "due")
    async with running(StageOfTests(max_waiting=100), cluster, DEFERRED) as engine:
        await until(lambda: "due" in cluster.published)

        assert engine._gauges().waiting["deferred"] <= 150

    moved = [text for text in cluster.published if text != "due"]
    assert all(text.endswith("handed off") for text in moved)
    assert len(set(moved)) == len(moved) > 800


async def test_records_that_were_written_lately_are_not_rewritten_without_a_pause(cluster: FakeCluster) -> None:
    """They come by again as soon as they are handed on: as many as may wait at once, and then once in five minutes."""
    now = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)  # a minute after the fake's records were written
    cluster.append(DEFERRED, *(f"next century {number}" for number in range(1000)))
    async with running(StageOfTests(max_waiting=100), cluster, DEFERRED, now=lambda: now) as engine:
        await until(lambda: len(cluster.published) == 100)
        for _ in range(20):
            await asyncio.sleep(0.005)

        assert len(cluster.published) == 100
        assert engine._gauges().waiting["deferred"] <= 150
        now = now + timedelta(minutes=5)
        await until(lambda: len(cluster.published) > 800)


class Comes(StageOfTests):
    """A stage that writes what it hands on to the deferred topic, as it was and due when it was."""

    resumes = True

    async def prepare(self, record: Record) -> PreparedRecord[str]:
        text = (record.value or b"").decode()
        far = datetime.now(UTC) + timedelta(hours=1) if text.startswith("far") else None
        return PreparedRecord(
            lane=record.key,
            subject=text,
            bulkhead=text.partition(" ")[0],
            may_hand_off=True,
            not_before=far,
            resumes=self.resumes and record.topic == "deferred",
        )


@pytest.mark.parametrize("resumes", [True, False])
async def test_an_order_that_comes_back_was_not_sent_by_that(cluster: FakeCluster, resumes: bool) -> None:
    """It says itself what may have been sent; another record of the same order counts as possibly sent."""
    sends = Sends()
    stage = Comes(sends, max_waiting=1)
    stage.resumes = resumes
    cluster.append(PAID, "far 1", key="order 1")
    cluster.append(PAID, "far 2", key="order 2")
    async with running(stage, cluster, PAID, DEFERRED):
        await until(lambda: "far 1 handed off" in cluster.published)
        cluster.append(DEFERRED, "order 1 again", key="order 1")
        await until(lambda: "order 1 again" in cluster.published)

    assert (sends.doubted == ["order 1 again"]) is not resumes


async def test_a_released_partition_leaves_no_slot_in_use(cluster: FakeCluster) -> None:
    """Records that waited for room, or for their turn, are forgotten; what comes after has all places."""
    stuck = Stuck()
    cluster.append(PAID, *(f"A {number}" for number in range(100)))
    async with running(StageOfTests(stuck), cluster, PAID) as engine:
        await until(lambda: engine._gauges().waiting["paid"])
        stuck.may_end.set()
        await cluster.assign([])

        assert len(engine._scheduler._bulkheads) == 0
        assert engine._gauges().waiting == {"paid": 0, "deferred": 0}
        await cluster.assign([PAID])
        await until(lambda: len(cluster.published) == 100)
