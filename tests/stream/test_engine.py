"""The engine against Kafka in memory: what is promised of a stage's records, one story per test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from adapter.errors import LeaseLost, OffsetNotOpen, OutcomeTooLarge
from adapter.stream import flushing, workshop
from adapter.stream.connection import KafkaConnection
from adapter.stream.engine import Engine
from adapter.stream.metadata import CommitNote, read, short_fingerprint, write
from adapter.stream.observer import Levels, Unobserved
from adapter.stream.port import Commit, Place
from adapter.stream.records import Publication, Record
from adapter.stream.stage import Grant, Later, Outcome, Prepared
from stream.fake_kafka import CLUSTER_ID, FakeCluster, FakeKafka

PAID = Place("paid", 0)
PAID_TOO = Place("paid", 1)
DEFERRED = Place("deferred", 0)

Handler = Callable[[str, Grant], Awaitable[Outcome | Later[str]]]


def told(text: str) -> Outcome:
    return Outcome(records=(Publication(topic="out", key=None, value=text.encode()),))


async def just_tell(subject: str, grant: Grant) -> Outcome:
    return told(subject)


class Sends:
    """A handler that sends each record to a remote side that keeps everything."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.doubted: list[str] = []

    async def __call__(self, subject: str, grant: Grant) -> Outcome:
        if grant.possibly_sent_since is not None:
            self.doubted.append(subject)
            if subject in self.sent:
                return told(f"{subject} recovered")
        grant.clear_to_send()
        self.sent.append(subject)
        return told(subject)


