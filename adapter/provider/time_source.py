"""The two clocks of the provider, wall time and steady time, and how it waits.

The clocks must not be mixed: a wall clock can be set, and a waiting time measured on it would then end too early or
never.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

from msgspec import Struct

_utc_now = partial(datetime.now, UTC)


class TimeSource(Struct, frozen=True, kw_only=True):
    """A pair of clocks and a way to wait; tests pass their own."""

    now: Callable[[], datetime] = _utc_now
    """Aware wall time, for envelopes and errors."""
    steady: Callable[[], float] = time.monotonic
    """Seconds of a clock that is never set."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    """Waits for so many seconds of the steady clock."""
