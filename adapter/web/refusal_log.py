"""Logs refused requests to a port.

Anyone can send requests to the callbacks' port. So a line holds only the adapter's own words (the reason, the kind of
address), and nothing of the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from adapter.extensions.log_throttle import LogThrottle

EVERY_SECONDS = 60.0

_log = structlog.stdlib.get_logger(__name__)


class RefusalLog:
    """Logs refusals: for each reason and address one a minute, with the number of those in between."""

    def __init__(self, port: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._port = port
        self._lines = LogThrottle(EVERY_SECONDS, clock=monotonic)

    def log(self, reason: str, address: str) -> None:
        """Log one refusal, or count it for the next line."""
        withheld = self._lines.passes(reason, address)
        if withheld is not None:
            _log.warning(
                "a request was refused",
                port=self._port,
                reason=reason,
                address=address,
                refused_since_last_line=withheld,
            )