class TestStage:
    """A stage whose handling the test writes."""

    __test__ = False
    name = "test"
    group = "group"

    def __init__(self, handle: Handler = just_tell, **changes: object) -> None:
        self.topics: tuple[str, ...] = ("paid", "deferred")
        self.sends = True
        self.max_in_flight = 8
        self.max_waiting = 100
        self.fingerprint = "one"
        self.handler = handle
        self.handled: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        for name, value in changes.items():
            setattr(self, name, value)

    async def prepare(self, record: Record) -> Prepared[str]:
        text = (record.value or b"").decode()
        if text.startswith("unreadable"):
            raise ValueError(text)
        return Prepared(
            lane=record.key,
            subject=text,
            not_before=datetime(2099, 1, 1, tzinfo=UTC) if text.startswith("next century") else None,
        )

    async def handle(self, subject: str, grant: Grant) -> Outcome | Later[str]:
        self.handled.append(subject)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self.handler(subject, grant)
        finally:
            self._at_once -= 1

    def carry(self, record: Record, subject: str, grant: Grant) -> Outcome:
        return told(f"{subject} carried")

    def broken(self, record: Record, error: Exception, grant: Grant) -> Outcome:
        return told(f"{(record.value or b'').decode()[:20]} broken {type(error).__name__}")


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@asynccontextmanager
async def running(
    stage: TestStage, cluster: FakeCluster, *places: Place, grace: float = 1.0, **options: object
) -> AsyncIterator[Engine[str]]:
    """An engine at work, stopped at the end whatever happens."""
    engine = Engine(
        stage,
        KafkaConnection(bootstrap_servers="fake:1"),
        kafka=FakeKafka(cluster, places),
        **options,  # type: ignore[arg-type]  # a test's shorthand
    )
    task = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        await engine.stop(grace)
        await task


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    """Let the engine go on until `condition` is true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # conditions are the engine's, which signals nothing to tests
            await asyncio.sleep(0.001)


def note_at(cluster: FakeCluster, place: Place) -> CommitNote:
    commit = cluster.commits[place]
    note = read(commit.metadata, cluster_id=CLUSTER_ID, committed=commit.offset)
    assert isinstance(note, CommitNote)
    return note


# --- what a record's way looks like ----------------------------------------------------------------------------------


async def test_every_outcome_is_published_with_its_offset(cluster: FakeCluster) -> None:
    """What is told and what is committed are one transaction."""
    cluster.append(PAID, "a", "b", "c")
    async with running(TestStage(), cluster, PAID):
        await until(lambda: len(cluster.told) == 3)

    assert cluster.told == ["a", "b", "c"]
    assert cluster.commits[PAID].offset == 3


async def test_an_empty_outcome_commits_its_offset_too(cluster: FakeCluster) -> None:
    """Nothing to tell is an end like any other."""

    async def nothing(subject: str, grant: Grant) -> Outcome:
        return Outcome()

    cluster.append(PAID, "a", "b")
    async with running(TestStage(nothing), cluster, PAID):
        await until(lambda: PAID in cluster.commits and cluster.commits[PAID].offset == 2)

    assert cluster.told == []


async def test_nothing_is_sent_before_a_commit_reserves_it(cluster: FakeCluster) -> None:
    """The very first transaction of a group tells the next owner what may be sent from now on."""
    reserved_when_sent = []

    async def send(subject: str, grant: Grant) -> Outcome:
        grant.clear_to_send()
        reserved_when_sent.append(note_at(cluster, PAID).reserved_until)
        return told(subject)

    cluster.append(PAID, *(f"{number}" for number in range(60)))
    async with running(TestStage(send, max_in_flight=4), cluster, PAID):
        await until(lambda: len(cluster.told) == 60)

    assert all(offset < until for offset, until in enumerate(reserved_when_sent))


async def test_a_lane_is_worked_on_in_order_and_one_at_a_time(cluster: FakeCluster) -> None:
    """Records of the same order are handled one after another, others at once."""
    at_work: dict[bytes | None, int] = {}
    overlaps = []

    async def slowly(subject: str, grant: Grant) -> Outcome:
        lane = grant.record.key
        overlaps.append(at_work.get(lane, 0))
        at_work[lane] = at_work.get(lane, 0) + 1
        await asyncio.sleep(0.002)
        at_work[lane] -= 1
        return told(subject)

    for number in range(10):
        cluster.append(PAID, f"a{number}", key="a")
        cluster.append(PAID, f"b{number}", key="b")
    stage = TestStage(slowly)
    async with running(stage, cluster, PAID):
        await until(lambda: len(cluster.told) == 20)

    assert set(overlaps) == {0}
    assert stage.most_at_once == 2
    assert [text for text in stage.handled if text[0] == "a"] == [f"a{number}" for number in range(10)]


async def test_no_more_records_are_in_flight_than_allowed(cluster: FakeCluster) -> None:
    """Whatever the partitions bring."""

    async def slowly(subject: str, grant: Grant) -> Outcome:
        await asyncio.sleep(0.001)
        return told(subject)

    cluster.append(PAID, *map(str, range(100)))
    cluster.append(PAID_TOO, *map(str, range(100)))
    stage = TestStage(slowly, max_in_flight=5)
    async with running(stage, cluster, PAID, PAID_TOO):
        await until(lambda: len(cluster.told) == 200)

    assert stage.most_at_once == 5


async def test_reading_stops_when_enough_is_in_hand(cluster: FakeCluster) -> None:
    """A partition whose records pile up is not read on, and is as soon as there is room."""
    gate = asyncio.Event()

    async def wait(subject: str, grant: Grant) -> Outcome:
        await gate.wait()
        return told(subject)

    cluster.append(PAID, *map(str, range(1000)))
    async with running(TestStage(wait, max_in_flight=2), cluster, PAID) as engine:
        await until(lambda: engine._levels().open >= 100)
        await asyncio.sleep(0.05)
        assert engine._levels().open < 200
        gate.set()
        await until(lambda: len(cluster.told) == 1000)


async def test_a_record_that_comes_later_takes_no_place_meanwhile(cluster: FakeCluster) -> None:
    """It waits without a task, and comes back with its new subject when its time has come."""

    async def twice(subject: str, grant: Grant) -> Outcome | Later[str]:
        if subject.endswith("again") or subject == "quick":
            return told(subject)
        return Later(not_before=datetime.now(UTC) + timedelta(seconds=0.05), subject=f"{subject} again")

    cluster.append(PAID, "slow", "quick")
    stage = TestStage(twice, max_in_flight=1)
    async with running(stage, cluster, PAID):
        await until(lambda: len(cluster.told) == 2)

    assert cluster.told == ["quick", "slow again"]


async def test_a_waiting_record_holds_up_its_lane_only(cluster: FakeCluster) -> None:
    """The next record of the same order waits with it."""

    async def once_later(subject: str, grant: Grant) -> Outcome | Later[str]:
        if subject == "first":
            return Later(not_before=datetime.now(UTC) + timedelta(seconds=0.05), subject="first again")
        return told(subject)

    cluster.append(PAID, "first", key="order 1")
    cluster.append(PAID, "second", key="order 1")
    cluster.append(PAID, "other", key="order 2")
    async with running(TestStage(once_later), cluster, PAID):
        await until(lambda: len(cluster.told) == 3)

    assert cluster.told == ["other", "first again", "second"]


async def test_a_topic_whose_records_wait_does_not_stop_another(cluster: FakeCluster) -> None:
    """The bound on waiting records counts per topic."""
    cluster.append(DEFERRED, *(f"next century {number}" for number in range(500)))
    stage = TestStage(max_waiting=100)
    async with running(stage, cluster, PAID, DEFERRED) as engine:
        await until(lambda: engine._levels().waiting["deferred"] >= 100)
        cluster.append(PAID, *map(str, range(300)))
        await until(lambda: len(cluster.told) == 300)

        assert engine._levels().waiting["deferred"] <= 150


# --- what a stage raises ---------------------------------------------------------------------------------------------


async def test_whatever_prepare_raises_becomes_an_outcome(cluster: FakeCluster) -> None:
    """The next record is unharmed."""
    cluster.append(PAID, "unreadable", "b")
    async with running(TestStage(), cluster, PAID):
        await until(lambda: len(cluster.told) == 2)

    assert sorted(cluster.told) == ["b", "unreadable broken ValueError"]


async def test_whatever_handle_raises_becomes_an_outcome(cluster: FakeCluster) -> None:
    """It is counted, and never stops the engine."""

    async def fails(subject: str, grant: Grant) -> Outcome:
        raise ZeroDivisionError

    cluster.append(PAID, "a")
    async with running(TestStage(fails), cluster, PAID):
        await until(lambda: cluster.told)

    assert cluster.told == ["a broken ZeroDivisionError"]


async def test_a_record_that_cannot_even_be_broken_stays_open(cluster: FakeCluster) -> None:
    """Nothing is dropped: the commit does not pass it, and everything else goes on."""

    class Hopeless(TestStage):
        def broken(self, record: Record, error: Exception, grant: Grant) -> Outcome:
            raise RuntimeError("worse")

    async def fails(subject: str, grant: Grant) -> Outcome:
        if subject == "b":
            raise ZeroDivisionError
        return told(subject)

    cluster.append(PAID, "a", "b", "unreadable", "d")
    async with running(Hopeless(fails), cluster, PAID):
        await until(lambda: len(cluster.told) == 2)

    assert sorted(cluster.told) == ["a", "d"]
    assert cluster.commits[PAID].offset == 1
    assert note_at(cluster, PAID).settled == ((3, 4),)


async def test_an_outcome_too_large_for_its_topic_is_replaced(cluster: FakeCluster) -> None:
    """The stage is told why, and the others of the same transaction are published all the same."""
    cluster.append(PAID, "x" * 2000, "b")
    async with running(TestStage(), cluster, PAID):
        await until(lambda: len(cluster.told) == 2)

    assert sorted(cluster.told) == ["b", f"{'x' * 20} broken {OutcomeTooLarge.__name__}"]


async def test_an_outcome_that_stays_too_large_stays_open(cluster: FakeCluster) -> None:
    """It neither stops the others nor spins."""

    class Wordy(TestStage):
        def broken(self, record: Record, error: Exception, grant: Grant) -> Outcome:
            return told("y" * 2000)

    cluster.append(PAID, "x" * 2000, "b")
    stage = Wordy()
    async with running(stage, cluster, PAID):
        await until(lambda: cluster.told)
        cluster.append(PAID, "c")
        await until(lambda: len(cluster.told) == 2)

    assert cluster.told == ["b", "c"]
    assert cluster.commits[PAID].offset == 0
    assert sorted(stage.handled) == ["b", "c", "x" * 2000]
    assert cluster.epochs[PAID] == 3


# --- leases ----------------------------------------------------------------------------------------------------------


async def test_nothing_is_sent_while_the_group_does_not_answer(cluster: FakeCluster) -> None:
    """The record stays open, and is handled again once the lease is good."""
    sends = Sends()
    async with running(TestStage(sends), cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.members[0].lease.answers = False
        cluster.append(PAID, "a")
        await asyncio.sleep(0.1)
        assert sends.sent == []

        cluster.members[0].lease.answers = True
        await until(lambda: cluster.told)

    assert sends.sent == ["a"]


async def test_a_send_that_began_before_the_lease_was_lost_counts_as_possibly_sent(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time it is asked for first."""
    monkeypatch.setattr(workshop, "LEASE_PAUSE_SECONDS", 0.01)
    doubts: list[datetime | None] = []

    async def loses_its_lease(subject: str, grant: Grant) -> Outcome:
        doubts.append(grant.possibly_sent_since)
        grant.clear_to_send()
        if len(doubts) == 1:
            raise LeaseLost("for the second part")
        return told(subject)

    cluster.append(PAID, "a")
    async with running(TestStage(loses_its_lease), cluster, PAID):
        await until(lambda: cluster.told)

    assert doubts[0] is None
    assert doubts[1] is not None


