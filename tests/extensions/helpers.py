"""Orders, records, plans and plugins for these tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from adapter import IssueType, Line, Order, OrderRecord, TicketItem
from adapter.errors import HookFailed
from adapter.extensions.builtin import built_in_sources
from adapter.extensions.hook_runner import HookRunner
from adapter.extensions.manager import PluginManager, PluginSelection
from adapter.issuance.plan import DeriveTradeNo, Part, PlanPolicy, plan

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
"""Noon in Taipei."""
RECORD = OrderRecord(topic="orders.paid", key=b"A-1", value=b'{"no": "A-1"}', timestamp=NOON)
POLICY = PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester")
PLAN = partial(plan, policy=POLICY)


def line(sku: str = "VQT04959", quantity: int = 1, **fields: object) -> Line:
    return Line(sku=sku, quantity=quantity, **fields)  # type: ignore[arg-type]  # each test names a line's own fields


def order(*lines: Line, **fields: object) -> Order:
    given = {"order_id": "A-1", "merchant_id": "3085676", "issue_type": IssueType.ELECTRONIC, "paid_at": NOON, **fields}
    return Order(lines=lines or (line(),), **given)  # type: ignore[arg-type]  # each test names an order's own fields


def ticket(quantity: int = 1, item_no: str = "VNS21400") -> TicketItem:
    return TicketItem(item_no=item_no, quantity=quantity, issue_type=IssueType.ELECTRONIC)


def manager(**plugins: object) -> PluginManager:
    """A manager with these plugins by name."""
    return PluginManager(PluginSelection(objects=plugins), built_in=built_in_sources())


def rejection(**plugins: object) -> str:
    """The message of the one plugin that is refused."""
    (refused,) = manager(**plugins).rejections
    return refused.message


async def parsed(plugins: HookRunner, record: OrderRecord) -> Order:
    """The order in a record."""
    found = await plugins.parse(record)
    assert isinstance(found, Order)
    return found


def default_order(record: OrderRecord) -> Order:
    """Stands for the flows' own parser."""
    return order(order_id="default")


def runner_with(**plugins: object) -> HookRunner:
    """A facade over these plugins, all of which are sound."""
    return limited(60.0, [], **plugins)


def limited(seconds: float, failures: list[HookFailed], /, **plugins: object) -> HookRunner:
    """The same with a time budget, and a list that hears of failing observers."""
    found = manager(**plugins)
    found.raise_if_rejected()
    return HookRunner(found, parse_default=default_order, budget_seconds=seconds, on_observer_failure=failures.append)


def item_numbers(parts: Sequence[Part]) -> list[str | None]:
    return [info.item_no for part in parts for info in part.request.ticket_info]
