"""Which dead letters are meant: by name, by number, or by what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, get_args

import typer

if TYPE_CHECKING:
    from adapter.operations.dead_letter_view import DeadLetter

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

NUMBER_DIGITS = 6
_MAX_REPLAYS_REACHED = (
    "It was replayed {times} times and came back each time. Mend what its message says, then replay it with a higher "
    "--max-replays."
)
_HANDLED = "It was dealt with before."

WHICH_HELP = (
    "Its number in the list, its order's id, a trade number, or TOPIC/PARTITION/OFFSET of the letter or of its origin."
)
Reason = Annotated[str | None, typer.Option(metavar="REASON", help="Only those parked for this.")]
Stage = Annotated[str | None, typer.Option(metavar="STAGE", help="Only those parked at this stage.")]
Sink = Annotated[str | None, typer.Option(metavar="NAME", help="Only those for this notification sink.")]
Merchant = Annotated[str | None, typer.Option(metavar="ID", help="Only this merchant's, where it shows.")]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only those put there at or after TIME: 2026-03-01T08:00Z, or 2h, 3d ago."),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only those put there before TIME.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What letters must say to be meant; None leaves it open."""

    reason: str | None = None
    stage: str | None = None
    sink: str | None = None
    merchant: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def given(self) -> bool:
        """Whether anything was asked for."""
        return self != Filters()

    def matches(self, dead_letter: DeadLetter) -> bool:
        """Whether the letter says so."""
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


def filters(
    *,
    reason: str | None,
    stage: str | None,
    sink: str | None,
    merchant: str | None,
    since: str | None,
    until: str | None,
) -> Filters:
    """The filters of a command line. Raises a usage error for a reason, a stage or a time that is none."""
    _ensure_known(reason, stage)
    now = datetime.now(UTC)
    return Filters(
        reason=reason,
        stage=stage,
        sink=sink,
        merchant=merchant,
        since=None if since is None else moment(since, now),
        until=None if until is None else moment(until, now),
    )


def _ensure_known(reason: str | None, stage: str | None) -> None:
    """A misspelt word would be an answer too: nothing is parked for it, so all seems well."""
    from adapter.extensions.suggestions import did_you_mean
    from adapter.flows.messages.events import ParkReason
    from adapter.flows.messages.events import Stage as ParkedAt

    for value, option, known in ((reason, "--reason", get_args(ParkReason)), (stage, "--stage", get_args(ParkedAt))):
        if value is not None and value not in known:
            near = did_you_mean(value, known)
            raise typer.BadParameter(f"{option} does not know {value!r}.{near} It takes {', '.join(known)}.")


def moment(text: str, now: datetime) -> datetime:
    """A time as people write it: ISO 8601 (UTC where it has no zone), or how long ago. Raises a usage error."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time. Give one as 2026-03-01T08:00Z, or how long ago as 90m, 2h, 3d."
        ) from None


def is_meant(which: str, dead_letter: DeadLetter, number: int) -> bool:
    """Whether `which` names this letter: its place in the list (from 1), its or its origin's coordinates, its order.

    A short number is a place, whatever orders are called.
    """
    if which.isascii() and which.isdigit() and len(which) <= NUMBER_DIGITS:
        return which == str(number)
    names = (
        dead_letter.name,
        dead_letter.origin,
        f"{dead_letter.partition}/{dead_letter.offset}",
        dead_letter.order_id,
        *dead_letter.trade_nos,
    )
    return which in names


def unnamed(which: Sequence[str], dead_letters: Sequence[DeadLetter]) -> list[str]:
    """Those of `which` that name none of the letters."""
    return [
        each
        for each in which
        if not any(is_meant(each, dead_letter, number) for number, dead_letter in enumerate(dead_letters, 1))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The letters to be dealt with, the oldest first; those left out, with the reason; and names that name nothing."""

    chosen: tuple[DeadLetter, ...]
    left_out: tuple[tuple[DeadLetter, str], ...]
    unknown: tuple[str, ...]


def select(
    dead_letters: Sequence[DeadLetter],
    still_open: AbstractSet[str],
    *,
    which: Sequence[str],
    filters: Filters,
    max_replays: int,
    limit: int | None,
) -> Selection:
    """Choose among all `letters`, the oldest first; only what is still open, and was not replayed too often."""
    meant = [
        dead_letter
        for number, dead_letter in enumerate(dead_letters, 1)
        if filters.matches(dead_letter) and (not which or any(is_meant(each, dead_letter, number) for each in which))
    ]
    found = [dead_letter for dead_letter in meant if dead_letter.name in still_open]
    max_replays_reached = [dead_letter for dead_letter in found if dead_letter.replay_count >= max_replays]
    chosen = [dead_letter for dead_letter in found if dead_letter.replay_count < max_replays]
    left_out = [
        (dead_letter, _MAX_REPLAYS_REACHED.format(times=dead_letter.replay_count))
        for dead_letter in max_replays_reached
    ]
    left_out += [(dead_letter, _HANDLED) for dead_letter in _named_but_handled(which, dead_letters, still_open)]
    return Selection(
        chosen=tuple(chosen[:limit]), left_out=tuple(left_out), unknown=tuple(unnamed(which, dead_letters))
    )


def _named_but_handled(
    which: Sequence[str], dead_letters: Sequence[DeadLetter], still_open: AbstractSet[str]
) -> Iterator[DeadLetter]:
    """The last letter of each name that names only letters that were dealt with."""
    for each in which:
        named = [
            dead_letter for number, dead_letter in enumerate(dead_letters, 1) if is_meant(each, dead_letter, number)
        ]
        if named and not any(dead_letter.name in still_open for dead_letter in named):
            yield named[-1]
