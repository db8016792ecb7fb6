"""The result check finds what it is for: it gets events that must never be published."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import ConsumerRecord
from integration.cluster import NOT_PUBLISHED
from integration.event_log import Event
from key_words import mentions

from chaos.result_check import left_to_a_person, of_no_plan, parked, published_too_often


def event(kind: str = "submitted", event_id: str = "e1", ref: str = "orders/0/1", **data: object) -> Event:
    """An event with only the fields that the check reads."""
    record: Any = ConsumerRecord  # the check never reads the record itself
    content = {"merchant_id": "3085676", "order_id": "S-1", "trade_no": "T1", "part": 1, "parts": 1, **data}
    return Event(type=kind, id=event_id, ref=ref, attributes={}, data=content, record=record)


def test_an_event_published_as_often_as_its_order_arrived_is_fine() -> None:
    """Twice for an order that came in two records, under the same id."""
    assert list(published_too_often([event(), event()], {"S-1": 2})) == []


def test_an_event_published_once_more_is_seen() -> None:
    """The order came once."""
    (found,) = published_too_often([event(), event()], {"S-1": 1})
    assert mentions(found, "e1 S-1 2 times")


def test_one_fact_under_two_ids_is_seen() -> None:
    """Readers would take it for two facts."""
    (found,) = published_too_often([event(), event(event_id="e2")], {"S-1": 2})

    assert mentions(found, "T1 submitted 2 ids")


RELEASES = ({"A": 4}, {"B": 6, "SPA": 2})
"""What two releases of a plugin make of one order."""


@pytest.mark.parametrize("tickets", [{"A": 4}, {"B": 6, "SPA": 2}])
def test_the_tickets_of_either_release_are_fine(tickets: dict[str, int]) -> None:
    """Whichever release's record was issued."""
    assert not of_no_plan(tickets, RELEASES, whole=True)


@pytest.mark.parametrize("tickets", [{"A": 4, "SPA": 2}, {"A": 4, "B": 6, "SPA": 2}, {"A": 8}])
def test_tickets_of_both_releases_or_too_many_are_seen(tickets: dict[str, int]) -> None:
    """Bought besides, whether or not a person is asked about the rest."""
    assert of_no_plan(tickets, RELEASES, whole=True)
    assert of_no_plan(tickets, RELEASES, whole=False)


def test_a_part_of_a_plan_is_only_fine_where_the_rest_is_left_to_a_person() -> None:
    """Otherwise a part is missing."""
    assert of_no_plan({"B": 6}, RELEASES, whole=True)
    assert not of_no_plan({"B": 6}, RELEASES, whole=False)


def test_a_parked_order_is_seen_unless_the_scenario_explains_it() -> None:
    """Parked is no way out for an order that could have been issued."""
    dead_letter = event("parked", reason="unresolved")

    assert list(parked([dead_letter], frozenset())) == ["S-1 was parked: unresolved"]
    assert list(parked([dead_letter], frozenset({"unresolved"}))) == []


@pytest.mark.parametrize(
    ("reason", "message", "known"),
    [
        ("unresolved", "MerchantTradeNo T1: unresolved", True),
        ("unresolved", "MerchantTradeNo T2: unresolved", False),
        ("gave-up", "T1 was never sent.", False),
    ],
)
def test_tickets_without_an_event_are_fine_where_a_person_is_given_their_number(
    reason: str, message: str, known: bool
) -> None:
    """The dead letter says that tickets may exist under it."""
    not_published = f"T1{NOT_PUBLISHED}"

    assert list(
        left_to_a_person([not_published, "T1 was issued 2 times"], [event("parked", reason=reason, message=message)])
    ) == ([not_published] if known else [])
