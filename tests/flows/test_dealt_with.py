"""Without commits, what was told since says which letters were dealt with; short of that a letter is open."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapter.flows.dealt_with import dealt_with
from adapter.flows.letters import Letter
from adapter.flows.words import Word, mentions, read_word
from adapter.stream.records import Record
from adapter.testing.surroundings import TOPICS
from flows.house import SERIAL, House, derived, line

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)
ORDER = "orders.paid/0/41"
LETTER = Letter(
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
UNPLANNED = replace(LETTER, stage="map", reason="unmapped-item", trade_nos=())
CONFIRMATION = replace(LETTER, stage="confirm", origin="ecticket.confirmations/1/7", trade_nos=("N2",))


def _word(kind: str, trade_no: str | None = "N2", at: datetime = LATER, order_record: str = ORDER) -> Word:
    return Word(
        kind=kind, merchant_id="1", order_id="A-1", trade_no=trade_no, order_record=order_record, at=at, data={}
    )


@pytest.mark.parametrize(
    ("letter", "word", "is_dealt_with"),
    [
        (LETTER, _word("submitted"), True),
        (LETTER, _word("failed", "N3"), True),
        (LETTER, _word("skipped", None), True),
        (LETTER, _word("issued", "N1"), False),
        (LETTER, _word("submitted", at=NOON - timedelta(seconds=1)), False),
        (LETTER, _word("submitted", order_record="orders.paid/0/42"), False),
        (LETTER, _word("parked", None), False),
        (LETTER, _word("delayed"), False),
        (UNPLANNED, _word("submitted", "N1"), True),
        (CONFIRMATION, _word("issued"), True),
        (CONFIRMATION, _word("failed"), True),
        (CONFIRMATION, _word("submitted"), False),
        (CONFIRMATION, _word("issued", "N1"), False),
        (replace(LETTER, origin=None, order_record=None), _word("submitted"), False),
        (replace(UNPLANNED, stage="deliver", reason="sink-failed", sink="chat"), _word("issued"), False),
    ],
)
def test_what_was_told_later_of_its_numbers_deals_with_a_letter(
    letter: Letter, word: Word, is_dealt_with: bool
) -> None:
    """Of its own numbers, or of its order where it knows none; what was told before, or of others, is no word of it."""
    assert (letter.name in dealt_with([letter], [word])) is is_dealt_with


def test_a_letter_that_came_back_deals_with_the_one_before() -> None:
    """The same record, replayed once more."""
    again = replace(LETTER, offset=9, replays="1")
    other = replace(LETTER, offset=4, origin="orders.paid/0/99", order_record="orders.paid/0/99")

    assert dealt_with([LETTER, again, other], []) == {LETTER.name}


@pytest.mark.parametrize(
    ("of_the_one", "of_the_other", "is_dealt_with"),
    [(("N1",), ("N2",), False), (("N1", "N2"), ("N2",), True), ((), ("N2",), True), (("N1",), (), True)],
)
def test_a_letter_of_another_part_that_came_back_says_nothing_of_this_one(
    of_the_one: tuple[str, ...], of_the_other: tuple[str, ...], is_dealt_with: bool
) -> None:
    """An order's parts can be parked one after the other, in letters of the same origin; one of them was replayed."""
    one = replace(LETTER, trade_nos=of_the_one)
    other = replace(LETTER, offset=9, trade_nos=of_the_other, replays="1")

    assert (LETTER.name in dealt_with([one, other], [])) is is_dealt_with


async def test_words_are_read_as_they_were_told(house: House) -> None:
    """Of each event what a command looks for; anything else on the topic is passed over."""
    told = await house.work(house.order(line(), line("SPA", 1, **SERIAL)))
    events = [_record(event.key, dict(event.attributes), event.data) for event in told.events]

    words = [read_word(event) for event in events]

    assert [word and (word.kind, word.trade_no, word.order_id, word.order_record) for word in words] == [
        ("submitted", derived(part=part), "A-1", told.events[0].attributes["orderref"]) for part in (1, 2)
    ]
    assert all(mentions(event, "A-1") for event in events)
    assert [mentions(event, derived(part=2)) for event in events] == [False, True]
    assert read_word(replace(events[0], value=b"[]")) is None
    assert read_word(replace(events[0], value=b"{")) is None
    assert read_word(replace(events[0], headers=())) is None


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
