"""The engine from its start to its end, with and without a broker."""

from __future__ import annotations

import asyncio

import pytest
from key_words import line_mentions
from log_lines import shown

from adapter.errors import OffsetNotOpen
from adapter.stream.engine import Engine
from adapter.stream.observer import Gauges, NullObserver
from adapter.stream.owned_partition import WorkPhase
from adapter.stream.records import Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext
from adapter.values import replace
from stream.engine_harness import (
    PAID,
    Sends,
    StageOfTests,
    metadata_at,
    outcome_with,
    running,
    until,
)
from stream.fake_kafka import FakeCluster, FakeKafka


async def test_an_absent_broker_is_waited_for(cluster: FakeCluster) -> None:
    """However long; and the loop beats."""
    cluster.away = True
    cluster.append(PAID, "a")
    async with running(StageOfTests(), cluster, PAID) as engine:
        beat = engine.last_heartbeat
        await until(lambda: engine.last_heartbeat > beat)
        assert not engine.standing_by
        cluster.away = False
        await until(lambda: cluster.published)


async def test_a_member_that_cannot_continue_is_replaced(cluster: FakeCluster) -> None:
    """What was finished is committed, and the next member goes on."""
    cluster.append(PAID, "a")
    async with running(StageOfTests(), cluster, PAID):
        await until(lambda: cluster.published)
        first = cluster.members[0]
        first.fails_to_poll = True
        cluster.append(PAID, "b")
        await until(lambda: len(cluster.published) == 2)

    assert first.left
    assert cluster.published == ["a", "b"]


async def test_stopping_lets_what_is_in_flight_end_and_send(cluster: FakeCluster) -> None:
    """Nothing new begins, everything begun is committed, and the group is left."""
    sends = Sends()

    async def slowly(subject: str, context: RecordContext) -> Outcome:
        await asyncio.sleep(0.05)
        return await sends(subject, context)

    cluster.append(PAID, *map(str, range(20)))
    stage = StageOfTests(slowly, max_in_flight=3)
    async with running(stage, cluster, PAID):
        await until(lambda: stage.handled)
        member = cluster.members[0]

    assert sends.sent == stage.handled == cluster.published == ["0", "1", "2"]
    assert metadata_at(cluster, PAID).reserved_until == 3
    assert member.left


async def test_what_is_in_flight_after_the_grace_is_cancelled_and_possibly_sent(cluster: FakeCluster) -> None:
    """It stays open, and the commit says that it may have been sent."""
    sends, cancelled = Sends(), []

    async def hangs(subject: str, context: RecordContext) -> Outcome:
        await sends(subject, context)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(subject)
            raise
        return outcome_with(subject)

    cluster.append(PAID, "a", "b", "c")
    async with running(StageOfTests(hangs, max_in_flight=2), cluster, PAID, grace=0.05):
        await until(lambda: len(sends.sent) == 2)

    assert sorted(cancelled) == ["a", "b"]
    assert cluster.published == []
    assert cluster.commits[PAID].offset == 0
    assert metadata_at(cluster, PAID).reserved_until == 2


async def test_stopping_before_running_is_fine(cluster: FakeCluster) -> None:
    """The order of the calls does not matter."""
    engine = Engine(StageOfTests(), FakeKafka(cluster))
    await engine.stop(1)
    await engine.run()

    assert cluster.members == []