async def test_a_stage_that_sends_nothing_may_not_send(cluster: FakeCluster) -> None:
    """Its records are not reserved, so nobody would know."""

    async def sends_after_all(subject: str, grant: Grant) -> Outcome:
        grant.clear_to_send()
        return told(subject)

    cluster.append(PAID, "a")
    async with running(TestStage(sends_after_all, sends=False), cluster, PAID):
        await until(lambda: cluster.told)

    assert cluster.told == ["a broken AssertionError"]


# --- failed transactions ---------------------------------------------------------------------------------------------


async def test_after_a_failed_transaction_the_outcome_is_published_and_nothing_sent_again(cluster: FakeCluster) -> None:
    """The partition is taken over anew; what is known already is not worked on again."""
    sends = Sends()
    stage = TestStage(sends)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.faults = ["", "failed"]
        cluster.append(PAID, "a", "b")
        await until(lambda: len(cluster.told) == 2)

    assert stage.handled == ["a", "b"]
    assert cluster.told == ["a", "b"]
    assert cluster.epochs[PAID] == 2


async def test_a_transaction_whose_answer_was_lost_is_not_done_again(cluster: FakeCluster) -> None:
    """Whether it was committed is read from the broker, not guessed."""
    stage = TestStage()
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.faults = ["", "committed, and failed"]
        cluster.append(PAID, "a", "b")
        await until(lambda: len(cluster.told) == 2)
        cluster.append(PAID, "c")
        await until(lambda: len(cluster.told) == 3)

    assert cluster.told == ["a", "b", "c"]
    assert stage.handled == ["a", "b", "c"]


