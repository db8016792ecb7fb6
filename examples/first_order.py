"""Send one paid order, and show what is told of it until its tickets exist.

python examples/first_order.py BOOTSTRAP_SERVERS [ORDERS_TOPIC [ISSUANCES_TOPIC]]
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

ENDINGS = ("ecticket.issuance.issued.v1", "ecticket.issuance.failed.v1", "ecticket.order.parked.v1")


def an_order() -> dict[str, object]:
    """Two electronic tickets, usable at once."""
    return {
        "order_id": f"FIRST-{time.time():.0f}",
        "issue_type": "electronic",
        "customer": {"name": "王小明", "phone": "0912345678", "email": "ming@example.com"},
        "lines": [{"sku": "VQT04959", "quantity": 2}],
    }


async def main(servers: str, orders: str = "orders.paid", issuances: str = "ecticket.issuances") -> None:
    """Send the order and follow it."""
    order = an_order()
    reader = AIOKafkaConsumer(issuances, bootstrap_servers=servers, isolation_level="read_committed")
    await reader.start()
    await reader.seek_to_end()
    sender = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await sender.start()
    await sender.send_and_wait(orders, json.dumps(order).encode(), key=str(order["order_id"]).encode())
    await sender.stop()
    async for event in reader:
        attributes = dict(event.headers)
        if attributes.get("ce_orderid") == str(order["order_id"]).encode():
            kind = attributes["ce_type"].decode()
            print(f"{kind:<32}{attributes['ce_subject'].decode()}  {event.value.decode()}")
            if kind in ENDINGS:
                break
    await reader.stop()


asyncio.run(main(*sys.argv[1:]))
