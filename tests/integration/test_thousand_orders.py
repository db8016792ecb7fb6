"""The main job, end to end, on a good day."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from pathlib import Path

from adapter.protocol.endpoints import Endpoint
from adapter.stream.connection import KafkaConnection
from integration.house import open_house
from integration.shop import Shop


async def test_a_thousand_orders_are_issued_once_and_told_once_also_when_they_come_again(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """0 lost, 0 issued twice, each event once; the same orders again issue nothing and tell the same facts."""
    orders = Shop(seed=1).orders(1000)
    expected = sum(order.parts or 0 for order in orders)
    async with open_house(
        kafka,
        tmp_path,
        submit__concurrency="256",
        kafka__session_timeout_seconds="10",
        kafka__transaction_timeout_seconds="15",
    ) as house:
        worker = await house.start()
        began = time.monotonic()
        await house.feed(orders)
        await house.reader.until(lambda: house.told.count("submitted") >= expected, seconds=60)
        submitted_after = time.monotonic() - began
        await house.all_told(seconds=60)
        issuances = house.sandbox.books.number_count

        assert house.disagreements() == []
        assert await house.uncommitted() == []
        assert issuances == expected
        assert house.sandbox.stats.calls[Endpoint.ISSUE] == {"accepted": issuances}
        assert Counter(event.kind for event in house.told.events) == {"submitted": issuances, "issued": issuances}

        again = await house.feed(orders)
        began = time.monotonic()
        await house.all_told(seconds=60)
        again_after = time.monotonic() - began - 1.0

        assert house.disagreements() == []
        assert await house.uncommitted() == []
        assert house.sandbox.books.number_count == issuances
        ids: defaultdict[str, set[str]] = defaultdict(set)
        for event in house.told.events:
            ids[event.id].add(event.ref)
        assert {len(refs) for refs in ids.values()} == {2}
        recovered = [event.data["recovered"] for ref in again for event in house.told.of(ref)]
        assert recovered == [True] * (2 * issuances)
        assert await worker.dismiss() == 0
        print(
            f"\n1,000 orders, {issuances} issuances: submitted in {submitted_after:.1f} s "
            f"({1000 / submitted_after:.0f} orders/s, {issuances / submitted_after:.0f} issuances/s); "
            f"again in {again_after:.1f} s ({1000 / again_after:.0f} orders/s)"
        )
