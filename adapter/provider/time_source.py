"""What time it is, twice: as people tell it, and as it passes.

Exists because the two must not be mixed up: a wall clock can be set, and a waiting time measured on it would then end
too early or never. Refuses to be anything more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

_utc_now = partial(datetime.now, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSource:
    """`now` is aware wall time, for envelopes and errors; `steady` counts seconds and is never set."""

    now: Callable[[], datetime] = _utc_now
    steady: Callable[[], float] = time.monotonic
