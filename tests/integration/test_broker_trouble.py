"""What a user sees when the broker is in trouble: the log, the probes, and orders that wait and are issued once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from committed_records import committed_records
from key_words import line_mentions, mentions

from adapter.dev.demo.temporary_topics import remove
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.sandbox.fault_types import AcceptRepeats, Slow
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import create
from adapter.protocol.endpoints import Endpoint
from adapter.settings import load
from adapter.stream.commit_metadata import CommitMetadata, encode
from adapter.wiring import topic_specs
from integration.cluster import PARTITIONS, Cluster, Worker, open_cluster, until
from integration.event_log import SLOW_MACHINE
from integration.order_source import OrderSource

pytestmark = pytest.mark.broker

AWAY_SECONDS = 8.0
"""Longer than the session and a transaction last together."""


def _forgetful(cluster: Cluster, *, slow: float = 0.0) -> None:
    """An ECTicket that issues again for a repeated number."""
    faults = [FaultRule(behaviour=AcceptRepeats())]
    if slow:
        faults.append(FaultRule(behaviour=Slow(seconds=slow), endpoint=Endpoint.ISSUE))
    cluster.sandbox.faults.arm(*faults)


def _events(worker: Worker) -> str:
    return "\n".join(f"{line['event']} {line.get('detail', '')}" for line in worker.log_lines)


async def _until_not_ready(worker: Worker) -> list[str]:
    async with asyncio.timeout(120):
        while (answer := await worker.get("/readyz")).status_code != 503:  # noqa: ASYNC110  # it offers no event
            await asyncio.sleep(0.1)
    reasons: list[str] = answer.json()["reasons"]
    return reasons


async def test_orders_wait_for_a_broker_that_is_away_and_are_issued_once(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """Killed with calls on the wire: alive, not ready, and logged; ready again by itself, each event published once."""
    connection = KafkaConnection(bootstrap_servers=own_kafka.bootstrap_servers)
    async with open_cluster(
        connection, tmp_path, kafka__session_timeout_seconds="2", kafka__transaction_timeout_seconds="3"
    ) as cluster:
        _forgetful(cluster, slow=0.6)
        order_source = OrderSource(seed=23)
        worker = await cluster.start()
        await cluster.feed(order_source.orders(300))
        await worker.until_on_the_wire(5)

        await asyncio.to_thread(own_kafka.kill)
        killed = time.monotonic()
        reasons = await _until_not_ready(worker)
        unready_after = time.monotonic() - killed
        await until(lambda: not worker.on_the_wire, seconds=10)
        begun = cluster.sandbox.order_store.number_count
        await asyncio.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - killed)))
        assert cluster.sandbox.order_store.number_count == begun
        assert (await worker.get("/livez")).status_code == 200
        assert line_mentions(_events(worker), "no broker answers")
        assert not line_mentions(_events(worker), "stage-connected")
        await asyncio.to_thread(own_kafka.start)
        await worker.until_ready()
        await cluster.feed(order_source.orders(20))
        await cluster.all_delivered(seconds=60)

        assert all(
            any(mentions(reason, f"{stage} stage brokers") for stage in ("submit", "confirm", "receive"))
            for reason in reasons
        )
        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert line_mentions(_events(worker), "stage-connected")
        assert "never retrieved" not in _events(worker)
        assert worker.process.returncode is None
        assert await worker.dismiss() == 0
        in_all = cluster.sandbox.order_store.number_count
        assert begun < in_all
        print(f"\nnot ready {unready_after:.1f} s after the broker was killed; {begun} of {in_all} issuances by then")


async def _mirror_the_group(cluster: Cluster) -> None:
    """Commit for the submit group what a mirrored cluster's group had: an early offset, and metadata of that
    cluster.
    """
    group = f"{cluster.settings['kafka.group_prefix']}.submit"
    note = encode(
        CommitMetadata(
            cluster_id="elsewhere", committed=1, reserved_until=1, other_fingerprint_until=0, fingerprint="there"
        )
    )
    consumer = AIOKafkaConsumer(**cluster.kafka.client_options(), group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        places = [TopicPartition(cluster.topic("orders_paid"), number) for number in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.commit({place: OffsetAndMetadata(1, note) for place in places})
    finally:
        await consumer.stop()


async def test_offsets_of_another_cluster_issue_nothing_twice(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Orders that this group had not settled, as it seems: each is queried before anything is sent."""
    async with open_cluster(kafka, tmp_path) as cluster:
        _forgetful(cluster)
        worker = await cluster.start()
        refs = await cluster.feed(OrderSource(seed=29).orders(80))
        await cluster.all_delivered(seconds=60)
        assert cluster.disagreements() == []
        assert await worker.dismiss() == 0
        asked, issued = _calls(cluster, Endpoint.QUERY_ISSUE_RESULT), _calls(cluster, Endpoint.ISSUE)
        once = {ref: Counter(event.id for event in cluster.event_log.of(ref)) for ref in refs}

        await _mirror_the_group(cluster)
        worker = await cluster.start()
        again = [ref for ref in refs if int(ref.rpartition("/")[2]) >= 1]
        twice = {ref: Counter(dict.fromkeys(once[ref], 2)) for ref in again}
        assert await cluster.reader.until(
            lambda: all(Counter(event.id for event in cluster.event_log.of(ref)) == twice[ref] for ref in again),
            seconds=60,
        )
        assert await worker.dismiss() == 0

        assert cluster.sandbox.order_store.repeated() == ()
        assert _calls(cluster, Endpoint.ISSUE) == issued
        assert _calls(cluster, Endpoint.QUERY_ISSUE_RESULT) > asked
        assert "another cluster" in _events(worker)


async def test_events_wait_for_a_topic_that_was_deleted_and_are_published_once(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Orders are sent without it; once it is created again, their events are published, and nothing is issued twice."""
    async with open_cluster(kafka, tmp_path) as cluster:
        _forgetful(cluster)
        order_source, events = OrderSource(seed=31), cluster.topic("issuances")
        worker = await cluster.start()
        await cluster.feed([order_source.order() for _ in range(5)])
        await cluster.all_delivered(seconds=60)

        await remove(kafka, [events])
        await cluster.feed([order_source.order() for _ in range(5)])
        await until(lambda: cluster.sandbox.order_store.number_count == 10, seconds=30)
        await create(kafka, [spec for spec in topic_specs(load(None, cluster.settings)) if spec.name == events])
        types: Counter[str] = Counter()
        async with asyncio.timeout(SLOW_MACHINE * 30):
            while types["issued"] < 5:
                records = await committed_records(kafka, [events])
                types = Counter((dict(each.headers)["ce_type"] or b"").decode().split(".")[-2] for each in records)

        assert types == {"submitted": 5, "issued": 5}
        assert cluster.sandbox.order_store.repeated() == ()
        assert await worker.dismiss() == 0


def _calls(cluster: Cluster, endpoint: Endpoint) -> int:
    return sum(cluster.sandbox.stats.calls[endpoint].values())
