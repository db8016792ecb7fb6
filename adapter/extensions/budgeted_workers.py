"""Worker threads with a time budget: a merchant's hook may be slow or stuck, the loop must not be.

A thread cannot be ended from outside. So a thread whose job ran over its budget is given up: the caller gets an error
at once, another thread takes its place, and the stuck one is counted in `stuck` until it comes back by itself and
ends. All are daemon threads, so that a stuck one never holds up the exit. Why not `ThreadPoolExecutor`: it joins its
threads at exit, and gives up nothing.

Threads, jobs and counts are only ever touched on the loop that calls `run`; a thread gets its job through its inbox and
hands back the result by `call_soon_threadsafe`. Hence no lock.

The budget is counted from the moment the job runs, never while it waits for a thread. What counts is in `hook_time`.
All running jobs are looked at together, every 20 ms, as long as there are any.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Generic, TypeVar

from adapter.errors import HookFailed
from adapter.extensions.hook_time import HookClocks, Span, Spent, SystemClocks, ThreadClock, ThreadSpan
from adapter.extensions.hookspecs import KINDS

T = TypeVar("T")

STUCK_LIMIT: Final = 256
"""Stuck threads at which no further job is taken; `/livez` complains long before."""

LOOK_SECONDS: Final = 0.02
"""How often running jobs are looked at: several of the interpreter's switch intervals ..."""
LOOKS_PER_BUDGET: Final = 5
"""... and several times within a short budget."""
_LEAST_LOOK_SECONDS: Final = 0.001
STALL_SECONDS: Final = 3.0
"""The loop not turning for so long is logged: a third of the broker's usual patience with a silent member."""

_log = logging.getLogger(__name__)


class _Began:
    """The clocks of a job's thread, and what they show: at first when the job began, then when it was looked at."""

    __slots__ = ("cpu", "queued", "thread", "wall")

    def __init__(self, thread: ThreadClock, wall: float) -> None:
        self.thread = thread
        self.wall = wall
        self.cpu = thread.cpu()
        self.queued = thread.queued()

    def look(self) -> ThreadSpan:
        """What the thread did since it was looked at last."""
        cpu, queued = self.thread.cpu(), self.thread.queued()
        used = None if cpu is None or self.cpu is None else cpu - self.cpu
        span = ThreadSpan(cpu=used, queued=queued - self.queued)
        self.cpu, self.queued = cpu, queued
        return span


class _Job(Generic[T]):
    """Work for a thread, and where its result goes."""

    def __init__(
        self, work: Callable[[], T], timed_out: Callable[[], HookFailed | None], at_work: Callable[[], str | None]
    ) -> None:
        self.work = work
        self.at_work = at_work
        self.timed_out = timed_out
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.context = contextvars.copy_context()
        self.began: _Began | None = None
        self.spent = Spent()
        self.stuck = False

    def run(self, began: _Began) -> Callable[[], None]:
        """Do the work, in the thread; what comes back is to be called on the loop."""
        self.began = began
        try:
            result = self.context.run(self.work)
        except BaseException as error:  # noqa: BLE001  # raised again where the job was given
            failure = RuntimeError("the work raised StopIteration") if isinstance(error, StopIteration) else error
            return lambda: self.future.set_exception(failure)  # which takes no StopIteration
        return lambda: self.future.set_result(result)


class _Thread:
    """One daemon thread and its inbox; None in the inbox ends it."""

    def __init__(
        self, name: str, finished: Callable[[_Thread, _Job[object], Callable[[], None]], None], clocks: HookClocks
    ) -> None:
        self.inbox: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._finished = finished
        self._clocks = clocks
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        clock = self._clocks.this_thread()
        while (job := self.inbox.get()) is not None:
            settle = job.run(_Began(clock, self._clocks.wall()))
            # The loop is closed once the adapter has stopped; then nobody waits for the result.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(self._finished, self, job, settle)
            del job, settle  # an idle thread keeps no customer data


class _LastCheck:
    """What the clocks of the process showed when the jobs were looked at last; belongs to the loop's thread."""

    def __init__(self, clocks: HookClocks) -> None:
        self._clocks = clocks
        self._thread: ThreadClock | None = None
        self.at = self._cpu = self._queued = 0.0

    def begin(self) -> None:
        """Count from now on."""
        self._thread = self._clocks.this_thread()
        self.at, self._cpu, self._queued = self._clocks.wall(), self._clocks.process_cpu(), self._thread.queued()

    def span(self, planned: float, *, hooks: int, queued: float) -> Span:
        """What passed since; the hooks' threads waited for a core for `queued` seconds."""
        at, cpu, queue_clock = self._clocks.wall(), self._clocks.process_cpu(), self._queue_clock()
        span = Span(
            wall=at - self.at,
            planned=planned,
            process_cpu=cpu - self._cpu,
            queued=queued + queue_clock - self._queued,
            hooks=hooks,
        )
        self.at, self._cpu, self._queued = at, cpu, queue_clock
        return span

    def _queue_clock(self) -> float:
        return 0.0 if self._thread is None else self._thread.queued()


