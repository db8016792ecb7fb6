"""What a sink is handed and may raise."""

from __future__ import annotations

import doctest
import json
import math
from datetime import timedelta, timezone

import pytest

from adapter import Event, NotDelivered, RetryAfter, Undeliverable
from adapter.extensions import sinks
from extensions.helpers import NOON


def event(**changes: object) -> Event:
    """An event as it comes from its topic."""
    given: dict[str, object] = {
        "id": "e-1",
        "type": "ecticket.issuance.issued.v1",
        "source": "/ecticket-adapter/merchants/3085676",
        "subject": "T1",
        "time": NOON,
        "data": {"order_id": "A-1", "name": "票券"},
        "extensions": {"orderid": "A-1"},
        **changes,
    }
    return Event(**given)  # type: ignore[arg-type]  # each test names an event's own fields


def test_the_event_as_json_is_a_cloudevent() -> None:
    """Structured mode: attributes, extensions and data in one object, times in UTC, text as it is."""
    taipei = timezone(timedelta(hours=8))

    document = json.loads(event(time=NOON.astimezone(taipei)).to_json())

    assert document == {
        "specversion": "1.0",
        "id": "e-1",
        "type": "ecticket.issuance.issued.v1",
        "source": "/ecticket-adapter/merchants/3085676",
        "subject": "T1",
        "time": "2026-03-01T04:00:00.000Z",
        "datacontenttype": "application/json",
        "orderid": "A-1",
        "data": {"order_id": "A-1", "name": "票券"},
    }
    assert "票券" in event().to_json()
    assert "subject" not in json.loads(event(subject=None).to_json())


def test_an_event_does_not_show_its_data() -> None:
    """Redemption codes are in some, and a log shows what is printed."""
    assert "票券" not in repr(event())


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_a_wait_is_a_number_of_seconds(seconds: float) -> None:
    """Otherwise the time of the retry would be unknown."""
    with pytest.raises(ValueError, match="RetryAfter"):
        RetryAfter(seconds, "busy")


def test_what_a_sink_raises_says_why() -> None:
    """One `except` catches all."""
    for error in (NotDelivered("busy"), RetryAfter(3, "busy"), Undeliverable("busy")):
        assert isinstance(error, NotDelivered)
        assert error.reason == "busy"
    assert RetryAfter(3, "busy").seconds == 3.0


def test_examples_run() -> None:
    """Those of the docstrings."""
    assert doctest.testmod(sinks).failed == 0
