"""The books see what they are for: they are held against events that nobody must ever read."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord
from integration.told import Event

from chaos.books import bought_besides, parked, told_too_often


def event(kind: str = "submitted", event_id: str = "e1", ref: str = "orders/0/1", **data: object) -> Event:
    """An event with only what the books look at."""
    record: Any = ConsumerRecord  # the books never look at the record itself
    content = {"merchant_id": "3085676", "order_id": "S-1", "trade_no": "T1", "part": 1, "parts": 1, **data}
    return Event(kind=kind, id=event_id, ref=ref, attributes={}, data=content, record=record)


def test_an_event_told_as_often_as_its_order_arrived_is_fine() -> None:
    """Twice for an order that came in two records, under the same id."""
    assert list(told_too_often([event(), event()], {"S-1": 2})) == []


def test_an_event_told_once_more_is_seen() -> None:
    """The order came once."""
    assert list(told_too_often([event(), event()], {"S-1": 1})) == ["event e1 of order S-1 was told 2 times"]


def test_one_fact_under_two_ids_is_seen() -> None:
    """Readers would take it for two facts."""
    found = list(told_too_often([event(), event(event_id="e2")], {"S-1": 2}))

    assert found == ["T1 submitted was told under 2 ids"]


def test_what_is_bought_besides_a_whole_order_is_seen() -> None:
    """One record was one part, and is issued; the next one is mapped to two parts, and both are."""
    first, again = event(), event(ref="orders/0/2", parts=2)
    second = event(ref="orders/0/2", trade_no="T2", part=2, parts=2)

    assert list(bought_besides([first, again, second])) == ["S-1 was whole with ['T1'], and ['T2'] too"]


def test_two_records_of_one_order_are_fine() -> None:
    """Whole twice with the same numbers; or known in part, with the rest left to a person."""
    both = [event(parts=2), event(trade_no="T2", part=2, parts=2)]
    again = [event(ref="orders/0/2", parts=2), event(ref="orders/0/2", trade_no="T2", part=2, parts=2)]

    assert list(bought_besides([*both, *again])) == []
    assert list(bought_besides([event(), event(ref="orders/0/2", parts=2)])) == []


def test_a_part_under_two_numbers_is_seen() -> None:
    """Its tickets exist twice, though each number was issued once."""
    assert list(bought_besides([event(), event(ref="orders/0/2", trade_no="T2")])) != []


def test_a_parked_order_is_seen_unless_the_weather_explains_it() -> None:
    """Parked is no way out for an order that could have been issued."""
    letter = event("parked", reason="unresolved")

    assert list(parked([letter], frozenset())) == ["S-1 was parked: unresolved"]
    assert list(parked([letter], frozenset({"unresolved"}))) == []
