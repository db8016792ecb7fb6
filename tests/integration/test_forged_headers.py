"""Forged headers on a real broker: they issue nothing, delay nothing, and a copied dead letter continues."""

from __future__ import annotations

import json
from pathlib import Path

from flows.test_forged_headers import FAR, PLANS

from adapter.dev.sandbox.fault_types import NotAcceptedEnvelope
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from integration.cluster import open_cluster
from integration.order_source import OrderSource

FLOOD = 1_500
"""More than the delay queue holds: 16 times `submit.concurrency`, which is 64 here."""


async def test_forged_headers_issue_nothing_and_hold_nothing_up(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Every order is issued once under its own number, those with forged headers and those behind a flood of them."""
    order_source = OrderSource(seed=91)
    forged = order_source.orders(len(PLANS))
    flood = order_source.orders(FLOOD)
    async with open_cluster(
        kafka, tmp_path, kafka__session_timeout_seconds="10", kafka__transaction_timeout_seconds="15"
    ) as cluster:
        worker = await cluster.start()
        with_plans = [
            (b"k", order.value, [("ecticket-plan", plan)]) for order, plan in zip(forged, PLANS.values(), strict=True)
        ]
        await cluster.put(with_plans, parts=[order.parts for order in forged], partition=0)
        waiting = [
            (b"k%d" % number, order.value, [("ecticket-not-before", FAR.encode())])
            for number, order in enumerate(flood)
        ]
        await cluster.put(waiting, parts=[order.parts for order in flood])
        honest = order_source.orders(30)
        await cluster.feed(honest)

        await cluster.all_delivered(seconds=120)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        parts = sum(order.parts or 0 for order in (*forged, *flood, *honest))
        assert cluster.sandbox.order_store.number_count == parts
        assert (await worker.get("/readyz")).status_code == 200
        metrics = (await worker.get("/metrics")).text
        unsigned = 'ecticket_unverified_records_total{stage="submit",trust="unsigned"}'
        (line,) = (line for line in metrics.splitlines() if line.startswith(unsigned))
        assert float(line.split()[-1]) >= len(PLANS) + FLOOD  # more if a slow machine has read some of them again
        assert await worker.dismiss() == 0


async def test_a_dead_letter_that_is_copied_to_the_orders_by_hand_goes_on(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """With key, value and headers, as tools copy records; its signature is valid, so its plan counts."""
    order_source = OrderSource(seed=92)
    async with open_cluster(kafka, tmp_path, submit__attempts="1") as cluster:
        cluster.sandbox.faults.arm(
            FaultRule(behaviour=NotAcceptedEnvelope(), trade_no="ALONE1", endpoint=Endpoint.ISSUE, count=1)
        )
        worker = await cluster.start()
        (ref,) = await cluster.feed([order_source.order(trade_no="ALONE1")], partition=0)
        assert await cluster.reader.until(lambda: cluster.event_log.types(ref)["parked"] == 1, seconds=60)
        (dead_letter,) = cluster.event_log.by_topic[cluster.topic("dead_letters")]
        assert "ecticket-plan" in dict(dead_letter.headers)

        await cluster.put([(dead_letter.key, dead_letter.value, [("kcat", b"1"), *dead_letter.headers])], partition=1)
        assert await cluster.reader.until(lambda: cluster.event_log.types(ref)["submitted"] == 1, seconds=60)

        metrics = (await worker.get("/metrics")).text
        counts = [line for line in metrics.splitlines() if line.startswith("ecticket_unverified_records_total{")]
        assert counts
        assert {float(line.split()[-1]) for line in counts} == {0.0}
        submitted = next(event for event in cluster.event_log.of(ref) if event.type == "submitted")
        assert json.loads(json.dumps(submitted.data))["trade_no"] == "ALONE1"
        assert await worker.dismiss() == 0
