"""The arguments that the conformance suite calls hooks with: common ones and very rare ones.

Every hook about an order has samples here; a test checks that the list is complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from adapter.extensions.bounded_threads import StillRunning, run_with_timeout
from adapter.extensions.invocation import try_call
from adapter.extensions.manager import PluginManager
from adapter.extensions.order_hooks import beyond_bounds
from adapter.extensions.values import Ignore, OrderOutcome, OrderRecord, PartOutcome
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.issuance.order import Customer, Line, Order, TicketItem
from adapter.issuance.plan import DeriveTradeNo, Part, PlanPolicy, plan
from adapter.issuance.state import Phase
from adapter.protocol.issue import IssueType, TradeNo, TradeNoKind
from adapter.testing.clock import NOON
from adapter.testing.orders import MERCHANT, Orders, order_bytes, order_record
from adapter.values import replace

MAPPING_SECONDS: Final = 2.0
"""Time limit for mapping an order when only its plan is needed; slow mapping is found where it is tried."""
Given = Mapping[str, object]
"""A hook's arguments, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One call's arguments, and `what` they are, as the end of a sentence: "for an empty record".

    `own`: a record or order of the plugin's author, who wants to see its result.
    """

    what: str
    given: Given
    own: bool = False


def samples_of(
    hook: str, plugins: PluginManager, records: Sequence[OrderRecord], orders: Sequence[Order]
) -> tuple[Sample, ...]:
    """The samples for a hook; `records` and `orders` are the author's own and come first."""
    return tuple(_SAMPLES[hook](plugins, records, orders))


def has_samples(hook: str) -> bool:
    """Whether the suite can call the hook."""
    return hook in _SAMPLES


def order_of(plugins: PluginManager, record: OrderRecord, merchant_id: str) -> Order | Ignore | None:
    """The order in a record, read by the first of these plugins that knows its format, or by the adapter.

    None if the record holds no order, `Ignore` if the plugin ignores it. Errors are not reported here: they are found
    where `parse_order` itself is tried.
    """
    try:
        order = run_with_timeout(MAPPING_SECONDS, partial(_read, plugins, record, merchant_id))
    except StillRunning:
        return None
    if not isinstance(order, Order):
        return order
    return replace(
        order, merchant_id=order.merchant_id or merchant_id, received_at=order.received_at or record.timestamp
    )


def _read(plugins: PluginManager, record: OrderRecord, merchant_id: str) -> Order | Ignore | None:
    try:
        for plugin in plugins.implementations["parse_order"]:
            answer, problem = try_call(plugin, {"record": record}, beyond_bounds)
            if answer is not None or problem is not None:
                return answer if isinstance(answer, Order | Ignore) else None
        return parse_order_paid(record.value, record.headers, merchant_id)
    except BaseException:  # noqa: BLE001  # in a thread of the plugin's alone, so it is not a user's Ctrl-C
        return None


def _records(_: PluginManager, own: Sequence[OrderRecord], orders: Sequence[Order]) -> Iterator[Sample]:
    for number, record in enumerate(own, 1):
        yield Sample(what=f"record {number} of yours", given={"record": record}, own=True)
    for what, order, _own in _orders(orders):
        yield Sample(what=f"a record of {what}", given={"record": order_record(order)})
    for what, value in _ODD_VALUES.items():
        yield Sample(what=what, given={"record": order_record(value)})
    for what, headers in _ODD_HEADERS.items():
        record = replace(order_record(Orders().electronic()), headers=headers)
        yield Sample(what=what, given={"record": record})


def _accepted(_: PluginManager, __: Sequence[OrderRecord], own: Sequence[Order]) -> Iterator[Sample]:
    for what, order, is_own in _orders(own):
        yield Sample(what=what, given={"order": order}, own=is_own)


def _mapped(_: PluginManager, __: Sequence[OrderRecord], own: Sequence[Order]) -> Iterator[Sample]:
    for what, order, is_own in _orders(own):
        for line in dict.fromkeys(order.lines):
            yield Sample(what=f"a line of {what}", given={"order": order, "line": line}, own=is_own)


def _shaped(plugins: PluginManager, _: Sequence[OrderRecord], own: Sequence[Order]) -> Iterator[Sample]:
    policy = PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester")
    for what, order, is_own in _orders(own):
        try:
            parts = run_with_timeout(MAPPING_SECONDS, partial(_parts, plugins, order, policy))
        except StillRunning:
            return
        for part in parts:
            given = {"order": order, "request": part.request}
            yield Sample(what=f"part {part.number} of {what}", given=given, own=is_own)


def _parts(plugins: PluginManager, order: Order, policy: PlanPolicy) -> Sequence[Part]:
    """Empty if the plugin's own map_item raises: that is found where map_item is tried."""
    try:
        return plan(order, _items(plugins, order), policy)
    except BaseException:  # noqa: BLE001  # in a thread of the plugin's alone, so it is not a user's Ctrl-C
        return ()


def _items(plugins: PluginManager, order: Order) -> tuple[TicketItem, ...]:
    return tuple(item for line in order.lines for item in _mapped_line(plugins, order, line))


def _mapped_line(plugins: PluginManager, order: Order, line: Line) -> Sequence[TicketItem]:
    for plugin in plugins.implementations["map_item"]:
        found, problem = try_call(plugin, {"order": order, "line": line})
        if problem is not None:
            return ()
        if isinstance(found, Sequence):
            return found
    return ()


