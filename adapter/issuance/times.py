"""The little arithmetic with moments that decisions need.

Exists so that no setting and no record, however odd, makes a decision raise: times far away stay comparable. Refuses to
know what time it is.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta

YEARS = range(1970, 9000)
"""Years of the moments that a record may hold: no arithmetic with them overflows."""
END_OF_TIME = datetime(9000, 1, 1, tzinfo=UTC)
"""Later than anything that is waited for; what would lie beyond it lies here."""


def later(moment: datetime, seconds: float) -> datetime:
    """The moment (aware) `seconds` after another, at most `END_OF_TIME`."""
    if seconds >= (END_OF_TIME - moment).total_seconds():
        return END_OF_TIME
    return moment + timedelta(seconds=seconds)


def latest(*moments: datetime | None) -> datetime | None:
    """The latest of the moments that are there."""
    return max((moment for moment in moments if moment is not None), default=None)


def fraction_of(text: str) -> float:
    """A number in [0, 1) that looks random and is always the same for the same text: jitter that can be repeated."""
    return zlib.crc32(text.encode()) / 2**32
