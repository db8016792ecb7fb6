"""Without commits, later events say which dead letters are handled; without such an event a dead letter is open."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from flows.harness import SERIAL, Harness, derived, line

from adapter.flows.messages.event_reader import PublishedEvent, may_concern, read_published_event
from adapter.operations.dead_letter_view import DeadLetter
from adapter.operations.handled import handled_dead_letters
from adapter.stream.records import Record
from adapter.testing.fakes import TOPICS
from adapter.values import replace

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)
ORDER = "orders.paid/0/41"
DEAD_LETTER = DeadLetter(
    topic="dead",
    partition=0,
    offset=3,
    timestamp=NOON,
    key="A-1",
    reason="unresolved",
    stage="submit",
    message=None,
    plugin=None,
    sink=None,
    merchant_id="1",
    order_id="A-1",
    trade_nos=("N2", "N3"),
    failed_at=None,
    origin=ORDER,
    order_record=ORDER,
    attempts="1",
    replays="0",
    possibly_sent_at=None,
    value_bytes=10,
)
UNPLANNED = replace(DEAD_LETTER, stage="map", reason="unmapped-item", trade_nos=())
CONFIRMATION = replace(DEAD_LETTER, stage="confirm", origin="ecticket.confirmations/1/7", trade_nos=("N2",))
COLLECTION = replace(CONFIRMATION, stage="collect")


def _event(kind: str, trade_no: str | None = "N2", at: datetime = LATER, order_record: str = ORDER) -> PublishedEvent:
    return PublishedEvent(
        name=kind, merchant_id="1", order_id="A-1", trade_no=trade_no, order_record=order_record, at=at, data={}
    )


@pytest.mark.parametrize(
    ("dead_letter", "event", "is_dealt_with"),
    [
        (DEAD_LETTER, _event("submitted"), True),
        (DEAD_LETTER, _event("failed", "N3"), True),
        (DEAD_LETTER, _event("skipped", None), True),
        (DEAD_LETTER, _event("issued", "N1"), False),
        (DEAD_LETTER, _event("submitted", at=NOON - timedelta(seconds=1)), False),
        (DEAD_LETTER, _event("submitted", order_record="orders.paid/0/42"), False),
        (DEAD_LETTER, _event("parked", None), False),
        (DEAD_LETTER, _event("delayed"), False),
        (UNPLANNED, _event("submitted", "N1"), True),
        (CONFIRMATION, _event("issued"), True),
        (CONFIRMATION, _event("failed"), True),
        (CONFIRMATION, _event("submitted"), False),
        (CONFIRMATION, _event("issued", "N1"), False),
        (COLLECTION, _event("collected"), True),
        (COLLECTION, _event("issued"), False),
        (COLLECTION, _event("collected", "N1"), False),
        (replace(DEAD_LETTER, origin=None, order_record=None), _event("submitted"), False),
        (replace(UNPLANNED, stage="deliver", reason="sink-failed", sink="chat"), _event("issued"), False),
    ],
)
def test_later_events_of_its_numbers_handle_a_dead_letter(
    dead_letter: DeadLetter, event: PublishedEvent, is_dealt_with: bool
) -> None:
    """Events of its own numbers count, or of its order if it has no number; earlier events do not, nor those of
    others.
    """
    assert (dead_letter.name in handled_dead_letters([dead_letter], [event])) is is_dealt_with


def test_a_dead_letter_that_came_back_handles_the_one_before() -> None:
    """The same record, replayed once more."""
    again = replace(DEAD_LETTER, offset=9, replays="1")
    other = replace(DEAD_LETTER, offset=4, origin="orders.paid/0/99", order_record="orders.paid/0/99")

    assert handled_dead_letters([DEAD_LETTER, again, other], []) == {DEAD_LETTER.name}


@pytest.mark.parametrize(
    ("of_the_one", "of_the_other", "is_dealt_with"),
    [(("N1",), ("N2",), False), (("N1", "N2"), ("N2",), True), ((), ("N2",), True), (("N1",), (), True)],
)
def test_a_replayed_dead_letter_of_another_part_does_not_handle_this_one(
    of_the_one: tuple[str, ...], of_the_other: tuple[str, ...], is_dealt_with: bool
) -> None:
    """An order's parts can be parked one after the other, in letters of the same origin; one of them was replayed."""
    one = replace(DEAD_LETTER, trade_nos=of_the_one)
    other = replace(DEAD_LETTER, offset=9, trade_nos=of_the_other, replays="1")

    assert (DEAD_LETTER.name in handled_dead_letters([one, other], [])) is is_dealt_with


async def test_events_are_read_as_they_were_published(harness: Harness) -> None:
    """Of each event what a command looks for; anything else on the topic is passed over."""
    published = await harness.work(harness.order(line(), line("SPA", 1, **SERIAL)))
    events = [_record(event.key, dict(event.attributes), event.data) for event in published.events]

    read = [read_published_event(event) for event in events]

    assert [event and (event.name, event.trade_no, event.order_id, event.order_record) for event in read] == [
        ("submitted", derived(part=part), "A-1", published.events[0].attributes["orderref"]) for part in (1, 2)
    ]
    assert all(may_concern(event, "A-1") for event in events)
    assert [may_concern(event, derived(part=2)) for event in events] == [False, True]
    assert read_published_event(replace(events[0], value=b"[]")) is None
    assert read_published_event(replace(events[0], value=b"{")) is None
    assert read_published_event(replace(events[0], headers=())) is None


def _record(key: str, attributes: dict[str, str], data: object) -> Record:
    return Record(
        topic=TOPICS.issuances,
        partition=0,
        offset=0,
        timestamp=NOON,
        key=key.encode(),
        value=json.dumps(data).encode(),
        headers=tuple((f"ce_{name}", value.encode()) for name, value in attributes.items()),
    )
