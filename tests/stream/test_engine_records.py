"""The path of a record through the engine, and what a stage may raise on it: one scenario per test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from log_lines import log_line

from adapter.errors import InvalidOrder, OutcomeTooLarge, TooLarge
from adapter.stream import committer
from adapter.stream import owned_partition as owned_partition_module
from adapter.stream.lanes import Lanes
from adapter.stream.observer import NullObserver
from adapter.stream.records import NotRead, Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater
from adapter.values import replace
from stream.engine_harness import (
    DEFERRED,
    PAID,
    PAID_TOO,
    StageOfTests,
    echo,
    metadata_at,
    outcome_with,
    running,
    until,
)
from stream.fake_kafka import FakeCluster


class Counted:
    """A method that counts its calls."""

    def __init__(self, method: Callable[..., Iterator[object]]) -> None:
        self._method = method
        self.calls: list[object] = []

    def __get__(self, lanes: object, owner: type) -> Callable[..., Iterator[object]]:
        self.calls.append(lanes)
        return partial(self._method, lanes)


async def test_every_outcome_is_published_with_its_offset(cluster: FakeCluster) -> None:
    """What is published and what is committed are one transaction."""
    cluster.append(PAID, "a", "b", "c")
    async with running(StageOfTests(), cluster, PAID):
        await until(lambda: len(cluster.published) == 3)

    assert cluster.published == ["a", "b", "c"]
    assert cluster.commits[PAID].offset == 3


async def test_an_empty_outcome_commits_its_offset_too(cluster: FakeCluster) -> None:
    """An outcome without records is an end like any other."""

    async def nothing(subject: str, context: RecordContext) -> Outcome:
        return Outcome()

    cluster.append(PAID, "a", "b")
    async with running(StageOfTests(nothing), cluster, PAID):
        await until(lambda: PAID in cluster.commits and cluster.commits[PAID].offset == 2)

    assert cluster.published == []


async def test_nothing_is_sent_before_a_commit_reserves_it(cluster: FakeCluster) -> None:
    """The very first transaction of a group has the reservation for the next owner."""
    reserved_when_sent = []

    async def send(subject: str, context: RecordContext) -> Outcome:
        context.authorize_send()
        reserved_when_sent.append(metadata_at(cluster, PAID).reserved_until)
        return outcome_with(subject)

    cluster.append(PAID, *(f"{number}" for number in range(60)))
    async with running(StageOfTests(send, max_in_flight=4), cluster, PAID):
        await until(lambda: len(cluster.published) == 60)

    assert all(offset < until for offset, until in enumerate(reserved_when_sent))


async def test_a_lane_is_worked_on_in_order_and_one_at_a_time(cluster: FakeCluster) -> None:
    """Records of the same order are handled one after another, others at once."""
    at_work: dict[bytes | None, int] = {}
    overlaps = []

    async def slowly(subject: str, context: RecordContext) -> Outcome:
        lane = context.record.key
        overlaps.append(at_work.get(lane, 0))
        at_work[lane] = at_work.get(lane, 0) + 1
        await asyncio.sleep(0.002)
        at_work[lane] -= 1
        return outcome_with(subject)

    for number in range(10):
        cluster.append(PAID, f"a{number}", key="a")
        cluster.append(PAID, f"b{number}", key="b")
    stage = StageOfTests(slowly)
    async with running(stage, cluster, PAID):
        await until(lambda: len(cluster.published) == 20)

    assert set(overlaps) == {0}
    assert stage.most_at_once == 2
    assert [text for text in stage.handled if text[0] == "a"] == [f"a{number}" for number in range(10)]


async def test_no_more_records_are_in_flight_than_allowed(cluster: FakeCluster) -> None:
    """Whatever the partitions bring."""

    async def slowly(subject: str, context: RecordContext) -> Outcome:
        await asyncio.sleep(0.001)
        return outcome_with(subject)

    cluster.append(PAID, *map(str, range(100)))
    cluster.append(PAID_TOO, *map(str, range(100)))
    stage = StageOfTests(slowly, max_in_flight=5)
    async with running(stage, cluster, PAID, PAID_TOO):
        await until(lambda: len(cluster.published) == 200)

    assert stage.most_at_once == 5


async def test_reading_stops_when_enough_is_in_hand(cluster: FakeCluster) -> None:
    """A partition with too many records is not polled until there is room again."""
    gate = asyncio.Event()

    async def wait(subject: str, context: RecordContext) -> Outcome:
        await gate.wait()
        return outcome_with(subject)

    cluster.append(PAID, *map(str, range(1000)))
    async with running(StageOfTests(wait, max_in_flight=2), cluster, PAID) as engine:
        await until(lambda: engine._gauges().open >= 100)
        await asyncio.sleep(0.05)
        assert engine._gauges().open < 200
        gate.set()
        await until(lambda: len(cluster.published) == 1000)


async def test_a_record_that_is_due_later_uses_no_slot_meanwhile(cluster: FakeCluster) -> None:
    """It waits without a task, and comes back with its new subject when its time has come."""

    async def twice(subject: str, context: RecordContext) -> Outcome | RetryLater[str]:
        if subject.endswith("again") or subject == "quick":
            return outcome_with(subject)
        return RetryLater(not_before=datetime.now(UTC) + timedelta(seconds=0.05), subject=f"{subject} again")

    cluster.append(PAID, "slow", "quick")
    stage = StageOfTests(twice, max_in_flight=1)
    async with running(stage, cluster, PAID):
        await until(lambda: len(cluster.published) == 2)

    assert cluster.published == ["quick", "slow again"]


async def test_a_waiting_record_holds_up_its_lane_only(cluster: FakeCluster) -> None:
    """The next record of the same order waits with it."""

    async def once_later(subject: str, context: RecordContext) -> Outcome | RetryLater[str]:
        if subject == "first":
            return RetryLater(not_before=datetime.now(UTC) + timedelta(seconds=0.05), subject="first again")
        return outcome_with(subject)

    cluster.append(PAID, "first", key="order 1")
    cluster.append(PAID, "second", key="order 1")
    cluster.append(PAID, "other", key="order 2")
    async with running(StageOfTests(once_later), cluster, PAID):
        await until(lambda: len(cluster.published) == 3)

    assert cluster.published == ["other", "first again", "second"]


async def test_a_lane_with_a_thousand_records_leaves_the_other_slots_to_the_others(cluster: FakeCluster) -> None:
    """A shop's outbox that repeats itself at the head of a partition: every order behind it is handled meanwhile."""
    may_end = asyncio.Event()

    async def hot_lanes_wait(subject: str, context: RecordContext) -> Outcome:
        if subject.startswith("hot"):
            await may_end.wait()
        return outcome_with(subject)

    for number in range(1000):
        cluster.append(PAID, f"hot {number}", key=f"order {number % 3}")
    cluster.append(PAID, *(f"other {number}" for number in range(20)))
    stage = StageOfTests(hot_lanes_wait)
    async with running(stage, cluster, PAID):
        await until(lambda: len(cluster.published) == 20)
        may_end.set()
        await until(lambda: len(cluster.published) == 1020)

    assert sorted(cluster.published[:20]) == sorted(f"other {number}" for number in range(20))
    for order in range(3):
        lane = [text for text in cluster.published if text.startswith("hot") and int(text[4:]) % 3 == order]
        assert lane == [f"hot {number}" for number in range(order, 1000, 3)]


