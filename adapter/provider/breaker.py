"""The circuit breaker of one merchant: stops its calls while ECTicket accepts none, and probes until it accepts again.

A wrong key, a wrong clock or ECPay's lock-out (HTTP 403, "wait 30 minutes") affects every order of a merchant: more
calls are useless and may prolong the lock-out. One bad order must not stop the others, so one rejected envelope does
not open the breaker. Two of different orders, without an accepted one between, open it, and so does a rejected control
query, because its content cannot be at fault.

An open breaker closes only when a probe (a control query, made by the client) is accepted. Late answers to calls that
were sent before it opened change nothing, except that another lock-out prolongs it.

Reads no clock: times are seconds on any steady clock, passed as arguments.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto, unique


@unique
class BreakerState(StrEnum):
    """The state of a breaker."""

    CLOSED = "closed"
    """Calls pass."""
    OPEN = "open"
    """Calls are refused at once."""
    PROBING = "probing"
    """One control query is in progress; all other calls are refused at once."""


@unique
class Admission(Enum):
    """What a breaker decides about a call."""

    GO = auto()
    PROBE = auto()
    """The caller makes the probe first (`begin_probe`)."""
    REFUSED = auto()


_STEPS = frozenset(
    {
        (BreakerState.CLOSED, BreakerState.OPEN),  # two suspects, a rejected control query, a lock-out
        (BreakerState.OPEN, BreakerState.PROBING),  # the waiting time is over and a call comes
        (BreakerState.PROBING, BreakerState.CLOSED),  # the probe was accepted
        (BreakerState.PROBING, BreakerState.OPEN),  # it was not accepted, or another lock-out came
    }
)


class Breaker:
    """The breaker of one merchant.

    `first_wait` and `longest_wait` are seconds: an open breaker is probed after `first_wait`; each failed probe doubles
    the wait, up to `longest_wait`.
    """

    def __init__(self, *, first_wait: float, longest_wait: float) -> None:
        self.state = BreakerState.CLOSED
        self._first_wait = first_wait
        self._longest_wait = longest_wait
        self._wait = first_wait
        self._until = 0.0
        self._probe = 0
        self._suspects: dict[str, str] = {}

    @property
    def retry_at(self) -> float:
        """When a call may be tried again; has a meaning only while the breaker is not closed."""
        return self._until

    def admit(self, now: float) -> Admission:
        """Return whether a call may pass; changes nothing."""
        if self.state is BreakerState.CLOSED:
            return Admission.GO
        if self.state is BreakerState.OPEN and now >= self._until:
            return Admission.PROBE
        return Admission.REFUSED

    def accepted(self) -> None:
        """Record that an envelope of this merchant was accepted (TransCode 1): clear all suspects."""
        self._suspects.clear()

    def not_accepted(self, kind: str, subject: str, now: float) -> None:
        """Record a rejected envelope; `subject` identifies its order (or number) among those of its `kind`."""
        if self.state is not BreakerState.CLOSED:
            return
        if self._suspects.setdefault(kind, subject) != subject:
            self._open(until=now + self._wait)

    def control_not_accepted(self, now: float) -> None:
        """Record a rejected control query: no order's content can be at fault."""
        if self.state is BreakerState.CLOSED:
            self._open(until=now + self._wait)

    def lock_out(self, until: float) -> None:
        """Record a lock-out of this merchant; a later one prolongs an earlier one and never shortens it."""
        self._open(until=until if self.state is BreakerState.CLOSED else max(until, self._until))

    def begin_probe(self, now: float) -> int:
        """Begin the only probe; pass the returned number to `probe_accepted`, `probe_failed` or `probe_abandoned`."""
        self._go(BreakerState.PROBING)
        self._until = now + self._first_wait
        self._probe += 1
        return self._probe

    def probe_accepted(self, probe: int) -> None:
        """Close, because the probe was answered with TransCode 1, unless a lock-out came in the meantime."""
        if self._is_current(probe):
            self._go(BreakerState.CLOSED)
            self._wait = self._first_wait
            self._suspects.clear()

    def probe_failed(self, probe: int, now: float) -> None:
        """Open again for twice as long, because the probe was not accepted, for any reason."""
        if self._is_current(probe):
            self._wait = min(self._wait * 2, self._longest_wait)
            self._open(until=now + self._wait)

    def probe_abandoned(self, probe: int, now: float) -> None:
        """Let the next caller probe, because this one was cancelled. No effect after the probe's result."""
        if self._is_current(probe):
            self._open(until=now)

    def _is_current(self, probe: int) -> bool:
        return self.state is BreakerState.PROBING and probe == self._probe

    def _open(self, *, until: float) -> None:
        if self.state is not BreakerState.OPEN:
            self._go(BreakerState.OPEN)
        self._until = until

    def _go(self, to: BreakerState) -> None:
        if (self.state, to) not in _STEPS:
            raise AssertionError(f"a breaker cannot go from {self.state} to {to}")
        self.state = to