async def test_a_fenced_partition_is_taken_over_only_when_the_group_has_answered(cluster: FakeCluster) -> None:
    """A new writer of somebody who lost the partition would fence its rightful owner."""
    async with running(TestStage(), cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        member = cluster.members[0]
        member.lease.answers = False
        cluster.epochs[PAID] += 1
        cluster.append(PAID, "a")
        await until(lambda: not engine.assigned)
        await asyncio.sleep(0.05)
        assert len(member.writers) == 1

        member.lease.answers = True
        await until(lambda: cluster.told)

    assert member.writers[0].ended == "abandoned"
    assert cluster.told == ["a"]


async def test_a_failing_take_over_is_tried_again(cluster: FakeCluster) -> None:
    """A hiccup of the broker leaves no partition dead."""
    cluster.writers_to_fail = 2
    cluster.append(PAID, "a")
    async with running(TestStage(), cluster, PAID):
        await until(lambda: cluster.told)

    assert cluster.told == ["a"]


async def test_a_log_that_seems_too_short_for_a_moment_is_asked_again(cluster: FakeCluster) -> None:
    """A new leader may not know its own end yet: nothing is read again for that."""
    cluster.append(PAID, "a", "b")
    stage = TestStage()
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: len(cluster.told) == 2)
        log, cluster.logs[PAID] = cluster.logs[PAID], []
        moving = asyncio.create_task(cluster.assign([PAID]))
        await asyncio.sleep(0.05)
        cluster.logs[PAID] = log
        await moving
        await until(lambda: engine.assigned)
        cluster.append(PAID, "c")
        await until(lambda: len(cluster.told) == 3)

    assert stage.handled == ["a", "b", "c"]


