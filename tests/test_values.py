"""What plugins see are structs that `dataclasses` takes as its own."""

from __future__ import annotations

import dataclasses
import pprint
from datetime import UTC, datetime

import pytest
from msgspec import Struct
from pydantic import TypeAdapter, ValidationError

import adapter
from adapter import (
    Customer,
    IssueRequest,
    IssueType,
    Line,
    Order,
    OrderRecord,
    TicketInfo,
    TicketItem,
    TradeNo,
    TradeNoKind,
)

NUMBER = TradeNo(kind=TradeNoKind.MERCHANT, value="A1")
ENTRY = TicketInfo(item_no="VQT04959", ticket_amount=2)
VALUES = (
    NUMBER,
    ENTRY,
    IssueRequest(
        merchant_id="1", trade_no=NUMBER, issue_type=IssueType.PAPER, operator="A", ticket_info=(ENTRY,), store_id="7"
    ),
    Customer(name="A", email="B"),
    Line(sku="A", quantity=2),
    TicketItem(item_no="A", quantity=2, issue_type=IssueType.PAPER),
    Order(order_id="A", merchant_id="1", lines=(Line(sku="A", quantity=2),), reference=7),
    OrderRecord(topic="A", key=None, value=b"B", timestamp=datetime(2026, 1, 1, tzinfo=UTC)),
)


def test_each_public_struct_is_here() -> None:
    """A new one gets the same promise."""
    public = {found for name in adapter.__all__ if isinstance(found := getattr(adapter, name), type)}

    assert {type(value) for value in VALUES} == {found for found in public if issubclass(found, Struct)}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_public_struct_is_a_dataclass_too(value: Struct) -> None:
    """Plugins change values with `dataclasses.replace`, and documents read their fields and defaults."""
    assert dataclasses.is_dataclass(value)
    assert not isinstance(value, type)
    names = [field.name for field in dataclasses.fields(value)]
    assert tuple(names) == value.__struct_fields__
    required = {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if field.default is dataclasses.MISSING
    }
    defaults = type(value)(**required)
    for field in dataclasses.fields(value):
        # A voucher's kind is found from the other fields.
        if field.name not in required and field.name != "voucher":
            assert getattr(defaults, field.name) == field.default
    copied = dataclasses.replace(value)
    assert copied == value
    assert copied is not value
    assert list(dataclasses.asdict(value)) == names


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_public_struct_does_not_change(value: Struct) -> None:
    """The error is the one of frozen dataclasses."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, value.__struct_fields__[0], None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(value, value.__struct_fields__[0])


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_printers_show_of_a_public_struct_what_its_repr_shows(value: Struct) -> None:
    """rich lists the fields of a struct itself, and `pprint` asks how the dataclass was made."""
    shown = [field.name for field in dataclasses.fields(value) if field.repr]  # type: ignore[arg-type]
    assert [name for name, _ in value.__rich_repr__()] == shown
    assert pprint.pformat(value, width=1) == repr(value)
    for name in value.__struct_fields__:
        assert (f"{name}=" in repr(value)) == (name in shown)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_pydantic_takes_and_makes_a_public_struct(value: Struct) -> None:
    """A plugin may have one in its settings, or read an order with it."""
    reader = TypeAdapter[Struct](type(value))
    given = {name: getattr(value, name) for name in value.__struct_fields__}

    assert reader.validate_python(value) is value
    assert reader.validate_python(given) == value
    with pytest.raises(ValidationError):
        reader.validate_python({**given, "unknown": 1})


def test_pydantic_reads_an_order_from_json() -> None:
    """With its lines, and with the defaults of what is left out."""
    text = '{"order_id": "A", "merchant_id": "1", "lines": [{"sku": "B", "quantity": 2}]}'

    assert TypeAdapter(Order).validate_json(text) == Order(
        order_id="A", merchant_id="1", lines=(Line(sku="B", quantity=2),)
    )


def test_a_subclass_of_a_public_struct_is_frozen_like_it() -> None:
    """The way that the documents name."""

    class Named(TicketItem, frozen=True, kw_only=True):
        label: str = ""

    assert Named(item_no="A", quantity=2, issue_type=IssueType.PAPER, label="B").label == "B"


def test_when_an_order_was_received_distinguishes_no_orders() -> None:
    """The record that comes again is the same order."""
    order = Order(order_id="A", merchant_id="1", lines=())
    again = dataclasses.replace(order, received_at=datetime(2026, 1, 1, tzinfo=UTC))

    assert order == again
    assert hash(order) == hash(again)
    assert order != dataclasses.replace(order, order_id="B")
