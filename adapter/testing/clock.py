"""A clock that the test moves, so that tests of waiting times do not wait.

Time stands still until the test moves it. `sleep` moves it and returns at once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
"""The start of every test: noon in Taipei."""


class Clock:
    """A clock that the test moves; `sleep` moves it and returns at once."""

    def __init__(self, time: datetime = NOON) -> None:
        self.time = time

    def __call__(self) -> datetime:
        return self.time

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Move the time instead of waiting."""
        self.passes(seconds)
