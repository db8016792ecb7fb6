"""Writes one record for a command, outside of transactions.

Its user needs Write on the topic and nothing else: no transactional id, no group, no right on the cluster.
"""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from adapter.errors import BrokerUnavailable, StreamError, TopicsMissing
from adapter.kafka.admin import UNAVAILABLE
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.producers import close_producer, patch_pending_batches
from adapter.kafka.topics import missing
from adapter.stream.records import ProducerRecord

WITHIN_MS = 15_000
"""How long brokers may take to acknowledge the record."""


async def publish_one(connection: KafkaConnection, record: ProducerRecord) -> None:
    """Return when all in-sync replicas have the record.

    Raises TopicsMissing, BrokerUnavailable and StreamError; after the latter two the record may have been written.
    """
    if await missing(connection, [record.topic]):
        raise TopicsMissing(
            f"There is no topic {record.topic} at {connection.bootstrap_servers}. Create it with: ecticket-adapter "
            "topics --create"
        )
    producer = AIOKafkaProducer(
        **connection.client_options(), acks="all", enable_idempotence=True, request_timeout_ms=WITHIN_MS
    )
    patch_pending_batches(producer)
    written = False
    try:
        await producer.start()
        await producer.send_and_wait(record.topic, record.value, record.key, headers=list(record.headers))
        written = True
    except UNAVAILABLE as error:
        raise BrokerUnavailable(
            f"No Kafka broker at {connection.bootstrap_servers} acknowledged the record on {record.topic}. It may have "
            "been written. Check that the brokers run, and repeat the command."
        ) from error
    except KafkaError as error:
        raise StreamError(
            f"The brokers reject a record on {record.topic}: {error}. Allow this user to Write to it (ACL)."
        ) from error
    finally:
        await close_producer(producer, abort=not written)