async def test_a_lane_whose_first_record_waits_for_its_time_holds_up_no_other(cluster: FakeCluster) -> None:
    """What queues behind it takes no room either."""
    cluster.append(PAID, "next century", key="order 1")
    for number in range(500):
        cluster.append(PAID, f"follows {number}", key="order 1")
    cluster.append(PAID, "other")
    async with running(StageOfTests(), cluster, PAID):
        await until(lambda: cluster.published == ["other"])


async def test_what_queues_in_lanes_is_bounded(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs memory and an open offset in the commit; reading goes on when the lane moves."""
    monkeypatch.setattr(owned_partition_module, "MAX_QUEUED", 200)
    may_end = asyncio.Event()

    async def wait(subject: str, context: RecordContext) -> Outcome:
        await may_end.wait()
        return outcome_with(subject)

    for number in range(600):
        cluster.append(PAID, f"{number}", key="one order")
    async with running(StageOfTests(wait), cluster, PAID) as engine:
        await until(lambda: engine._gauges().open >= 200)
        await asyncio.sleep(0.05)
        assert engine._gauges().open <= 251
        may_end.set()
        await until(lambda: len(cluster.published) == 600)

    assert cluster.published == [f"{number}" for number in range(600)]


class Failures(NullObserver):
    """Counts what the stage raised."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def failed(self, stage: str, topic: str, where: str) -> None:
        self.all.append(where)


async def test_a_topic_whose_records_wait_does_not_stop_another(cluster: FakeCluster) -> None:
    """The bound on waiting records counts per topic."""
    cluster.append(DEFERRED, *(f"next century {number}" for number in range(500)))
    stage = StageOfTests(max_waiting=100, bulkheads=False)
    async with running(stage, cluster, PAID, DEFERRED) as engine:
        await until(lambda: engine._gauges().waiting["deferred"] >= 100)
        cluster.append(PAID, *map(str, range(300)))
        await until(lambda: len(cluster.published) == 300)

        assert engine._gauges().waiting["deferred"] <= 150


async def test_a_full_waiting_room_is_reported_with_its_count(cluster: FakeCluster) -> None:
    """`/readyz` and the metrics say so: what comes on this topic is not read before something is due."""
    cluster.append(DEFERRED, *(f"next century {number}" for number in range(300)))
    stage = StageOfTests(max_waiting=100, bulkheads=False)
    async with running(stage, cluster, PAID, DEFERRED) as engine:
        assert engine.full_delay_queues == {}

        await until(lambda: engine.full_delay_queues)
        count = engine.full_delay_queues["deferred"]

        assert count == engine._gauges().waiting["deferred"] >= 100
        assert engine._gauges().full == {"deferred"}
        assert [problem.split()[0] for problem in engine.problems] == [str(count)]


async def test_a_record_that_waits_does_not_hold_back_a_due_one_behind_it(cluster: FakeCluster) -> None:
    """Whatever the wait of the first one, and whatever clock wrote it."""
    cluster.append(DEFERRED, "next century 1", "due")
    async with running(StageOfTests(), cluster, DEFERRED):
        await until(lambda: cluster.published == ["due"])


async def test_an_order_error_is_an_ordinary_outcome(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    """It is parked for its reason: no error in the log, and not counted as a mistake of the adapter."""

    class Refuses(StageOfTests):
        async def prepare(self, record: Record) -> PreparedRecord[str]:
            raise InvalidOrder("quantity 3.5 of sku X")

    failures = Failures()
    cluster.append(PAID, "a")
    async with running(Refuses(), cluster, PAID, observer=failures):
        await until(lambda: cluster.published)

    assert cluster.published == ["a broken InvalidOrder"]
    assert failures.all == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_whatever_prepare_raises_becomes_an_outcome(cluster: FakeCluster) -> None:
    """The next record is unharmed."""
    cluster.append(PAID, "unreadable", "b")
    async with running(StageOfTests(), cluster, PAID):
        await until(lambda: len(cluster.published) == 2)

    assert sorted(cluster.published) == ["b", "unreadable broken ValueError"]


async def test_whatever_handle_raises_becomes_an_outcome(cluster: FakeCluster) -> None:
    """It is counted, and never stops the engine."""

    async def fails(subject: str, context: RecordContext) -> Outcome:
        raise ZeroDivisionError

    cluster.append(PAID, "a")
    async with running(StageOfTests(fails), cluster, PAID):
        await until(lambda: cluster.published)

    assert cluster.published == ["a broken ZeroDivisionError"]


async def test_a_record_that_cannot_even_be_broken_stays_open(cluster: FakeCluster) -> None:
    """Nothing is dropped: the commit does not pass it, and everything else goes on."""

    class Hopeless(StageOfTests):
        def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
            raise RuntimeError("worse")

    async def fails(subject: str, context: RecordContext) -> Outcome:
        if subject == "b":
            raise ZeroDivisionError
        return outcome_with(subject)

    cluster.append(PAID, "a", "b", "unreadable", "d")
    async with running(Hopeless(fails), cluster, PAID):
        await until(lambda: len(cluster.published) == 2)

    assert sorted(cluster.published) == ["a", "d"]
    assert cluster.commits[PAID].offset == 1
    assert metadata_at(cluster, PAID).settled == ((3, 4),)


async def test_an_outcome_too_large_for_its_topic_is_replaced(cluster: FakeCluster) -> None:
    """The stage gets the reason, and the others of the same transaction are published all the same."""
    cluster.append(PAID, "x" * 2000, "b")
    async with running(StageOfTests(), cluster, PAID):
        await until(lambda: len(cluster.published) == 2)

    assert sorted(cluster.published) == ["b", f"{'x' * 20} broken {OutcomeTooLarge.__name__}"]


async def test_an_outcome_too_large_is_logged_as_one_warning(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was raised anywhere, so no error and no place in the code are named."""
    cluster.append(PAID, "x" * 2000)
    async with running(StageOfTests(), cluster, PAID):
        await until(lambda: cluster.published)

    (line, *_) = [log_line(each) for each in caplog.records if each.levelname == "WARNING"]
    assert (line["event"], line["log_level"]) == ("outcome-too-large", "warning")
    assert (line["stage"], line["topic"], line["offset"]) == ("test", "paid", 0)
    assert not line.keys() & {"error", "location"}


async def test_an_outcome_that_stays_too_large_stays_open(cluster: FakeCluster) -> None:
    """It neither stops the others nor spins."""

    class Wordy(StageOfTests):
        def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
            return outcome_with("y" * 2000)

    cluster.append(PAID, "x" * 2000, "b")
    stage = Wordy()
    async with running(stage, cluster, PAID):
        await until(lambda: cluster.published)
        cluster.append(PAID, "c")
        await until(lambda: len(cluster.published) == 2)

    assert cluster.published == ["b", "c"]
    assert cluster.commits[PAID].offset == 0
    assert sorted(stage.handled) == ["b", "c", "x" * 2000]
    assert cluster.epochs[PAID] == 4


async def test_the_smallest_outcome_is_requested_at_last(cluster: FakeCluster) -> None:
    """A topic that refuses even the smaller outcome gets the one that the stage keeps for that case."""

    class Wordy(StageOfTests):
        def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
            assert isinstance(error, OutcomeTooLarge)
            return outcome_with("least" if error.again else "y" * 2000)

    cluster.append(PAID, "x" * 2000, "b")
    async with running(Wordy(), cluster, PAID):
        await until(lambda: len(cluster.published) == 2)

    assert sorted(cluster.published) == ["b", "least"]
    assert cluster.commits[PAID].offset == 2


async def test_a_record_that_was_not_read_is_broken_as_too_large(cluster: FakeCluster) -> None:
    """It gets an outcome of its own by its coordinates, and those before and behind are handled."""
    cluster.append(PAID, "a")
    (bomb,) = cluster.append(PAID, "")
    cluster.logs[PAID][-1] = replace(
        bomb, value=None, not_read=NotRead(first=bomb.offset, last=bomb.offset, why="its batch is too large")
    )
    cluster.append(PAID, "b")
    stage = StageOfTests()
    async with running(stage, cluster, PAID):
        await until(lambda: len(cluster.published) == 3)

    assert sorted(cluster.published) == [f" broken {TooLarge.__name__}", "a", "b"]
    assert sorted(stage.handled) == ["a", "b"]
    assert cluster.commits[PAID].offset == 3


async def test_near_the_limit_the_oldest_records_are_handed_off(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait, not those on the wire; and what follows in the same lane counts as possibly sent."""
    monkeypatch.setattr(committer, "HAND_OFF_ABOVE", 200)
    monkeypatch.setattr(committer, "HAND_OFF_DOWN_TO", 100)
    on_the_wire = asyncio.Event()
    doubts = {}

    async def mostly_wait(subject: str, context: RecordContext) -> Outcome | RetryLater[str]:
        doubts[subject] = context.possibly_sent_since is not None
        if subject == "on the wire":
            await on_the_wire.wait()
        elif subject.startswith("later"):
            return RetryLater(not_before=datetime(2099, 1, 1, tzinfo=UTC), subject=subject)
        return outcome_with(subject)

    cluster.append(PAID, "on the wire")
    for number in range(300):
        cluster.append(PAID, f"later {number}", key=f"order {number}")
        cluster.append(PAID, *(f"quick {number} {more}" for more in range(number % 7 + 1)))
    cluster.append(PAID, "follows", key="order 0")
    stage = StageOfTests(mostly_wait, max_in_flight=1000, max_waiting=1000, bulkheads=False)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: "follows" in cluster.published)
        on_the_wire.set()
        await until(lambda: "on the wire" in cluster.published and not engine._gauges().finished)
        waiting = engine._gauges().waiting["paid"]
        records_handed_off = [text for text in cluster.published if text.endswith("handed off")]

    assert records_handed_off
    assert records_handed_off == [f"later {number} handed off" for number in range(len(records_handed_off))]
    assert waiting == 300 - len(records_handed_off)
    assert doubts["follows"]


async def test_many_records_of_one_lane_are_handed_off_in_one_step(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that follow count as possibly sent, and that costs no look at all of them for each of them."""
    monkeypatch.setattr(committer, "HAND_OFF_ABOVE", 110)
    monkeypatch.setattr(committer, "HAND_OFF_DOWN_TO", 100)
    monkeypatch.setattr(Lanes, "behind", counted := Counted(Lanes.behind))
    doubts = {}

    async def the_first_waits(subject: str, context: RecordContext) -> Outcome | RetryLater[str]:
        doubts[subject] = context.possibly_sent_since is not None
        if subject == "hot 0":
            return RetryLater(not_before=datetime(2099, 1, 1, tzinfo=UTC), subject=subject)
        return outcome_with(subject)

    for number in range(1000):
        cluster.append(PAID, f"hot {number}", key="one order")
        cluster.append(PAID, f"quick {number}")
    async with running(StageOfTests(the_first_waits), cluster, PAID):
        await until(lambda: len(cluster.published) == 2000)

    records_handed_off = [text for text in cluster.published if text.endswith("handed off")]
    hot = [text for text in doubts if text.startswith("hot") and text != "hot 0"]
    assert records_handed_off
    assert all(doubts[text] for text in hot)
    assert len(counted.calls) < len(records_handed_off)


class Unhashable:
    """A key that cannot be one."""

    __hash__ = None  # type: ignore[assignment]  # as Python has it for a class with an __eq__ alone


class Unequal:
    """A key that cannot be compared, not even with itself."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    def __hash__(self) -> int:
        return hash(b"x")


class OnceHashable:
    """A key whose hash is there once."""

    queried = 0

    def __hash__(self) -> int:
        self.queried += 1
        if self.queried > 1:
            raise RuntimeError("hashed")
        return 1


class NeverTimed(datetime):
    """A time that cannot be reckoned with."""

    def timestamp(self) -> float:
        raise OverflowError


@pytest.mark.parametrize(
    ("field", "wrong", "raised"),
    [
        ("lane", lambda: Unhashable(), "TypeError"),
        ("lane", lambda: ("3085676", Unhashable()), "TypeError"),
        ("lane", lambda: Unequal(), "RuntimeError"),
        ("lane", lambda: ("3085676", Unequal()), "RuntimeError"),
        ("lane", lambda: OnceHashable(), "RuntimeError"),
        ("lane", lambda: float("nan"), "TypeError"),
        ("bulkhead", lambda: Unhashable(), "TypeError"),
        ("bulkhead", lambda: Unequal(), "RuntimeError"),
        ("bulkhead", lambda: OnceHashable(), "RuntimeError"),
        ("not_before", lambda: NeverTimed(2099, 1, 1, tzinfo=UTC), "OverflowError"),
        ("not_before", lambda: "tomorrow", "AttributeError"),
    ],
)
async def test_what_prepare_answers_costs_its_own_record_alone(
    cluster: FakeCluster, field: str, wrong: Callable[[], object], raised: str
) -> None:
    """A lane, bulkhead or time that raises ends in the stage's `broken`; the records around it are handled."""

    class Odd(StageOfTests):
        async def prepare(self, record: Record) -> PreparedRecord[str]:
            prepared = await super().prepare(record)
            return replace(prepared, **{field: wrong()}) if prepared.subject == "odd" else prepared  # type: ignore[arg-type]

    cluster.append(PAID, "a", "odd", "b", "odd", "c", key="x")
    stage, failures = Odd(), Failures()
    async with running(stage, cluster, PAID, observer=failures):
        await until(lambda: len(cluster.published) == 5)
        cluster.append(PAID, "d", key="x")
        await until(lambda: "d" in cluster.published)

    assert sorted(cluster.published) == ["a", "b", "c", "d", f"odd broken {raised}", f"odd broken {raised}"]
    assert stage.handled == ["a", "b", "c", "d"]
    assert cluster.commits[PAID].offset == 6
    assert failures.all == ["prepare", "prepare"]


class GatedStage(StageOfTests):
    """Records that begin with "gated" are due in the next century, unless the gate is open."""

    def __init__(self, **changes: object) -> None:
        super().__init__(echo, **changes)
        self.open = False
        self.looks = 0

    def is_open(self) -> bool:
        self.looks += 1
        return self.open

    async def prepare(self, record: Record) -> PreparedRecord[str]:
        prepared = await super().prepare(record)
        if not prepared.subject.startswith("gated"):
            return prepared
        return replace(prepared, not_before=datetime(2099, 1, 1, tzinfo=UTC), starts_early=self.is_open)


async def test_records_start_early_once_what_they_wait_for_has_come(cluster: FakeCluster) -> None:
    """In the order of their lane, and without the records that wait only for their time."""
    stage = GatedStage()
    cluster.append(DEFERRED, "gated 1", "gated 2", key="lane")
    cluster.append(DEFERRED, "next century", "gated 3")
    async with running(stage, cluster, DEFERRED) as engine:
        await until(lambda: stage.looks >= 2)
        engine.start_early()
        assert cluster.published == []
        stage.open = True
        engine.start_early()
        await until(lambda: len(cluster.published) == 3)

    assert sorted(cluster.published) == ["gated 1", "gated 2", "gated 3"]
    assert cluster.published.index("gated 1") < cluster.published.index("gated 2")


async def test_a_record_that_is_read_after_the_gate_opened_does_not_wait(cluster: FakeCluster) -> None:
    """Its time is far ahead, and nothing calls `start_early` again."""
    stage = GatedStage()
    stage.open = True
    cluster.append(DEFERRED, "gated")
    async with running(stage, cluster, DEFERRED):
        await until(lambda: cluster.published == ["gated"])


async def test_records_in_the_backlog_of_their_bulkhead_are_started_once(cluster: FakeCluster) -> None:
    """A record that already waits for a slot does not begin a second wait."""
    stage = GatedStage(max_in_flight=1)
    stage.open = True
    cluster.append(DEFERRED, *(f"gated {number}" for number in range(150)))
    async with running(stage, cluster, DEFERRED) as engine:
        await until(lambda: stage.handled)
        for _ in range(3):
            engine.start_early()
        await until(lambda: len(cluster.published) == 150)

    assert sorted(stage.handled) == sorted(f"gated {number}" for number in range(150))
