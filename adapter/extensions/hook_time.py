"""Measures what counts against a hook's budget: the CPU time of its thread, and the time in which it really blocks.

Wall time would count what others do. A hook that needs 80 ms takes seconds while 31 others share the
interpreter with it, and any hook takes three seconds while its machine is suspended for three seconds.

No system call reports "this thread waits for the interpreter". Three facts together do:

* A thread that waits for the interpreter wakes up every few milliseconds (`sys.getswitchinterval`) and uses a little
  CPU time each time. A thread whose CPU clock stands still for longer is blocked: it sleeps, or waits for a network.
* While a thread waits for the interpreter, another thread of the process has it and uses CPU time. Time in which the
  process uses none is time in which the thread itself blocks.
* A process that is stopped or gets no core uses no CPU time, and its pauses last longer than planned.

Linux reports all that is needed. Elsewhere a thread's CPU time is not known; then the process's is shared among the
hooks that run.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from msgspec import Struct

_STILL: Final = 2.0
"""Switch intervals for which a thread's CPU clock must stand still before it counts as blocked."""
_NANOSECOND: Final = 1e-9


class Span(Struct, frozen=True, kw_only=True):
    """The time between two checks of the hook threads, in seconds."""

    wall: float
    """By a monotonic clock."""
    planned: float
    """Its planned length."""
    process_cpu: float
    """CPU time of all threads of the process."""
    queued: float = 0.0
    """How long threads of the process waited for a core, one after another or side by side."""
    hooks: int = 1
    """How many hooks ran."""

    @property
    def alive(self) -> float:
        """The time in which the process certainly could run."""
        return min(self.wall, self.planned + self.process_cpu)


class ThreadSpan(Struct, frozen=True, kw_only=True):
    """What one hook's thread did in a span, in seconds."""

    cpu: float | None
    """CPU time; None where the system does not report it."""
    queued: float = 0.0
    """How long it waited for a core."""


@dataclass(slots=True)
class Spent:
    """The part of the budget that one hook, or several in one thread one after another, have used so far."""

    seconds: float = 0.0
    _cpu: float = field(default=0.0)

    def add(self, span: Span, thread: ThreadSpan) -> None:
        """Add a span.

        The wait for a core is known only when the thread has got one; then it is subtracted.
        """
        self._cpu += thread.cpu or 0.0
        self.seconds = max(self._cpu, self.seconds + _counted(span, thread) - thread.queued)


def _counted(span: Span, thread: ThreadSpan) -> float:
    idle = max(0.0, span.alive - span.process_cpu)
    if thread.cpu is None:
        return idle + span.process_cpu / max(1, span.hooks)
    if thread.cpu == 0.0 and span.alive > _STILL * sys.getswitchinterval():
        return span.alive
    others_queued = max(0.0, span.queued - thread.queued)
    return thread.cpu + max(0.0, idle - others_queued)


class ThreadClock(Struct, frozen=True, kw_only=True):
    """The clocks of one thread; other threads may read them, also after it has ended."""

    cpu: Callable[[], float | None]
    """Its CPU seconds; None where they are not known."""
    queued: Callable[[], float]
    """Seconds for which it waited for a core; 0 where they are not known."""


class HookClocks(Protocol):
    """The clocks by which budgets are measured."""

    def wall(self) -> float:
        """Seconds of a monotonic clock."""
        ...

    def process_cpu(self) -> float:
        """CPU seconds of the process."""
        ...

    def this_thread(self) -> ThreadClock:
        """The clocks of the thread that calls this."""
        ...


class SystemClocks:
    """The clocks of this machine."""

    def wall(self) -> float:
        """See HookClocks."""
        return time.monotonic()

    def process_cpu(self) -> float:
        """See HookClocks."""
        return time.process_time()

    def this_thread(self) -> ThreadClock:
        """See HookClocks."""
        return ThreadClock(cpu=_cpu_clock(), queued=_queue_clock())


def _cpu_clock() -> Callable[[], float | None]:
    if not hasattr(time, "pthread_getcpuclockid"):  # macOS and Windows have none
        return lambda: None
    # Valid for a thread that runs; reading the clock later is safe, and an error when the thread has ended.
    clock = time.pthread_getcpuclockid(threading.get_ident())

    def read() -> float | None:
        try:
            return time.clock_gettime(clock)
        except OSError:
            return None

    return read


def _queue_clock() -> Callable[[], float]:
    path = f"/proc/self/task/{threading.get_native_id()}/schedstat"

    def read() -> float:
        try:
            with open(path, "rb", buffering=0) as file:
                return int(file.read(100).split()[1]) * _NANOSECOND
        except (OSError, IndexError, ValueError):  # not Linux, or a kernel without these numbers
            return 0.0

    return read
