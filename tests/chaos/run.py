"""Runs one plan on a real broker, and checks the results at the end.

The one way of running the suite, for a bounded run in the tests, for the long one by hand, and for the runs in which a
protection is switched off.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from integration.cluster import RUN, Cluster, open_cluster, until
from integration.event_log import Event
from integration.order_source import OrderSource, PaidOrder, line

from adapter import Line, TicketItem
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.kafka.connection import KafkaConnection
from chaos.fault_schedule import PLUGIN, FaultSchedule, running
from chaos.result_check import Disagreements, check_results
from chaos.scenario import Plan

FAMILY_DAY = "FAMILY-DAY"
"""The sku that the merchant's plugin maps, in a scenario with mappings."""
PATIENCE_SECONDS = 60.0
"""The run is over if no event comes for this long (times the factor of a slow machine)."""
LATER = 100
"""So many orders after its first record an order comes again, where it does."""
FAMILY_DAYS = 2
"""How many of it an order has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """The orders of a plan as they arrive.

    `paced` come at the scenario's pace, second records of plain orders among them. `again` are second records of what
    the plugin maps: each comes when its first record has ended as tickets, since two records that are open at once
    under two mappings are not covered by the promises ("What remains" in docs/delivery.md).
    """

    paced: tuple[PaidOrder, ...]
    again: tuple[PaidOrder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosRun:
    """The result of a run: counts and disagreements."""

    plan: Plan
    records: int
    issuances: int
    recovered: int
    parked: int
    hit: tuple[str, ...]
    faults: Mapping[str, int]
    seconds: float
    disagreements: Disagreements
    wrong: tuple[str, ...]
    """Every error, exit codes included."""


async def run_plan(
    plan: Plan,
    kafka: KafkaConnection,
    folder: Path,
    *,
    broker: LocalKafka | None = None,
    command: Sequence[str] = RUN,
    patience: float = PATIENCE_SECONDS,
) -> ChaosRun:
    """Run a plan.

    It ends when all orders have ended, or no event has come for `patience` seconds. `command` starts a process instead
    of the adapter's own.
    """
    scenario = plan.scenario
    changes = {key.replace(".", "__"): value for key, value in scenario.settings.items()}
    if scenario.mappings:
        changes["plugins__paths"] = str(folder / PLUGIN)
    async with open_cluster(kafka, folder, sandbox=scenario.sandbox, command=command, **changes) as cluster:
        cluster.sandbox.faults.arm(*scenario.faults, seed=plan.seed)
        schedule = FaultSchedule(plan, cluster, broker)
        began = time.monotonic()
        await schedule.begin()
        async with running(schedule):
            arrivals = await _feed(cluster, plan)
        await _until_published(cluster, patience)
        await until(lambda: cluster.sandbox._simulator.late_pending == 0, seconds=10)
        await cluster.reader.quiet(1.0)
        return _observed(schedule, arrivals, await cluster.uncommitted(), time.monotonic() - began)


async def _feed(cluster: Cluster, plan: Plan) -> dict[str, str]:
    """Put the plan's orders on the topic; the order ids by coordinates."""
    arrivals = arriving(plan)
    paced, again = await asyncio.gather(
        cluster.feed(arrivals.paced, per_second=plan.scenario.per_second), _feed_repeats(cluster, arrivals.again)
    )
    refs = {ref: order.order_id for ref, order in zip(paced, arrivals.paced, strict=True)}
    return refs | again


async def _feed_repeats(cluster: Cluster, orders: Sequence[PaidOrder]) -> dict[str, str]:
    """Put each order on the topic when it has become tickets; one that a person must look at first is not repeated."""
    refs = {}
    for order in orders:
        if await cluster.reader.until(partial(_ended, cluster, order.order_id), seconds=PATIENCE_SECONDS):
            if any(event.type == "parked" for event in _of(cluster, order.order_id)):
                continue
            (ref,) = await cluster.feed([order])
            refs[ref] = order.order_id
    return refs


def _of(cluster: Cluster, order_id: str) -> list[Event]:
    return [event for event in cluster.event_log.events if event.data.get("order_id") == order_id]


