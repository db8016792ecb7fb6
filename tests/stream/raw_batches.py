"""Sends batches to a real broker byte for byte, as a client might that is not ours."""

from __future__ import annotations

from adapter.dev.producing import producing
from adapter.kafka.connection import KafkaConnection


async def send_raw(connection: KafkaConnection, topic: str, *batches: bytes, partition: int = 0) -> list[int]:
    """Send each of these batches by itself; returns the offsets of their first records."""
    offsets = []
    async with producing(connection, max_request_size=64 << 20, max_batch_size=64 << 20) as producer:
        for raw in batches:
            builder = producer.create_batch()
            builder.append(key=None, value=None, timestamp=None)
            builder.close()
            builder._build()
            builder._buffer = raw
            sent = await producer.send_batch(builder, topic, partition=partition)
            offsets.append((await sent).offset)
    return offsets
