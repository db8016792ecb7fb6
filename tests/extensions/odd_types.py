"""Values of subclasses that bring code of their own along, as a merchant's plugin may answer with."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo
from typing import NoReturn


def _raises(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("王小明")


class Number(str):
    """Compared without regard to case, and by that without a hash."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    __hash__ = None  # type: ignore[assignment]  # as Python has it for a class with an __eq__ alone


class EvilText(str):
    """Everything raises that a reader of a text would call."""

    __slots__ = ()
    __eq__ = __ne__ = __hash__ = __str__ = __repr__ = __format__ = __bool__ = _raises
    __len__ = __iter__ = encode = strip = lower = __contains__ = __add__ = _raises


class EvilCount(int):
    """A number of which nothing can be asked."""

    __eq__ = __ne__ = __hash__ = __str__ = __repr__ = __format__ = __int__ = __index__ = _raises
    __add__ = __radd__ = __mul__ = __rmul__ = __bool__ = _raises


class EvilDay(date):
    """A day that cannot be written."""

    __eq__ = __hash__ = __str__ = __format__ = isoformat = strftime = toordinal = _raises


class EvilTime(datetime):
    """A time that cannot be compared or moved."""

    __eq__ = __hash__ = __str__ = __format__ = isoformat = astimezone = timestamp = _raises
    utcoffset = _raises


class OwnZone(tzinfo):
    """A time zone of the shop's own."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=8)

    def dst(self, moment: datetime | None) -> timedelta:
        raise RuntimeError("王小明")

    def tzname(self, moment: datetime | None) -> str:
        raise RuntimeError("王小明")


class UnknownZone(OwnZone):
    """A time zone that cannot be had."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        raise RuntimeError("王小明")
