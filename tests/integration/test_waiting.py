"""What cannot be settled now: deferred, delayed, given up, refused for one or for all; other orders are not held up."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from adapter.dev.sandbox.fault_types import JobFails, JobNeverFinishes, LockOut, NotAcceptedEnvelope
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from integration.cluster import MERCHANT, OTHER_MERCHANT, Cluster, merchants, open_cluster
from integration.event_log import SLOW_MACHINE
from integration.order_source import OrderSource


def _dead_letter(cluster: Cluster, ref: str) -> dict[str, str]:
    """The `ecticket-*` headers of the one dead letter about an order's issuance."""
    (order_id,) = {str(e.data["order_id"]) for e in cluster.event_log.of(ref)}
    dead_letters = [
        {name: value.decode() for name, value in dead_letter.headers if name.startswith("ecticket-")}
        for dead_letter in cluster.event_log.by_topic[cluster.topic("dead_letters")]
        if order_id.encode() in dead_letter.value
    ]
    (dead_letter,) = dead_letters
    return dead_letter


async def test_each_failure_of_one_order_ends_in_its_own_way_and_delays_no_other(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """A job that never finishes, one that fails, an envelope that is refused for one order alone; others go on."""
    order_source = OrderSource(seed=13)
    async with open_cluster(
        kafka,
        tmp_path,
        submit__attempts="3",
        confirm__delayed_after_seconds="3",
        confirm__delayed_interval_seconds="1",
        confirm__give_up_after_hours=str(8 / 3600),
    ) as cluster:
        cluster.sandbox.faults.arm(
            FaultRule(behaviour=JobNeverFinishes(), trade_no="NEVER1"),
            FaultRule(behaviour=JobFails(remark="sold out"), trade_no="FAILS1"),
            FaultRule(behaviour=NotAcceptedEnvelope(), trade_no="ALONE1", endpoint=Endpoint.ISSUE),
        )
        worker = await cluster.start()
        troubled = [order_source.order(trade_no=number) for number in ("NEVER1", "FAILS1", "ALONE1")]
        never, fails, alone = await cluster.feed(troubled, partition=0)
        began = time.monotonic()
        others = await cluster.feed(order_source.orders(40), partition=0)
        assert await cluster.reader.until(lambda: all(cluster.event_log.ended(ref) for ref in others), seconds=30)
        others_after = time.monotonic() - began
        await cluster.all_delivered(seconds=60)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.event_log.types(never) == {"submitted": 1, "delayed": 1, "parked": 1}
        assert cluster.event_log.types(fails) == {"submitted": 1, "failed": 1}
        assert cluster.event_log.types(alone) == {"parked": 1}
        (failed,) = (e for e in cluster.event_log.of(fails) if e.type == "failed")
        assert (failed.data["stage"], failed.data["remark"], failed.data["rtn_code"]) == ("confirm", "sold out", None)
        refused = _dead_letter(cluster, alone)
        assert (refused["ecticket-stage"], refused["ecticket-reason"]) == ("submit", "refused-envelope")
        assert "ecticket-plan" in refused
        assert "ecticket-possibly-sent-at" not in refused
        gave_up = _dead_letter(cluster, never)
        assert (gave_up["ecticket-stage"], gave_up["ecticket-reason"]) == ("confirm", "unresolved")
        assert "ecticket-possibly-sent-at" in gave_up
        assert await worker.dismiss() == 0
        print(f"\nthe 40 orders behind the troubled ones ended after {others_after:.1f} s")


async def _time_of_the_second(
    cluster: Cluster, order_source: OrderSource, merchant_ids: tuple[str, str]
) -> tuple[float, list[str]]:
    """Seconds until 40 orders of the second merchant have ended, every other one in a partition; and all orders."""
    began = time.monotonic()
    mixed = [order_source.order(merchant_id=merchant_ids[number % 2]) for number in range(80)]
    refs = await cluster.feed(mixed, partition=0)
    assert await cluster.reader.until(lambda: all(cluster.event_log.ended(ref) for ref in refs[1::2]), seconds=10)
    return time.monotonic() - began, refs


async def test_a_lock_out_of_one_merchant_and_a_refusal_of_all_end_by_themselves(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """403 for one merchant does not slow another in the same partition; TransCode ≠ 1 for all opens the breaker."""
    locked, free = MERCHANT.merchant_id, OTHER_MERCHANT.merchant_id
    order_source = OrderSource(seed=17)
    async with open_cluster(kafka, tmp_path, merchants=merchants(locked, free)) as cluster:
        worker = await cluster.start()
        await _time_of_the_second(cluster, order_source, (locked, free))  # the first orders warm everything up
        undisturbed, _ = await _time_of_the_second(cluster, order_source, (locked, free))
        lock = FaultRule(behaviour=LockOut(seconds=20, retry_after=True), merchant_id=locked, count=1)
        cluster.sandbox.faults.arm(lock)
        began = time.monotonic()
        beside_a_lock_out, refs = await _time_of_the_second(cluster, order_source, (locked, free))
        assert not any(cluster.event_log.of(ref) for ref in refs[::2])
        await cluster.all_delivered(seconds=40)
        locked_after = time.monotonic() - began

        calls = cluster.sandbox.stats.calls[Endpoint.ISSUE]["not_accepted"]
        cluster.sandbox.faults.arm(FaultRule(behaviour=NotAcceptedEnvelope()))
        refused = await cluster.feed([order_source.order(merchant_id=locked) for _ in range(60)])
        is_open = f'ecticket_breaker_open{{merchant_id="{locked}"}} 1.0'
        async with asyncio.timeout(3 * SLOW_MACHINE):
            while is_open not in (await worker.get("/metrics")).text:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        assert (await worker.get("/readyz")).status_code == 200
        calls = cluster.sandbox.stats.calls[Endpoint.ISSUE]["not_accepted"] - calls
        cluster.sandbox.faults.clear()
        began = time.monotonic()
        await cluster.all_delivered(seconds=60)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert all(cluster.event_log.types(ref) == {"submitted": 1, "issued": 1} for ref in refs + refused)
        assert await worker.dismiss() == 0
        print(
            f"\n403: the other merchant's orders ended after {beside_a_lock_out:.2f} s, and after {undisturbed:.2f} s "
            f"without a lock-out beside them (ratio {beside_a_lock_out / undisturbed:.2f}); the locked-out one's after "
            f"{locked_after:.1f} s; TransCode: {calls} Issue calls until the breaker was open, all issued "
            f"{time.monotonic() - began:.1f} s after it was over"
        )


async def test_an_order_that_could_never_be_sent_is_given_up_and_not_called_failed(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """ECTicket's port is closed: deferred, and finally on the dead letters as never sent."""
    async with open_cluster(kafka, tmp_path, submit__give_up_after_hours=str(5 / 3600)) as cluster:
        await cluster.start(provider__base_url="http://127.0.0.1:9")
        refs = await cluster.feed(OrderSource(seed=19).orders(10))
        await cluster.all_delivered(seconds=40)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert all(cluster.event_log.types(ref) == {"parked": 1} for ref in refs)
        dead_letters = [_dead_letter(cluster, ref) for ref in refs]
        assert {dead_letter["ecticket-reason"] for dead_letter in dead_letters} == {"gave-up"}
        assert not any("ecticket-possibly-sent-at" in dead_letter for dead_letter in dead_letters)
        assert cluster.sandbox.order_store.number_count == 0