def _ended(cluster: Cluster, order_id: str) -> bool:
    return any(cluster.event_log.ended(event.ref) for event in _of(cluster, order_id))


def arriving(plan: Plan) -> Arrivals:
    """The orders of a plan as they arrive, those in a second record included."""
    scenario, order_source = plan.scenario, OrderSource(plan.seed)
    orders = (
        [*order_source.orders(plan.orders)]
        if not scenario.mappings
        else [*_with_family_days(order_source, plan.orders)]
    )
    arrivals = [(float(index), order) for index, order in enumerate(orders)]
    again = []
    if scenario.twice:
        places = [
            index + offset_by % 2
            for offset_by, index in enumerate(range(0, len(orders) - LATER, round(1 / scenario.twice)))
        ]
        again = [orders[index] for index in places if orders[index].parts is None]
        # Under one mapping a second record may come when it likes: once the first one's number can be seen, and sooner.
        arrivals += [(index + LATER + 0.5, orders[index]) for index in places if orders[index].parts is not None]
    paced = (order for _, order in sorted(arrivals, key=lambda arrival: arrival[0]))
    return Arrivals(paced=tuple(paced), again=tuple(again))


def _with_family_days(order_source: OrderSource, count: int) -> list[PaidOrder]:
    """Every other order is of what the plugin maps; how many parts it has depends on the plugin's release."""
    plain = order_source.orders(count // 2)
    family = [_family_day(order_source) for _ in range(count - count // 2)]
    return [order for pair in zip(family, plain, strict=False) for order in pair] + family[len(plain) :]


def _family_day(order_source: OrderSource) -> PaidOrder:
    order = order_source.order(issue_type="electronic", lines=[line(FAMILY_DAY, FAMILY_DAYS)])
    return PaidOrder(order_id=order.order_id, value=order.value, parts=None, secrets=order.secrets)


def tickets_of(mapping: str) -> Counter[str]:
    """The tickets, by item, that this text of a plugin makes of a family day order."""
    return Counter({str(item.item_no or item.name): item.quantity for item in mapped(mapping)})


def mapped(mapping: str) -> list[TicketItem]:
    """What this text of a plugin maps a family day order to."""
    hooks: dict[str, Any] = {}
    exec(mapping, hooks)  # noqa: S102  # as a process of the adapter's would load it
    items: list[TicketItem] = hooks["map_item"](None, Line(sku=FAMILY_DAY, quantity=FAMILY_DAYS))
    return items


async def _until_published(cluster: Cluster, patience: float) -> None:
    """Wait until every order has ended, or until no event has come for so long that none will."""
    left = list(cluster.refs)

    def ended() -> bool:
        while left and cluster.event_log.ended(left[-1]):
            left.pop()
        return not left

    def news_since(count: int) -> Callable[[], bool]:
        return lambda: len(cluster.event_log.events) > count or ended()

    while await cluster.reader.until(news_since(len(cluster.event_log.events)), seconds=patience) and not ended():
        pass


def _observed(schedule: FaultSchedule, arrivals: Mapping[str, str], uncommitted: list[str], seconds: float) -> ChaosRun:
    cluster, scenario = schedule.cluster, schedule.plan.scenario
    family = {order.order_id for order in arriving(schedule.plan).paced if order.parts is None}
    releases = tuple(tickets_of(mapping) for mapping in scenario.mappings)
    plans = dict.fromkeys(family, releases)
    disagreements = check_results(
        cluster, arrivals, plans=plans, may_be_parked=scenario.may_be_parked, uncommitted=uncommitted
    )
    events = cluster.event_log.events
    return ChaosRun(
        plan=schedule.plan,
        records=len(arrivals),
        issuances=cluster.sandbox.order_store.number_count,
        recovered=sum(1 for event in events if event.type == "submitted" and event.data["recovered"]),
        parked=cluster.event_log.count("parked"),
        hit=tuple(schedule.hit),
        faults=dict(Counter(cluster.sandbox.faults.fired)),
        seconds=seconds,
        disagreements=disagreements,
        wrong=(*disagreements.wrong, *schedule.bad_exits, *schedule.ended_by_themselves()),
    )
