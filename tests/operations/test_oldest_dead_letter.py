"""The oldest open dead letter is found from the commits, and read only when they or the topic's end change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest
from stream.fake_kafka import CLUSTER_ID, FakeCluster, FakeKafka

from adapter.errors import BrokerUnavailable
from adapter.operations.oldest_dead_letter import READ_AGAIN_SECONDS, READ_SECONDS, DeadLetterAge, OldestDeadLetter
from adapter.stream.commit_metadata import CommitMetadata, encode
from adapter.stream.port import Commit, KafkaClientError, TopicPartition
from adapter.stream.records import Record
from adapter.testing.clock import NOON

FIRST, SECOND = TopicPartition("dead", 0), TopicPartition("dead", 1)


class _ReadsEnd(Exception):
    """Ends `run` after so many reads."""


class Topic:
    """Two partitions of dead letters in memory, and what reads them."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.cluster.append(FIRST)
        self.cluster.append(SECOND)
        self.reads: list[dict[int, int]] = []
        self.error: Exception | None = None
        self.pauses: list[float] = []
        self.age = DeadLetterAge(
            kafka=FakeKafka(self.cluster),
            read_first=self._read_first,
            topic="dead",
            group="dead-letters",
            sleep=self._sleep,
        )

    async def _read_first(
        self, offsets: Mapping[int, int], accepts: Callable[[int, int], bool]
    ) -> Mapping[int, Record]:
        self.reads.append(dict(offsets))
        if self.error is not None:
            raise self.error
        logs = {number: self.cluster.logs[TopicPartition("dead", number)] for number in offsets}
        return {
            number: found
            for number, log in logs.items()
            if (found := next((each for each in log[offsets[number] :] if accepts(number, each.offset)), None))
        }

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        raise _ReadsEnd

    def park(self, hours: float, partition: TopicPartition = FIRST) -> None:
        """Add a dead letter that was written so many hours after noon."""
        log = self.cluster.logs[partition]
        at = NOON + timedelta(hours=hours)
        log.append(
            Record(topic="dead", partition=partition.partition, offset=len(log), timestamp=at, key=None, value=b"{}")
        )

    def handle(self, below: int, *runs: tuple[int, int], partition: TopicPartition = FIRST) -> None:
        """Commit that everything below an offset is handled, and these runs beyond it."""
        metadata = CommitMetadata(
            cluster_id=CLUSTER_ID,
            committed=below,
            reserved_until=0,
            other_fingerprint_until=0,
            fingerprint="",
            settled=runs,
        )
        self.cluster.commits[partition] = Commit(offset=below, metadata=encode(metadata))

    async def found(self) -> OldestDeadLetter | None:
        """The result of one read."""
        with contextlib.suppress(_ReadsEnd):
            await self.age.run()
        return self.age.found


async def test_without_dead_letters_there_is_no_oldest() -> None:
    """Nothing is forgotten then: nothing was ever there."""
    assert await Topic().found() == OldestDeadLetter(since=None, forgotten=False)


async def test_the_oldest_of_all_partitions_counts() -> None:
    """Keys put dead letters of one day into all of them."""
    topic = Topic()
    topic.park(5)
    topic.park(3, SECOND)
    for partition in (FIRST, SECOND):
        topic.handle(0, partition=partition)

    assert await topic.found() == OldestDeadLetter(since=NOON + timedelta(hours=3), forgotten=False)


async def test_what_is_handled_does_not_count() -> None:
    """Below the committed offset, and in the runs beyond it."""
    topic = Topic()
    for hours in (1, 2, 3, 4):
        topic.park(hours)
    topic.handle(1, (2, 3))

    oldest = await topic.found()
    topic.handle(3)
    later = await topic.found()
    topic.handle(4)

    assert oldest == OldestDeadLetter(since=NOON + timedelta(hours=2), forgotten=False)
    assert later == OldestDeadLetter(since=NOON + timedelta(hours=4), forgotten=False)
    assert await topic.found() == OldestDeadLetter(since=None, forgotten=False)


async def test_without_a_commit_everything_counts_and_that_is_shown() -> None:
    """None was ever handled, or brokers have forgotten which: an alarm too many is better than one too few."""
    topic = Topic()
    topic.park(1)

    assert await topic.found() == OldestDeadLetter(since=NOON + timedelta(hours=1), forgotten=True)


async def test_nothing_is_read_while_nothing_changes() -> None:
    """A partition is read once, and again after a new dead letter or a new commit."""
    topic = Topic()
    topic.park(1)
    topic.park(2, SECOND)
    for _ in range(3):
        await topic.found()
    topic.park(3, SECOND)
    await topic.found()
    topic.handle(1)
    await topic.found()

    assert topic.reads == [{0: 0, 1: 0}, {1: 0}, {0: 1}]


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (KafkaClientError("the user has no right"), READ_AGAIN_SECONDS),
        (BrokerUnavailable("no broker answers"), READ_SECONDS),
        (ValueError("a defect"), READ_SECONDS),
    ],
)
async def test_a_failure_hides_the_age_and_a_refusal_is_not_repeated_soon(error: Exception, pause: float) -> None:
    """A user without the right would fill the brokers' log with refusals."""
    topic = Topic()
    topic.park(1)
    before = await topic.found()
    topic.park(2)
    topic.error = error
    failed = await topic.found()
    topic.error = None

    assert failed is None
    assert await topic.found() == before
    assert topic.pauses == [READ_SECONDS, pause, READ_SECONDS]


async def test_it_ends_when_it_is_cancelled() -> None:
    """With the process."""
    topic = Topic()
    topic.age.sleep = asyncio.sleep
    running = asyncio.create_task(topic.age.run())
    while topic.age.found is None:  # noqa: ASYNC110  # it has no event
        await asyncio.sleep(0)
    running.cancel()

    await asyncio.wait({running})
    assert running.cancelled()
