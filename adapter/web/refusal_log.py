"""Tells the operator that requests to the callbacks' port were refused, and how many, without a word of their content.

Anyone can send requests there. So a line names only what the adapter itself knows (the reason, the kind of address),
and each of these few is logged once a minute at most, with the number of those in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from adapter.extensions.log_throttle import LogThrottle

EVERY_SECONDS = 60.0

_log = structlog.stdlib.get_logger(__name__)


class RefusalLog:
    """Logs refusals by reason and address; both are words of the adapter's own."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lines = LogThrottle(EVERY_SECONDS, clock=monotonic)

    def note(self, reason: str, address: str) -> None:
        """One was refused: logged now, or counted for the next line."""
        withheld = self._lines.passes(reason, address)
        if withheld is not None:
            _log.warning(
                "a request to the callbacks' port was refused",
                reason=reason,
                address=address,
                refused_since_last_line=withheld,
            )
