"""Plugins at their worst, all at once, in one adapter: every order is accounted for, and a fixed plugin issues it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from adapter.kafka.connection import KafkaConnection
from integration.cluster import Cluster, Worker, open_cluster
from integration.commands import run
from integration.order_source import PICKUP, OrderSource, PaidOrder, line

AT_START = {
    "misspelt": "from adapter import hookimpl\n@hookimpl\ndef map_itme(order, line):\n    return None\n",
    "wants_more": "from adapter import hookimpl\n@hookimpl\ndef map_item(order, line, price):\n    return None\n",
    "asynchronous": "from adapter import hookimpl\n@hookimpl\nasync def map_item(order, line):\n    return None\n",
    "needs_a_package": "import no_such_package_of_ours\n",
    "breaks": "1 / 0\n",
    "needs_settings": """
from pydantic import BaseModel
from adapter import hookimpl

class settings_model(BaseModel):
    days: int

@hookimpl
def configure(settings):
    return None
""",
}
"""Plugins that must not start, by name."""
LOGGED = {
    "misspelt": "map_item",
    "wants_more": "price",
    "asynchronous": "coroutine",
    "needs_a_package": "no_such_package_of_ours",
    "breaks": "ZeroDivisionError",
    "needs_settings": "days",
}
"""What the message about each must name."""

_HOOK = """
import copy, time
from adapter import IssueType, TicketItem, hookimpl

@hookimpl
def map_item(order, line):
    if line.sku != "{sku}":
        return None
    {does}
"""
HOSTILE = {
    "raises": 'raise RuntimeError(f"call {order.customer.phone}")',
    "exits": "raise SystemExit(3)",
    "blocks": "time.sleep(3600)",
    "wrong_type": 'return "two tickets"',
    "wrong_item": "return [line]",
    "coroutine": "async def later():\n        return []\n    return later()",
    "mutates": "line.quantity = 1000",
    "shames": 'order.reference["cart"] = "mine"\n    raise LookupError(order.customer.name)',
}
"""What each plugin does to a line of its own sku, which is its name in capitals."""
OBSERVERS = """
from adapter import hookimpl

class Sink:
    name = "broken"

    async def deliver(self, event):
        raise RuntimeError(str(event.data))

@hookimpl
def order_settled(outcome):
    outcome.reference["cart"] = "mine"
    raise RuntimeError(str(outcome))

@hookimpl
def notification_sinks():
    return [Sink()]
"""
FIXED = """
from adapter import IssueType, TicketItem, hookimpl

@hookimpl
def map_item(order, line):
    if line.sku not in {skus}:
        return None
    return [TicketItem(item_no="VQT04959", quantity=line.quantity, issue_type=IssueType.ELECTRONIC)]
"""
EACH = 2
"""Orders for each hostile plugin: fewer threads stay stuck than end the adapter's life."""


