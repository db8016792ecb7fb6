"""A clock that moves when told: nobody who tests a waiting time should have to wait.

It stands still by itself. Whoever sleeps by it wakes at once, and later.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
"""When every story begins: noon in Taipei."""


class Clock:
    """A clock that moves when told; whoever sleeps by it wakes at once, later."""

    def __init__(self, time: datetime = NOON) -> None:
        self.time = time

    def __call__(self) -> datetime:
        return self.time

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait, without waiting."""
        self.passes(seconds)
