"""What brokers forget: a transactional id that was idle for too long (seven days by default, seconds here)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from adapter.dev.local_kafka import broker as broker_module
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.local_kafka.properties import server_properties
from adapter.kafka.connection import KafkaConnection
from stream.broker_harness import SLOW_MACHINE, BrokerHarness, named

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("nothing_overlooked")]

FORGETFUL = {
    "transactional.id.expiration.ms": 2000,
    "transaction.remove.expired.transaction.cleanup.interval.ms": 200,
    "producer.id.expiration.ms": 2000,
    "producer.id.expiration.check.interval.ms": 200,
}
TRANSACTION_STATE = "__transaction_state"


@pytest.fixture(scope="module")
def forgetful(local_kafka_ready: None) -> Iterator[KafkaConnection]:
    """A broker that forgets within seconds what others forget within a week."""

    def properties(data: Path, ports: Sequence[int], users: Mapping[str, str] | None) -> str:
        return server_properties(data, ports, users) + "".join(f"{name}={value}\n" for name, value in FORGETFUL.items())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker_module, "server_properties", properties)
        with LocalKafka() as broker:
            yield KafkaConnection(
                bootstrap_servers=broker.bootstrap_servers, session_timeout_seconds=4, transaction_timeout_seconds=5
            )


async def expired(connection: KafkaConnection, transactional_id: str) -> None:
    """Wait until the broker has deleted what it knew of this id: a tombstone in its log of transactions."""
    consumer = AIOKafkaConsumer(**connection.client_options(), auto_offset_reset="earliest")
    try:
        await consumer.start()
        known = await consumer._client.fetch_all_metadata()
        partitions = known.partitions_for_topic(TRANSACTION_STATE)
        consumer.assign([TopicPartition(TRANSACTION_STATE, number) for number in partitions])
        async with asyncio.timeout(30 * SLOW_MACHINE):
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    if any(one.value is None and transactional_id.encode() in (one.key or b"") for one in records):
                        return
    finally:
        await consumer.stop()


async def test_a_partition_that_was_idle_for_too_long_settles_in_seconds_and_doubts_nothing(
    forgetful: KafkaConnection,
) -> None:
    """The producer's first transaction after a quiet week fails; this process knows that it sent nothing."""
    harness = BrokerHarness(forgetful)
    await harness.make()
    async with harness.at_work():
        await harness.feed(0)
        await harness.settled(1)
        await expired(forgetful, f"{harness.group}.{harness.source}.0")
        await harness.feed(*range(1, 41))
        await harness.settled(41)

    assert "kafka_error" in harness.counts.dropped
    assert harness.queried == []
    assert sorted(harness.sent) == named(0, 41)
    assert await harness.published() == named(0, 41)
