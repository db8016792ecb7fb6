"""Following a topic on the real broker: all of it first, then each record; again from offset 0 if it is another one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from conftest import TopicFactory

from adapter.errors import TopicsMissing
from adapter.kafka import follow_topic as module
from adapter.kafka.admin import TopicSpec
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.follow_topic import follow_topic
from adapter.kafka.single_record import publish_one
from adapter.kafka.topics import create
from adapter.stream.port import FollowedRecords
from adapter.stream.records import ProducerRecord

WITHIN_SECONDS = 60.0
pytestmark = pytest.mark.usefixtures("nothing_overlooked")


def put(name: str, key: str, value: str | None) -> ProducerRecord:
    return ProducerRecord(topic=name, key=key.encode(), value=None if value is None else value.encode())


async def collected(batches: AsyncGenerator[FollowedRecords, None], count: int) -> list[tuple[str, str | None, bool]]:
    """The next records, each with whether its batch was complete; and until the read is complete."""
    found: list[tuple[str, str | None, bool]] = []
    async with asyncio.timeout(WITHIN_SECONDS):
        async for batch in batches:
            found += [
                ((each.key or b"").decode(), None if each.value is None else each.value.decode(), batch.complete)
                for each in batch.records
            ]
            if batch.complete and len(found) >= count:
                return found
    raise AssertionError("the generator ended")


async def test_a_topic_is_returned_completely_and_then_each_new_record(
    kafka: KafkaConnection, topic: TopicFactory
) -> None:
    """Tombstones too; several partitions are complete only together."""
    name = await topic(partitions=3)
    for number in range(12):
        await publish_one(kafka, put(name, f"k{number}", "old"))
    async with aclosing(follow_topic(kafka, name)) as batches:
        old = await collected(batches, 12)
        await publish_one(kafka, put(name, "k1", None))
        new = await collected(batches, 1)

    assert sorted(key for key, _, _ in old) == sorted(f"k{number}" for number in range(12))
    assert new == [("k1", None, True)]


async def test_an_empty_topic_is_complete_at_once(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """The first batch already says so, and a broker has answered within a few."""
    name = await topic()
    answered = False
    async with aclosing(follow_topic(kafka, name)) as batches, asyncio.timeout(WITHIN_SECONDS):
        async for batch in batches:
            assert batch.complete
            answered = answered or batch.answered
            if answered:
                break

    assert answered


async def test_a_missing_topic_is_not_made(kafka: KafkaConnection) -> None:
    """Neither by following nor by writing."""
    name = f"missing-{uuid.uuid4().hex[:12]}"

    with pytest.raises(TopicsMissing):
        await anext(follow_topic(kafka, name))
    with pytest.raises(TopicsMissing):
        await publish_one(kafka, put(name, "k", "v"))
    with pytest.raises(TopicsMissing):
        await anext(follow_topic(kafka, name))


async def test_following_ends_when_the_topic_is_another_one(
    kafka: KafkaConnection, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recreated topic has other offsets, and its records begin again at offset 0."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.1)
    name = await topic()
    await publish_one(kafka, put(name, "k", "old"))
    async with aclosing(follow_topic(kafka, name)) as batches:
        await collected(batches, 1)
        admin = AIOKafkaAdminClient(**kafka.client_options())
        try:
            await admin.start()
            await admin.delete_topics([name])
        finally:
            await admin.close()
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await create(kafka, [TopicSpec(name=name, partitions=1, config={})]):  # noqa: ASYNC110  # the broker
                await asyncio.sleep(0.1)
            async for _ in batches:
                pass
    await publish_one(kafka, put(name, "k", "new"))
    async with aclosing(follow_topic(kafka, name)) as batches:
        assert await collected(batches, 1) == [("k", "new", True)]