async def test_a_log_that_was_made_anew_is_read_from_its_start(cluster: FakeCluster) -> None:
    """Reading that goes back means another log: the partition is taken over anew, and nothing is mixed up."""
    cluster.append(PAID, "a", "b", "c")
    stage = TestStage()
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: len(cluster.told) == 3)
        cluster.logs[PAID].clear()
        cluster.append(PAID, "new a")
        cluster.members[0].seek(PAID, 0)
        await until(lambda: len(cluster.told) == 4)

        assert engine.assigned == {("paid", 0)}
    assert cluster.told[3] == "new a"
    assert cluster.commits[PAID].offset == 1


# --- rebalances ------------------------------------------------------------------------------------------------------


async def test_a_revoked_partition_waits_for_its_calls_and_commits_the_truth(cluster: FakeCluster) -> None:
    """The next owner learns exactly what may have been sent: nothing, when everything ended in time."""
    on_the_wire, answer = asyncio.Event(), asyncio.Event()

    async def call(subject: str, grant: Grant) -> Outcome:
        grant.clear_to_send()
        on_the_wire.set()
        await answer.wait()
        return told(subject)

    cluster.append(PAID, "a")
    async with running(TestStage(call), cluster, PAID) as engine:
        await on_the_wire.wait()
        moving = asyncio.create_task(cluster.assign([]))
        await asyncio.sleep(0.02)
        assert not moving.done()
        answer.set()
        await moving

        assert cluster.told == ["a"]
        assert note_at(cluster, PAID).reserved_until == 1
        assert engine.standing_by
        assert cluster.members[0].writers[0].ended == "retired"


