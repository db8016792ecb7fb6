"""Logs refused requests to a port.

Anyone can send requests to the callbacks' port. So a line holds only the adapter's own words (the reason, the kind of
address), and nothing of the request.
"""

from __future__ import annotations

import logging

_log = logging.getLogger(__name__)


def log_refusal(server: str, reason: str, address: str) -> None:
    """Log one refusal by the web server `server`; `address` is the kind of address to which the request went."""
    _log.warning("request-refused", extra={"server": server, "reason": reason, "address": address})
