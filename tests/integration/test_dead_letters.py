"""Dead letters on a real broker: corrected, replayed, resolved, reissued; nothing is bought twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

from key_words import mentions

from adapter.dev.sandbox.fault_types import AnswerLostBefore, JobFails, JobNeverFinishes
from adapter.dev.sandbox.faults import FaultRule
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from integration.cluster import MERCHANT, Cluster, Worker, open_cluster
from integration.commands import begin, run
from integration.event_log import SLOW_MACHINE
from integration.order_source import OrderSource, PaidOrder, line

FIXED = """
from adapter import IssueType, TicketItem, hookimpl

@hookimpl
def map_item(order, line):
    return [TicketItem(item_no="VQT04959", quantity=line.quantity, issue_type=IssueType.ELECTRONIC)]
"""


async def _until_published(cluster: Cluster, refs: list[str], types: dict[str, int], *, seconds: float = 60) -> None:
    """Wait until this was published about each of these orders, and then until no more comes."""
    result = await cluster.reader.until(
        lambda: all(cluster.event_log.types(ref) >= Counter(types) for ref in refs), seconds=seconds
    )
    assert result, {ref: cluster.event_log.types(ref) for ref in refs}
    await cluster.reader.quiet(2.0)


def _number(order: PaidOrder, reissue: int = 0) -> str:
    return derive_trade_no(MERCHANT.merchant_id, order.order_id, 1, reissue=reissue)


async def _killed_in_the_middle(worker: Worker, after: int) -> int:
    """Replay slowly, and kill -9 after so many dead letters; returns the number of printed lines."""
    process = await begin(worker, "dead-letters", "replay", "--reason", "unmapped-item", "--per-second", "4", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(after):
        assert await asyncio.wait_for(process.stdout.readline(), 30 * SLOW_MACHINE), await process.stderr.read()
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    return after + rest.count(b"\n")


async def test_orders_parked_by_a_broken_mapping_are_issued_once_after_a_fix_and_a_replay(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """One was issued by hand meanwhile; the replay is killed -9 in the middle and run again: each dead letter once."""
    order_source = OrderSource(seed=31)
    orders = [order_source.order(issue_type="electronic", lines=[line("tea for two", 2)]) for _ in range(12)]
    plugin = tmp_path / "fixed.py"
    plugin.write_text(FIXED, encoding="utf-8")
    async with open_cluster(kafka, tmp_path) as cluster:
        broken = await cluster.start()
        refs = await cluster.feed(orders)
        await _until_published(cluster, refs, {"parked": 1})
        assert await broken.dismiss() == 0
        fixed = await cluster.start(plugins__paths=json.dumps([str(plugin)]))
        assert await fixed.dismiss() == 0
        by_hand = tmp_path / "order.json"
        by_hand.write_bytes(orders[3].value)
        issued = await run(fixed, "issue", str(by_hand))
        assert issued.code == 0, issued.err

        printed = await _killed_in_the_middle(fixed, after=4)
        rest = await run(fixed, "dead-letters", "replay", "--reason", "unmapped-item", "--json")
        third = await run(fixed, "dead-letters", "replay", "--all")
        await cluster.reader.until(lambda: len(_replayed(cluster)) >= len(orders), seconds=20)
        await cluster.reader.quiet(1.0)
        assert (rest.code, third.code, third.out) == (0, 0, "")
        assert sorted(_replayed(cluster)) == sorted(order.order_id.encode() for order in orders)
        assert 1 <= len(rest.lines) <= len(orders) - 4
        assert len(orders) - printed - len(rest.lines) in (0, 1), (
            "a dead letter was replayed whose line was lost by the kill"
        )

        await cluster.restart(fixed)
        await _until_published(cluster, refs, {"parked": 1, "submitted": 1, "issued": 1})

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert all(cluster.event_log.types(ref) == {"parked": 1, "submitted": 1, "issued": 1} for ref in refs)
        assert cluster.sandbox.order_store.number_count == len(orders)
        recovered = [ref for ref in refs for event in cluster.event_log.of(ref) if event.data.get("recovered") is True]
        assert Counter(recovered) == {refs[3]: 2}
        assert {event.number for event in cluster.event_log.of(refs[3])} - {None} == {_number(orders[3])}
        listed = json.loads((await run(fixed, "dead-letters", "list", "--json")).out)
        assert (listed["dead_letters"], listed["by_reason"]) == ([], {})
        print(
            f"\n{printed} dead letters were printed before the kill, {len(rest.lines)} after it, {len(orders)} in all"
        )


def _replayed(cluster: Cluster) -> list[bytes]:
    """The keys of the orders on the deferred topic, before they are resumed."""
    return [record.key for record in cluster.event_log.by_topic[cluster.topic("orders_deferred")]]


async def test_what_failed_is_reissued_once_however_often_that_is_asked_for(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Twice at the same moment, once more while it is under way, and once more when it was issued."""
    order_source = OrderSource(seed=32)
    order = order_source.order(trade_no="FAILS1")
    async with open_cluster(kafka, tmp_path) as cluster:
        cluster.sandbox.faults.arm(FaultRule(behaviour=JobFails(remark="sold out"), trade_no="FAILS1"))
        worker = await cluster.start()
        (ref,) = await cluster.feed([order])
        await _until_published(cluster, [ref], {"submitted": 1, "failed": 1})

        dry = await run(worker, "reissue", "FAILS1", "--dry-run", "--json")
        pair = await asyncio.gather(run(worker, "reissue", "FAILS1"), run(worker, "reissue", order.order_id))
        third = await run(worker, "reissue", order.order_id)
        await _until_published(cluster, [ref], {"submitted": 2, "failed": 1, "issued": 1})
        after = await run(worker, "reissue", order.order_id)

        assert [each["trade_no"] for each in dry.lines] == [_number(order, 1)]
        assert sorted(each.code for each in pair) == [0, 1], [(each.out, each.err) for each in pair]
        assert (third.code, after.code) == (1, 1)
        assert _number(order, 1) in third.err, "under way, or issued by then on a slow machine"
        assert f"was issued under {_number(order, 1)}" in after.err
        assert cluster.event_log.types(ref) == {"submitted": 2, "failed": 1, "issued": 1}
        assert [event.number for event in cluster.event_log.of(ref)][2:] == [_number(order, 1)] * 2
        assert cluster._against_the_sandbox() == []
        assert cluster.sandbox.order_store.number_count == 2
        assert list(cluster.event_log._wrong_events()) == []


