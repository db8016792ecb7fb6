"""A batch that cannot be read holds up its own partition, until it can be read or an operator gives it up."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_words import mentions
from log_lines import log_line, shown

from adapter.stream import blocked_partitions
from adapter.stream.blockages import (
    LONGEST_RETRY_SECONDS,
    MAX_WHY_CHARACTERS,
    Blockage,
    SkipRequest,
    read_request,
    write_request,
)
from adapter.stream.commit_metadata import LIMIT
from adapter.stream.engine import Engine
from adapter.stream.observer import Gauges, NullObserver
from adapter.stream.port import Commit, TopicPartition, UnreadableBatch
from adapter.stream.records import Record
from adapter.stream.stage import Outcome, RecordContext
from stream.engine_harness import PAID, PAID_TOO, Sends, StageOfTests, outcome_with, running, until
from stream.fake_kafka import SKIPS, FakeCluster, FakeKafka, FakeMember

# --- rules ------------------------------------------------------------------------------------------------------------


def unreadable(first: int = 5, last: int = 7) -> UnreadableBatch:
    return UnreadableBatch(TopicPartition("paid", 0), base=first, first=first, last=last, cause="codec 7 is not known")


def test_the_wait_doubles_up_to_half_a_minute() -> None:
    """The first retry comes after half a second: most troubles are short."""
    waits = []
    blockage = None
    for _ in range(9):
        blockage = Blockage.after(blockage, unreadable(), now=1000)
        waits.append(blockage.retry_at - 1000)

    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert waits[-1] == LONGEST_RETRY_SECONDS


def test_another_batch_starts_a_new_wait() -> None:
    """Reading came further in between."""
    blockage = Blockage.after(Blockage.after(None, unreadable(), now=0), unreadable(first=8), now=20)

    assert (blockage.failures, blockage.retry_at) == (1, 20.5)


WHY = "the disk was bad"
REQUESTS = st.builds(
    SkipRequest,
    first=st.integers(0, 2**63 - 1),
    last=st.integers(0, 2**63 - 1),
    why=st.text(max_size=MAX_WHY_CHARACTERS).filter(lambda text: text.isprintable()),
    topic_id=st.text("abc-_=", max_size=30),
)


@given(REQUESTS)
def test_a_request_is_read_as_it_was_written(request: SkipRequest) -> None:
    """And it fits into the metadata of a commit, whatever its reason."""
    metadata = write_request(request)

    assert read_request(metadata) == request
    assert len(metadata.encode()) <= LIMIT


@given(st.text(max_size=100) | REQUESTS.map(write_request).map(lambda text: text[:-1]))
def test_anything_else_is_no_request(metadata: str) -> None:
    """A commit of another kind, or a damaged one, gives nothing up."""
    assert read_request(metadata) is None


@pytest.mark.parametrize(
    ("request_", "topic_id", "covers"),
    [
        (SkipRequest(first=5, last=7, why=""), "", True),
        (SkipRequest(first=3, last=5, why=""), "", True),
        (SkipRequest(first=6, last=7, why=""), "", False),
        (SkipRequest(first=1, last=4, why=""), "", False),
        (SkipRequest(first=5, last=7, why="", topic_id="one"), "one", True),
        (SkipRequest(first=5, last=7, why="", topic_id="one"), "another", False),
        (SkipRequest(first=5, last=7, why="", topic_id="one"), "", True),
    ],
)
def test_a_request_is_about_one_batch_of_one_log(request_: SkipRequest, topic_id: str, covers: bool) -> None:
    """A wrong offset gives nothing up, nor does a request about a deleted topic of the same name."""
    assert request_.covers(unreadable(), topic_id) is covers


# --- the engine -------------------------------------------------------------------------------------------------------


class Broken(StageOfTests):
    """Publishes why a record has no content."""

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        return outcome_with(f"{record.offset} {type(error).__name__} {error}")


class GaugeRecorder(NullObserver):
    """The last levels."""

    unreadable = 0

    def gauges(self, stage: str, gauges: Gauges) -> None:
        self.unreadable = gauges.unreadable


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are looked for at once."""
    monkeypatch.setattr(blocked_partitions, "LOOK_FOR_REQUEST_SECONDS", 0.01)
    monkeypatch.setattr("adapter.stream.blockages.FIRST_RETRY_SECONDS", 0.05)


