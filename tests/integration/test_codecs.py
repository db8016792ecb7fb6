"""Orders come in every codec, from a producer that is not ours, and the adapter's own topics are kept in others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.record.memory_records import MemoryRecords
from confluent_kafka import Consumer, Message, Producer

from adapter.kafka.connection import KafkaConnection
from integration.cluster import Cluster, open_cluster
from integration.order_source import OrderSource, PaidOrder

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
KEPT_IN = {"orders_deferred": "lz4", "confirmations": "snappy", "issuances": "gzip", "dead_letters": "zstd"}
_LENGTH_UNTIL, _ATTRIBUTES, _CODEC, _CONTROL = 12, 22, 0b111, 0b10_0000
"""A batch: offset 8 bytes, length 4, epoch 4, magic 1, CRC 4, attributes 2 (Kafka's protocol guide, Record Batch)."""


async def test_every_codec_of_another_client_is_read_and_what_is_written_is_read_by_it(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """librdkafka writes orders in each codec on the order topics; each is issued once, and librdkafka reads the events.

    The topics that the adapter reads back are kept by the broker in another codec than the adapter writes.
    """
    order_source = OrderSource(seed=31)
    async with open_cluster(kafka, tmp_path, kafka__compression="zstd") as cluster:
        await _keep_in(cluster)
        worker = await cluster.start()
        expected = 0
        for codec in CODECS:
            for topic in ("orders_paid", "orders_deferred"):
                orders = order_source.orders(8)
                expected += sum(order.parts or 0 for order in orders)
                await asyncio.to_thread(_produce, cluster, topic, orders, codec)
        await cluster.all_delivered(seconds=90)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.sandbox.order_store.number_count == expected
        assert Counter(event.type for event in cluster.event_log.events) == {"submitted": expected, "issued": expected}
        read = await asyncio.to_thread(_consume, cluster, 2 * expected)
        assert Counter(message.topic() for message in read) == {cluster.topic("issuances"): 2 * expected}
        assert await worker.dismiss() == 0


async def test_the_adapter_writes_the_codec_of_its_setting(
    kafka: KafkaConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `kafka.compression` the batches on a topic that keeps what producers write are of that codec."""
    orders = [OrderSource(seed=32).order()]
    async with open_cluster(kafka, tmp_path, kafka__compression="lz4") as cluster:
        worker = await cluster.start()
        await cluster.feed(orders, partition=0)
        await cluster.all_delivered(seconds=60)
        codecs = await _codecs_on(cluster, cluster.topic("issuances"), monkeypatch)

        assert codecs == {"lz4"}
        assert await worker.dismiss() == 0


async def _keep_in(cluster: Cluster) -> None:
    admin = AIOKafkaAdminClient(**cluster.kafka.client_options())
    try:
        await admin.start()
        await admin.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, cluster.topic(name), {"compression.type": codec})
                for name, codec in KEPT_IN.items()
            ]
        )
    finally:
        await admin.close()


def _produce(cluster: Cluster, topic: str, orders: Sequence[PaidOrder], codec: str) -> None:
    producer = Producer(
        {
            "bootstrap.servers": cluster.kafka.bootstrap_servers,
            "compression.type": codec,
            "linger.ms": 50,
            "enable.idempotence": True,
        }
    )

    def written(error: object, message: Message) -> None:
        assert error is None, error
        cluster.refs[f"{message.topic()}/{message.partition()}/{message.offset()}"] = parts[message.key()]

    parts: dict[bytes | None, int | None] = {order.order_id.encode(): order.parts for order in orders}
    for order in orders:
        cluster.secrets |= set(order.secrets)
        producer.produce(cluster.topic(topic), order.value, order.order_id.encode(), on_delivery=written)
    assert producer.flush(30) == 0


def _consume(cluster: Cluster, count: int) -> list[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.kafka.bootstrap_servers,
            "group.id": f"{cluster.settings['kafka.group_prefix']}.reader",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([cluster.topic("issuances")])
    read: list[Message] = []
    try:
        while len(read) < count:
            messages = consumer.consume(count - len(read), timeout=20)
            assert messages, f"{len(read)} of {count} events were read"
            read += messages
            assert [message.error() for message in messages if message.error()] == []
    finally:
        consumer.close()
    return read


async def _codecs_on(cluster: Cluster, topic: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The codecs of the topic's batches, as a fetch brings them; markers of transactions are batches too, left out."""
    seen: set[str] = set()

    def noted(fetched: bytes) -> MemoryRecords:
        at = 0
        while at + _ATTRIBUTES < len(fetched):
            if not fetched[at + _ATTRIBUTES] & _CONTROL:
                seen.add(CODECS[fetched[at + _ATTRIBUTES] & _CODEC])
            at += _LENGTH_UNTIL + int.from_bytes(fetched[at + 8 : at + _LENGTH_UNTIL], "big")
        return MemoryRecords(fetched)

    monkeypatch.setattr("aiokafka.consumer.fetcher.MemoryRecords", noted)
    consumer = AIOKafkaConsumer(topic, **cluster.kafka.client_options(), auto_offset_reset="earliest")
    try:
        await consumer.start()
        async with asyncio.timeout(60):
            await consumer.getone()
    finally:
        await consumer.stop()
    return seen
