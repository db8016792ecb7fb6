"""Topics are read while someone looks at them, and what is known then is up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from stream.fake_kafka import CLUSTER_ID, FakeCluster, FakeKafka

from adapter.errors import BrokerUnavailable
from adapter.operations.topic_overview import TopicOverview, TopicWatch
from adapter.stream.commit_metadata import CommitMetadata, encode
from adapter.stream.port import Commit, TopicPartition
from adapter.stream.records import Record

DEAD = TopicPartition("dead", 0)
PAID = TopicPartition("paid", 0)


class Topic:
    """The dead letters in memory, and a watch of them whose time the test moves."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.begins: list[dict[int, int]] = []
        self.fails = False
        self.time = 0.0
        self.watch = TopicWatch(
            FakeKafka(self.cluster),
            read_from=self._read_from,
            topic="dead",
            group="dead-letters",
            groups={"submit": ("paid",)},
            refresh_seconds=0.005,
            looked_at_seconds=30.0,
            clock=lambda: self.time,
        )

    async def _read_from(self, offsets: Mapping[int, int]) -> AsyncGenerator[Record, None]:
        self.begins.append(dict(offsets))
        if self.fails:
            raise BrokerUnavailable("no broker answers")
        log = list(self.cluster.logs[DEAD])
        begin = known if (known := offsets.get(0, 0)) <= len(log) else 0  # as `kafka.reader.read_tail`
        for record in log[begin:]:
            yield record

    def park(self, *reasons: str, age: timedelta = timedelta(0)) -> None:
        log = self.cluster.logs[DEAD]
        for reason in reasons:
            headers = (("ecticket-reason", reason.encode()), ("ecticket-stage", b"map"))
            at = datetime.now(UTC) - age
            log.append(
                Record(topic="dead", partition=0, offset=len(log), timestamp=at, key=None, value=b"{}", headers=headers)
            )

    def handle(self, offset: int) -> None:
        metadata = CommitMetadata(
            cluster_id=CLUSTER_ID, committed=offset, reserved_until=0, other_fingerprint_until=0, fingerprint=""
        )
        self.cluster.commits[DEAD] = Commit(offset=offset, metadata=encode(metadata))

    async def until(self, holds: Callable[[TopicOverview], bool]) -> TopicOverview:
        async with asyncio.timeout(10):
            while not holds(overview := self.watch.look()):  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.005)
        return overview


@asynccontextmanager
async def watched() -> AsyncIterator[Topic]:
    topic = Topic()
    try:
        yield topic
    finally:
        await topic.watch.close()


def _counts(overview: TopicOverview) -> dict[str, int]:
    return {group.reason: group.count for group in overview.dead_letters.groups}


async def test_nothing_is_read_before_the_first_look() -> None:
    """A process whose console is not open has no cost."""
    async with watched() as topic:
        await asyncio.sleep(0.02)

        assert topic.begins == []
        assert not topic.watch.reading


async def test_what_is_new_appears_and_what_is_handled_goes() -> None:
    """Each record is read once."""
    async with watched() as topic:
        topic.park("gave-up", "gave-up", "unresolved")
        overview = await topic.until(lambda each: each.dead_letters.complete)
        assert _counts(overview) == {"gave-up": 2, "unresolved": 1}
        topic.park("unreadable")
        await topic.until(lambda each: "unreadable" in _counts(each))
        topic.handle(2)

        overview = await topic.until(lambda each: "gave-up" not in _counts(each))

    assert _counts(overview) == {"unresolved": 1, "unreadable": 1}
    assert overview.dead_letters.read == 4
    assert topic.begins[0] == {}
    assert topic.begins[-1] == {0: 4}


async def test_the_lag_of_all_processes_is_read() -> None:
    """From the commits, so this process needs no partition."""
    async with watched() as topic:
        topic.cluster.append(PAID, "a", "b")

        overview = await topic.until(lambda each: bool(each.lags))

    assert [(lag.group, lag.topic, lag.unsettled) for lag in overview.lags] == [("submit", "paid", 2)]


async def test_reading_stops_some_time_after_the_last_look() -> None:
    """And everything is forgotten; the next look begins again."""
    async with watched() as topic:
        topic.park("gave-up")
        await topic.until(lambda each: each.dead_letters.complete)

        topic.time += 31.0
        async with asyncio.timeout(10):
            while topic.watch.reading:  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.005)

        assert topic.watch.look() == TopicOverview()
        overview = await topic.until(lambda each: each.dead_letters.complete)
    assert _counts(overview) == {"gave-up": 1}


async def test_an_outage_is_named_and_what_was_read_stays() -> None:
    """The page shows both; afterwards reading continues where it was."""
    async with watched() as topic:
        topic.park("gave-up")
        await topic.until(lambda each: each.dead_letters.complete)
        topic.fails = topic.cluster.away = True
        overview = await topic.until(lambda each: each.dead_letters.problem is not None)
        assert _counts(overview) == {"gave-up": 1}
        topic.fails = topic.cluster.away = False
        topic.park("unreadable")

        overview = await topic.until(lambda each: each.dead_letters.problem is None and len(_counts(each)) == 2)

    assert overview.dead_letters.read == 2


async def test_commits_that_may_be_forgotten_are_named() -> None:
    """Brokers keep them for a day at least, so young dead letters are certainly open."""
    async with watched() as topic:
        topic.park("gave-up")
        young = await topic.until(lambda each: each.dead_letters.complete)
        assert not young.dead_letters.forgotten
        topic.park("gave-up", age=timedelta(days=2))

        overview = await topic.until(lambda each: each.dead_letters.forgotten)

    assert _counts(overview) == {"gave-up": 2}


async def test_a_recreated_topic_is_read_from_its_beginning() -> None:
    """What is known was about the old one."""
    async with watched() as topic:
        topic.park("gave-up", "gave-up", "gave-up")
        await topic.until(lambda each: each.dead_letters.complete)
        topic.cluster.logs[DEAD].clear()
        topic.park("unreadable")

        overview = await topic.until(lambda each: "unreadable" in _counts(each))

    assert _counts(overview) == {"unreadable": 1}
