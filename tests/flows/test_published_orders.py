"""Orders in the published examples become tickets, and events of orders are published as their examples show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from adapter import Order, Skip, hookimpl
from adapter.issuance.park_messages import unresolved
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.testing.orders import MERCHANT
from flows.harness import Harness, line

SCHEMAS = Path(__file__).parent.parent.parent / "schemas"
ORDERS = sorted((SCHEMAS / "order-paid.v1" / "examples").glob("*.json"))


@pytest.mark.parametrize(
    ("name", "content"),
    [(path.stem, path.read_bytes()) for path in ORDERS],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_valid_orders_are_issued_and_invalid_ones_parked(name: str, content: bytes) -> None:
    """With nothing but the default mapping; the least that the schema asks for needs a catalogue that says more."""
    harness = Harness(MERCHANT)

    published = await harness.work(harness.record(content))

    assert set(published.types) == {"submitted" if name.startswith("valid") and name != "valid-least" else "parked"}


class ShopRules:
    """A plugin that wants no tickets for tests."""

    @hookimpl
    def accept_order(self, order: Order) -> Skip:
        return Skip(reason="test order")


@pytest.mark.parametrize(
    ("example", "kind", "value", "plugins"),
    [
        ("order-skipped.v1/examples/valid", "skipped", {"order_id": "A-1007"}, {"shop-rules": ShopRules()}),
        ("order-parked.v1/examples/valid-unmapped", "parked", {"order_id": "A-1008", "sku": "tea-for-two"}, {}),
        ("order-parked.v1/examples/valid-unreadable", "parked", None, {}),
    ],
)
async def test_events_of_orders_are_published_as_their_examples_show(
    example: str, kind: str, value: Mapping[str, str] | None, plugins: Mapping[str, object]
) -> None:
    """Message and all."""
    harness = Harness(MERCHANT, plugins=plugins)
    record = (
        harness.record(b"no JSON")
        if value is None
        else harness.order(line(value.get("sku", "VQT04959")), order_id=value["order_id"])
    )

    published = await harness.work(record)

    assert published.event(kind).data == _example(example)


def test_the_unresolved_example_shows_what_the_adapter_publishes() -> None:
    """In the words that a person gets."""
    trade_no = TradeNo(value="CBX20260302153064851", kind=TradeNoKind.MERCHANT)

    doubt = "an Issue call is in doubt (no answer within 15 s)"

    assert _example("order-parked.v1/examples/valid-unresolved")["message"] == unresolved(trade_no, doubt)


def _example(name: str) -> Mapping[str, object]:
    content = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content