def _settled(_: PluginManager, __: Sequence[OrderRecord], ___: Sequence[Order]) -> Iterator[Sample]:
    part = PartOutcome(
        number=1, of=2, trade_no=TradeNo(kind=TradeNoKind.MERCHANT, value="T1"), phase=Phase.SUBMITTED, ticket_count=2
    )
    usual = OrderOutcome(merchant_id=MERCHANT, order_id="A-1", reference={"cart": 7}, parts=(part,))
    for phase in Phase:
        two = (part, replace(part, number=2, phase=phase))
        yield Sample(
            what=f"an outcome with a part that is {phase.name.lower()}", given={"outcome": replace(usual, parts=two)}
        )
    yield Sample(what="a skipped order", given={"outcome": replace(usual, parts=(), skipped="test order", plugin="p")})
    yield Sample(what="a parked order", given={"outcome": replace(usual, parked="unmapped-item")})
    ignored = OrderOutcome(merchant_id=None, order_id=None, ignored="cancelled", plugin="shop")
    yield Sample(what="a record that was ignored", given={"outcome": ignored})
    unread = OrderOutcome(merchant_id=None, order_id=None, parked="unreadable")
    yield Sample(what="a record that could not be read", given={"outcome": unread})


def _orders(own: Sequence[Order]) -> Iterator[tuple[str, Order, bool]]:
    """All sample orders as a hook gets them, with the time of their record; True for the author's own."""
    for order in own:
        yield f"your order {order.order_id}", _received(order), True
    for order in Orders().of_every_kind():
        kind = order.issue_type.name.lower() if order.issue_type else "no kind"
        lines = f"{len(order.lines)} line{'s' if len(order.lines) > 1 else ''}"
        yield f"an order of {kind} tickets with {lines}", _received(order), False
    for what, order in _ODD_ORDERS.items():
        yield what, _received(order), False


def _received(order: Order) -> Order:
    return order if order.received_at is not None else replace(order, received_at=NOON)


def _odd(*lines: Line, **fields: object) -> Order:
    usual = Order(order_id="ODD", merchant_id=MERCHANT, lines=lines or (Line(sku="X", quantity=1),))
    return replace(usual, **fields)  # type: ignore[arg-type]  # each odd order names its own fields


_ODD_TEXT: Final = "e\u0301\u200d👨‍👩‍👧 \u202eabc\x00'\"<>&%\n"
_ODD_ORDERS: Final[Mapping[str, Order]] = {
    "an order that says nothing but its lines": _odd(),
    "an order with odd characters": _odd(
        Line(sku=_ODD_TEXT, quantity=1, name=_ODD_TEXT),
        order_id=_ODD_TEXT,
        customer=Customer(name=_ODD_TEXT, phone=_ODD_TEXT, email=_ODD_TEXT, address=_ODD_TEXT),
        issue_type=IssueType.PAPER,
    ),
    "an order with half a surrogate pair": _odd(Line(sku="\ud83d", quantity=1), order_id="\ud83d"),
    "an order with empty texts": _odd(
        Line(sku="", quantity=1, name=""), customer=Customer(name="", phone="", email="", address=""), trade_no=""
    ),
    "an order of very many": _odd(Line(sku="X", quantity=1_000_000, unit_price=10**12)),
    "an order with a negative price": _odd(Line(sku="X", quantity=1, unit_price=-1)),
    "an order paid at the end of time": _odd(paid_at=datetime.max.replace(tzinfo=UTC)),
    "an order paid at the beginning of time": _odd(paid_at=datetime.min.replace(tzinfo=UTC)),
    "an order whose reference is a list": _odd(reference=[None, {"a": [1.5]}]),
    "an order whose reference is a text": _odd(reference="cart"),
}
_ODD_VALUES: Final[Mapping[str, bytes | None]] = {
    "a record without a value": None,
    "an empty record": b"",
    "a record that is no JSON": b"<order/>",
    "a record that is no text": b"\xff\xfe\x00",
    "a record that is null": b"null",
    "a record that is a list": b"[]",
    "a record that is a number": b"7",
    "a record that is an empty object": b"{}",
    "a record full of nulls": b'{"order_id": null, "id": null, "lines": null, "line_items": null, "customer": null}',
    "a record nested without end": b"[" * 20_000,
    "a record with odd characters": json.dumps({"order_id": _ODD_TEXT, "lines": [_ODD_TEXT]}).encode(),
    "a large record": order_bytes({"order_id": "A-1", "lines": ["x" * 1000] * 500}),
}
_ODD_HEADERS: Final[Mapping[str, tuple[tuple[str, bytes | None], ...]]] = {
    "a record with a header that repeats": (("event", b"a"), ("event", b"b")),
    "a record with a header that is null": (("event", None), ("content-type", None)),
    "a record with a header that is no text": (("event", b"\xff"), ("", b"")),
}
_SAMPLES: Final[Mapping[str, Callable[[PluginManager, Sequence[OrderRecord], Sequence[Order]], Iterator[Sample]]]] = {
    "parse_order": _records,
    "accept_order": _accepted,
    "map_item": _mapped,
    "shape_issue": _shaped,
    "order_settled": _settled,
}
