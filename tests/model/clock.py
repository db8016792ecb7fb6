"""The model's time: seconds since the scenario began."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

T0 = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)


def moment(seconds: float) -> datetime:
    """The moment so many seconds after the scenario began."""
    return T0 + timedelta(seconds=seconds)


def seconds(moment: datetime) -> float:
    """How many seconds after the scenario began that is."""
    return (moment - T0).total_seconds()


class Clock:
    """A clock that the model moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def now(self) -> datetime:
        """The moment it shows."""
        return moment(self.seconds)
