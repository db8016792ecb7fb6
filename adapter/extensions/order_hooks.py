"""Takes one order through the hooks: accepts it, maps it line by line, plans it, shapes the request of each part.

This is plain code without threads or clocks; `hook_runner` chooses the thread. `reference` is the merchant's own JSON
and could be changed, so each call gets a new copy. No hook sees what an earlier one changed: after a crash hooks are
called in another order and must answer the same. Answers are checked for changes that plugins may not make.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from msgspec import Struct

from adapter.errors import UnmappedItem
from adapter.extensions.invocation import Check, HookCalls, Implementation
from adapter.extensions.values import Ignore, OrderRecord, Skip
from adapter.issuance.normalisation import Change, normalised_item, normalised_request
from adapter.issuance.order import (
    LINES_MAX,
    ORDER_ID_MAX_CHARACTERS,
    REFERENCE_MAX_BYTES,
    REFERENCE_MAX_DEPTH,
    Line,
    Order,
    TicketItem,
    nests_too_deep,
)
from adapter.issuance.plan import Part, PlannedItem
from adapter.protocol.issue import IssueRequest, TicketInfo
from adapter.values import replace

Plan = Callable[[Order, tuple[TicketItem, ...]], tuple[Part, ...]]
"""Makes the parts of an order from its items; pure and quick. Its exceptions reach the caller."""


class OrderHooks(Struct, frozen=True):
    """The hook calls that decide about one order.

    `implementations` are the plugins' functions for each hook, in the order in which they are called.
    """

    implementations: Mapping[str, Sequence[Implementation]]
    calls: HookCalls

    def parse(self, record: OrderRecord) -> Order | Ignore | None:
        """The order from the first plugin that knows the record, or why it ignores it; None if no plugin knows it."""
        plugin, answer = self._first("parse_order", beyond_bounds, record=record)
        if plugin is None:
            return None
        return replace(answer, plugin=plugin.plugin) if isinstance(answer, Ignore) else cast("Order", answer)

    def accept(self, order: Order) -> Skip | None:
        """The first plugin's reason to issue nothing, or None."""
        plugin, answer = self._first("accept_order", None, order=order)
        return None if plugin is None else replace(cast("Skip", answer), plugin=plugin.plugin)

    def prepare(self, order: Order, plan: Plan) -> Skip | tuple[Part, ...]:
        """Why a plugin skips the order, or its parts."""
        return self.accept(order) or self.parts(order, plan)

    def parts(self, order: Order, plan: Plan) -> tuple[Part, ...]:
        """The order's parts, mapped, planned, shaped and normalised."""
        mapped = [normalised_item(item) for line in order.lines for item in self._map(order, line)]
        parts = plan(order, tuple([item for item, _ in mapped]))
        if changes := tuple([change for _, changes in mapped for change in changes]):
            parts = (replace(parts[0], changes=changes), *parts[1:])
        return tuple([self._shape(order, part) for part in parts])

    def _map(self, order: Order, line: Line) -> Sequence[TicketItem]:
        plugin, answer = self._first("map_item", None, order=order, line=line)
        if plugin is None:
            raise UnmappedItem(
                f"No plugin knows which ticket sku '{line.sku}' stands for. "
                "Add it to the catalogue, or write a map_item hook for it."
            )
        return [_of_line(item, line) for item in cast("Sequence[TicketItem]", answer)]

    def _shape(self, order: Order, part: Part) -> Part:
        request = part.request
        for plugin in self.implementations["shape_issue"]:
            given = {"order": order, "request": request}
            answer = self.calls.call(plugin, _copy_for_plugin(given, plugin), partial(forbidden_change, request))
            request = cast("IssueRequest", answer)
        request, changes = normalised_request(request)
        return part if request is part.request else _with_request(part, request, changes)

    def _first(
        self, hook: str, check: Check | None, **given: object
    ) -> tuple[Implementation, object] | tuple[None, None]:
        for plugin in self.implementations[hook]:
            answer = self.calls.call(plugin, _copy_for_plugin(given, plugin), check)
            if answer is not None:
                return plugin, answer
        return None, None


def _copy_for_plugin(given: Mapping[str, object], plugin: Implementation) -> Mapping[str, object]:
    """The arguments with a copy of `reference`, so that no plugin changes events. Built-in plugins change nothing."""
    order = given.get("order")
    if plugin.built_in or not isinstance(order, Order) or order.reference is None:
        return given
    return {**given, "order": replace(order, reference=copy.deepcopy(order.reference))}


def beyond_bounds(answer: object) -> str | None:
    """Check the order that a plugin parsed against the limits of the adapter's own format."""
    if isinstance(answer, Ignore):
        return None
    order = cast("Order", answer)
    if not 1 <= len(order.order_id) <= ORDER_ID_MAX_CHARACTERS:
        return f"returned an order whose order_id is not 1 to {ORDER_ID_MAX_CHARACTERS} characters long"
    if not 1 <= len(order.lines) <= LINES_MAX:
        return f"returned an order of {len(order.lines)} lines, where 1 to {LINES_MAX} are allowed"
    try:
        json.dumps(order.reference, allow_nan=False)
        size = len(json.dumps(order.reference, ensure_ascii=False).encode("utf-8"))
    except (TypeError, ValueError, RecursionError):
        return "returned an order whose reference is not JSON"
    if size > REFERENCE_MAX_BYTES:
        return f"returned an order whose reference is longer than {REFERENCE_MAX_BYTES} bytes as JSON"
    if nests_too_deep(order.reference):
        return f"returned an order whose reference is nested deeper than {REFERENCE_MAX_DEPTH} lists and objects"
    return None


def _of_line(item: TicketItem, line: Line) -> TicketItem:
    """The item, with the line's `immediate` if it has none itself."""
    return item if item.immediate is not None or line.immediate is None else replace(item, immediate=line.immediate)


def _with_request(part: Part, request: IssueRequest, changes: Sequence[Change]) -> Part:
    """The part with its shaped request and items that match it, so that events show what is really requested."""
    entries = zip(part.items, part.request.ticket_info, request.ticket_info, strict=True)
    items = tuple(_matching_item(*entry) for entry in entries)
    return replace(part, request=request, items=items, changes=(*part.changes, *changes))


def _matching_item(item: PlannedItem, before: TicketInfo, after: TicketInfo) -> PlannedItem:
    """The item as in the shaped request; days that a plugin has set no longer move."""
    kept = (before.start_date, before.expire_date) == (after.start_date, after.expire_date)
    return replace(
        item,
        item_no=after.item_no,
        name=after.item_name or item.name,
        start_moves=item.start_moves and kept,
        expire_moves=item.expire_moves and kept,
    )


def forbidden_change(before: IssueRequest, after: object) -> str | None:
    """Merchant, trade number and quantities decide what is bought: only the plan sets them."""
    after = cast("IssueRequest", after)
    kept: Mapping[str, tuple[object, object]] = {
        "merchant": (before.merchant_id, after.merchant_id),
        "trade number": (before.trade_no, after.trade_no),
        "quantities": (_quantities(before), _quantities(after)),
    }
    changed = [what for what, (old, new) in kept.items() if old != new]
    return f"changed the {' and the '.join(changed)}, which is not allowed" if changed else None


def _quantities(request: IssueRequest) -> tuple[int, ...]:
    return tuple(info.ticket_amount for info in request.ticket_info)
