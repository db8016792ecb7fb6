"""The oldest open dead letter, on a real broker: what a command acknowledges does not count any more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial

from conftest import TopicFactory

from adapter.dev.producing import producing
from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import first_records
from adapter.operations.oldest_dead_letter import DeadLetterAge, OldestDeadLetter
from adapter.stream.acknowledged_topic import open_acknowledged_topic
from adapter.stream.stage import Outcome


async def test_what_is_acknowledged_is_not_the_oldest(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """From a topic without commits to one in which everything is handled."""
    name = await topic(partitions=2)
    group = f"{name}.dead-letters"
    times = [datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (9, 11)]
    async with producing(kafka) as producer:
        for at in times:
            await producer.send_and_wait(name, b"{}", partition=1, timestamp_ms=int(at.timestamp() * 1000))
    found: list[OldestDeadLetter | None] = []

    async def handle(offset: int) -> None:
        open_offsets = [(1, each) for each in range(offset, len(times))]
        async with (
            open_acknowledged_topic(AioKafka(kafka), topic=name, group=group, records=open_offsets) as dead_letters,
            dead_letters.claim(1) as claim,
        ):
            await claim.acknowledge({offset: Outcome()})

    async def next_step(_seconds: float) -> None:
        found.append(age.found)
        if len(found) > len(times):
            raise asyncio.CancelledError
        await handle(len(found) - 1)

    age = DeadLetterAge(
        kafka=AioKafka(kafka), read_first=partial(first_records, kafka, name), topic=name, group=group, sleep=next_step
    )
    async with asyncio.timeout(120):
        await asyncio.wait({asyncio.create_task(age.run())})

    assert found == [
        OldestDeadLetter(since=times[0], forgotten=True),
        OldestDeadLetter(since=times[1], forgotten=False),
        OldestDeadLetter(since=None, forgotten=False),
    ]
