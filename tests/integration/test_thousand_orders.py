"""The main job, end to end, on a good day."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from pathlib import Path

from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from integration.cluster import open_cluster
from integration.order_source import OrderSource


async def test_a_thousand_orders_are_issued_and_published_once_even_when_repeated(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """0 lost, 0 issued twice, each event once; the same orders again issue nothing and publish the same facts."""
    orders = OrderSource(seed=1).orders(1000)
    expected = sum(order.parts or 0 for order in orders)
    async with open_cluster(
        kafka,
        tmp_path,
        submit__concurrency="256",
        kafka__session_timeout_seconds="10",
        kafka__transaction_timeout_seconds="15",
    ) as cluster:
        worker = await cluster.start()
        began = time.monotonic()
        await cluster.feed(orders)
        await cluster.reader.until(lambda: cluster.event_log.count("submitted") >= expected, seconds=60)
        submitted_after = time.monotonic() - began
        await cluster.all_delivered(seconds=60)
        issuances = cluster.sandbox.order_store.number_count

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert issuances == expected
        assert cluster.sandbox.stats.calls[Endpoint.ISSUE] == {"accepted": issuances}
        assert Counter(event.type for event in cluster.event_log.events) == {
            "submitted": issuances,
            "issued": issuances,
        }

        again = await cluster.feed(orders)
        began = time.monotonic()
        await cluster.all_delivered(seconds=60)
        again_after = time.monotonic() - began - 1.0

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.sandbox.order_store.number_count == issuances
        ids: defaultdict[str, set[str]] = defaultdict(set)
        for event in cluster.event_log.events:
            ids[event.id].add(event.ref)
        assert {len(refs) for refs in ids.values()} == {2}
        recovered = [event.data["recovered"] for ref in again for event in cluster.event_log.of(ref)]
        assert recovered == [True] * (2 * issuances)
        assert await worker.dismiss() == 0
        print(
            f"\n1,000 orders, {issuances} issuances: submitted in {submitted_after:.1f} s "
            f"({1000 / submitted_after:.0f} orders/s, {issuances / submitted_after:.0f} issuances/s); "
            f"again in {again_after:.1f} s ({1000 / again_after:.0f} orders/s)"
        )
