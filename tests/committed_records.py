"""Reads topics in tests: every record whose transaction was committed before the call."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack

from aiokafka import AIOKafkaConsumer

from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_to_end
from adapter.stream.records import Record

BOUND_SECONDS = 30.0
"""Longer than a transaction may stay open."""
LOOK_SECONDS = 0.02


async def committed_records(kafka: KafkaConnection, topics: Collection[str]) -> list[Record]:
    """Return every committed record of these topics, when no transaction is open in them.

    A broker acknowledges a commit before it writes the commit's markers into the topics. Until then a reader of
    committed records does not see the records, on a busy machine for longer than a reader takes to start.
    """
    async with AsyncExitStack() as stack, asyncio.timeout(BOUND_SECONDS):
        written, stable = [await _started(stack, kafka, topics, level) for level in ("uncommitted", "committed")]
        partitions = sorted(written.assignment())
        ends = await written.end_offsets(partitions)
        while await stable.end_offsets(partitions) != ends:
            await asyncio.sleep(LOOK_SECONDS)
            ends = await written.end_offsets(partitions)
    return [record async for record in read_to_end(kafka, topics)]


async def _started(
    stack: AsyncExitStack, kafka: KafkaConnection, topics: Collection[str], level: str
) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(*topics, **kafka.client_options(), group_id=None, isolation_level=f"read_{level}")
    stack.push_async_callback(consumer.stop)
    await consumer.start()
    return consumer
