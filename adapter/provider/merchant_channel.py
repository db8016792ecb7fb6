"""The channel of one merchant to ECTicket: its breaker, its call limiter, and the time of its last accepted query.

Merchants are independent: a failure of one merchant does not affect the calls of another.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from msgspec import Struct

from adapter.errors import BreakerOpen
from adapter.provider.breaker import Admission, Breaker, BreakerState
from adapter.provider.call_limiter import CallLimiter, LimiterUsage
from adapter.provider.http_status import HttpAnswer
from adapter.provider.limits import CallLimits
from adapter.provider.observer import ProviderObserver
from adapter.provider.time_source import TimeSource

_log = logging.getLogger(__name__)


class ChannelState(Struct, frozen=True, kw_only=True):
    """A merchant's channel at one moment."""

    breaker: BreakerState
    retry_at: datetime | None
    """When the next call may be tried; None while the breaker is closed."""
    cause: str
    """ECTicket's last rejection of an envelope, as a code; empty if there was none."""
    usage: LimiterUsage
    last_accepted: datetime | None
    """See `MerchantChannel.last_accepted`."""


class MerchantChannel:
    """The breaker, limiter and reports of one merchant, made at its first call.

    The breaker counts seconds of a steady clock; errors contain wall time.
    """

    def __init__(self, merchant_id: str, limits: CallLimits, observer: ProviderObserver, clock: TimeSource) -> None:
        self.merchant_id = merchant_id
        self.limiter = CallLimiter(
            calls_per_second=limits.max_calls_per_second,
            concurrent_calls=limits.max_concurrent_calls,
            max_wait_seconds=limits.max_wait_seconds,
        )
        self._last_accepted: tuple[float, datetime] | None = None
        self._breaker = Breaker(first_wait=limits.first_probe_seconds, longest_wait=limits.max_probe_seconds)
        self._reported_state = self._breaker.state
        self._observer = observer
        self._clock = clock
        self._last_code = ""

    def needs_probe(self) -> bool:
        """Return whether the caller has to make the breaker's probe before its own call.

        Raises:
            BreakerOpen: neither is allowed now.
        """
        admission = self._breaker.admit(self._clock.steady())
        if admission is Admission.REFUSED:
            raise self.breaker_open_error()
        return admission is Admission.PROBE

    def raise_if_breaker_open(self) -> None:
        """Refuse a call that got its slot after the breaker had opened.

        Raises:
            BreakerOpen: the breaker is not closed.
        """
        if self._breaker.state is not BreakerState.CLOSED:
            raise self.breaker_open_error()

    def breaker_open_error(self) -> BreakerOpen:
        """Return the error of a call that is not tried."""
        retry_at = self._retry_at()
        return BreakerOpen(
            f"ECTicket accepts no calls of merchant {self.merchant_id} at present; nothing was sent. "
            f"Retry at {retry_at:%H:%M:%S} UTC.",
            retry_at=retry_at,
        )

    def _retry_at(self) -> datetime:
        seconds = max(0.0, self._breaker.retry_at - self._clock.steady())
        return self._clock.now() + timedelta(seconds=seconds)

    def state(self) -> ChannelState:
        """The state now; changes nothing, and any thread may call it."""
        breaker = self._breaker.state
        return ChannelState(
            breaker=breaker,
            retry_at=None if breaker is BreakerState.CLOSED else self._retry_at(),
            cause=self._last_code,
            usage=self.limiter.usage(),
            last_accepted=self.last_accepted,
        )

    @property
    def last_accepted(self) -> datetime | None:
        """When the request of the last query with RtnCode 1 was written."""
        return None if self._last_accepted is None else self._last_accepted[1]

    def note_accepted_query(self, answer: HttpAnswer) -> None:
        """Keep an answer with RtnCode 1, unless its request was written before that of the kept one.

        The steady clock decides: if a wall clock that was ahead is corrected, no kept time may lie in the future.
        """
        if self._last_accepted is None or answer.sent_steady > self._last_accepted[0]:
            self._last_accepted = (answer.sent_steady, answer.sent_at)

    def accepted(self) -> None:
        """Record an accepted envelope (TransCode 1)."""
        self._breaker.accepted()

    def issue_answered(self, rtn_code: int) -> None:
        """Record a reply to Issue; RtnCode 1 is an acceptance and every other one a refusal."""
        if rtn_code != 1:
            self._log_refusal("issue", f"RtnCode {rtn_code}")

    def not_accepted(self, kind: str, subject: str | None, code: str) -> None:
        """Record a rejected envelope; `subject` None is a control query, `code` is ECTicket's code."""
        self._log_refusal("envelope", f"{kind}: {code}")
        self._last_code = code
        if subject is None:
            self._breaker.control_not_accepted(self._clock.steady())
        else:
            self._breaker.not_accepted(kind, subject, self._clock.steady())
        self._report_state()

    def lock_out(self, until: datetime) -> None:
        """Record an HTTP 403 of ECTicket, a lock-out."""
        self._last_code = "HTTP 403, a lock-out"
        self._breaker.lock_out(self._clock.steady() + (until - self._clock.now()).total_seconds())
        self._report_state()

    def begin_probe(self) -> int:
        """Begin the only probe; from now on every other call is refused."""
        probe = self._breaker.begin_probe(self._clock.steady())
        self._report_state()
        return probe

    def end_probe(self, probe: int, *, accepted: bool | None) -> None:
        """Record how the probe ended; None if its caller was cancelled."""
        if accepted is None:
            self._breaker.probe_abandoned(probe, self._clock.steady())
        elif accepted:
            self._breaker.probe_accepted(probe)
        else:
            self._breaker.probe_failed(probe, self._clock.steady())
        self._report_state()

    def _log_refusal(self, refused: str, code: str) -> None:
        """Log a refusal by its code, without ECTicket's message, which may quote an order."""
        _log.warning("call-refused", extra={"merchant_id": self.merchant_id, "refused": refused, "code": code})

    def _report_state(self) -> None:
        before, state = self._reported_state, self._breaker.state
        if state is before:
            return
        self._reported_state = state
        self._observer.breaker_changed(self.merchant_id, state)
        if before is BreakerState.CLOSED:
            error = self.breaker_open_error()
            _log.warning(
                "breaker-opened",
                extra={
                    "merchant_id": self.merchant_id,
                    "retry_at": error.retry_at.isoformat(),
                    "code": self._last_code,
                    "detail": str(error),
                },
            )
        elif state is BreakerState.CLOSED:
            _log.info("breaker-closed", extra={"merchant_id": self.merchant_id})
