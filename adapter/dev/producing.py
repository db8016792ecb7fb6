"""A plain producer for the demo, the benchmarks and the tests. The adapter itself has those of `kafka`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from adapter.kafka.connection import KafkaConnection


@asynccontextmanager
async def producing(connection: KafkaConnection, **options: object) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer with aiokafka's `options`; it is stopped however its start or the block ends."""
    producer = AIOKafkaProducer(**connection.client_options(), **options)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()
