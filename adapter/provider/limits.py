"""The time limits, counts and rates of the calls to ECTicket, and those of its reports.

Does not know where the values come from.
"""

from __future__ import annotations

from msgspec import Struct


class CallLimits(Struct, frozen=True, kw_only=True):
    """Limits of the calls of one merchant in one process."""

    timeout_seconds: float = 15.0
    """From the first byte written until the whole answer is read; after that the call is in doubt."""
    connect_timeout_seconds: float = 5.0
    """Until a connection is established; if it takes longer, nothing was sent."""
    max_calls_per_second: float = 50.0
    """0 is unlimited. A tenth of a second's calls may come at once."""
    max_concurrent_calls: int = 256
    """Calls in progress at once."""
    max_wait_seconds: float = 10.0
    """A call that would wait longer for its slot is not sent. 256 orders in progress at 50 calls a second wait 5 s if
    they are alone and 10 s if doubts and confirmations use their shares: the flow should slow down, not defer."""
    lock_out_seconds: float = 1800.0
    """HTTP 403 without Retry-After: "wait 30 minutes" (docs/ecticket-protocol.md, 1.6)."""
    busy_seconds: float = 60.0
    """HTTP 429 without Retry-After."""
    max_retry_after_seconds: float = 3600.0
    """The longest Retry-After that is honoured."""
    first_probe_seconds: float = 5.0
    """An open breaker is probed with a control query after this time, then after twice as long, and so on."""
    max_probe_seconds: float = 300.0
    """The longest time between two probes of an open breaker."""


class DownloadTimeouts(Struct, frozen=True, kw_only=True):
    """How long the download of a report may take; it may have any size."""

    connect_seconds: float = 10.0
    """Until a connection is established."""
    read_seconds: float = 120.0
    """The longest silence: until the first byte of the answer, and between two."""
    total_seconds: float = 1800.0
    """From the first byte written until the whole report is read."""


class ReportLimits(Struct, frozen=True, kw_only=True):
    """Limits of the reports of one merchant in one process."""

    interval_seconds: float = 60.0
    """From the end of a report to the next: "one CSV file per minute" (page 48558). 0 is no interval."""
    timeouts: DownloadTimeouts = DownloadTimeouts()
