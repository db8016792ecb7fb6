"""From a guest at the gate to an event: tickets are redeemed and refunded, and a reader of Kafka hears of it.

The sandbox notifies as ECPay documents it, twice, with a wrong checksum and late; the adapter's own receiver answers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from adapter.local.ports import free_ports
from adapter.sandbox.behaviours import DelayedNotification, DuplicateNotification, TamperedNotification
from adapter.sandbox.faults import Fault
from adapter.stream.connection import KafkaConnection
from integration.house import MERCHANT, SANDBOX, House, open_house
from integration.shop import Shop
from integration.told import all_there

REDEEMED, REFUNDED = 2, 3
"""UseStatus, as the sandbox numbers it."""


async def test_every_redeemed_and_refunded_ticket_is_told_once_and_nothing_forged_is(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Under its issuance's key; what comes twice has one id, what was tampered with is told when it comes true."""
    (port,) = free_ports(1)
    sandbox = replace(SANDBOX, notify_again_seconds=0.5)
    url = f"http://127.0.0.1:{port}"
    async with open_house(
        kafka, tmp_path, sandbox=sandbox, callbacks__port=str(port), callbacks__public_url=url
    ) as house:
        house.sandbox.faults.arm(
            Fault(behaviour=TamperedNotification(), rate=0.2),
            Fault(behaviour=DuplicateNotification(), rate=0.2),
            Fault(behaviour=DelayedNotification(seconds=0.3), rate=0.2),
        )
        worker = await house.start()
        await house.feed(Shop(seed=71).orders(30))
        await house.all_told(seconds=60)
        numbers = sorted(event.number for event in house.told.events if event.kind == "issued" and event.number)
        tickets = Counter[int]()
        notified = 0
        for index, number in enumerate(numbers):
            use = house.sandbox.redeem if index % 2 else house.sandbox.refund
            try:
                done = use(MERCHANT.merchant_id, number)
            except ValueError:
                continue  # tickets that are not valid yet: the sandbox says so, and nothing was done
            tickets[REDEEMED if index % 2 else REFUNDED] += len(done.ticket_nos)
            notified += done.notifications
        await house.sandbox.all_told()

        told = await _tickets(house)
        changes = {data["ticket_ref"]: data for kind, data in told.values() if kind == "ticket.status-changed"}
        refunds = {str(data["trade_no"]): data for kind, data in told.values() if kind == "order.refunded"}
        assert min(tickets.values()) > 10
        assert Counter(data["use_status"] for data in changes.values()) == tickets
        assert len(told) == notified == len(changes) + len(refunds)
        assert refunds
        assert {str(data["trade_no"]) for data in changes.values()} | refunds.keys() <= set(numbers)
        assert all(data["refund_amount"] == data["total_refund_amount"] for data in refunds.values())
        assert house.sandbox.outbox.tampered_accepted == 0
        assert house.sandbox.faults.fired["tampered_notification"] > 0
        assert house.sandbox.faults.fired["duplicate_notification"] > 0
        assert 'end="wrong-checksum"' in (await worker.get("/metrics")).text
        assert await worker.dismiss() == 0


async def _tickets(house: House) -> Mapping[str, tuple[str, Mapping[str, object]]]:
    """Kind and data of every event of the tickets topic, by id; the same id always says the same."""
    found: dict[str, tuple[str, Mapping[str, object]]] = {}
    for record in await all_there(house.kafka, house.topic("tickets")):
        attributes = {name: value.decode() for name, value in record.headers}
        data = json.loads(record.value)
        kind = attributes["ce_type"].removeprefix("ecticket.").removesuffix(".v1")
        assert record.key.decode() == f"{data['merchant_id']}/{data['trade_no']}"
        assert found.setdefault(attributes["ce_id"], (kind, data)) == (kind, data)
    return found
