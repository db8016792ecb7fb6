"""The orders of the benchmarks: electronic tickets of one or two lines, of the size a shop writes, all different.

Made from their number alone, so that every contender gets the same ones. All people in them are invented.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from adapter.dev.producing import producing
from adapter.kafka.connection import KafkaConnection

_NAMES = ("王小明", "陳美玲", "林志豪", "Alice Chen", "Bob Lin")
_ITEMS = ("VQT04959", "VNS21400", "BR103218", "CK851236")
_BATCH_BYTES = 512 * 1024


def order_id(number: int) -> str:
    """The shop's number of an order."""
    return f"BENCH-{number:08}"


def trade_no(number: int) -> str:
    """The number of its payment, under which its tickets are issued."""
    return f"B{number:012}"


def trade_no_of(order_id: str) -> str:
    """The trade number of the order with this number of the shop's."""
    return trade_no(int(order_id.rpartition("-")[2]))


def order(number: int, *, merchant_id: str = "3085676") -> bytes:
    """An order-paid event as bare JSON, about 450 bytes."""
    lines = [{"sku": _ITEMS[(number + at) % len(_ITEMS)], "quantity": 1 + number % 4} for at in range(1 + number % 2)]
    event = {
        "order_id": order_id(number),
        "merchant_id": merchant_id,
        "trade_no": trade_no(number),
        "paid_at": "2026-03-02T15:30:48+08:00",
        "issue_type": "electronic",
        "reference": {"cart": number, "channel": "web"},
        "customer": {
            "name": _NAMES[number % len(_NAMES)],
            "phone": f"09{number % 10**8:08}",
            "email": f"buyer{number}@example.com",
            "address": "臺北市南港區三重路19之2號",
        },
        "lines": lines,
    }
    return json.dumps(event, ensure_ascii=False).encode()


async def produce(connection: KafkaConnection, topic: str, numbers: Iterable[int], *, partitions: int) -> None:
    """Write the orders of these numbers, in turns to each partition, and return when the broker has them all."""
    async with producing(connection, max_batch_size=_BATCH_BYTES) as producer:
        batches = {partition: producer.create_batch() for partition in range(partitions)}
        for number in numbers:
            partition, key, value = number % partitions, order_id(number).encode(), order(number)
            if batches[partition].append(key=key, value=value, timestamp=None) is None:
                await producer.send_batch(batches[partition], topic, partition=partition)
                batches[partition] = producer.create_batch()
                batches[partition].append(key=key, value=value, timestamp=None)
        for partition, batch in batches.items():
            await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()
