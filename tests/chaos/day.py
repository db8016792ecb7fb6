"""One day in the life of the adapter: a plan lived through on a real broker, and the books at its end.

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

from integration.house import RUN, House, open_house, until
from integration.shop import PaidOrder, Shop, line
from integration.told import Event

from adapter import Line, TicketItem
from adapter.local.broker import LocalKafka
from adapter.stream.connection import KafkaConnection
from chaos.books import Books, settle
from chaos.storm import PLUGIN, Storm, raging
from chaos.weather import Plan

FAMILY_DAY = "FAMILY-DAY"
"""What the merchant's plugin maps, in a weather with mappings."""
PATIENCE_SECONDS = 60.0
"""Nothing has been told for so long (times what a slow machine may take): nothing will be."""
LATER = 100
"""So many orders after its first record an order comes again, where it does."""
FAMILY_DAYS = 2
"""How many of it an order has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """The orders of a plan as they arrive.

    `paced` come at the weather's pace, second records of plain orders among them. `again` are second records of what
    the plugin maps: each comes when its first record has ended as tickets, since two records that are open at once
    under two mappings are what nobody promises ("What remains" in docs/delivery.md).
    """

    paced: tuple[PaidOrder, ...]
    again: tuple[PaidOrder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What was seen: counts, and the books."""

    plan: Plan
    records: int
    issuances: int
    recovered: int
    parked: int
    hit: tuple[str, ...]
    faults: Mapping[str, int]
    seconds: float
    books: Books
    wrong: tuple[str, ...]
    """Every sentence that must not be true; exit codes included."""


async def live_through(
    plan: Plan,
    kafka: KafkaConnection,
    folder: Path,
    *,
    broker: LocalKafka | None = None,
    command: Sequence[str] = RUN,
    patience: float = PATIENCE_SECONDS,
) -> Day:
    """Live through a plan.

    Orders have ended, or nothing has been told for `patience` seconds. `command` starts a process instead of the
    adapter's own.
    """
    weather = plan.weather
    changes = {key.replace(".", "__"): value for key, value in weather.settings.items()}
    if weather.mappings:
        changes["plugins__paths"] = str(folder / PLUGIN)
    async with open_house(kafka, folder, sandbox=weather.sandbox, command=command, **changes) as house:
        house.sandbox.faults.arm(*weather.faults, seed=plan.seed)
        storm = Storm(plan, house, broker)
        began = time.monotonic()
        await storm.begin()
        async with raging(storm):
            arrivals = await _feed(house, plan)
        await _until_told(house, patience)
        await until(lambda: house.sandbox._desk.late_pending == 0, seconds=10)
        await house.reader.quiet(1.0)
        return _day(storm, arrivals, await house.uncommitted(), time.monotonic() - began)


async def _feed(house: House, plan: Plan) -> dict[str, str]:
    """Put the plan's orders on the topic; the order ids by coordinates."""
    arrivals = arriving(plan)
    paced, again = await asyncio.gather(
        house.feed(arrivals.paced, per_second=plan.weather.per_second), _feed_again(house, arrivals.again)
    )
    refs = {ref: order.order_id for ref, order in zip(paced, arrivals.paced, strict=True)}
    return refs | again


async def _feed_again(house: House, orders: Sequence[PaidOrder]) -> dict[str, str]:
    """Put each order on the topic when it has become tickets; one that a person must look at first stays away."""
    refs = {}
    for order in orders:
        if await house.reader.until(partial(_ended, house, order.order_id), seconds=PATIENCE_SECONDS):
            if any(event.kind == "parked" for event in _of(house, order.order_id)):
                continue
            (ref,) = await house.feed([order])
            refs[ref] = order.order_id
    return refs


def _of(house: House, order_id: str) -> list[Event]:
    return [event for event in house.told.events if event.data.get("order_id") == order_id]


def _ended(house: House, order_id: str) -> bool:
    return any(house.told.ended(event.ref) for event in _of(house, order_id))


def arriving(plan: Plan) -> Arrivals:
    """The orders of a plan as they arrive, those in a second record included."""
    weather, shop = plan.weather, Shop(plan.seed)
    orders = [*shop.orders(plan.orders)] if not weather.mappings else [*_with_family_days(shop, plan.orders)]
    arrivals = [(float(place), order) for place, order in enumerate(orders)]
    again = []
    if weather.twice:
        places = [
            place + index % 2 for index, place in enumerate(range(0, len(orders) - LATER, round(1 / weather.twice)))
        ]
        again = [orders[place] for place in places if orders[place].parts is None]
        # Under one mapping a second record may come when it likes: once the first one's number can be seen, and sooner.
        arrivals += [(place + LATER + 0.5, orders[place]) for place in places if orders[place].parts is not None]
    paced = (order for _, order in sorted(arrivals, key=lambda arrival: arrival[0]))
    return Arrivals(paced=tuple(paced), again=tuple(again))


def _with_family_days(shop: Shop, count: int) -> list[PaidOrder]:
    """Every other order is of what the plugin maps; how many parts it has depends on the plugin's release."""
    plain = shop.orders(count // 2)
    family = [_family_day(shop) for _ in range(count - count // 2)]
    return [order for pair in zip(family, plain, strict=False) for order in pair] + family[len(plain) :]


def _family_day(shop: Shop) -> PaidOrder:
    order = shop.order(issue_type="electronic", lines=[line(FAMILY_DAY, FAMILY_DAYS)])
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


async def _until_told(house: House, patience: float) -> None:
    """Wait until every order has ended, or until nothing has been told for so long that nothing will be."""
    left = list(house.refs)

    def ended() -> bool:
        while left and house.told.ended(left[-1]):
            left.pop()
        return not left

    def news_since(told: int) -> Callable[[], bool]:
        return lambda: len(house.told.events) > told or ended()

    while await house.reader.until(news_since(len(house.told.events)), seconds=patience) and not ended():
        pass


def _day(storm: Storm, arrivals: Mapping[str, str], uncommitted: list[str], seconds: float) -> Day:
    house, weather = storm.house, storm.plan.weather
    family = {order.order_id for order in arriving(storm.plan).paced if order.parts is None}
    releases = tuple(tickets_of(mapping) for mapping in weather.mappings)
    plans = dict.fromkeys(family, releases)
    books = settle(house, arrivals, plans=plans, may_be_parked=weather.may_be_parked, uncommitted=uncommitted)
    events = house.told.events
    return Day(
        plan=storm.plan,
        records=len(arrivals),
        issuances=house.sandbox.books.number_count,
        recovered=sum(1 for event in events if event.kind == "submitted" and event.data["recovered"]),
        parked=house.told.count("parked"),
        hit=tuple(storm.hit),
        faults=dict(Counter(house.sandbox.faults.fired)),
        seconds=seconds,
        books=books,
        wrong=(*books.wrong, *storm.bad_exits, *storm.ended_by_themselves()),
    )