def has_published(cluster: FakeCluster, count: int) -> bool:
    return len(cluster.published) == count


def asks_to_skip(cluster: FakeCluster, first: int, last: int, *, topic_id: str = "") -> None:
    request = SkipRequest(first=first, last=last, why=WHY, topic_id=topic_id)
    cluster.skips[PAID] = Commit(offset=first, metadata=write_request(request))


@pytest.mark.usefixtures("quick")
async def test_only_its_own_partition_waits(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    """Records before the batch and of the other partition are handled, each once; the cause is reported."""
    cluster.append(PAID, "before", "corrupt", "behind")
    cluster.unreadable[PAID] = (1, 1)
    stage, gauges = StageOfTests(Sends()), GaugeRecorder()
    with caplog.at_level(logging.WARNING):
        async with running(stage, cluster, PAID, PAID_TOO, observer=gauges) as engine:
            await until(lambda: engine.problems)
            for at in range(20):
                cluster.append(PAID_TOO, f"other {at}")
                await until(partial(has_published, cluster, at + 2))
            (problem,) = engine.problems
            assert mentions(problem, "paid/0/1 codec 7")
            assert engine.connected
            await until(lambda: gauges.unreadable == 1)

    assert sorted(stage.handled) == sorted(["before", *(f"other {at}" for at in range(20))])
    assert cluster.commits[PAID].offset == 1
    (line, *_) = [log_line(each) for each in caplog.records if each.levelname == "ERROR"]
    assert (line["event"], line["topic"], line["partition"], line["offset"]) == ("batch-unreadable", "paid", 0, 1)


@pytest.mark.usefixtures("quick")
async def test_a_batch_that_can_be_read_again_is_read(cluster: FakeCluster) -> None:
    """The broker was repaired: no operator has to do anything."""
    cluster.append(PAID, "a", "b", "c")
    cluster.unreadable[PAID] = (1, 1)
    async with running(StageOfTests(), cluster, PAID) as engine:
        await until(lambda: engine.problems)
        del cluster.unreadable[PAID]
        await until(lambda: len(cluster.published) == 3)
        await until(lambda: not engine.problems)

    assert cluster.published == ["a", "b", "c"]


@pytest.mark.usefixtures("quick")
async def test_an_operator_gives_a_batch_up(cluster: FakeCluster) -> None:
    """Its offsets get one outcome, with the operator's reason, and reading continues behind them."""
    cluster.append(PAID, "a", "b", "c", "d")
    cluster.unreadable[PAID] = (1, 2)
    async with running(Broken(), cluster, PAID, skips_group=SKIPS) as engine:
        await until(lambda: engine.problems)
        asks_to_skip(cluster, 1, 2, topic_id="first")
        await until(lambda: len(cluster.published) == 3)
        await until(lambda: cluster.commits[PAID].offset == 4)

    skipped = next(text for text in cluster.published if text.startswith("1 Unreadable"))
    assert "Offsets 1 to 2 of paid/0" in skipped
    assert WHY in skipped
    assert sorted(set(cluster.published) - {skipped}) == ["a", "d"]


@pytest.mark.usefixtures("quick")
async def test_a_request_from_before_the_start_is_honoured_once(cluster: FakeCluster) -> None:
    """An adapter that was down takes it up; the next one finds it done, also while an older record is still open."""
    cluster.append(PAID, "next century", "b", "c", "d")
    cluster.unreadable[PAID] = (1, 2)
    asks_to_skip(cluster, 1, 2)
    async with running(Broken(), cluster, PAID, skips_group=SKIPS):
        await until(lambda: len(cluster.published) == 2)
    assert cluster.commits[PAID].offset == 0

    async with running(Broken(), cluster, PAID, skips_group=SKIPS) as engine:
        await until(lambda: engine.assigned)
        cluster.append(PAID, "e")
        await until(lambda: len(cluster.published) == 3)

    assert [text for text in cluster.published if text.startswith("1 Unreadable")] == [cluster.published[0]]
    assert cluster.published[1:] == ["d", "e"]


@pytest.mark.usefixtures("quick")
async def test_a_crash_in_between_loses_and_repeats_nothing(cluster: FakeCluster) -> None:
    """The transaction with the dead letter fails: the next attempt skips the batch again, and writes one."""
    cluster.append(PAID, "a", "b", "c")
    cluster.unreadable[PAID] = (1, 1)
    async with running(Broken(), cluster, PAID, skips_group=SKIPS) as engine:
        await until(lambda: engine.problems)
        await until(lambda: cluster.commits[PAID].offset == 1)
        cluster.faults = ["failed"]
        asks_to_skip(cluster, 1, 1)
        await until(lambda: len(cluster.published) == 3)

    assert len([text for text in cluster.published if text.startswith("1 Unreadable")]) == 1
    assert sorted(text for text in cluster.published if not text.startswith("1")) == ["a", "c"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("first", "topic_id"), [(2, ""), (0, ""), (1, "another")])
async def test_a_request_about_something_else_gives_nothing_up(cluster: FakeCluster, first: int, topic_id: str) -> None:
    """A wrong offset, or another topic of that name."""
    cluster.append(PAID, "a", "b", "c")
    cluster.unreadable[PAID] = (1, 1)
    asks_to_skip(cluster, first, first, topic_id=topic_id)
    async with running(Broken(), cluster, PAID, PAID_TOO, skips_group=SKIPS) as engine:
        await until(lambda: engine.problems)
        for at in range(10):
            cluster.append(PAID_TOO, f"{at}")
            await until(partial(has_published, cluster, at + 2))
        assert engine.problems

    assert cluster.commits[PAID].offset == 1


@pytest.mark.usefixtures("quick")
async def test_a_blocked_partition_can_move_to_another_process(cluster: FakeCluster) -> None:
    """Its wait ends with the assignment, also in the middle of a retry; the next owner takes a request up."""
    cluster.append(PAID, "a", "b", "c")
    cluster.unreadable[PAID] = (1, 1)
    async with running(Broken(), cluster, PAID, skips_group=SKIPS) as first:
        await until(lambda: first.problems)
        async with running(Broken(), cluster, skips_group=SKIPS) as second:
            await until(lambda: len(cluster.members) == 2)
            for _ in range(5):
                cluster.members[0]._assignment = frozenset()  # the group has revoked it, and the engine does not know
                await asyncio.sleep(0.02)
                await cluster.assign([], [PAID])
                await until(lambda: second.problems and not first.problems)
                await cluster.assign([PAID], [])
                await until(lambda: first.problems and not second.problems)
            asks_to_skip(cluster, 1, 1)
            await cluster.assign([], [PAID])
            await until(lambda: len(cluster.published) == 3)

    assert len([text for text in cluster.published if text.startswith("1 Unreadable")]) == 1


@pytest.mark.usefixtures("quick")
async def test_a_request_that_cannot_be_read_does_not_end_the_engine(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """An access rule is missing, say: the log says so, and the partition waits on."""

    class Refuses(FakeKafka):
        async def connect(self, group: str) -> FakeMember:
            if group == SKIPS:
                raise PermissionError("no access to the group")
            return await super().connect(group)

    cluster.append(PAID, "a", "b")
    cluster.unreadable[PAID] = (1, 1)
    kafka = Refuses(cluster, (PAID,))
    engine = Engine(Broken(), kafka, skips_group=SKIPS)
    task = asyncio.create_task(engine.run())
    await until(lambda: "no access to the group" in shown(caplog.records))
    del cluster.unreadable[PAID]
    await until(lambda: cluster.published == ["a", "b"])
    await engine.stop(1)
    await task


@pytest.mark.usefixtures("quick")
async def test_a_batch_of_which_a_part_was_settled_before_loses_no_record(cluster: FakeCluster) -> None:
    """Records settle out of order, so the rest of a batch whose first record is settled may be open orders."""
    cluster.append(PAID, "next century", "b", "c", "d")
    never = asyncio.Event()

    async def handle(subject: str, _grant: RecordContext) -> Outcome:
        if subject in ("c", "d"):
            await never.wait()
        return outcome_with(subject)

    async with running(Broken(handle), cluster, PAID, skips_group=SKIPS):
        await until(lambda: cluster.published == ["b"])
    cluster.unreadable[PAID] = (1, 3)
    async with running(Broken(), cluster, PAID, skips_group=SKIPS) as engine:
        await until(lambda: bool(engine.problems))
        del cluster.unreadable[PAID]
        cluster.append(PAID, "e")
        await until(lambda: "e" in cluster.published)
        await until(lambda: {"c", "d"} <= set(cluster.published))

    assert sorted(cluster.published) == ["b", "c", "d", "e"]
