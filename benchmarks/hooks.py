"""What plugins cost: orders parsed and prepared without a merchant's plugin, with one, and with one that parses too.

No broker and no ECTicket: only the path through the hooks, from a record to the parts of its order, with as many orders
at once as the adapter has in flight. The thread that plans shows whether an order left the loop. The rounds of all
kinds take turns, so that a busy machine slows each of them alike; the median of the ratios of CPU time counts.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from adapter import IssueType, Line, Order, OrderRecord, TicketItem, hookimpl
from adapter.extensions.builtin import built_in_sources
from adapter.extensions.hook_runner import HookRunner
from adapter.extensions.manager import PluginManager, PluginSelection
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.issuance.plan import DeriveTradeNo, Part, PlanPolicy, plan
from benchmarks.orders import order
from benchmarks.reporting import Aim, Report
from benchmarks.sealing import MERCHANT

ORDERS = 5_000
ROUNDS = 7
IN_FLIGHT = 256
_POLICY = PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="bench")
_NOW = datetime.now(UTC)


class Maps:
    """The smallest plugin: it is called for every line and maps none."""

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem] | None:
        if line.sku != "FAMILY-DAY":
            return None
        return [TicketItem(item_no="VQT04959", quantity=4 * line.quantity, issue_type=IssueType.ELECTRONIC)]


class ParsesToo(Maps):
    """The same, called for every record as well, in a thread of its own."""

    @hookimpl
    def parse_order(self, record: OrderRecord) -> Order | None:
        return None


KINDS = {"none": None, "one: map_item": Maps, "one: parse_order, map_item": ParsesToo}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: seconds per order on the clock and of the processor, and how many orders were planned in a thread."""

    wall: float
    cpu: float
    off_the_loop: int


async def measure(orders: int = ORDERS, rounds: int = ROUNDS) -> Report:
    """Measure all kinds in turns."""
    records = [_record(number) for number in range(orders)]
    measured: dict[str, list[Round]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            measured[kind].append(await _round(kind, records))
    base = measured["none"]
    left = sum(each.off_the_loop for each in base)
    return Report(
        title=f"The path through the hooks, {orders:,} orders a round, {IN_FLIGHT} at once, {rounds} rounds in turns",
        rows=[_row(kind, found, base) for kind, found in measured.items()],
        aims=[
            Aim(
                what="without plugins no order leaves the loop",
                measured=f"{left} of {orders * rounds:,} did",
                met=left == 0,
            )
        ],
    )


def _row(kind: str, found: Sequence[Round], base: Sequence[Round]) -> dict[str, str | float]:
    return {
        "plugins": kind,
        "clock µs an order": 1e6 * statistics.median(each.wall for each in found),
        "CPU µs an order": 1e6 * statistics.median(each.cpu for each in found),
        "CPU, times without": statistics.median(each.cpu / other.cpu for each, other in zip(found, base, strict=True)),
        "in a thread": sum(each.off_the_loop for each in found),
    }


async def _round(kind: str, records: Sequence[OrderRecord]) -> Round:
    hook_runner = _hook_runner(kind)
    loop_thread, threads = threading.get_ident(), []

    def planned(order: Order, items: tuple[TicketItem, ...]) -> tuple[Part, ...]:
        threads.append(threading.get_ident())
        return plan(order, items, _POLICY)

    left = iter(records)

    async def work() -> None:
        for record in left:
            await hook_runner.prepare(cast("Order", await hook_runner.parse(record)), planned)
            await asyncio.sleep(0)  # as a handler goes on to its call: the next order has its turn

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await hook_runner.aclose()
    away = sum(thread != loop_thread for thread in threads)
    return Round(wall=wall / len(records), cpu=cpu / len(records), off_the_loop=away)


def _hook_runner(kind: str) -> HookRunner:
    plugin = KINDS[kind]
    objects = {} if plugin is None else {"bench": plugin()}
    plugins = PluginManager(PluginSelection(objects=objects), built_in=built_in_sources())
    plugins.raise_if_rejected()

    def parse_default(record: OrderRecord) -> Order:
        return parse_order_paid(record.value, record.headers, MERCHANT.merchant_id)

    return HookRunner(plugins, parse_default=parse_default, budget_seconds=60)


def _record(number: int) -> OrderRecord:
    return OrderRecord(topic="orders.paid", key=None, value=order(number), timestamp=_NOW)
