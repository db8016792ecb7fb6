"""The benchmarks themselves work: on a real broker, with the real adapter in a process of its own."""

from __future__ import annotations

import sys

import pytest
from rich.console import Console

from adapter.kafka.connection import KafkaConnection
from adapter.values import replace
from benchmarks import bulkhead, callbacks, fixed, fleet, flood, quick, sinks, sizing, traces_broker
from benchmarks.attacks import MIXTURE
from benchmarks.builds import PRESENT
from benchmarks.compare import Comparison, Paced, Saturated
from benchmarks.ground import ground

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc"),
]


async def test_a_quick_run_submits_each_order_once_and_its_results_agree(kafka: KafkaConnection) -> None:
    """Stub, orders, adapter, reader and result check work together."""
    async with ground(kafka.bootstrap_servers) as here:
        report = await quick.measure(here, 300)

    (row,) = report.rows
    assert (row["orders"], row["Issue calls"], row["submitted events"]) == (300, 300, 300)
    assert all(aim.met for aim in report.aims)


async def test_every_notification_is_answered_and_on_the_topic(kafka: KafkaConnection) -> None:
    """Sender, receiver and result check work together; the speed is not checked."""
    async with ground(kafka.bootstrap_servers) as here:
        report = await callbacks.measure(here, Console(quiet=True), seconds=0.2)

    assert [row[""] for row in report.rows] == ["as fast as answered", "at a pace"]


async def test_genuine_notifications_are_answered_during_attacks(kafka: KafkaConnection) -> None:
    """Attackers, sender, probes and receiver work together; how many are lost on a busy machine is not checked."""
    async with ground(kafka.bootstrap_servers) as here:
        report = await flood.measure(here, Console(quiet=True), seconds=1, attacks=(MIXTURE,))

    (row,) = report.rows
    assert row["hostile/s"]
    assert row["genuine"] == flood.PER_SECOND


async def test_every_order_is_issued_whatever_the_sink_does(kafka: KafkaConnection) -> None:
    """Adapter, sandbox, receivers and result check work together; a sink that is down had failed deliveries."""
    async with ground(kafka.bootstrap_servers) as here:
        report = await sinks.measure(here, Console(quiet=True), orders=30, rounds=1)

    delivered = {row["sink"]: row["delivered"] for row in report.rows}
    failed = {row["sink"]: row["tries that failed"] for row in report.rows}
    assert delivered == {"no sink": 0, "healthy": 60, "down: refuses connections": 0, "down: never answers": 0}
    assert not failed["no sink"]
    assert failed["down: refuses connections"]
    assert failed["down: never answers"]  # a healthy one may be too slow on a busy machine, and is tried again


async def test_what_an_order_costs_is_counted_up_to_issued(kafka: KafkaConnection) -> None:
    """Each order takes one Issue and at least one query, and leaves bytes on the topics."""
    async with ground(kafka.bootstrap_servers) as here:
        cost = await sizing.cost_of(here, sizing.Load(orders=10, orders_per_second=50))

    assert cost.calls_per_order >= 2
    assert cost.bytes_per_order > 1_000
    assert cost.cpu_per_1000 > 0


async def test_two_processes_share_the_orders_of_a_group(kafka: KafkaConnection) -> None:
    """Each has half of the partitions, and each order is issued once; the speed is not checked."""
    async with ground(kafka.bootstrap_servers) as here:
        found = await fleet.together(here, 2, warm_up=200, orders=2000)

    assert len(found.core_shares) == 2
    assert all(share > 0 for share in found.core_shares)


async def test_a_healthy_merchants_orders_are_submitted_beside_a_silent_one(kafka: KafkaConnection) -> None:
    """Stub, orders of two merchants, adapter and its variant fit together; how fast it was is no matter here."""
    async with ground(kafka.bootstrap_servers) as here:
        report = await bulkhead.measure(here, Console(quiet=True), seconds=1)

    rows = {row["healthy merchant"]: row for row in report.rows}
    assert [row["orders"] for row in rows.values()] == [50, 50, 50]
    assert rows["beside a silent one"]["submitted"] == 50


async def test_saturated_and_paced_orders_are_compared_before_and_after_a_change(kafka: KafkaConnection) -> None:
    """Stub, sandbox, readers, counters and result check work together; the figures are not checked."""
    async with ground(kafka.bootstrap_servers) as here:
        comparison = Comparison(here, Console(quiet=True), builds=(replace(PRESENT, name="before"), PRESENT), seconds=1)
        loads = (Saturated(delay_ms=10, in_flight=16), Paced(rate=10.0, most=None, warm_up_seconds=1.0))
        report = await comparison.run(loads, rounds=1)

    saturated, paced = report.rows[:2], report.rows[2:]
    assert [row["adapter"] for row in report.rows] == ["before", "now", "before", "now"]
    assert all(isinstance(row["orders/s"], float) and row["queries"] is None for row in saturated)
    assert all(isinstance(row["iss. p50"], float) and isinstance(row["MiB"], float) for row in paced)
    assert report.aims[0].met


async def test_a_process_that_records_traces_is_compared_with_one_that_does_not(kafka: KafkaConnection) -> None:
    """A run counts only if traces came to the collector; the figures are not checked."""
    async with ground(kafka.bootstrap_servers) as here:
        report = await traces_broker.measure(here, Console(quiet=True), seconds=1, rounds=1, rates=())

    assert [row["adapter"] for row in report.rows] == ["without traces", "1% recorded"]
    assert report.aims[0].met


async def test_a_start_and_an_idle_time_are_measured(kafka: KafkaConnection) -> None:
    """Order, log, reader and result check work together; only the order of the steps is checked.

    What a build does not log is left out.
    """
    silent = replace(PRESENT, name="silent", changes=(("log.level", "warning"),))
    async with ground(kafka.bootstrap_servers) as here:
        report = await fixed.measure(
            here, Console(quiet=True), seconds=0.1, settle_seconds=0, orders=300, builds=(silent, PRESENT)
        )

    without, row = report.rows
    assert 0 < row["built"] < row["running"] < row["submitted"]  # type: ignore[operator]  # all are floats
    assert (without["built"], without["running"]) == (None, None)
    assert isinstance(without["submitted"], float)
    assert len(report.aims) == 4