class BudgetedWorkers:
    """At most `threads` jobs at once, each with `budget_seconds` to spend; further jobs wait their turn."""

    def __init__(
        self,
        *,
        budget_seconds: float,
        threads: int,
        name: str,
        stuck_limit: int = STUCK_LIMIT,
        clocks: HookClocks | None = None,
    ) -> None:
        self.budget_seconds = budget_seconds
        self._clocks = clocks or SystemClocks()
        self._look_seconds = max(_LEAST_LOOK_SECONDS, min(LOOK_SECONDS, budget_seconds / LOOKS_PER_BUDGET))
        self._running: set[_Job[object]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._last_check = _LastCheck(self._clocks)
        self._limit = threads
        self._stuck_limit = stuck_limit
        self._names = (f"{name}-{number}" for number in itertools.count(1))
        self._idle: list[_Thread] = []
        self._waiting: deque[_Job[object]] = deque()
        self._ended: list[Callable[[], str | None]] = []
        self._busy = 0
        self._given_up: set[_Job[object]] = set()
        self._last_timeout: HookFailed | None = None
        self._closed = False

    @property
    def stuck(self) -> int:
        """Threads given up and not yet back."""
        return len(self._given_up)

    async def run(
        self,
        work: Callable[[], T],
        *,
        timed_out: Callable[[], HookFailed | None],
        at_work: Callable[[], str | None] = lambda: None,
    ) -> T:
        """What `work` returns or raises, done in a thread, with the caller's context variables.

        `at_work` names the hook that the thread is in, or was in last.

        Raises what `timed_out` returns when the budget is over (None: go on waiting), and HookFailed at once when too
        many threads are stuck.
        """
        self._refuse_when_stuck()
        job = _Job(work, timed_out, at_work)
        if self._busy < self._limit:
            self._start(job)  # type: ignore[arg-type]  # a job of T is handled as one of object; only its future is read
        else:
            self._waiting.append(job)  # type: ignore[arg-type]  # as above
        return await job.future

    def close(self) -> None:
        """End the idle threads, and each other one when its job is done."""
        self._closed = True
        while self._idle:
            self._idle.pop().inbox.put(None)

    def _start(self, job: _Job[object]) -> None:
        thread = self._idle.pop() if self._idle else _Thread(next(self._names), self._finish, self._clocks)
        self._busy += 1
        self._running.add(job)
        if self._watch is None:
            self._ended.clear()
            self._last_check.begin()
            self._watch = job.loop.call_later(self._look_seconds, self._check_running)
        thread.inbox.put(job)

    def _check_running(self) -> None:
        """Count what each running job has spent, and give up the threads of those that have spent too much."""
        self._watch = None
        jobs = [(job, job.began, job.began.look()) for job in self._running if job.began is not None]
        span = self._last_check.span(
            self._look_seconds, hooks=len(jobs), queued=sum(each.queued for _, _, each in jobs)
        )
        self._warn_of_stall(span.wall - span.planned)
        for job, began, thread in jobs:
            wall = max(0.0, min(span.wall, self._last_check.at - began.wall))
            job.spent.add(replace(span, wall=wall), thread)
            if job.spent.seconds >= self.budget_seconds:
                self._over_budget(job)
        if self._running:
            self._watch = asyncio.get_running_loop().call_later(self._look_seconds, self._check_running)

    def _warn_of_stall(self, seconds: float) -> None:
        """Warn when the loop did not turn for long, and name the hooks that were at work meanwhile."""
        ended, self._ended = self._ended, []
        if seconds < STALL_SECONDS:
            return
        named = {at_work() for at_work in (*ended, *(job.at_work for job in (*self._running, *self._given_up)))}
        if names := sorted(name for name in named if name is not None):
            _log.warning(
                "The event loop stood still for %.1f s. At work meanwhile: %s. A hook in C code that keeps the "
                "interpreter, such as a regular expression, stops everything else: see docs/hooks.md.",
                seconds,
                "; ".join(names),
            )

    def _over_budget(self, job: _Job[object]) -> None:
        failure = job.timed_out()
        if failure is None:
            job.spent = Spent()
            return
        job.stuck = True
        self._running.discard(job)
        self._given_up.add(job)
        self._last_timeout = failure
        if not job.future.done():
            job.future.set_exception(failure)
        self._release()

    def _finish(self, thread: _Thread, job: _Job[object], settle: Callable[[], None]) -> None:
        self._ended.append(job.at_work)
        if job.stuck:
            self._given_up.discard(job)
            thread.inbox.put(None)
            return
        self._running.discard(job)
        if not job.future.done():
            settle()
        if self._closed:
            thread.inbox.put(None)
        else:
            self._idle.append(thread)
        self._release()

    def _release(self) -> None:
        """A place is free: the longest waiting job takes it, unless its caller is gone."""
        self._busy -= 1
        while self._waiting:
            job = self._waiting.popleft()
            if not job.future.done():
                self._start(job)
                return

    def _refuse_when_stuck(self) -> None:
        last = self._last_timeout
        if last is None or self.stuck < self._stuck_limit:
            return
        raise HookFailed(
            f"Plugin '{last.plugin}' was not asked: {self.stuck} threads are stuck in hooks, the last one in its "
            f"{last.hook}. Fix or disable it, and restart the adapter. {KINDS[last.hook].aftermath}",
            plugin=last.plugin,
            hook=last.hook,
        )