async def test_what_a_stage_raises_is_logged_without_its_text(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The text of an exception may quote the record, which holds customer data."""
    cluster.append(PAID, "unreadable: Mrs Lin, 0912345678")
    async with running(StageOfTests(), cluster, PAID):
        await until(lambda: cluster.published)

    assert line_mentions(shown(caplog.records), "stage-error method=prepare error=ValueError")
    assert "Mrs Lin" not in shown(caplog.records)


async def test_a_stage_that_returns_something_else_gets_an_error(cluster: FakeCluster) -> None:
    """A record must not be left without an outcome because a return is missing."""

    async def forgets(subject: str, context: RecordContext) -> Outcome:
        return None  # type: ignore[return-value]  # what a wrong stage may do

    cluster.append(PAID, "a")
    async with running(StageOfTests(forgets), cluster, PAID):
        await until(lambda: cluster.published)

    assert cluster.published == ["a broken TypeError"]


async def test_a_ledger_that_contradicts_itself_stops_the_engine(cluster: FakeCluster) -> None:
    """Nothing is committed after it, and `run` raises it."""
    go_on = asyncio.Event()

    async def wait(subject: str, context: RecordContext) -> Outcome:
        await go_on.wait()
        return outcome_with(subject)

    cluster.append(PAID, "a", "b")
    stage = StageOfTests(wait)
    engine = Engine(stage, FakeKafka(cluster, [PAID]))
    task = asyncio.create_task(engine.run())
    await until(lambda: len(stage.handled) == 2)
    commit = cluster.commits[PAID]

    engine._partitions.partitions[PAID].state._ledger.settle(1)  # as if another task had owned the record too
    go_on.set()

    with pytest.raises(OffsetNotOpen, match="two tasks"):
        await asyncio.wait_for(task, 5)
    assert cluster.members == []
    assert cluster.commits[PAID].offset == commit.offset


async def test_a_wrong_ledger_when_a_record_is_admitted_stops_the_engine(cluster: FakeCluster) -> None:
    """A record's own lane may cost that record; a record that is settled twice is never only its own trouble."""

    class Odd(StageOfTests):
        async def prepare(self, record: Record) -> PreparedRecord[str]:
            engine._partitions.partitions[PAID].state._ledger.settle(
                record.offset
            )  # as if another task owned the record too
            return replace(await super().prepare(record), not_before="tomorrow")  # type: ignore[arg-type]

    cluster.append(PAID, "a")
    engine = Engine(Odd(), FakeKafka(cluster, [PAID]))

    with pytest.raises(OffsetNotOpen, match="two tasks"):
        await asyncio.wait_for(engine.run(), 5)
    assert cluster.published == []


async def test_the_observer_hears_what_happens(cluster: FakeCluster) -> None:
    """Counts, by topic, and the levels about once a second."""

    class Listener(NullObserver):
        def __init__(self) -> None:
            self.heard: list[str] = []
            self.seen: list[Gauges] = []

        def records_consumed(self, stage: str, topic: str, count: int) -> None:
            self.heard.append(f"{stage}/{topic}: {count} taken")

        def outcomes_committed(self, stage: str, topic: str, count: int, producer_records: int) -> None:
            self.heard.append(f"{stage}/{topic}: {count} published")

        def partition_taken_over(self, stage: str, topic: str, partition: int) -> None:
            self.heard.append(f"{topic}/{partition} taken over")

        def partition_dropped(self, stage: str, topic: str, partition: int, reason: str) -> None:
            self.heard.append(f"{topic}/{partition} {reason}")

        def gauges(self, stage: str, gauges: Gauges) -> None:
            self.seen.append(gauges)

    listener = Listener()
    cluster.append(PAID, "a")
    async with running(StageOfTests(), cluster, PAID, observer=listener) as engine:
        await until(lambda: cluster.published)
        lag = engine._gauges().lag

    assert set(lag) == {PAID}
    assert listener.heard == ["paid/0 taken over", "test/paid: 1 taken", "test/paid: 1 published", "paid/0 stopped"]
    assert listener.seen


async def test_a_snapshot_shows_what_is_open_and_not_read(cluster: FakeCluster) -> None:
    """By partition; and each open record with the phase in which it is."""
    blocked = asyncio.Event()

    async def wait(subject: str, context: RecordContext) -> Outcome:
        await blocked.wait()
        return outcome_with(subject)

    stage = StageOfTests(wait, max_in_flight=2)
    cluster.append(PAID, "a", "b", "c", "next century")
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: engine.snapshot().in_flight == 2)
        await until(lambda: engine.snapshot().waiting == 1)
        snapshot, phases = engine.snapshot(), sorted((each.phase, each.subject) for each in engine.open_records())
        blocked.set()
        await until(lambda: len(cluster.published) == 3)
        await until(lambda: len(list(engine.open_records())) == 1)

    assert (snapshot.name, snapshot.group, snapshot.slots, snapshot.connected) == ("test", "group", 2, True)
    (partition,) = snapshot.partitions
    assert (partition.topic, partition.partition, partition.open, partition.blocked) == (*PAID, 4, False)
    assert phases == [
        (WorkPhase.WAITING, "next century"),
        (WorkPhase.READY, "c"),
        (WorkPhase.RUNNING, "a"),
        (WorkPhase.RUNNING, "b"),
    ]
