"""A real Prometheus beside a running adapter: every rule and panel has data, and real faults reach their alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from integration.cluster import MERCHANT, OTHER_MERCHANT, SANDBOX, Cluster, merchants, open_cluster, until
from integration.ecpay import Ecpay, a_sender
from integration.event_log import SLOW_MACHINE
from integration.order_source import OrderSource, PaidOrder, line

from adapter.dev.sandbox.fault_types import AnswerLostAfter, LockOut
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from adapter.values import replace
from monitoring.dashboard import queries
from monitoring.rule_files import recordings, rules
from monitoring.server import Prometheus, running_prometheus

TARGET = {"namespace": "shop", "pod": "adapter-0"}
PLUGIN = """
from adapter import Ignore, hookimpl

class Counts:
    name = "counts"

    async def deliver(self, event):
        pass

@hookimpl
def notification_sinks():
    return [Counts()]

@hookimpl
def parse_order(record):
    return Ignore("a test") if record.value == b"{}" else None
"""
SETTINGS: Mapping[str, str] = {
    "merchants": merchants(MERCHANT.merchant_id, OTHER_MERCHANT.merchant_id),
    "submit__check_items": "warn",
    "collect__issue_types": "serial_number",
    "collect__interval_seconds": "0.5",
    "reports__interval_seconds": "0.5",
    "reconcile__at": "00:00",
}
WAITING = {
    "EcticketBreakerOpen",
    "EcticketCallsFail",
    "EcticketNotificationsRejected",
    "EcticketManyDoubts",
    "EcticketManyWithoutTickets",
}
"""The alerts whose faults are there: they wait for their time to be over."""


async def test_every_rule_and_panel_has_data_from_a_running_adapter(
    kafka: KafkaConnection, prometheus: str, tmp_path: Path
) -> None:
    """Orders of all ends, a lost answer, a locked-out merchant, forged notifications, reports, a sink and a plugin."""
    plugin = tmp_path / "counts.py"
    plugin.write_text(PLUGIN)
    sandbox = replace(SANDBOX, report_interval_seconds=0)
    async with (
        open_cluster(kafka, tmp_path, sandbox=sandbox, plugins__paths=str(plugin), **SETTINGS) as cluster,
        a_sender(cluster) as ecpay,
        running_prometheus(prometheus, tmp_path, {cluster.workers[0].admin.removeprefix("http://"): TARGET}) as server,
    ):
        await until(lambda: any(line["event"] == "reconciled" for line in cluster.workers[0].log_lines), seconds=30)
        cluster.sandbox.faults.arm(
            FaultRule(behaviour=LockOut(), merchant_id=OTHER_MERCHANT.merchant_id),
            FaultRule(behaviour=AnswerLostAfter(), endpoint=Endpoint.ISSUE, rate=0.2),
        )
        async with asyncio.timeout(SLOW_MACHINE * 40), asyncio.TaskGroup() as tasks:
            work = tasks.create_task(_work(cluster, ecpay))
            await _until_all_have_data(server)
            while await _alerting(server) != WAITING:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.5)
            work.cancel()

        evaluated = await server.rules()
        assert {each["name"] for each in evaluated} == {rule.name for rule in rules()}
        assert {each["health"] for each in evaluated} == {"ok"}


async def _until_all_have_data(server: Prometheus) -> None:
    """Wait for every panel's queries and every recorded series."""
    missing = sorted({*(query.expression for query in queries()), *(rule.name for rule in recordings())})
    while missing:
        missing = await server.without_data(missing)
        await asyncio.sleep(0.5)


async def _alerting(server: Prometheus) -> set[str]:
    return {each["name"] for each in await server.rules() if each.get("state", "inactive") != "inactive"}


async def _work(cluster: Cluster, ecpay: Ecpay) -> None:
    """Orders and notifications of every kind, again and again, so that rates have two scrapes."""
    source = OrderSource(seed=13)
    for number in range(1000):
        await cluster.feed(_orders(source))
        await cluster.put([(b"ignored", b"{}", ())])
        for forged in (False, True):
            await ecpay.notify(f"N{number}", forged=forged)
        await asyncio.sleep(1)


def _orders(source: OrderSource) -> list[PaidOrder]:
    paid_at = datetime.now(UTC).isoformat()
    mine, other = MERCHANT.merchant_id, OTHER_MERCHANT.merchant_id
    serial = [line("SERIAL", 1, name="SPA課程體驗券", unit_price=3200)]
    return [
        *(source.order(merchant_id=mine, paid_at=paid_at) for _ in range(4)),
        source.order(merchant_id=mine, paid_at=paid_at, issue_type="serial_number", lines=serial),
        source.order(merchant_id=mine, lines=[line("UNKNOWN", 1)]),
        source.order(merchant_id=other),
    ]
