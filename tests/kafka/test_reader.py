"""Reading to the end on the real broker: everything committed, nothing else, and never without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from conftest import TopicFactory

from adapter.dev.producing import producing
from adapter.errors import BrokerUnavailable, TopicsMissing
from adapter.kafka import reader
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import (
    QUIET_LOOKS,
    PartitionPosition,
    ReadProgress,
    first_records,
    follow,
    partitions_of,
    read_one,
    read_partitions,
    read_tail,
    read_to_end,
)
from adapter.stream.port import TopicPartition, UnreadableBatch
from adapter.stream.records import Record


async def write(producer: AIOKafkaProducer, topic: str, *values: bytes, partition: int = 0) -> None:
    for value in values:
        await (await producer.send(topic, value, partition=partition))


async def read(kafka: KafkaConnection, *topics: str) -> list[Record]:
    async with asyncio.timeout(60):
        return [record async for record in read_to_end(kafka, topics)]


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


async def test_an_empty_topic_ends_at_once(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """Nothing there is an answer."""
    assert await read(kafka, await topic(partitions=3)) == []


async def test_a_tail_is_the_newest_records_of_each_partition(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """However long the topic is; from an offset on that was read before, and ignoring one of a recreated topic."""
    name = await topic(partitions=2)
    async with producing(kafka) as producer:
        await write(producer, name, *(b"a%d" % index for index in range(30)))
        await write(producer, name, *(b"b%d" % index for index in range(5)), partition=1)

    async def tail(newest: int, offsets: dict[int, int]) -> set[bytes | None]:
        return {record.value async for record in read_tail(kafka, name, offsets, newest=newest)}

    async with asyncio.timeout(60):
        assert await tail(6, {}) == {b"a27", b"a28", b"a29", b"b2", b"b3", b"b4"}
        assert await tail(6, {0: 29, 1: 0}) == {b"a29", b"b2", b"b3", b"b4"}
        assert await tail(6, {0: 30, 1: 5}) == set()
        assert await tail(2, {0: 31, 1: 9_999}) == {b"a29", b"b4"}
        assert len(await tail(1_000, {})) == 35


async def test_the_first_records_from_given_offsets_are_read(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """Of each partition that has an accepted one; a partition that is not named is not read."""
    name = await topic(partitions=4)
    async with producing(kafka) as producer:
        for partition in range(3):
            await write(producer, name, *(b"%d" % index for index in range(5)), partition=partition)

    async with asyncio.timeout(60):
        found = await first_records(
            kafka, name, {0: 1, 1: 4, 3: 0}, lambda partition, offset: (partition, offset) > (0, 2)
        )

    assert {number: (record.partition, record.value) for number, record in found.items()} == {
        0: (0, b"3"),
        1: (1, b"4"),
    }


async def test_a_record_is_read_as_it_was_written(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """Key, value, headers and an aware timestamp; absent ones are None."""
    name, stamp = await topic(), datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
    milliseconds = int(stamp.timestamp() * 1000)
    async with producing(kafka) as producer:
        await producer.send_and_wait(name, b"v", key=b"k", headers=[("h", b"1")], timestamp_ms=milliseconds)
        await producer.send_and_wait(name, None, key=b"gone")

    first, second = await read(kafka, name)

    assert first == Record(
        topic=name, partition=0, offset=0, timestamp=stamp, key=b"k", value=b"v", headers=(("h", b"1"),)
    )
    assert (second.offset, second.key, second.value, second.headers) == (1, b"gone", None, ())
    assert datetime.now(UTC) - second.timestamp < timedelta(minutes=5)


async def test_every_partition_of_every_topic_is_read_in_order(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """All of it, and the records of a partition in their order."""
    names = [await topic(partitions=3), await topic(partitions=1)]
    async with producing(kafka) as producer:
        for partition in range(3):
            await write(producer, names[0], *(b"%d" % n for n in range(50)), partition=partition)
        await write(producer, names[1], b"only")

    records = await read(kafka, *names)

    assert len(records) == 151
    for partition in range(3):
        offsets = [each.offset for each in records if (each.topic, each.partition) == (names[0], partition)]
        assert offsets == list(range(50))


async def test_aborted_records_do_not_show_and_markers_do_not_hold_up(
    kafka: KafkaConnection, topic: TopicFactory
) -> None:
    """Committed, aborted, committed, and aborted last: the read ends behind the last marker."""
    name = await topic()
    async with producing(kafka, transactional_id=name) as producer:
        for value, keep in ((b"a", True), (b"b", False), (b"c", True), (b"d", False)):
            await producer.begin_transaction()
            await write(producer, name, value)
            await (producer.commit_transaction() if keep else producer.abort_transaction())

    records = await read(kafka, name)

    assert values(records) == [b"a", b"c"]
    assert [record.offset for record in records] == [0, 4]


async def test_a_topic_of_nothing_but_aborted_records_ends(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """No record ever comes, and the read is over all the same."""
    name = await topic(partitions=2)
    async with producing(kafka, transactional_id=name) as producer:
        await producer.begin_transaction()
        await write(producer, name, b"x", b"y")
        await producer.abort_transaction()

    assert await read(kafka, name) == []


async def test_an_open_transaction_ends_the_read(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """What is not committed yet is not waited for."""
    name = await topic()
    async with producing(kafka) as plain, producing(kafka, transactional_id=name) as producer:
        await write(plain, name, b"before")
        await producer.begin_transaction()
        await write(producer, name, b"open")
        await write(plain, name, b"behind")

        assert values(await read(kafka, name)) == [b"before"]
        await producer.commit_transaction()
    assert values(await read(kafka, name)) == [b"before", b"open", b"behind"]


async def test_what_comes_during_the_read_does_not_belong_to_it(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """The end is where the topic ended when the read began."""
    name = await topic()
    async with producing(kafka) as producer:
        await write(producer, name, b"1", b"2")
        seen = []
        async with aclosing(read_to_end(kafka, [name])) as records:
            async for record in records:
                seen.append(record.value)
                await write(producer, name, b"later")

    assert seen == [b"1", b"2"]


async def test_following_goes_on_where_reading_ends(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """What is there comes first, then what is written meanwhile."""
    name = await topic()
    async with asyncio.timeout(60), producing(kafka) as producer, aclosing(follow(kafka, [name])) as records:
        await write(producer, name, b"1")
        first = await anext(records)
        await write(producer, name, b"2")
        second = await anext(records)

    assert values([first, second]) == [b"1", b"2"]


async def test_reading_what_does_not_exist_is_refused_by_name(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """A misspelt topic is no empty topic."""
    there = await topic()

    with pytest.raises(TopicsMissing, match="no topic never-made"):
        await read(kafka, there, "never-made")


async def test_reading_can_begin_at_a_time(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """Of each partition from its first record on that is not older; one without any such is over at once."""
    name, noon = await topic(partitions=2), datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    async with producing(kafka) as producer:
        for minute, partition in ((0, 0), (1, 0), (2, 0), (0, 1)):
            at = int((noon + timedelta(minutes=minute)).timestamp() * 1000)
            await producer.send_and_wait(name, b"%d" % minute, partition=partition, timestamp_ms=at)

    async with asyncio.timeout(60):
        found = [record async for record in read_to_end(kafka, [name], since=noon + timedelta(seconds=30))]
    assert values(found) == [b"1", b"2"]


async def test_only_the_partitions_of_a_key_are_read(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """They are where the producer's own partitioner puts the key; None stands for all partitions."""
    name, keys = await topic(partitions=5), [b"3085676/CBX%d" % number for number in range(20)]
    async with producing(kafka) as producer:
        for key in keys:
            await (await producer.send(name, key, key=key))

    async with asyncio.timeout(60):
        of_key = await partitions_of(kafka, {name: [keys[0]]})
        of_all = await partitions_of(kafka, {name: None})
        found = [record async for record in read_partitions(kafka, of_key)]
        none = [record async for record in read_partitions(kafka, {name: ()})]
        with pytest.raises(TopicsMissing, match=f"{name}-absent"):
            await partitions_of(kafka, {f"{name}-absent": None})

    assert of_all == {name: frozenset(range(5))}
    assert len(of_key[name]) == 1
    assert keys[0] in values(found)
    assert {record.partition for record in found} == of_key[name]
    assert none == []