async def test_no_send_begins_once_a_partition_is_being_given_up(cluster: FakeCluster) -> None:
    """What had not been written by then is for the next owner to send."""
    sends = Sends()
    go_on = asyncio.Event()

    async def late(subject: str, grant: Grant) -> Outcome:
        await go_on.wait()
        return await sends(subject, grant)

    cluster.append(PAID, "a")
    stage = TestStage(late)
    async with running(stage, cluster, PAID):
        await until(lambda: stage.handled)
        moving = asyncio.create_task(cluster.assign([]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go_on.set()
        await moving

    assert sends.sent == []
    assert note_at(cluster, PAID).reserved_until == 0


async def test_a_call_still_on_the_wire_is_possibly_sent_for_the_next_owner(cluster: FakeCluster) -> None:
    """It did not end in time; its own end is too late to count."""
    never = asyncio.Event()
    first, second = Sends(), Sends()

    async def hangs(subject: str, grant: Grant) -> Outcome:
        if subject == "b":
            await first(subject, grant)
            await never.wait()
        return told(subject)

    cluster.append(PAID, "a", "b", "c")
    async with running(TestStage(hangs), cluster, PAID):
        await until(lambda: len(cluster.told) == 2)
        await cluster.assign([])
        async with running(TestStage(second), cluster) as engine:
            await until(lambda: len(cluster.members) == 2)
            await cluster.assign([], [PAID])
            await until(lambda: len(cluster.told) == 3)
            assert engine.assigned == {("paid", 0)}
            never.set()

    assert second.doubted == ["b"]
    assert sorted(cluster.told) == ["a", "b", "c"]


async def test_a_record_read_again_waits_for_its_old_task(cluster: FakeCluster) -> None:
    """The partition comes back to the same process while a call is on the wire: one call, one outcome."""
    sends, answer = Sends(), asyncio.Event()

    async def call(subject: str, grant: Grant) -> Outcome:
        outcome = await sends(subject, grant)
        await answer.wait()
        return outcome

    cluster.append(PAID, "a", key="order")
    cluster.append(PAID, "b", key="order")
    stage = TestStage(call)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: sends.sent)
        await cluster.assign([PAID])
        await until(lambda: engine._levels().open == 2)
        await asyncio.sleep(0.02)
        assert stage.handled == ["a"]
        answer.set()
        await until(lambda: len(cluster.told) == 2)

    assert stage.handled == ["a", "b"]
    assert cluster.told == ["a", "b"]


async def test_a_record_whose_old_task_sent_nothing_is_handled_anew(cluster: FakeCluster) -> None:
    """Its old task ends without an outcome: the new one does the work."""
    sends, go_on = Sends(), asyncio.Event()

    async def late(subject: str, grant: Grant) -> Outcome:
        await go_on.wait()
        return await sends(subject, grant)

    for key in (None, "order"):
        cluster.append(PAID, f"a {key}", key=key)
    stage = TestStage(late)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: len(stage.handled) == 2)
        await cluster.assign([PAID])
        await until(lambda: engine._levels().open == 2)
        go_on.set()
        await until(lambda: len(cluster.told) == 2)

    assert sorted(sends.sent) == ["a None", "a order"]
    assert len(stage.handled) == 4


async def test_an_outcome_left_in_memory_does_not_count_when_another_owner_settled_it(cluster: FakeCluster) -> None:
    """What is committed is read from the broker when the partition comes back."""
    cluster.slow_transactions = 30

    cluster.append(PAID, "a")
    first = TestStage(sends=False)
    async with running(first, cluster, PAID):
        await until(lambda: first.handled)
        moving = asyncio.create_task(cluster.assign([]))
        await moving
        cluster.slow_transactions = 0
        async with running(TestStage(sends=False), cluster):
            await until(lambda: len(cluster.members) == 2)
            await cluster.assign([], [PAID])
            await until(lambda: cluster.told)
            await cluster.assign([PAID], [])
            cluster.append(PAID, "b")
            await until(lambda: len(cluster.told) == 2)

    assert cluster.told == ["a", "b"]
    assert first.handled == ["a", "b"]


async def test_records_of_an_earlier_owner_are_possibly_sent_up_to_its_reservation(cluster: FakeCluster) -> None:
    """Those beyond it were never sent; another fingerprint is told."""
    note = CommitNote(
        cluster_id=CLUSTER_ID,
        committed=1,
        reserved_until=3,
        mixed_until=0,
        fingerprint=short_fingerprint("another"),
        settled=((2, 3),),
    )
    grants: dict[str, tuple[bool, bool]] = {}

    async def look(subject: str, grant: Grant) -> Outcome:
        grants[subject] = (grant.possibly_sent_since is not None, grant.fingerprint_changed)
        return told(subject)

    cluster.append(PAID, "0", "1", "2", "3")
    cluster.commits[PAID] = Commit(offset=1, metadata=write(note))
    async with running(TestStage(look), cluster, PAID):
        await until(lambda: len(cluster.told) == 2)

    assert grants == {"1": (True, True), "3": (False, False)}


