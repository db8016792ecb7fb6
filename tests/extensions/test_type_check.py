"""What a plugin answers is believed only when it is of the promised type, all the way down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime

import pytest
from key_words import mentions

from adapter import Customer, IssueType, Order, Skip, TicketItem
from adapter.extensions.type_check import plain
from adapter.values import replace
from extensions.helpers import NOON, line, order, ticket

ITEMS: object = Sequence[TicketItem] | None


def type_mismatch(value: object, expected: object) -> str | None:
    return plain(value, expected)[1]


def broken(value: object, **fields: object) -> object:
    return replace(value, **fields)  # type: ignore[type-var]  # wrong types are what is tested


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Skip | None),
        (Skip("test"), Skip | None),
        ([ticket()], ITEMS),
        ((ticket(), ticket(2)), ITEMS),
        ([], ITEMS),
        (None, ITEMS),
        (order(reference={"any": ["json"]}), Order | None),
        (order(line(start_date=date(2026, 1, 1)), customer=Customer(name="王小明")), Order),
        (object(), object),
    ],
)
def test_right_type_passes(value: object, expected: object) -> None:
    """Nothing is said of it."""
    assert type_mismatch(value, expected) is None


@pytest.mark.parametrize(
    ("value", "expected", "words"),
    [
        ("test", Skip | None, "str Skip None"),
        (True, Skip | None, "bool Skip None"),
        (None, Order, "None Order"),
        (ticket(), ITEMS, "TicketItem list None"),
        ("VQT04959", ITEMS, "str list TicketItem None"),
        ([ticket(), "VQT04959"], ITEMS, "[1] str TicketItem"),
        ([broken(ticket(), quantity="2")], ITEMS, "[0].quantity str int"),
        ([broken(ticket(), quantity=True)], ITEMS, "[0].quantity bool int"),
        ([broken(ticket(), price=9.5)], ITEMS, "[0].price float int None"),
        ([broken(ticket(), issue_type="3")], ITEMS, "[0].issue_type str IssueType"),
        ([broken(ticket(), start_date=NOON)], ITEMS, "[0].start_date datetime date None"),
        (broken(order(), lines=[line()]), Order, "lines list tuple Line"),
        (broken(order(), lines=(line(), None)), Order, "lines[1] None Line"),
        (order(paid_at=datetime(2026, 1, 1)), Order | None, "paid_at datetime zone"),
        (
            broken(order(), customer=broken(Customer(), phone=912345678)),
            Order,
            "customer.phone int str None",
        ),
    ],
)
def test_wrong_type_is_reported_by_path_and_never_by_value(value: object, expected: object, words: str) -> None:
    """Values may be personal; places and types are not."""
    found = type_mismatch(value, expected) or ""

    assert mentions(found, words)
    assert not re.search(r"[\d'\"]", re.sub(r"\[\d\]", "", found))


def test_enums_are_not_their_text() -> None:
    """An IssueType is a text, but a text is no IssueType."""
    assert type_mismatch(IssueType.PAPER, IssueType) is None
    assert mentions(type_mismatch("2", IssueType) or "", "str IssueType")


def test_aware_times_of_any_zone_pass() -> None:
    """Only the zone must be there."""
    assert type_mismatch(datetime(2026, 1, 1, tzinfo=UTC), datetime) is None