async def test_a_batch_that_cannot_be_read_is_left_out_on_request(
    kafka: KafkaConnection, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the same poll had read of other partitions is read again; the progress ends at the number of offsets."""
    name = await topic(partitions=2)
    async with producing(kafka) as producer:
        await write(producer, name, b"a", b"b", b"c")
        await write(producer, name, b"d", b"e", partition=1)
    batch = UnreadableBatch(TopicPartition(name, 0), base=0, first=0, last=1, cause="wrong checksum")
    poll, problems = reader.AssignedReader.poll, [batch]

    async def damaged(self: reader.AssignedReader, *arguments: Any, **options: Any) -> Any:
        found = await poll(self, *arguments, **options)
        if found and problems:
            raise problems.pop()
        return found

    monkeypatch.setattr(reader.AssignedReader, "poll", damaged)
    left_out: list[UnreadableBatch] = []
    progress: list[tuple[int, int]] = []
    partitions = {name: (0, 1)}
    async with asyncio.timeout(60):
        records = read_partitions(
            kafka,
            partitions,
            on_progress=lambda done, total: progress.append((done, total)),
            on_unreadable=left_out.append,
        )
        found = [record async for record in records]

    assert sorted(filter(None, values(found))) == [b"c", b"d", b"e"]
    assert left_out == [batch]
    assert progress[-1] == (5, 5)


async def test_one_record_is_read_by_its_coordinates(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """And nothing where there is none: a marker, beyond the end, another partition."""
    name = await topic()
    async with producing(kafka, transactional_id=name) as producer:
        await producer.begin_transaction()
        await write(producer, name, b"a", b"b")
        await producer.commit_transaction()

    async with asyncio.timeout(60):
        found = [
            await read_one(kafka, name, partition, offset) for partition, offset in ((0, 1), (0, 2), (0, 3), (7, 0))
        ]
    assert [record and record.value for record in found] == [b"b", None, None, None]


def reading(*, begin: int = 0, end: int = 10) -> ReadProgress[str]:
    return ReadProgress({"p": begin}, {"p": end})


def test_an_empty_partition_is_done_before_the_first_look() -> None:
    """Where beginning and end are one there is nothing to wait for."""
    assert reading(begin=7, end=7).partitions == ()


def test_a_partition_is_done_when_the_position_is_at_its_end() -> None:
    """Trailing markers move the position and bring no record."""
    remaining = reading()

    remaining.update({"p": PartitionPosition(position=9, answered_ms=1, stable_end=10)})
    assert "p" in remaining.partitions
    remaining.update({"p": PartitionPosition(position=10, answered_ms=2, stable_end=10)})
    assert remaining.partitions == ()


def test_later_records_do_not_belong() -> None:
    """What came after the beginning of the read is left out, even when it came along."""
    remaining = reading(end=10)

    assert remaining.includes("p", 9)
    assert not remaining.includes("p", 10)


def test_a_hole_at_the_end_ends_the_read() -> None:
    """Brokers that know the end and have nothing before it, again and again, will never have anything."""
    remaining = reading()
    for answered in range(QUIET_LOOKS):
        assert remaining.partitions == ("p",)
        remaining.update({"p": PartitionPosition(position=0, answered_ms=answered, stable_end=10)})

    assert remaining.partitions == ()


def test_silence_is_not_a_hole() -> None:
    """Without a new answer, nothing is proven, however many polls there are; and the missing answer is reported."""
    remaining = reading()
    remaining.update({"p": PartitionPosition(position=0, answered_ms=1, stable_end=10)})

    heard = [remaining.update({"p": PartitionPosition(position=0, answered_ms=1, stable_end=10)}) for _ in range(9)]

    assert remaining.partitions == ("p",)
    assert heard == [False] * 9


def test_an_answer_from_a_broker_that_lags_is_not_a_hole() -> None:
    """A new leader that does not know the end yet may have nothing yet."""
    remaining = reading()
    for answered in range(9):
        assert remaining.update({"p": PartitionPosition(position=0, answered_ms=answered, stable_end=4)})

    assert remaining.partitions == ("p",)


def test_an_answer_is_not_counted_as_empty_while_another_partition_moves() -> None:
    """One answer has a size; a partition may have gone without because another filled it."""
    remaining = ReadProgress({"p": 0, "q": 0}, {"p": 10, "q": 1000})
    for step in range(1, 9):
        remaining.update(
            {
                "p": PartitionPosition(position=0, answered_ms=step, stable_end=10),
                "q": PartitionPosition(position=step, answered_ms=step, stable_end=1000),
            }
        )

    assert remaining.partitions == ("p", "q")


async def test_every_step_of_a_read_has_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit that is documented also holds for the first question, about the topic's partitions."""
    limits: list[float] = []

    @asynccontextmanager
    async def session(_: KafkaConnection, *, within_seconds: float) -> AsyncIterator[None]:
        limits.append(within_seconds)
        raise BrokerUnavailable("none")
        yield

    monkeypatch.setattr(reader, "admin_session", session)
    with pytest.raises(BrokerUnavailable):
        [record async for record in read_to_end(KafkaConnection(bootstrap_servers="127.0.0.1:1"), ["orders"])]

    assert limits == [reader.SILENCE_SECONDS]
