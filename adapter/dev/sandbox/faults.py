"""Decides which fault hits which call or notification: matching, chance, counts and lock-outs.

Time is an argument. Faults are tried in the order in which they were given. A call can be hit by one fault of each slot
(`fault_types.py`); a fault whose slot is taken does not see the call. Each sending of a notification counts as a call.
Each fault has its own seeded random generator, so the same calls in the same order are hit again, whatever other faults
exist.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

from adapter.dev.sandbox.fault_types import (
    TARGETS,
    AcceptRepeats,
    AnswerFault,
    Behaviour,
    CorruptedChecksum,
    DelayedNotification,
    DuplicateNotification,
    FaultTarget,
    JobFails,
    JobFault,
    JobNeverFinishes,
    LateEffect,
    LockOut,
    Maintenance,
    NotAcceptedEnvelope,
    OddReport,
    Outage,
    Slow,
    TamperedNotification,
    kind_of,
    slot_of,
)
from adapter.dev.sandbox.notifications import NotificationKind
from adapter.values import replace

NEEDS_ENVELOPE: Final = (LateEffect, Maintenance, Outage, NotAcceptedEnvelope, CorruptedChecksum)
"""Replaces the answer to an accepted envelope; a rejected envelope is rejected as always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a fault can match: the merchant if it is known, the number if the envelope was accepted."""

    endpoint: FaultTarget
    merchant_id: str | None
    trade_no: str | None
    readable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """One fault to inject: which, into which calls, and how often.

    `arrivals` counts, from 1, the calls that fit all matchers; `count` is the maximum number of hits.
    """

    behaviour: Behaviour
    rate: float = 1.0
    count: int | None = None
    arrivals: frozenset[int] | None = None
    endpoint: FaultTarget | None = None
    merchant_id: str | None = None
    trade_no: str | None = None
    trade_no_prefix: str | None = None

    def fits(self, call: Call) -> bool:
        """Whether this fault may hit that call."""
        trade_no = call.trade_no or ""
        return (
            call.endpoint in TARGETS[type(self.behaviour)]
            and self.endpoint in (None, call.endpoint)
            and self.merchant_id in (None, call.merchant_id)
            and self.trade_no in (None, call.trade_no)
            and (self.trade_no_prefix is None or trade_no.startswith(self.trade_no_prefix))
            and (call.merchant_id is not None or not isinstance(self.behaviour, LockOut))
            and (call.readable or not isinstance(self.behaviour, NEEDS_ENVELOPE))
        )


@dataclass(slots=True, kw_only=True)
class ArmedFault:
    """A fault with its counters: calls seen and calls hit; an outage starts at the first call seen."""

    fault: FaultRule
    chance: Random
    seen: int = 0
    fired: int = 0
    began: datetime | None = None

    def fires(self, call: Call, now: datetime) -> bool:
        """Count the call and return whether this fault hits it."""
        fault = self.fault
        if not fault.fits(call):
            return False
        self.seen += 1
        if isinstance(fault.behaviour, Outage) and not self._is_out(fault.behaviour, now):
            return False
        if fault.count is not None and self.fired >= fault.count:
            return False
        if fault.arrivals is not None and self.seen not in fault.arrivals:
            return False
        if self.chance.random() >= fault.rate:
            return False
        self.fired += 1
        return True

    def _is_out(self, outage: Outage, now: datetime) -> bool:
        self.began = self.began or now
        elapsed = (now - self.began).total_seconds()
        return (elapsed % outage.every_seconds if outage.every_seconds else elapsed) < outage.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A merchant that gets HTTP 403 until this time; `retry_after` adds the header of that name."""

    until: datetime
    retry_after: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFaults:
    """All faults of one call or one sending; none by default."""

    answer: AnswerFault | None = None
    slow: Slow | None = None
    job: JobFault | None = None
    accept_repeats: bool = False
    report: OddReport | None = None
    lock: Lock | None = None
    copies: int = 1
    tampered: bool = False
    delay_seconds: float = 0.0


@dataclass(slots=True)
class Faults:
    """The faults in force. `fired` counts hits by name since the start, over all sets of faults."""

    seed: int = 0
    armed: tuple[ArmedFault, ...] = ()
    locks: dict[str, Lock] = field(default_factory=dict)
    fired: Counter[str] = field(default_factory=Counter)

    def arm(self, *faults: FaultRule, seed: int | None = None) -> None:
        """Replace the faults in force; running lock-outs end."""
        self.seed = self.seed if seed is None else seed
        self.armed = tuple(
            ArmedFault(fault=fault, chance=Random(f"{self.seed}/{index}")) for index, fault in enumerate(faults)
        )
        self.locks.clear()

    def clear(self) -> None:
        """Remove all faults; late effects that have started still come."""
        self.arm()

    def inject(self, call: Call, now: datetime) -> InjectedFaults:
        """Return what goes wrong with this call, and count it."""
        if lock := self._lock(call, now):
            return InjectedFaults(lock=lock)
        injected, taken = InjectedFaults(), set[str]()
        for armed in self.armed:
            behaviour = armed.fault.behaviour
            if slot_of(behaviour) in taken or not armed.fires(call, now):
                continue
            taken.add(slot_of(behaviour))
            self.fired[kind_of(behaviour)] += 1
            injected = self._with_fault(injected, behaviour, call, now)
        return injected

    def _with_fault(self, injected: InjectedFaults, behaviour: Behaviour, call: Call, now: datetime) -> InjectedFaults:
        match behaviour:
            case Slow():
                return replace(injected, slow=behaviour)
            case JobNeverFinishes() | JobFails():
                return replace(injected, job=behaviour)
            case AcceptRepeats():
                return replace(injected, accept_repeats=True)
            case OddReport():
                return replace(injected, report=behaviour)
            case DuplicateNotification(copies=copies):
                return replace(injected, copies=copies)
            case TamperedNotification():
                return replace(injected, tampered=True)
            case DelayedNotification(seconds=seconds):
                return replace(injected, delay_seconds=seconds)
            case LockOut():
                return replace(injected, lock=self._lock_out(behaviour, call, now))
            case _:
                return replace(injected, answer=behaviour)

    def _lock(self, call: Call, now: datetime) -> Lock | None:
        if isinstance(call.endpoint, NotificationKind):  # ECTicket does not lock itself out
            return None
        lock = self.locks.get(call.merchant_id or "")
        return lock if lock and now < lock.until else None

    def _lock_out(self, lock_out: LockOut, call: Call, now: datetime) -> Lock:
        lock = Lock(until=now + timedelta(seconds=lock_out.seconds), retry_after=lock_out.retry_after)
        self.locks[call.merchant_id or ""] = lock
        return lock
