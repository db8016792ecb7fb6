"""The sample events are what sinks are handed."""

from __future__ import annotations

import pytest

from adapter.flows.messages.events import EVENTS, Notified, ReconciliationData
from adapter.testing import NOON, Events
from adapter.testing.events import SAMPLES


def test_every_type_has_a_sample() -> None:
    """A new type of event arrives with one."""
    assert set(SAMPLES) == set(EVENTS)


def test_they_are_of_every_type(events: Events) -> None:
    """Each with what CloudEvents ask for."""
    found = events.of_every_type()

    assert [event.type for event in found] == [model.TYPE for model in EVENTS]
    assert len({event.id for event in found}) == len(found)
    assert {event.time for event in found} == {NOON}
    for event, model in zip(found, EVENTS, strict=True):
        assert issubclass(model, Notified | ReconciliationData) or event.extensions["orderref"].startswith(
            "orders.paid/0/"
        )


def test_data_is_what_the_test_says(events: Events) -> None:
    """Any field of the event."""
    event = events.failed(rtn_code=7, order_id="A-9", trade_no="CBX1")

    assert (event.data["rtn_code"], event.extensions["orderid"], event.subject) == (7, "A-9", "CBX1")


def test_what_an_event_cannot_say_is_refused(events: Events) -> None:
    """By the adapter's own model."""
    with pytest.raises(ValueError, match="customer"):
        events.issued(customer="王小明")