async def test_an_unresolved_order_is_resolved_by_a_person(kafka: KafkaConnection, tmp_path: Path) -> None:
    """As issued against ECTicket's answer, as failed with it; what failed so is reissued. A second time says so."""
    order_source = OrderSource(seed=33)
    hours = str(8 / 3600)
    async with open_cluster(
        kafka,
        tmp_path,
        submit__give_up_after_hours=hours,
        confirm__give_up_after_hours=hours,
        confirm__delayed_after_seconds="3",
        confirm__delayed_interval_seconds="1",
    ) as cluster:
        cluster.sandbox.faults.arm(
            FaultRule(behaviour=JobNeverFinishes(), trade_no="NEVER1"),
            FaultRule(behaviour=AnswerLostBefore(), trade_no="LOST1", endpoint=Endpoint.ISSUE),
        )
        worker = await cluster.start()
        never, lost = await cluster.feed([order_source.order(trade_no=number) for number in ("NEVER1", "LOST1")])
        await _until_published(cluster, [never, lost], {"parked": 1})

        seen = ("resolve", "NEVER1", "--as", "issued", "--why", "seen in the console")
        refused = await run(worker, *seen)
        forced = await run(worker, *seen, "--against-ecticket", "--json")
        again = await run(worker, *seen)
        await _until_resolved(worker, "LOST1")
        await _until_published(cluster, [never], {"issued": 1})
        await _until_published(cluster, [lost], {"failed": 1})

        assert (refused.code, forced.code, again.code) == (1, 0, 1)
        assert "in progress" in refused.err
        assert forced.lines[0]["published"] == ["issued"]
        assert mentions(again.err, "No open dead letter")
        assert cluster.event_log.types(never) == {"submitted": 1, "delayed": 1, "parked": 1, "issued": 1}
        assert cluster.event_log.types(lost) == {"parked": 1, "failed": 1}
        (failed,) = (event for event in cluster.event_log.of(lost) if event.type == "failed")
        assert (failed.data["stage"], failed.data["remark"]) == ("submit", "ECPay: never arrived")

        cluster.sandbox.faults.clear()
        reissued = await run(worker, "reissue", "LOST1", "--json")
        await _until_published(cluster, [lost], {"submitted": 1, "issued": 1})
        assert reissued.code == 0, reissued.err
        assert list(cluster.event_log._wrong_events()) == []
        assert cluster._against_the_sandbox() == []
        assert cluster.sandbox.order_store.number_count == 2
        assert reissued.lines[0]["trade_no"] in {event.number for event in cluster.event_log.of(lost)}


async def _until_resolved(worker: Worker, trade_no: str) -> None:
    """What was sent a moment ago may still take effect: until then the command refuses."""
    async with asyncio.timeout(30 * SLOW_MACHINE):
        while True:
            result = await run(worker, "resolve", trade_no, "--as", "failed", "--why", "ECPay: never arrived")
            if result.code == 0:
                return
            assert "still come" in result.err, result.err
