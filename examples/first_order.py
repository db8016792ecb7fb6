"""Send one paid order, and print its events until its tickets exist.

python examples/first_order.py BOOTSTRAP_SERVERS [ORDERS_TOPIC [ISSUANCES_TOPIC]]
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

OPEN = ("ecticket.issuance.submitted.v1", "ecticket.issuance.delayed.v1")


def an_order() -> dict[str, object]:
    """Two electronic tickets, usable at once."""
    number = f"FIRST{time.time():.0f}"
    return {
        "order_id": number,
        "trade_no": number,
        "issue_type": "electronic",
        "customer": {"name": "王小明", "phone": "0912345678", "email": "ming@example.com"},
        "lines": [{"sku": "VQT04959", "quantity": 2}],
    }


async def main(servers: str, orders: str = "orders.paid", issuances: str = "ecticket.issuances") -> None:
    """Send the order and follow it."""
    order = an_order()
    reader = AIOKafkaConsumer(issuances, bootstrap_servers=servers, isolation_level="read_committed")
    sender = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    try:
        await reader.start()
        await reader.seek_to_end()
        await sender.start()
        value = json.dumps(order, ensure_ascii=False).encode()
        await sender.send_and_wait(orders, value, key=str(order["order_id"]).encode())
        print(f"{order['order_id']} is on {orders}; its events on {issuances}:")
        async for event in reader:
            attributes = {name: text.decode() for name, text in event.headers}
            if attributes.get("ce_orderid") == order["order_id"]:
                print(f"{attributes['ce_type']:<32}{attributes['ce_subject']}  {event.value.decode()}")
                if attributes["ce_type"] not in OPEN:
                    break
    finally:
        await sender.stop()
        await reader.stop()


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KafkaConnectionError as error:
        sys.exit(f"No Kafka at {sys.argv[1]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
