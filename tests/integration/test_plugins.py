"""A merchant's own code in a running adapter; when it fails, one order is affected."""

from __future__ import annotations

import json
from pathlib import Path

from adapter.dev.sandbox.fault_types import ServerError, Slow
from adapter.dev.sandbox.faults import FaultRule
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.issue import TradeNo, TradeNoKind
from integration.cluster import MERCHANT, open_cluster, until
from integration.order_source import PICKUP, OrderSource, line

PLUGIN = """
import json, time
from adapter import Customer, Ignore, IssueType, Line, Order, Skip, TicketItem, hookimpl

@hookimpl
def parse_order(record):
    if ("event", b"shop.order") not in record.headers:
        return None
    if record.value is None:
        return Ignore("tombstone")
    paid = json.loads(record.value)
    lines = tuple(Line(sku=sku, quantity=quantity) for sku, quantity in paid["cart"].items())
    customer = Customer(name=paid["buyer"], phone=paid["mobile"], email=paid["mail"])
    return Order(order_id=paid["no"], merchant_id="3085676", lines=lines, customer=customer)

@hookimpl
def accept_order(order):
    return Skip("a test order") if order.operator == "tester" else None

@hookimpl
def map_item(order, line):
    if line.sku == "BROKEN":
        raise RuntimeError(f"what did {order.customer.name} buy? call {order.customer.phone}")
    if line.sku == "ENDLESS":
        time.sleep(30)
    if line.sku != "FAMILY-DAY":
        return None
    return [
        TicketItem(item_no="VQT04959", quantity=2 * line.quantity, issue_type=IssueType.ELECTRONIC),
        TicketItem(item_no="VNS21400", quantity=3 * line.quantity, issue_type=IssueType.ELECTRONIC),
    ]
"""
FIRST_MAPPING = """
from adapter import IssueType, TicketItem, hookimpl

@hookimpl
def map_item(order, line):
    if line.sku != "BUNDLE":
        return None
    return [
        TicketItem(item_no="VQT04959", quantity=1, issue_type=IssueType.ELECTRONIC),
        TicketItem(name="SPA課程體驗券", price=3200, quantity=1, issue_type=IssueType.SERIAL_NUMBER),
    ]
"""
SECOND_MAPPING = FIRST_MAPPING.replace("price=3200", "price=2800")


async def test_hooks_parse_skip_and_map_and_a_broken_one_parks_its_order_only(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Orders in the shop's own format become tickets; customer data in a plugin's error is not repeated."""
    plugin = tmp_path / "our_shop.py"
    plugin.write_text(PLUGIN)
    order_source = OrderSource(seed=23)
    async with open_cluster(kafka, tmp_path, plugins__paths=str(plugin), plugins__budget_ms="1000") as cluster:
        worker = await cluster.start()
        own = {
            "no": "OWN-1",
            "cart": {"FAMILY-DAY": 2},
            "buyer": "Ann Lee",
            "mobile": "0912345678",
            "mail": "a@example.com",
        }
        headers = [("event", b"shop.order")]
        (parsed,) = await cluster.put([(b"OWN-1", json.dumps(own).encode(), headers)], parts=[1], partition=0)
        skipped, broken, endless, *good = await cluster.feed(
            [
                order_source.order(operator="tester"),
                order_source.order(issue_type="electronic", lines=[line("BROKEN")]),
                order_source.order(issue_type="electronic", lines=[line("ENDLESS")]),
                order_source.order(issue_type="electronic", lines=[line("FAMILY-DAY")]),
                *order_source.orders(10),
            ],
            partition=0,
        )
        (ignored,) = await cluster.put([(b"OWN-1", None, headers)], partition=0)
        del cluster.refs[ignored]  # it has no end to wait for
        (behind,) = await cluster.feed(order_source.orders(1), partition=0)
        await cluster.all_delivered(seconds=40)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.event_log.of(ignored) == []
        assert cluster.event_log.types(behind)["parked"] == 0
        assert cluster.event_log.types(parsed) == {"submitted": 1, "issued": 1}
        (issued,) = (event for event in cluster.event_log.of(parsed) if event.type == "issued")
        assert (issued.data["order_id"], issued.data["ticket_count"]) == ("OWN-1", 10)
        (skip,) = cluster.event_log.of(skipped)
        assert (skip.type, skip.data["reason"], skip.data["plugin"]) == ("skipped", "a test order", "our_shop")
        for ref in (broken, endless):
            (parked,) = cluster.event_log.of(ref)
            assert (parked.type, parked.data["reason"], parked.data["plugin"]) == ("parked", "plugin-error", "our_shop")
        dead_letters = [
            dict(dead_letter.headers) for dead_letter in cluster.event_log.by_topic[cluster.topic("dead_letters")]
        ]
        assert [dead_letter["ecticket-plugin"] for dead_letter in dead_letters] == [b"our_shop", b"our_shop"]
        assert all(cluster.event_log.types(ref)["parked"] == 0 for ref in good)
        assert await worker.dismiss() == 0


async def test_a_mapping_that_changed_after_a_crash_parks_what_it_can_no_longer_know(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """One part is at ECTicket under the old mapping: it is published; the other is parked, and not bought again."""
    plugin = tmp_path / "mapping.py"
    plugin.write_text(FIRST_MAPPING)
    order_source = OrderSource(seed=29)
    order = order_source.order(issue_type="electronic", lines=[line("BUNDLE")], parts=2)
    numbers = [derive_trade_no(MERCHANT.merchant_id, order.order_id, part) for part in (1, 2)]
    async with open_cluster(kafka, tmp_path, plugins__paths=str(plugin)) as cluster:
        slow = FaultRule(behaviour=Slow(seconds=1), endpoint=Endpoint.ISSUE)
        fails = FaultRule(behaviour=ServerError(status=500), endpoint=Endpoint.ISSUE, trade_no=numbers[1])
        cluster.sandbox.faults.arm(slow, fails)
        worker = await cluster.start()
        (ref,) = await cluster.feed([order])
        await until(lambda: cluster.sandbox.faults.fired["server_error"] > 0, seconds=20)
        assert await worker.kill() == 1
        cluster.sandbox.faults.clear()

        plugin.write_text(SECOND_MAPPING)
        await cluster.restart(worker)
        (behind,) = await cluster.feed([order_source.order(issue_type="electronic", lines=[line(PICKUP[0])])])
        await cluster.all_delivered(seconds=60)
        assert await cluster.reader.until(lambda: cluster.event_log.types(ref)["issued"] == 1, seconds=10)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.event_log.types(ref) == {"submitted": 1, "issued": 1, "parked": 1}
        assert cluster.event_log.types(behind) == {"submitted": 1, "issued": 1}
        types = {event.type: event for event in cluster.event_log.of(ref)}
        assert (types["issued"].number, types["issued"].data["recovered"]) == (numbers[0], True)
        assert types["parked"].data["reason"] == "unresolved"
        assert numbers[1] in str(types["parked"].data["message"])
        assert types["parked"].data["parts_done"] == 1
        assert not cluster.sandbox.order_store.knows(
            (MERCHANT.merchant_id, TradeNo(kind=TradeNoKind.MERCHANT, value=numbers[1]))
        )
