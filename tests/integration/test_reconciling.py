"""Planted differences between the events and ECPay's report, and processes that die while they reconcile."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiokafka import AIOKafkaProducer

from adapter.dev.sandbox.fault_types import Slow
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.order_store import Job, StoredOrder
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.query_issue_result import IssueStatus
from adapter.values import replace
from integration.cluster import RUN, SANDBOX, Cluster, dying, open_cluster, until
from integration.commands import independently_checked, run
from integration.event_log import all_there
from integration.order_source import OrderSource

OF_EACH_KIND = 3
KINDS = ("not-published", "not-reported", "state", "ticket-count")
DONE = ("reconciled", "reconcile-done-elsewhere")
"""What the stage logs when a merchant's day is done."""
EARLIER = timedelta(minutes=1)
"""Old enough to be judged at once."""


async def test_each_planted_difference_is_published_once_and_no_other(kafka: KafkaConnection, tmp_path: Path) -> None:
    """kill -9 between the first event and the commit, kill -9 during a download, and a command that fences another."""
    sandbox = replace(SANDBOX, report_interval_seconds=0)
    async with open_cluster(
        kafka, tmp_path, sandbox=sandbox, reconcile__at="00:00", reports__interval_seconds="1"
    ) as cluster:
        cluster.command = (*RUN, "--only", "submit,confirm")
        issuing = await cluster.start()
        await cluster.feed(OrderSource(seed=12).orders(100))
        await cluster.all_delivered(seconds=60)
        await issuing.dismiss()
        await _plant(cluster)
        topic = cluster.topic("reconciliations")
        dead = await cluster.start(ready=False, command=(*dying(topic), "--only", "reconcile"))
        await until(lambda: dead.process.returncode is not None, seconds=60)
        assert await all_there(kafka, topic) == []

        cluster.sandbox.faults.arm(FaultRule(behaviour=Slow(seconds=120), endpoint=Endpoint.ORDER_DETAIL))
        cluster.command = (*RUN, "--only", "reconcile")
        workers = await asyncio.gather(cluster.start(), cluster.start())
        await until(lambda: any(each.on_the_wire for each in workers), seconds=60)
        victim, other = sorted(workers, key=lambda each: each.on_the_wire, reverse=True)
        on_the_wire = await victim.kill()
        cluster.sandbox.faults.arm(FaultRule(behaviour=Slow(seconds=1), endpoint=Endpoint.ORDER_DETAIL))
        published = await run(other, "reconcile", "--publish")
        await until(lambda: any(line["event"] in DONE for line in other.log_lines), seconds=60)
        printed = await run(other, "reconcile", "--json")
        code = await other.dismiss()

        checked = await independently_checked(cluster, "differences", "issuances", "reconciliations")
        assert (checked.code, checked.err.strip()) == (0, "")
        found = json.loads(checked.out)
        assert {kind: found[kind] for kind in KINDS} == dict.fromkeys(KINDS, OF_EACH_KIND)
        assert (on_the_wire, printed.code, code) == (1, 1, 0), published.err
        (document,) = json.loads(printed.out)
        assert Counter((each["kind"], each["new"]) for each in document["differences"]) == dict.fromkeys(
            ((kind, False) for kind in KINDS), OF_EACH_KIND
        )
        assert document["reported"] == cluster.sandbox.order_store.number_count


async def _plant(cluster: Cluster) -> None:
    """Differences of each kind, at ECTicket and on the topic of issuances."""
    store, now = cluster.sandbox.order_store, datetime.now(UTC)
    issued = [each for each in store._orders if each.status(now) is IssueStatus.ISSUED]
    outside, vanished, contradicts, miscounted = (
        issued[start : start + OF_EACH_KIND] for start in range(0, 4 * OF_EACH_KIND, OF_EACH_KIND)
    )
    for each in outside:
        by_hand = replace(each.request.trade_no, value=f"HAND{each.sequence}")
        _issue(cluster, replace(each, request=replace(each.request, trade_no=by_hand)))
    for each in miscounted:
        _issue(cluster, each)
    for each in contradicts:
        failed = replace(each, job=Job(ends_at=now - EARLIER, failure="planted"))
        store._orders[each.sequence] = store._by_key[each.key] = failed
    events = {event.number: event for event in cluster.event_log.events if event.type == "issued"}
    producer = AIOKafkaProducer(**cluster.kafka.client_options())
    await producer.start()
    try:
        for each in vanished:
            record = events[each.request.trade_no.value].record
            number = f"GONE{each.sequence}"
            value = json.dumps({**json.loads(record.value), "trade_no": number, "recovered": False}).encode()
            key = f"{each.request.merchant_id}/{number}".encode()
            headers = [
                ("ce_time", _text(now - EARLIER)) if name == "ce_time" else (name, text)
                for name, text in record.headers
            ]
            await producer.send_and_wait(cluster.topic("issuances"), value, key, headers=headers)
    finally:
        await producer.stop()


def _issue(cluster: Cluster, order: StoredOrder) -> None:
    """One more issuance at ECTicket, without the adapter."""
    store, then = cluster.sandbox.order_store, datetime.now(UTC) - EARLIER
    store.add(order.request, order.lines, received_at=then, visible_at=then, job=Job(ends_at=then))


def _text(moment: datetime) -> bytes:
    return moment.isoformat(timespec="milliseconds").encode()
