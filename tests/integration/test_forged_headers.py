"""Forged headers on a real broker: they issue nothing, hold nothing up, and a copied dead letter goes on."""

from __future__ import annotations

import json
from pathlib import Path

from flows.test_forged_headers import FAR, PLANS

from adapter.protocol.endpoints import Endpoint
from adapter.sandbox.behaviours import NotAcceptedEnvelope
from adapter.sandbox.faults import Fault
from adapter.stream.connection import KafkaConnection
from integration.house import open_house
from integration.shop import Shop

FLOOD = 1_500
"""More than the waiting room holds: 16 times `submit.concurrency`, which is 64 here."""


async def test_forged_headers_issue_nothing_and_hold_nothing_up(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Every order is issued once under its own number, those with forged headers and those behind a flood of them."""
    shop = Shop(seed=91)
    forged = shop.orders(len(PLANS))
    flood = shop.orders(FLOOD)
    async with open_house(kafka, tmp_path) as house:
        worker = await house.start()
        with_plans = [
            (b"k", order.value, [("ecticket-plan", plan)]) for order, plan in zip(forged, PLANS.values(), strict=True)
        ]
        await house.put(with_plans, parts=[order.parts for order in forged], partition=0)
        waiting = [
            (b"k%d" % number, order.value, [("ecticket-not-before", FAR.encode())])
            for number, order in enumerate(flood)
        ]
        await house.put(waiting, parts=[order.parts for order in flood])
        honest = shop.orders(30)
        await house.feed(honest)

        await house.all_told(seconds=120)

        assert house.disagreements() == []
        assert await house.uncommitted() == []
        parts = sum(order.parts or 0 for order in (*forged, *flood, *honest))
        assert house.sandbox.books.number_count == parts
        assert (await worker.get("/readyz")).status_code == 200
        metrics = (await worker.get("/metrics")).text
        unsigned = 'ecticket_unverified_records_total{stage="submit",trust="unsigned"}'
        (line,) = (line for line in metrics.splitlines() if line.startswith(unsigned))
        assert float(line.split()[-1]) == len(PLANS) + FLOOD
        assert await worker.dismiss() == 0


async def test_a_dead_letter_that_is_copied_to_the_orders_by_hand_goes_on(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """With key, value and headers, as tools copy records; its signature is valid, so its plan counts."""
    shop = Shop(seed=92)
    async with open_house(kafka, tmp_path, submit__attempts="1") as house:
        house.sandbox.faults.arm(
            Fault(behaviour=NotAcceptedEnvelope(), trade_no="ALONE1", endpoint=Endpoint.ISSUE, count=1)
        )
        worker = await house.start()
        (ref,) = await house.feed([shop.order(trade_no="ALONE1")], partition=0)
        assert await house.reader.until(lambda: house.told.kinds(ref)["parked"] == 1, seconds=60)
        (letter,) = house.told.by_topic[house.topic("dead_letters")]
        assert "ecticket-plan" in dict(letter.headers)

        await house.put([(letter.key, letter.value, [("kcat", b"1"), *letter.headers])], partition=1)
        assert await house.reader.until(lambda: house.told.kinds(ref)["submitted"] == 1, seconds=60)

        metrics = (await worker.get("/metrics")).text
        assert "ecticket_unverified_records_total{" not in metrics
        submitted = next(event for event in house.told.of(ref) if event.kind == "submitted")
        assert json.loads(json.dumps(submitted.data))["trade_no"] == "ALONE1"
        assert await worker.dismiss() == 0
