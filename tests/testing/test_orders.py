"""The sample orders are what the adapter would have read, and good ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter import Line, Order
from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.issuance.plan import DeriveTradeNo, PlanPolicy, check
from adapter.issuance.plan import plan as make_plan
from adapter.testing import NOON, Orders, order_record
from adapter.testing.orders import MERCHANT

KINDS = Orders().of_every_kind()


@pytest.mark.parametrize("order", KINDS, ids=lambda order: f"{order.order_id}-{order.issue_type.name}")
def test_what_is_written_for_an_order_is_read_as_the_same_order(order: Order) -> None:
    """The record of every kind goes back through the adapter's own parser."""
    assert parse_order_paid(order_record(order).value, (), None) == order


@given(
    lines=st.lists(
        st.builds(
            Line,
            sku=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
            quantity=st.integers(1, 1_000_000),
            name=st.none() | st.text(st.characters(codec="utf-8")),
            start_date=st.none() | st.dates(),
        ),
        min_size=1,
        max_size=5,
    ),
    store=st.none() | st.text(st.characters(codec="utf-8")),
)
def test_any_order_is_read_as_it_was_written(lines: list[Line], store: str | None) -> None:
    """Whatever a test puts into an order reaches the hooks."""
    order = Orders().electronic(*lines, store_id=store)

    assert parse_order_paid(order_record(order).value, (), None) == order


def test_orders_have_numbers_of_their_own() -> None:
    """Two of them never share a lane by accident."""
    assert len({order.order_id for order in KINDS}) == len(KINDS)


def test_a_field_is_what_the_test_says() -> None:
    """Any field of an order can be given."""
    assert Orders().paper(store_id="TPE01", reference=None).store_id == "TPE01"


def test_the_sample_merchant_is_one_whom_the_sandbox_knows() -> None:
    """Else nothing could be sent there."""
    assert PUBLIC_TEST_MERCHANTS[0].merchant_id == MERCHANT


@pytest.mark.parametrize("order", KINDS, ids=lambda order: f"{order.order_id}-{order.issue_type.name}")
def test_every_sample_can_be_issued(order: Order) -> None:
    """Mapped by its skus it breaks no rule of ECPay's pages."""
    from extensions.helpers import manager

    (built_in,) = manager().implementations["map_item"]
    items = tuple(item for line in order.lines for item in built_in.function(order, line))  # type: ignore[attr-defined]  # a list of items
    parts = make_plan(order, items, PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester"))

    check(parts, NOON.date())
