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

from adapter.stream.connection import KafkaConnection
from integration.house import House, open_house
from integration.shop import PaidOrder, Shop

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
    shop = Shop(seed=31)
    async with open_house(kafka, tmp_path, kafka__compression="zstd") as house:
        await _keep_in(house)
        worker = await house.start()
        expected = 0
        for codec in CODECS:
            for topic in ("orders_paid", "orders_deferred"):
                orders = shop.orders(8)
                expected += sum(order.parts or 0 for order in orders)
                await asyncio.to_thread(_produce, house, topic, orders, codec)
        await house.all_told(seconds=90)

        assert house.disagreements() == []
        assert await house.uncommitted() == []
        assert house.sandbox.books.number_count == expected
        assert Counter(event.kind for event in house.told.events) == {"submitted": expected, "issued": expected}
        read = await asyncio.to_thread(_consume, house, 2 * expected)
        assert Counter(message.topic() for message in read) == {house.topic("issuances"): 2 * expected}
        assert await worker.dismiss() == 0


async def test_the_adapter_writes_the_codec_of_its_setting(
    kafka: KafkaConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `kafka.compression` the batches on a topic that keeps what producers write are of that codec."""
    orders = [Shop(seed=32).order()]
    async with open_house(kafka, tmp_path, kafka__compression="lz4") as house:
        worker = await house.start()
        await house.feed(orders, partition=0)
        await house.all_told(seconds=60)
        codecs = await _codecs_on(house, house.topic("issuances"), monkeypatch)

        assert codecs == {"lz4"}
        assert await worker.dismiss() == 0


async def _keep_in(house: House) -> None:
    admin = AIOKafkaAdminClient(**house.kafka.client_options())
    try:
        await admin.start()
        await admin.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, house.topic(name), {"compression.type": codec})
                for name, codec in KEPT_IN.items()
            ]
        )
    finally:
        await admin.close()


def _produce(house: House, topic: str, orders: Sequence[PaidOrder], codec: str) -> None:
    producer = Producer(
        {
            "bootstrap.servers": house.kafka.bootstrap_servers,
            "compression.type": codec,
            "linger.ms": 50,
            "enable.idempotence": True,
        }
    )

    def written(error: object, message: Message) -> None:
        assert error is None, error
        house.refs[f"{message.topic()}/{message.partition()}/{message.offset()}"] = parts[message.key()]

    parts: dict[bytes | None, int | None] = {order.order_id.encode(): order.parts for order in orders}
    for order in orders:
        house.secrets |= set(order.secrets)
        producer.produce(house.topic(topic), order.value, order.order_id.encode(), on_delivery=written)
    assert producer.flush(30) == 0


def _consume(house: House, count: int) -> list[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": house.kafka.bootstrap_servers,
            "group.id": f"{house.settings['kafka.group_prefix']}.reader",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([house.topic("issuances")])
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


async def _codecs_on(house: House, topic: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
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
    consumer = AIOKafkaConsumer(topic, **house.kafka.client_options(), auto_offset_reset="earliest")
    try:
        await consumer.start()
        async with asyncio.timeout(20):
            await consumer.getone()
    finally:
        await consumer.stop()
    return seen
