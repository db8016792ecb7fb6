"""Two orders with one number, and doubts of a merchant that is known by its events alone: on a real broker."""

from __future__ import annotations

from pathlib import Path

from adapter.dev.sandbox.fault_types import AnswerLostBefore, Maintenance, QueryOutage
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from integration.cluster import Cluster, open_cluster
from integration.order_source import OrderSource


async def _ended(cluster: Cluster, ref: str) -> bool:
    return await cluster.reader.until(lambda: cluster.event_log.ended(ref), seconds=60)


async def test_after_a_restart_the_issuances_topic_shows_the_owner_of_a_number(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """The next process has nothing in memory: its Issue is refused, and "known" is not taken for the order's own."""
    order_source = OrderSource(seed=41)
    first, second = order_source.order(trade_no="PAID1"), order_source.order(trade_no="PAID1")
    async with open_cluster(kafka, tmp_path) as cluster:
        worker = await cluster.start()
        (paid,) = await cluster.feed([first])
        assert await _ended(cluster, paid)
        await worker.kill()
        await cluster.start()

        (again,) = await cluster.feed([second])
        assert await _ended(cluster, again)

        assert cluster.event_log.types(paid) == {"submitted": 1, "issued": 1}
        assert cluster.event_log.types(again) == {"parked": 1}
        (parked,) = cluster.event_log.of(again)
        assert parked.data["reason"] == "unresolved"
        assert f"order {first.order_id}" in str(parked.data["message"])
        assert f"Order {second.order_id} " in str(parked.data["message"])
        assert cluster.sandbox.order_store.number_count == 1


async def test_a_restarted_process_settles_doubts_by_numbers_of_the_issuances_topic(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """While queries alone are down nothing fails and nothing is sent again; afterwards the doubts are settled."""
    order_source = OrderSource(seed=42)
    async with open_cluster(kafka, tmp_path) as cluster:
        worker = await cluster.start()
        (before,) = await cluster.feed([order_source.order()])
        assert await _ended(cluster, before)
        await worker.kill()
        cluster.sandbox.faults.arm(
            FaultRule(behaviour=Maintenance(), trade_no="REFUSED1", endpoint=Endpoint.ISSUE),
            FaultRule(behaviour=AnswerLostBefore(), trade_no="LOST1", endpoint=Endpoint.ISSUE, count=1),
            FaultRule(behaviour=QueryOutage(seconds=15)),
        )
        await cluster.start()

        refused, lost = await cluster.feed([order_source.order(trade_no=number) for number in ("REFUSED1", "LOST1")])
        assert await _ended(cluster, refused)
        assert await _ended(cluster, lost)

        assert cluster.event_log.types(refused) == {"failed": 1}
        assert cluster.event_log.types(lost) == {"submitted": 1, "issued": 1}
        assert cluster.disagreements() == []
        assert cluster.sandbox.faults.fired["query_outage"] > 3
