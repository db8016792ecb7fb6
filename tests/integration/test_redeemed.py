"""From a guest at the gate to an event: tickets are redeemed and refunded, and a reader of Kafka gets the events.

The sandbox notifies as ECPay documents it, twice, with a wrong checksum and late; the adapter's own receiver answers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from adapter.dev.local_kafka.ports import free_ports
from adapter.dev.sandbox.fault_types import DelayedNotification, DuplicateNotification, TamperedNotification
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.values import replace
from integration.cluster import MERCHANT, SANDBOX, Cluster, open_cluster
from integration.event_log import all_there
from integration.order_source import OrderSource

REDEEMED, REFUNDED = 2, 3
"""UseStatus, as the sandbox numbers it."""


async def test_every_redeemed_and_refunded_ticket_is_published_once_and_nothing_forged_is(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Under its issuance's key; what comes twice has one id, a tampered one is published when it comes unchanged."""
    (port,) = free_ports(1)
    sandbox = replace(SANDBOX, notify_again_seconds=0.5)
    url = f"http://127.0.0.1:{port}"
    async with open_cluster(
        kafka, tmp_path, sandbox=sandbox, callbacks__port=str(port), callbacks__public_url=url
    ) as cluster:
        cluster.sandbox.faults.arm(
            FaultRule(behaviour=TamperedNotification(), rate=0.2),
            FaultRule(behaviour=DuplicateNotification(), rate=0.2),
            FaultRule(behaviour=DelayedNotification(seconds=0.3), rate=0.2),
        )
        worker = await cluster.start()
        await cluster.feed(OrderSource(seed=71).orders(30))
        await cluster.all_delivered(seconds=60)
        numbers = sorted(event.number for event in cluster.event_log.events if event.type == "issued" and event.number)
        tickets = Counter[int]()
        notified = 0
        for index, number in enumerate(numbers):
            use = cluster.sandbox.redeem if index % 2 else cluster.sandbox.refund
            try:
                done = use(MERCHANT.merchant_id, number)
            except ValueError:
                continue  # tickets that are not valid yet: the sandbox says so, and nothing was done
            tickets[REDEEMED if index % 2 else REFUNDED] += len(done.ticket_nos)
            notified += done.notifications
        await cluster.sandbox.all_delivered()

        events = await _tickets(cluster)
        changes = {data["ticket_ref"]: data for kind, data in events.values() if kind == "ticket.status-changed"}
        refunds = {str(data["trade_no"]): data for kind, data in events.values() if kind == "order.refunded"}
        assert min(tickets.values()) > 10
        assert Counter(data["use_status"] for data in changes.values()) == tickets
        assert len(events) == notified == len(changes) + len(refunds)
        assert refunds
        assert {str(data["trade_no"]) for data in changes.values()} | refunds.keys() <= set(numbers)
        assert all(data["refund_amount"] == data["total_refund_amount"] for data in refunds.values())
        assert cluster.sandbox.notification_queue.tampered_accepted == 0
        assert cluster.sandbox.faults.fired["tampered_notification"] > 0
        assert cluster.sandbox.faults.fired["duplicate_notification"] > 0
        assert 'outcome="wrong-checksum"' in (await worker.get("/metrics")).text
        assert await worker.dismiss() == 0


async def _tickets(cluster: Cluster) -> Mapping[str, tuple[str, Mapping[str, object]]]:
    """Kind and data of every event of the tickets topic, by id; the same id always says the same."""
    found: dict[str, tuple[str, Mapping[str, object]]] = {}
    for record in await all_there(cluster.kafka, cluster.topic("tickets")):
        attributes = {name: value.decode() for name, value in record.headers}
        data = json.loads(record.value)
        kind = attributes["ce_type"].removeprefix("ecticket.").removesuffix(".v1")
        assert record.key.decode() == f"{data['merchant_id']}/{data['trade_no']}"
        assert found.setdefault(attributes["ce_id"], (kind, data)) == (kind, data)
    return found
