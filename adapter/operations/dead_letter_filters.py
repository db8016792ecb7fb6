"""Selects dead letters: by name, by their number in the list, or by what their headers say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import get_args

from adapter.extensions.suggestions import did_you_mean
from adapter.flows.messages.events import ParkReason
from adapter.flows.messages.events import Stage as ParkedAt
from adapter.operations.dead_letter_view import DeadLetter

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

NUMBER_DIGITS = 6
"""A text of at most so many digits is a number in the list, if the list is as long."""
_MAX_REPLAYS_REACHED = (
    "It was replayed {times} times and came back each time. Fix what its message names, then replay it with a higher "
    "--max-replays."
)
_HANDLED = "It was handled before."


class InvalidFilter(ValueError):
    """A filter names a reason, a stage or a time that does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a dead letter must have in order to be selected; None selects every value."""

    reason: str | None = None
    stage: str | None = None
    sink: str | None = None
    merchant: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def given(self) -> bool:
        """Whether any filter is set."""
        return self != Filters()

    def matches(self, dead_letter: DeadLetter) -> bool:
        """Whether the dead letter passes all filters."""
        pairs = (
            (self.reason, dead_letter.reason),
            (self.stage, dead_letter.stage),
            (self.sink, dead_letter.sink),
            (self.merchant, dead_letter.merchant_id),
        )
        return (
            all(wanted is None or wanted == found for wanted, found in pairs)
            and (self.since is None or dead_letter.timestamp >= self.since)
            and (self.until is None or dead_letter.timestamp < self.until)
        )


def parse_filters(
    *,
    reason: str | None = None,
    stage: str | None = None,
    sink: str | None = None,
    merchant: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Filters:
    """Read filters from texts. Raises InvalidFilter for a reason, a stage or a time that does not exist.

    A misspelt reason would select no dead letter, which looks as if there were none.
    """
    now = datetime.now(UTC)
    _ensure_known("reason", reason, get_args(ParkReason))
    _ensure_known("stage", stage, get_args(ParkedAt))
    return Filters(
        reason=reason,
        stage=stage,
        sink=sink,
        merchant=merchant,
        since=None if since is None else parse_time(since, now),
        until=None if until is None else parse_time(until, now),
    )


def _ensure_known(name: str, value: str | None, known: Sequence[str]) -> None:
    if value is not None and value not in known:
        near = did_you_mean(value, known)
        raise InvalidFilter(f"There is no {name} {value!r}.{near} Use one of: {', '.join(known)}.")


def parse_time(text: str, now: datetime) -> datetime:
    """Read a time: ISO 8601 (UTC if it has no zone), or how long ago, such as 2h. Raises InvalidFilter."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidFilter(
            f"{text!r} is not a time. Give one as 2026-03-01T08:00Z, or how long ago as 90m, 2h, 3d."
        ) from None


def named(which: str, dead_letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """The dead letters that `which` names, in their order: all that the list prints to name one is accepted.

    That is a number in the list (from 1), the order id, for a dead letter without one the record's key, a trade number,
    and the coordinates of the dead letter or of its origin. A short number that the list has is the number, even if an
    order has that id. `dead_letters` are all of them, the oldest first.
    """
    if which.isascii() and which.isdigit() and len(which) <= NUMBER_DIGITS and 1 <= int(which) <= len(dead_letters):
        return [dead_letters[int(which) - 1]]
    return [dead_letter for dead_letter in dead_letters if which in _names(dead_letter)]


def _names(dead_letter: DeadLetter) -> tuple[str | None, ...]:
    return (
        dead_letter.name,
        dead_letter.origin,
        f"{dead_letter.partition}/{dead_letter.offset}",
        dead_letter.label,
        *dead_letter.trade_nos,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The result of `select`."""

    chosen: tuple[DeadLetter, ...]
    """The oldest first."""
    left_out: tuple[tuple[DeadLetter, str], ...]
    """Each with the reason."""
    unknown: tuple[str, ...]
    """Names that name no dead letter."""


def select(
    dead_letters: Sequence[DeadLetter],
    still_open: AbstractSet[str],
    *,
    which: Sequence[str],
    filters: Filters,
    max_replays: int,
    limit: int | None,
) -> Selection:
    """Select open dead letters that were replayed fewer than `max_replays` times; at most `limit`, the oldest first.

    `dead_letters` are all of them, the oldest first: a number in `which` counts from there.
    """
    by_name = {each: named(each, dead_letters) for each in which}
    names = {dead_letter.name for found in by_name.values() for dead_letter in found}
    meant = [
        dead_letter
        for dead_letter in dead_letters
        if filters.matches(dead_letter) and (not which or dead_letter.name in names)
    ]
    found = [dead_letter for dead_letter in meant if dead_letter.name in still_open]
    max_replays_reached = [dead_letter for dead_letter in found if dead_letter.replay_count >= max_replays]
    chosen = [dead_letter for dead_letter in found if dead_letter.replay_count < max_replays]
    left_out = [
        (dead_letter, _MAX_REPLAYS_REACHED.format(times=dead_letter.replay_count))
        for dead_letter in max_replays_reached
    ]
    left_out += [(dead_letter, _HANDLED) for dead_letter in _named_but_handled(by_name.values(), still_open)]
    return Selection(
        chosen=tuple(chosen[:limit]),
        left_out=tuple(left_out),
        unknown=tuple(name for name, found in by_name.items() if not found),
    )


def _named_but_handled(
    found_by_name: Iterable[Sequence[DeadLetter]], still_open: AbstractSet[str]
) -> Iterator[DeadLetter]:
    """The last dead letter of each name that names only handled ones."""
    for found in found_by_name:
        if found and not any(dead_letter.name in still_open for dead_letter in found):
            yield found[-1]
