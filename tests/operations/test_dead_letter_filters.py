"""Selects dead letters by filters and names, and says what a replay leaves out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from adapter.flows.messages.events import ParkReason, Stage
from adapter.operations.dead_letter_filters import (
    Filters,
    InvalidFilter,
    Selection,
    named,
    parse_filters,
    parse_time,
    select,
)
from adapter.operations.dead_letter_view import DeadLetter
from adapter.values import replace

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _dead_letter(offset: int, **changes: object) -> DeadLetter:
    dead_letter = DeadLetter(
        topic="dead",
        partition=0,
        offset=offset,
        timestamp=NOON + timedelta(minutes=offset),
        key=f"key-{offset}",
        reason="unmapped-item",
        stage="map",
        message=None,
        plugin=None,
        sink=None,
        merchant_id="1",
        order_id=f"A-{offset}",
        trade_nos=(f"TRADENO{offset}",),
        failed_at=None,
        origin=f"orders.paid/0/{40 + offset}",
        order_record=f"orders.paid/0/{40 + offset}",
        attempts="0",
        replays="0",
        possibly_sent_at=None,
        value_bytes=1,
    )
    return replace(dead_letter, **changes)  # type: ignore[arg-type]


DEAD_LETTERS = (
    _dead_letter(0),
    _dead_letter(1, reason="unresolved", stage="confirm"),
    _dead_letter(2, merchant_id="2"),
    _dead_letter(3, replays="3"),
    _dead_letter(4, replays="many", sink="chat"),
)
ALL = frozenset(dead_letter.name for dead_letter in DEAD_LETTERS)


def _chosen(
    *which: str,
    still_open: frozenset[str] = ALL,
    max_replays: int = 3,
    limit: int | None = None,
    filters: Filters = Filters(),  # noqa: B008  # frozen
) -> Selection:
    return select(DEAD_LETTERS, still_open, which=which, filters=filters, max_replays=max_replays, limit=limit)


def _offsets(selection: Selection) -> list[int]:
    return [dead_letter.offset for dead_letter in selection.chosen]


@pytest.mark.parametrize(
    ("asked", "offsets"),
    [
        (Filters(), [0, 1, 2, 4]),
        (Filters(reason="unresolved"), [1]),
        (Filters(stage="map"), [0, 2, 4]),
        (Filters(merchant="2"), [2]),
        (Filters(sink="chat"), [4]),
        (Filters(reason="unmapped-item", merchant="1"), [0, 4]),
        (Filters(since=NOON + timedelta(minutes=1)), [1, 2, 4]),
        (Filters(until=NOON + timedelta(minutes=1)), [0]),
        (Filters(reason="gave-up"), []),
    ],
)
def test_filters_choose(asked: Filters, offsets: list[int]) -> None:
    """All of them apply; from a time on, and up to one."""
    assert _offsets(_chosen(filters=asked)) == offsets


@pytest.mark.parametrize("which", ["1", "A-0", "TRADENO0", "dead/0/0", "0/0", "orders.paid/0/40"])
def test_names_choose(which: str) -> None:
    """Number in the list, order, trade number, coordinates."""
    assert _offsets(_chosen(which)) == [0]


def test_names_and_filters_go_together() -> None:
    """Several names mean each of them; a filter narrows them."""
    assert _offsets(_chosen("A-0", "A-1", "A-2", filters=Filters(merchant="1"))) == [0, 1]


def test_a_short_number_that_the_list_has_is_the_number() -> None:
    """Even if an order has that id; any other number is an order id."""
    dead_letters = [_dead_letter(0, order_id="2"), _dead_letter(1, order_id="17"), _dead_letter(2, order_id="20260001")]

    assert [each.offset for each in named("2", dead_letters)] == [1]
    assert [each.offset for each in named("17", dead_letters)] == [1]
    assert [each.offset for each in named("20260001", dead_letters)] == [2]
    assert named("0", dead_letters) == named("4", dead_letters) == []


@pytest.mark.parametrize(
    "dead_letter",
    [
        _dead_letter(0),
        _dead_letter(0, order_id=None),
        _dead_letter(0, order_id=None, key="cart 7/北"),
        _dead_letter(0, order_id=None, key="4711"),
        _dead_letter(0, order_id=None, trade_nos=(), origin=None),
    ],
)
def test_what_the_list_shows_names_the_dead_letter(dead_letter: DeadLetter) -> None:
    """The list shows the key where it knows no order id."""
    assert dead_letter.label
    assert named(dead_letter.label, [dead_letter]) == [dead_letter]


def test_a_key_names_no_dead_letter_that_has_an_order_id() -> None:
    """A shop may give all orders of a customer one key; the list shows it for none of them."""
    assert _chosen("key-0").unknown == ("key-0",)


def test_a_dead_letter_without_order_id_and_key_has_no_name_but_its_place() -> None:
    """An empty text names nothing."""
    bare = _dead_letter(0, order_id=None, key="", trade_nos=(), origin=None)

    assert bare.label is None
    assert named("", [bare]) == []
    assert named("1", [bare]) == named("dead/0/0", [bare]) == [bare]


def test_what_was_replayed_too_often_is_left_out_by_name() -> None:
    """With the number of times; more can be allowed."""
    selection = _chosen()

    assert [(dead_letter.offset, "3 times" in why) for dead_letter, why in selection.left_out] == [(3, True)]
    assert _offsets(_chosen(max_replays=4)) == [0, 1, 2, 3, 4]


def test_what_was_dealt_with_is_not_chosen() -> None:
    """It is reported only if a name names nothing else."""
    still_open = ALL - {DEAD_LETTERS[0].name}

    assert _offsets(_chosen(still_open=still_open)) == [1, 2, 4]
    assert [dead_letter.offset for dead_letter, _ in _chosen("A-0", "A-1", still_open=still_open).left_out] == [0]
    assert [dead_letter.offset for dead_letter, _ in _chosen(still_open=still_open).left_out] == [3]


def test_the_oldest_come_first_when_there_is_a_limit() -> None:
    """What was left out does not count."""
    assert _offsets(_chosen(limit=3)) == [0, 1, 2]


def test_unknown_names_are_reported() -> None:
    """So a misspelt order id does not look like an order without dead letters."""
    assert _chosen("A-0", "B-9", "99").unknown == ("B-9", "99")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-01T08:00Z", datetime(2026, 3, 1, 8, 0, tzinfo=UTC)),
        ("2026-03-01T08:00+08:00", datetime(2026, 3, 1, 0, 0, tzinfo=UTC)),
        ("2026-03-01 08:00", datetime(2026, 3, 1, 8, 0, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("90m", NOON - timedelta(minutes=90)),
        ("2h", NOON - timedelta(hours=2)),
        ("3d", NOON - timedelta(days=3)),
    ],
)
def test_times_are_read(text: str, time: datetime) -> None:
    """ISO 8601, UTC if no zone is given; or how long ago."""
    assert parse_time(text, NOON) == time


@pytest.mark.parametrize("text", ["", "yesterday", "3y", "2026-13-01", "-2h", "999999w"])
def test_a_text_that_is_not_a_time_is_an_error(text: str) -> None:
    """The message shows two forms that are accepted."""
    with pytest.raises(InvalidFilter, match="2h, 3d"):
        parse_time(text, NOON)


@pytest.mark.parametrize(
    ("given", "near"), [({"reason": "unmaped-item"}, "unmapped-item"), ({"stage": "sumbit"}, "submit")]
)
def test_a_misspelt_reason_or_stage_is_an_error(given: dict[str, str], near: str) -> None:
    """No dead letter has it, which would look as if there were no problem; the nearest name is suggested."""
    with pytest.raises(InvalidFilter, match=f"Did you mean '{near}'"):
        parse_filters(**given)


@pytest.mark.parametrize("reason", get_args(ParkReason))
@pytest.mark.parametrize("stage", get_args(Stage))
def test_every_reason_and_stage_can_be_asked_for(reason: str, stage: str) -> None:
    """Those that dead letters have."""
    asked = parse_filters(reason=reason, stage=stage)

    assert (asked.reason, asked.stage) == (reason, stage)
