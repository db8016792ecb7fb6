"""One merchant's breaker: stops asking when ECTicket takes nothing from a merchant, and finds out when it does again.

Exists because a wrong key, a wrong clock or ECPay's lock-out (HTTP 403, "wait 30 minutes") concerns every order of a
merchant: sending on would at best be useless and at worst prolong the lock-out. An order that is refused *alone* must
not stop the others, so one refused envelope opens nothing; two of different orders without an accepted one between do,
and so does a refused control query, whose content cannot be at fault.

An open breaker closes in one way only: a probe (a control query, made by the client) is accepted. Late answers to calls
that left before it opened say nothing about now and change nothing, except that another lock-out prolongs it.

Refuses to know clocks (times are seconds on any steady clock, handed in), other merchants, and how a probe is made.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto, unique


@unique
class BreakerState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    """Calls pass."""
    OPEN = "open"
    """Calls are refused at once."""
    PROBING = "probing"
    """One control query is on its way; all else is refused at once."""


@unique
class Admission(Enum):
    """What a breaker says to a call."""

    GO = auto()
    PROBE = auto()
    """The caller is to make the probe first (`begin_probe`)."""
    REFUSED = auto()


_STEPS = frozenset(
    {
        (BreakerState.CLOSED, BreakerState.OPEN),  # two suspects, a refused control query, a lock-out
        (BreakerState.OPEN, BreakerState.PROBING),  # the waiting time is over and somebody calls
        (BreakerState.PROBING, BreakerState.CLOSED),  # the probe was accepted
        (BreakerState.PROBING, BreakerState.OPEN),  # it was not, or another lock-out came meanwhile
    }
)


class Breaker:
    """The breaker of one merchant.

    `first_wait` and `longest_wait` are seconds: an open breaker is probed after the first, then after twice as long
    with every probe that fails.
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
        """When calling again may make sense, while not closed."""
        return self._until

    def admit(self, now: float) -> Admission:
        """Say whether a call may pass; changes nothing."""
        if self.state is BreakerState.CLOSED:
            return Admission.GO
        if self.state is BreakerState.OPEN and now >= self._until:
            return Admission.PROBE
        return Admission.REFUSED

    def accepted(self) -> None:
        """An envelope of this merchant was accepted (TransCode 1): nobody is suspect any more."""
        self._suspects.clear()

    def not_accepted(self, kind: str, subject: str, now: float) -> None:
        """An envelope was not accepted; `subject` tells the order (or number) it was about from others of a `kind`."""
        if self.state is not BreakerState.CLOSED:
            return
        if self._suspects.setdefault(kind, subject) != subject:
            self._open(until=now + self._wait)

    def control_not_accepted(self, now: float) -> None:
        """A control query was not accepted: no order's content can be at fault."""
        if self.state is BreakerState.CLOSED:
            self._open(until=now + self._wait)

    def lock_out(self, until: float) -> None:
        """ECTicket locks this merchant out; a later lock-out prolongs an earlier one and never shortens it."""
        self._open(until=until if self.state is BreakerState.CLOSED else max(until, self._until))

    def begin_probe(self, now: float) -> int:
        """Take the one probe; the number goes to `probe_accepted`, `probe_failed` or `probe_abandoned`."""
        self._go(BreakerState.PROBING)
        self._until = now + self._first_wait
        self._probe += 1
        return self._probe

    def probe_accepted(self, probe: int) -> None:
        """The probe came back with TransCode 1: close, unless a lock-out came meanwhile."""
        if self._is_current(probe):
            self._go(BreakerState.CLOSED)
            self._wait = self._first_wait
            self._suspects.clear()

    def probe_failed(self, probe: int, now: float) -> None:
        """The probe brought no accepted answer, for whatever reason: wait twice as long."""
        if self._is_current(probe):
            self._wait = min(self._wait * 2, self._longest_wait)
            self._open(until=now + self._wait)

    def probe_abandoned(self, probe: int, now: float) -> None:
        """Whoever made the probe gave up, which says nothing: the next caller may probe. After a verdict: no effect."""
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
