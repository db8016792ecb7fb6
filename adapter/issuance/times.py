"""The arithmetic with times that decisions need.

No setting and no record makes it raise: times far in the future stay comparable. Does not read a clock.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta

YEARS = range(1970, 9000)
"""The years of the times that a record may hold: no arithmetic with them overflows."""
END_OF_TIME = datetime(9000, 1, 1, tzinfo=UTC)
"""The latest time that `later` returns."""


def later(moment: datetime, seconds: float) -> datetime:
    """Return the aware time `seconds` after `moment`, at most `END_OF_TIME`."""
    if seconds >= (END_OF_TIME - moment).total_seconds():
        return END_OF_TIME
    return moment + timedelta(seconds=seconds)


def latest(*moments: datetime | None) -> datetime | None:
    """Return the latest of the times that are not None."""
    return max((moment for moment in moments if moment is not None), default=None)


def fraction_of(text: str) -> float:
    """Return a number in [0, 1) that looks random and is always the same for the same text: repeatable jitter."""
    return zlib.crc32(text.encode()) / 2**32
