"""Products on a real broker: a delisted product parks its orders, and a replay issues them once it is back."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from adapter.dev.sandbox.fault_types import Garbage
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from integration.cluster import Cluster, Worker, open_cluster
from integration.commands import run
from integration.order_source import OrderSource, line

DELISTED = "VNS21400"


async def _until(cluster: Cluster, refs: list[str], types: dict[str, int]) -> None:
    assert await cluster.reader.until(
        lambda: all(cluster.event_log.types(ref) == Counter(types) for ref in refs), seconds=60
    ), {ref: cluster.event_log.types(ref) for ref in refs}


async def _checks(worker: Worker) -> dict[str, float]:
    """The orders whose products were checked, by result, without those that never came."""
    families = text_string_to_metric_families((await worker.get("/metrics")).text)
    samples = [sample for family in families for sample in family.samples]
    checks = [sample for sample in samples if sample.name == "ecticket_item_checks_total" and sample.value]
    return {check.labels["result"]: check.value for check in checks}


async def test_orders_of_a_delisted_product_are_parked_and_issued_by_a_replay_when_it_is_back(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Each is issued once; the replay is not answered by the old refusal. An outage of QueryItemInfo parks nothing."""
    order_source = OrderSource(seed=41)
    good = [order_source.order(lines=[line("VQT04959")], issue_type="electronic") for _ in range(4)]
    bad = [order_source.order(lines=[line(DELISTED)], issue_type="electronic") for _ in range(6)]
    later = [order_source.order(lines=[line("BR103218")], issue_type="electronic")]
    async with open_cluster(
        kafka, tmp_path, submit__check_items="require", submit__reissue_after_seconds="2"
    ) as cluster:
        catalogue = cluster.sandbox.catalogue
        catalogue.put(DELISTED, {"listed": False}, datetime.now(UTC))
        worker = await cluster.start()
        good_refs, bad_refs = await cluster.feed(good), await cluster.feed(bad)
        await _until(cluster, good_refs, {"submitted": 1, "issued": 1})
        await _until(cluster, bad_refs, {"parked": 1})
        parked = [event for ref in bad_refs for event in cluster.event_log.of(ref)]
        assert {event.data["reason"] for event in parked} == {"invalid-order"}
        assert all(DELISTED in str(event.data["message"]) for event in parked)
        assert cluster.sandbox.order_store.number_count == len(good)
        assert await _checks(worker) == {"issuable": len(good), "delisted": len(bad)}

        catalogue.put(DELISTED, {"listed": True}, datetime.now(UTC))
        replay = await run(worker, "dead-letters", "replay", "--reason", "invalid-order", "--json")
        assert (replay.code, len(replay.lines)) == (0, len(bad)), replay.err
        await _until(cluster, bad_refs, {"parked": 1, "submitted": 1, "issued": 1})

        cluster.sandbox.faults.arm(FaultRule(behaviour=Garbage(), endpoint=Endpoint.QUERY_ITEM_INFO))
        await _until(cluster, await cluster.feed(later), {"submitted": 1, "issued": 1})

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.sandbox.order_store.number_count == len(good) + len(bad) + len(later)
        assert await _checks(worker) == {"issuable": len(good) + len(bad), "delisted": len(bad), "unanswered": 1}
