"""One transaction by hand, by whoever came last: for commands that write records that answer no record.

It exists so that two people who run the same command at once do not both write. Whoever begins fences whoever began
under the same name before; what is read after that is what the other one wrote, or cannot write any more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError

from adapter.errors import BrokerUnavailable, StreamError
from adapter.kafka.admin import AWAY
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.producers import LARGEST_REQUEST
from adapter.stream.records import ProducerRecord


class ExclusiveProducer:
    """The last one to have begun under its name."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def write(self, producer_records: Sequence[ProducerRecord]) -> None:
        """All of them, or nothing. Raises StreamError: somebody else has begun since, or a topic refuses them."""
        try:
            async with self._producer.transaction():
                for each in producer_records:
                    await self._producer.send_and_wait(each.topic, each.value, each.key, headers=list(each.headers))
        except (KafkaError, IllegalOperation) as error:
            raise StreamError(
                f"Writing to {', '.join(sorted({each.topic for each in producer_records}))} failed ({error}). If "
                "somebody else runs the same command at this moment, theirs counts. "
                "Run it again: it sees what was done."
            ) from error


@asynccontextmanager
async def exclusive_producer(connection: KafkaConnection, name: str) -> AsyncIterator[ExclusiveProducer]:
    """The sole writer of this name, the transactional id. Raises BrokerAway, StreamError."""
    producer = AIOKafkaProducer(
        **connection.client_options(),
        transactional_id=name,
        transaction_timeout_ms=round(connection.transaction_timeout_seconds * 1000),
        acks="all",
        enable_idempotence=True,
        max_request_size=LARGEST_REQUEST,
        compression_type=connection.compression_type,
    )
    try:
        try:
            await producer.start()
        except AWAY as error:
            raise BrokerUnavailable(
                f"No Kafka broker at {connection.bootstrap_servers} answered. Check that the brokers run, and try "
                "again."
            ) from error
        except KafkaError as error:
            raise StreamError(
                f"The brokers refuse the transactional id {name} ({error}). Allow this user to Write it (ACL)."
            ) from error
        yield ExclusiveProducer(producer)
    finally:
        await producer.stop()