async def test_a_batch_read_across_a_change_is_thrown_away_and_read_again(cluster: FakeCluster) -> None:
    """Partitions come and go under running polls: each record is told once, and none is missing."""
    for place in (PAID, PAID_TOO, DEFERRED):
        cluster.append(place, *(f"{place} {number}" for number in range(200)), hole=1)
    stage = TestStage()
    async with running(stage, cluster, PAID):
        for places in ([PAID, PAID_TOO], [PAID_TOO], [DEFERRED, PAID], [PAID, PAID_TOO, DEFERRED]):
            await asyncio.sleep(0.004)
            await cluster.assign(places)
        await until(lambda: len(cluster.told) >= 600)

    assert len(cluster.told) == len(set(cluster.told)) == 600


# --- long notes ------------------------------------------------------------------------------------------------------


async def test_near_the_limit_the_oldest_records_are_carried_on(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait, not those on the wire; and what follows in the same lane counts as possibly sent."""
    monkeypatch.setattr(flushing, "CARRY_ABOVE", 200)
    monkeypatch.setattr(flushing, "CARRY_DOWN_TO", 100)
    on_the_wire = asyncio.Event()
    doubts = {}

    async def mostly_wait(subject: str, grant: Grant) -> Outcome | Later[str]:
        doubts[subject] = grant.possibly_sent_since is not None
        if subject == "on the wire":
            await on_the_wire.wait()
        elif subject.startswith("later"):
            return Later(not_before=datetime(2099, 1, 1, tzinfo=UTC), subject=subject)
        return told(subject)

    cluster.append(PAID, "on the wire")
    for number in range(300):
        cluster.append(PAID, f"later {number}", key=f"order {number}")
        cluster.append(PAID, *(f"quick {number} {more}" for more in range(number % 7 + 1)))
    cluster.append(PAID, "follows", key="order 0")
    stage = TestStage(mostly_wait, max_in_flight=1000, max_waiting=1000)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: "follows" in cluster.told)
        waiting = engine._levels().waiting["paid"]
        on_the_wire.set()
        await until(lambda: "on the wire" in cluster.told)

    carried = [text for text in cluster.told if text.endswith("carried")]
    assert carried
    assert carried == [f"later {number} carried" for number in range(len(carried))]
    assert waiting == 300 - len(carried)
    assert doubts["follows"]


# --- the engine's life -----------------------------------------------------------------------------------------------


async def test_an_absent_broker_is_waited_for(cluster: FakeCluster) -> None:
    """However long; and the loop beats."""
    cluster.away = True
    cluster.append(PAID, "a")
    async with running(TestStage(), cluster, PAID) as engine:
        beat = engine.last_beat
        await until(lambda: engine.last_beat > beat)
        assert not engine.standing_by
        cluster.away = False
        await until(lambda: cluster.told)


async def test_a_member_that_can_go_on_no_more_is_replaced(cluster: FakeCluster) -> None:
    """What was finished is committed, and the next member goes on."""
    cluster.append(PAID, "a")
    async with running(TestStage(), cluster, PAID):
        await until(lambda: cluster.told)
        first = cluster.members[0]
        first.fails_to_poll = True
        cluster.append(PAID, "b")
        await until(lambda: len(cluster.told) == 2)

    assert first.left
    assert cluster.told == ["a", "b"]


async def test_stopping_lets_what_is_in_flight_end_and_send(cluster: FakeCluster) -> None:
    """Nothing new begins, everything begun is committed, and the group is left."""
    sends = Sends()

    async def slowly(subject: str, grant: Grant) -> Outcome:
        await asyncio.sleep(0.05)
        return await sends(subject, grant)

    cluster.append(PAID, *map(str, range(20)))
    stage = TestStage(slowly, max_in_flight=3)
    async with running(stage, cluster, PAID):
        await until(lambda: stage.handled)
        member = cluster.members[0]

    assert sends.sent == stage.handled == cluster.told == ["0", "1", "2"]
    assert note_at(cluster, PAID).reserved_until == 3
    assert member.left


async def test_what_is_in_flight_after_the_grace_is_cancelled_and_possibly_sent(cluster: FakeCluster) -> None:
    """It stays open, and the commit says that it may have been sent."""
    sends, cancelled = Sends(), []

    async def hangs(subject: str, grant: Grant) -> Outcome:
        await sends(subject, grant)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(subject)
            raise
        return told(subject)

    cluster.append(PAID, "a", "b", "c")
    async with running(TestStage(hangs, max_in_flight=2), cluster, PAID, grace=0.05):
        await until(lambda: len(sends.sent) == 2)

    assert sorted(cancelled) == ["a", "b"]
    assert cluster.told == []
    assert cluster.commits[PAID].offset == 0
    assert note_at(cluster, PAID).reserved_until == 2


async def test_stopping_before_running_is_fine(cluster: FakeCluster) -> None:
    """Nobody has to know which came first."""
    engine = Engine(TestStage(), KafkaConnection(bootstrap_servers="fake:1"), kafka=FakeKafka(cluster))
    await engine.stop(1)
    await engine.run()

    assert cluster.members == []


async def test_what_a_stage_raises_is_logged_without_its_text(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The text of an exception may quote the record, which holds customer data."""
    cluster.append(PAID, "unreadable: Mrs Lin, 0912345678")
    async with running(TestStage(), cluster, PAID):
        await until(lambda: cluster.told)

    assert "prepare raised ValueError in prepare (" in caplog.text
    assert "Mrs Lin" not in caplog.text


async def test_a_stage_that_returns_something_else_is_told(cluster: FakeCluster) -> None:
    """A record must not be left without an outcome because somebody forgot a return."""

    async def forgets(subject: str, grant: Grant) -> Outcome:
        return None  # type: ignore[return-value]  # what a wrong stage may do

    cluster.append(PAID, "a")
    async with running(TestStage(forgets), cluster, PAID):
        await until(lambda: cluster.told)

    assert cluster.told == ["a broken TypeError"]


async def test_books_that_contradict_themselves_stop_the_engine(cluster: FakeCluster) -> None:
    """Nothing is committed after it, and whoever runs the engine is told."""
    go_on = asyncio.Event()

    async def wait(subject: str, grant: Grant) -> Outcome:
        await go_on.wait()
        return told(subject)

    cluster.append(PAID, "a", "b")
    stage = TestStage(wait)
    engine = Engine(stage, KafkaConnection(bootstrap_servers="fake:1"), kafka=FakeKafka(cluster, [PAID]))
    task = asyncio.create_task(engine.run())
    await until(lambda: len(stage.handled) == 2)
    commit = cluster.commits[PAID]

    engine._holdings.held[PAID].books._ledger.settle(1)  # as if another task had owned the record too
    go_on.set()

    with pytest.raises(OffsetNotOpen, match="given to two tasks"):
        await asyncio.wait_for(task, 5)
    assert cluster.members == []
    assert cluster.commits[PAID].offset == commit.offset


async def test_the_observer_hears_what_happens(cluster: FakeCluster) -> None:
    """Counts, by topic, and the levels about once a second."""

    class Listener(Unobserved):
        def __init__(self) -> None:
            self.heard: list[str] = []
            self.seen: list[Levels] = []

        def records_taken(self, stage: str, topic: str, count: int) -> None:
            self.heard.append(f"{stage}: {count} taken of {topic}")

        def outcomes_published(self, stage: str, topic: str, count: int, publications: int) -> None:
            self.heard.append(f"{stage}: {count} published of {topic}")

        def partition_taken_over(self, stage: str, topic: str, partition: int) -> None:
            self.heard.append(f"{topic}/{partition} taken over")

        def partition_dropped(self, stage: str, topic: str, partition: int, reason: str) -> None:
            self.heard.append(f"{topic}/{partition} {reason}")

        def levels(self, stage: str, levels: Levels) -> None:
            self.seen.append(levels)

    listener = Listener()
    cluster.append(PAID, "a")
    async with running(TestStage(), cluster, PAID, observer=listener):
        await until(lambda: cluster.told)

    assert listener.heard == [
        "paid/0 taken over",
        "test: 1 taken of paid",
        "test: 1 published of paid",
        "paid/0 stopped",
    ]
    assert listener.seen
