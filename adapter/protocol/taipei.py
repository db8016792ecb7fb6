"""Reads and writes dates and times as ECTicket does.

Every date and time of the protocol is in Taipei's time zone, without an offset. Taiwan has had UTC+8 without daylight
saving time since 1980, so the zone is a fixed offset and needs no time zone database on the machine.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone

TAIPEI = timezone(timedelta(hours=8), "Asia/Taipei")
"""Taiwan's time zone."""

_TIME = re.compile(
    r"([0-9]{4})(?:([0-9]{2})([0-9]{2})|[/-]([0-9]{1,2})[/-]([0-9]{1,2}))"
    r"[ T]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?"
)
_DATE = re.compile(r"([0-9]{4})(?:([0-9]{2})([0-9]{2})|[/-]([0-9]{1,2})[/-]([0-9]{1,2}))")


def taipei_day(moment: datetime) -> date:
    """Return the day in Taipei; at the end of the calendar, where that day does not exist, the last one.

    >>> taipei_day(datetime.fromisoformat("2024-01-01T16:30:00+00:00"))
    datetime.date(2024, 1, 2)
    """
    try:
        return moment.astimezone(TAIPEI).date()
    except OverflowError:
        return moment.date()


def compact_date(day: date) -> str:
    """Write a date as `yyyymmdd`.

    >>> compact_date(date(2024, 1, 2))
    '20240102'
    """
    return f"{day.year:04}{day.month:02}{day.day:02}"


def parse_time(text: str) -> datetime | None:
    """Read `yyyymmdd hh:mm` or `yyyy/mm/dd hh:mm`, each with or without `:ss`, as Taipei's time; None if it is neither.

    >>> parse_time("20220801 15:30").isoformat()
    '2022-08-01T15:30:00+08:00'
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    numbers = [int(group) for group in found.groups() if group is not None]
    try:
        return datetime(*numbers, tzinfo=TAIPEI)  # type: ignore[misc, arg-type]  # five or six ints, by the pattern
    except ValueError:
        return None


def parse_date(text: str) -> date | None:
    """Read `yyyymmdd` or `yyyy/mm/dd`; None if it is neither.

    >>> parse_date("2024/1/2")
    datetime.date(2024, 1, 2)
    """
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day = (int(group) for group in found.groups() if group is not None)
    try:
        return date(year, month, day)
    except ValueError:
        return None