async def test_plugins_that_must_not_start_stop_the_start_with_a_sentence_each(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """All of them are named at once, with what is wrong; one file named twice is too; the orders wait meanwhile."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for name, code in AT_START.items():
        (plugins / f"{name}.py").write_text(code, encoding="utf-8")
    (tmp_path / "breaks.py").write_text("", encoding="utf-8")
    paths = json.dumps([str(plugins), str(tmp_path / "breaks.py")])
    async with open_cluster(kafka, tmp_path, plugins__paths=paths) as cluster:
        refs = await cluster.feed(OrderSource(seed=61).orders(5))
        worker = await cluster.start(ready=False)

        assert await worker.process.wait() == 1
        log_lines = worker.log.read_text(encoding="utf-8").splitlines()
        for name, word in LOGGED.items():
            assert any(f"'{name}'" in sentence and word in sentence for sentence in log_lines), (name, log_lines)
        assert any("'breaks'" in sentence and "twice" in sentence for sentence in log_lines), log_lines

        await cluster.start(plugins__load="none")
        await cluster.all_delivered(seconds=60)
        assert cluster.disagreements() == []
        assert all(cluster.event_log.types(ref)["issued"] for ref in refs)


async def test_every_order_is_accounted_for_among_hostile_plugins_and_a_fix_brings_them_back(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """A failed order is on the dead letters, with plugin and hook; others are issued; replayed, all are."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for name, does in HOSTILE.items():
        (plugins / f"{name}.py").write_text(_HOOK.format(sku=name.upper(), does=does), encoding="utf-8")
    (plugins / "observers.py").write_text(OBSERVERS, encoding="utf-8")
    order_source = OrderSource(seed=63)
    good = order_source.orders(40)
    hostile = {name: [_order(order_source, name) for _ in range(EACH)] for name in HOSTILE}
    async with open_cluster(kafka, tmp_path, plugins__paths=str(plugins), plugins__budget_ms="1000") as cluster:
        worker = await cluster.start()
        fed: dict[str, list[str]] = {}
        for number, (name, orders) in enumerate(hostile.items()):
            fed[name] = await cluster.feed(orders)
            fed.setdefault("", []).extend(await cluster.feed(good[number * 5 : number * 5 + 5]))
        await cluster.all_delivered(seconds=90)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        for name in HOSTILE:
            parked = [event for ref in fed[name] for event in cluster.event_log.of(ref)]
            assert [(event.type, event.data["reason"], event.data["plugin"]) for event in parked] == [
                ("parked", "plugin-error", name)
            ] * EACH
            assert all("map_item" in str(event.data["message"]) for event in parked)
        assert all(
            cluster.event_log.types(ref)["issued"] and not cluster.event_log.types(ref)["parked"] for ref in fed[""]
        )
        assert all(
            event.data["reference"] != {"cart": "mine"}
            for event in cluster.event_log.events
            if "reference" in event.data
        )
        assert (await worker.get("/livez")).status_code == 200
        assert _failures(worker, (await worker.get("/metrics")).text) >= {*HOSTILE, "observers"}
        assert await worker.dismiss() == 0

        for file in plugins.iterdir():
            if file.suffix == ".py":
                file.unlink()
        skus = sorted(name.upper() for name in HOSTILE)
        (plugins / "fixed.py").write_text(FIXED.format(skus=skus), encoding="utf-8")
        await cluster.restart(worker)
        await worker.until_ready()
        replayed = await run(worker, "dead-letters", "replay", "--reason", "plugin-error", "--json")
        assert replayed.code == 0, replayed.err
        broken = [ref for name in HOSTILE for ref in fed[name]]
        assert await cluster.reader.until(
            lambda: all(cluster.event_log.types(ref)["issued"] for ref in broken), seconds=60
        )
        await cluster.reader.quiet(1.0)

        assert len(replayed.lines) == len(broken)
        assert cluster.disagreements() == []
        assert all(cluster.event_log.types(ref) == {"parked": 1, "submitted": 1, "issued": 1} for ref in broken)
        assert _issued(cluster) == Counter(
            event.number for event in cluster.event_log.events if event.type == "submitted"
        ), "ECTicket has what was published, and once"
        assert await worker.dismiss() == 0


def _order(order_source: OrderSource, plugin: str) -> PaidOrder:
    """Two lines, of which the second one is the plugin's."""
    return order_source.order(issue_type="electronic", lines=[line(PICKUP[0]), line(plugin.upper())])


def _failures(worker: Worker, metrics: str) -> set[str]:
    """The plugins of which a hook has failed, as the metrics say."""
    lines = (each for each in metrics.splitlines() if each.startswith("ecticket_hook_failures_total"))
    return {each.split('plugin="')[1].split('"')[0] for each in lines if not each.endswith(" 0.0")}


def _issued(cluster: Cluster) -> Counter[str | None]:
    return Counter(
        {
            trade_no.value: len(cluster.sandbox.order_store.issuances((merchant_id, trade_no)))
            for merchant_id, trade_no in cluster.sandbox.order_store.numbers()
        }
    )
