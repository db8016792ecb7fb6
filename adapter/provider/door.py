"""One merchant's door to ECTicket: its breaker, its gate, and when ECTicket last said yes to it.

Exists so that nothing one merchant does or suffers touches another's calls. Refuses to know what is asked behind it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from adapter.errors import BreakerOpen
from adapter.provider.answers import Answer
from adapter.provider.breaker import Admission, Breaker, BreakerState
from adapter.provider.clock import Clock
from adapter.provider.gate import Gate
from adapter.provider.limits import CallLimits
from adapter.provider.observer import ProviderObserver


class Door:
    """Made at a merchant's first call. The breaker counts in seconds of a steady clock, errors tell wall time."""

    def __init__(self, merchant_id: str, limits: CallLimits, observer: ProviderObserver, clock: Clock) -> None:
        self.merchant_id = merchant_id
        self.gate = Gate(
            calls_per_second=limits.max_calls_per_second,
            concurrent_calls=limits.max_concurrent_calls,
            max_wait_seconds=limits.max_wait_seconds,
        )
        self._last_accepted: tuple[float, datetime] | None = None
        self._breaker = Breaker(first_wait=limits.first_probe_seconds, longest_wait=limits.max_probe_seconds)
        self._told_state = self._breaker.state
        self._observer = observer
        self._clock = clock

    def needs_probe(self) -> bool:
        """Whether the caller has to make the breaker's probe before its own call.

        Raises:
            BreakerOpen: neither is allowed now.
        """
        admission = self._breaker.admit(self._clock.steady())
        if admission is Admission.REFUSED:
            raise self.closed_off()
        return admission is Admission.PROBE

    def refuse_unless_open(self) -> None:
        """Refuse a call whose turn came after the breaker had opened.

        Raises:
            BreakerOpen: it has.
        """
        if self._breaker.state is not BreakerState.CLOSED:
            raise self.closed_off()

    def closed_off(self) -> BreakerOpen:
        """Make the error of a call that is not tried."""
        seconds = max(0.0, self._breaker.retry_at - self._clock.steady())
        retry_at = self._clock.now() + timedelta(seconds=seconds)
        return BreakerOpen(
            f"ECTicket takes nothing from merchant {self.merchant_id} at present; nothing was tried. "
            f"Again at {retry_at:%H:%M:%S} UTC.",
            retry_at=retry_at,
        )

    @property
    def last_accepted(self) -> datetime | None:
        """When the last query began to be written that was answered with RtnCode 1."""
        return None if self._last_accepted is None else self._last_accepted[1]

    def note_accepted_query(self, answer: Answer) -> None:
        """Keep an answer with RtnCode 1, unless its request left before that of one we have.

        "Before" on the steady clock: a wall clock that was ahead and is set right must not leave a yes in the future.
        """
        if self._last_accepted is None or answer.sent_steady > self._last_accepted[0]:
            self._last_accepted = (answer.sent_steady, answer.sent_at)

    def accepted(self) -> None:
        """An envelope was accepted (TransCode 1)."""
        self._breaker.accepted()

    def not_accepted(self, kind: str, subject: str | None) -> None:
        """An envelope was not accepted; `subject` None is a control query."""
        if subject is None:
            self._breaker.control_not_accepted(self._clock.steady())
        else:
            self._breaker.not_accepted(kind, subject, self._clock.steady())
        self._tell()

    def lock_out(self, until: datetime) -> None:
        """ECTicket answered HTTP 403."""
        self._breaker.lock_out(self._clock.steady() + (until - self._clock.now()).total_seconds())
        self._tell()

    def begin_probe(self) -> int:
        """Take the one probe; from now on every other call is refused."""
        probe = self._breaker.begin_probe(self._clock.steady())
        self._tell()
        return probe

    def end_probe(self, probe: int, *, accepted: bool | None) -> None:
        """Say how the probe ended; None when nobody waited for its end."""
        if accepted is None:
            self._breaker.probe_abandoned(probe, self._clock.steady())
        elif accepted:
            self._breaker.probe_accepted(probe)
        else:
            self._breaker.probe_failed(probe, self._clock.steady())
        self._tell()

    def _tell(self) -> None:
        if self._breaker.state is not self._told_state:
            self._told_state = self._breaker.state
            self._observer.breaker_changed(self.merchant_id, self._told_state)
