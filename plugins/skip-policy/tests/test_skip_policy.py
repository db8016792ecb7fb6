"""Lines that are not tickets are skipped, and the rest of the order is issued."""

from __future__ import annotations

import pytest
from skip_policy import Settings, SkipPolicy

from adapter import Line, Skip, Voucher
from adapter.testing import ConformanceCheck, MemoryStreamFactory, Orders

SHIPPING = Line(sku="SHIP-FAST", quantity=1, unit_price=80)
FREE = Line(sku="VQT04959", quantity=1, unit_price=0)
TICKET = Line(sku="VQT04959", quantity=2, unit_price=1200)


@pytest.fixture
def policy() -> SkipPolicy:
    """Excludes shipping."""
    plugin = SkipPolicy()
    plugin.configure(Settings(skus=("SHIP-*",)))
    return plugin


@pytest.mark.parametrize("fields", [{"order_id": "TEST-7"}, {"reference": {"test": True}}])
def test_a_test_order_is_skipped(policy: SkipPolicy, orders: Orders, fields: dict[str, object]) -> None:
    """By its number, or by what the shop says of it."""
    assert policy.accept_order(orders.electronic(**fields)) == Skip("a test order")


@pytest.mark.parametrize("reference", [None, [], "test", {"test": False}, {"test": "no"}, {}])
def test_other_orders_are_none(policy: SkipPolicy, orders: Orders, reference: object) -> None:
    """Whatever the reference holds."""
    assert policy.accept_order(orders.electronic(reference=reference)) is None


def test_no_order_is_skipped_by_an_empty_list_of_prefixes(orders: Orders) -> None:
    """No prefix is no prefix of anything."""
    plugin = SkipPolicy()
    plugin.configure(Settings(test_prefixes=(), test_reference=None))

    assert plugin.accept_order(orders.electronic(order_id="TEST-7", reference={"test": True})) is None


def test_an_order_of_which_nothing_remains_is_skipped(policy: SkipPolicy, orders: Orders) -> None:
    """Shipping and a free line."""
    assert policy.accept_order(orders.electronic(SHIPPING, FREE)) == Skip("no line of it is a ticket")


def test_a_gift_is_a_ticket_though_it_is_free(policy: SkipPolicy, orders: Orders) -> None:
    """Free vouchers have no price."""
    gift = Line(sku="GFT00001", quantity=1, unit_price=0, voucher=Voucher.GIFT)

    assert policy.accept_order(orders.gifts(gift)) is None
    assert policy.map_item(gift) is None


def test_free_lines_can_be_tickets(orders: Orders) -> None:
    """Where the settings say so."""
    plugin = SkipPolicy()
    plugin.configure(Settings(zero_priced=False))

    assert plugin.map_item(FREE) is None


def test_excluded_lines_become_no_tickets_and_the_rest_goes_on(
    policy: SkipPolicy, orders: Orders, memory_stream: MemoryStreamFactory
) -> None:
    """All the way to the event, the setting read as the adapter reads it."""
    stream = memory_stream(skip_policy=policy, settings={"skip_policy": {"skus": ["SHIP-*"]}})
    result = stream.run(orders.electronic(SHIPPING, TICKET, FREE))

    assert result.event("issued").data["ticket_count"] == 2


def test_a_skipped_order_is_published(policy: SkipPolicy, orders: Orders, memory_stream: MemoryStreamFactory) -> None:
    """With plugin and reason, and nothing was sent."""
    stream = memory_stream(skip_policy=policy)
    result = stream.run(orders.electronic(order_id="TEST-8"))

    assert result.types == ["skipped"]
    assert result.event("skipped").data["reason"] == "a test order"
    assert stream.ecticket.requests == []


def test_it_keeps_the_rules_of_plugins(orders: Orders, conforms: ConformanceCheck) -> None:
    """The conformance suite, with orders it skips."""
    own = [orders.electronic(order_id="TEST-9"), orders.electronic(SHIPPING, FREE, TICKET)]

    conforms(SkipPolicy(), settings={"skus": ["SHIP-*"]}, orders=own)
