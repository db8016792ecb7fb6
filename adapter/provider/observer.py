"""The interface through which calls are reported, for metrics and logs.

With it, the client needs no metrics library.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Protocol

from msgspec import Struct

from adapter.protocol.endpoints import Endpoint
from adapter.protocol.order_detail import ReportType
from adapter.provider.breaker import BreakerState


@unique
class CallOutcome(StrEnum):
    """How a call ended."""

    ANSWERED = "answered"
    """An answer to act on, refusals (RtnCode ≠ 1) included."""
    BREAKER_OPEN = "breaker_open"
    """Not tried: the merchant's breaker is open."""
    NOT_SENT = "not_sent"
    """Nothing was written: no connection, or no slot in time."""
    THROTTLED = "throttled"
    NOT_ACCEPTED = "not_accepted"
    NOT_STORED = "not_stored"
    """A report that the disk did not take."""
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"
    """The caller gave up: cancelled, or the lease on its partition was lost."""


class CallFinished(Struct, frozen=True, kw_only=True):
    """One finished call; the breaker's own probes are reported like other calls."""

    merchant_id: str
    endpoint: Endpoint
    outcome: CallOutcome
    waited_seconds: float
    """From the start until the call got its slot."""
    seconds: float
    """From then until it ended; 0 if it got no slot."""


class ReportEnded(Struct, frozen=True, kw_only=True):
    """One report whose caller has finished with it, or whose download failed."""

    merchant_id: str
    report_type: ReportType
    downloaded: bool
    seconds: float
    """Of the download, without the wait for the merchant's turn."""
    size: int
    """Bytes of the report; 0 if the download failed."""
    rows: int
    """Rows that the caller has read."""


class ProviderObserver(Protocol):
    """Receives reports. Its methods are called on the event loop, so they must be quick and never raise."""

    def call_finished(self, call: CallFinished) -> None:
        """Called after every call, with any outcome."""
        return

    def report_ended(self, report: ReportEnded) -> None:
        """Called after every report for which ECTicket was called."""
        return

    def breaker_changed(self, merchant_id: str, state: BreakerState) -> None:
        """Called when a merchant's breaker changes its state."""
        return


class NullProviderObserver(ProviderObserver):
    """Ignores all reports: every method keeps the empty body of the protocol."""
