"""The same job as most teams would write it: aiokafka, httpx, a loop, at-least-once.

    python -m benchmarks.plain_loop '{"bootstrap_servers": ..., ...}'

For each order: read it, seal it (with the adapter's own `protocol`, so that the cryptography is the same), post it,
open the answer, publish `submitted` and wait for the broker; the offsets are committed batch by batch. What it lacks is
what the adapter is for: after a crash or a lost answer it issues twice or loses an order. Two ways to write it:

* `one by one`: the commonest; one order after another.
* `gathered`: the better informed; all orders of a poll at once, as many as may be in flight, a connection for each.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from adapter.protocol.envelope import open_response, seal_request
from benchmarks.sealing import MERCHANT

ONE_BY_ONE = "one by one"
GATHERED = "gathered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the process."""

    bootstrap_servers: str
    group: str
    orders: str
    issuances: str
    base_url: str
    in_flight: int
    way: str


class Loop:
    """The loop with its three clients; made on the event loop that it runs on."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._consumer = AIOKafkaConsumer(
            options.orders,
            bootstrap_servers=options.bootstrap_servers,
            group_id=options.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._producer = AIOKafkaProducer(bootstrap_servers=options.bootstrap_servers, acks="all")
        self._client = httpx.AsyncClient(
            base_url=options.base_url,
            timeout=15,
            limits=httpx.Limits(max_connections=options.in_flight, max_keepalive_connections=options.in_flight),
        )

    async def run(self) -> None:
        """Process orders until the process is stopped."""
        await self._consumer.start()
        await self._producer.start()
        while True:
            batches = await self._consumer.getmany(timeout_ms=500, max_records=self._options.in_flight)
            records = [record for batch in batches.values() for record in batch]
            if self._options.way == GATHERED:
                await asyncio.gather(*(self._submit(record) for record in records))
            else:
                for record in records:
                    await self._submit(record)
            if records:
                await self._consumer.commit()

    async def _submit(self, record: ConsumerRecord) -> None:
        order = json.loads(record.value)
        body = seal_request(_issue_payload(order), MERCHANT, timestamp=int(time.time()))
        response = await self._client.post(
            "/api/Ticket/Issue", content=body, headers={"Content-Type": "application/json", "Accept": "text/html"}
        )
        response.raise_for_status()
        answer = open_response(response.content, MERCHANT).payload
        if answer is None or answer["RtnCode"] != 1:
            raise RuntimeError(f"order {order['order_id']} was refused")
        event = {
            "merchant_id": MERCHANT.merchant_id,
            "order_id": order["order_id"],
            "reference": order["reference"],
            "trade_no": order["trade_no"],
            "issue_type": order["issue_type"],
            "items": [{"item_no": line["sku"], "quantity": line["quantity"]} for line in order["lines"]],
            "ticket_trade_no": answer["TicketTradeNo"],
        }
        await self._producer.send_and_wait(
            self._options.issuances,
            json.dumps(event, ensure_ascii=False).encode(),
            key=order["order_id"].encode(),
            headers=[("ce_type", b"ecticket.issuance.submitted.v1"), ("ce_orderid", order["order_id"].encode())],
        )


def _issue_payload(order: dict[str, object]) -> dict[str, object]:
    customer, lines = order["customer"], order["lines"]
    assert isinstance(customer, dict)  # noqa: S101  # our own orders have them
    assert isinstance(lines, list)  # noqa: S101
    return {
        "MerchantID": MERCHANT.merchant_id,
        "MerchantTradeNo": order["trade_no"],
        "IssueType": "3",
        "IsImmediate": "1",
        "Operator": "bench",
        "CustomerName": customer["name"],
        "CustomerPhone": customer["phone"],
        "CustomerEmail": customer["email"],
        "TicketInfo": [{"ItemNo": line["sku"], "TicketAmount": line["quantity"]} for line in lines],
    }


async def main(options: Options) -> None:
    """Run the loop until the process is ended."""
    await Loop(options).run()


if __name__ == "__main__":
    asyncio.run(main(Options(**json.loads(sys.argv[1]))))
