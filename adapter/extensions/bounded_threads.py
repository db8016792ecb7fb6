"""Threads for code that the adapter does not control: each call has a time limit, and no thread delays the exit.

A thread cannot be ended from outside. So a caller that has waited for the time limit gets an error, and the thread
continues. All threads are daemons: `ThreadPoolExecutor` joins its threads at exit, and one that is stuck would keep the
adapter running until it is killed.

* `run_with_timeout` and `call_provider_hook` run what plugins do at start.
* `BudgetedWorkers` runs the hooks of orders, each job within a budget of time.
* `DaemonExecutor` gives the event loop of a sink its threads for `asyncio.to_thread` and for looking up names.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import logging
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, Generic, ParamSpec, TypeVar

from adapter.errors import HookFailed, PluginRejected
from adapter.extensions.hook_time import HookClocks, Span, Spent, SystemClocks, ThreadClock, ThreadSpan
from adapter.extensions.hookspecs import KINDS
from adapter.extensions.invocation import Implementation, try_call
from adapter.values import replace

P = ParamSpec("P")
T = TypeVar("T")

START_SECONDS: Final = 60.0
"""Time limit of one plugin for being loaded, and then for each hook that is called at start."""

STUCK_LIMIT: Final = 256
"""Stuck threads at which no further job is accepted; `/livez` reports a problem long before."""

CHECK_SECONDS: Final = 0.02
"""Time between two checks of the running jobs: several of the interpreter's switch intervals ..."""
CHECKS_PER_BUDGET: Final = 5
"""... and several checks within a short budget."""
_MIN_CHECK_SECONDS: Final = 0.001
STALL_SECONDS: Final = 3.0
"""If the loop is blocked for so long, a warning is logged: a third of the usual session timeout at the broker."""

_log = logging.getLogger(__name__)


# -- one call with a time limit ------------------------------------------------------------------------------------


class StillRunning(Exception):  # becomes a message of PluginRejected and is never seen outside
    """The time limit is over and the work still runs."""


def run_with_timeout(seconds: float, work: Callable[[], T]) -> T:
    """Return or raise what `work` does, run in a daemon thread of its own; what it prints goes to standard error.

    So code that never returns becomes an error that names the plugin. The code may also start an event loop, which is
    not possible on the adapter's own thread.

    Raises StillRunning when it takes longer; its thread continues.
    """
    done: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            failure = error
            done.append(lambda: _raise(failure))
        else:
            done.append(lambda: result)

    thread = threading.Thread(target=run, name="plugin-start", daemon=True)
    with contextlib.redirect_stdout(sys.stderr):
        thread.start()
        thread.join(seconds)
    if not done:
        raise StillRunning
    return done[0]()


def call_provider_hook(
    implementation: Implementation, given: Mapping[str, object], *, seconds: float = START_SECONDS
) -> object:
    """Return the answer of one plugin to a hook of kind provide; it has the type that the hook promises.

    A failure stops the start: a plugin of which only a part works must not decide about orders.

    Raises PluginRejected with plugin, hook and cure; SettingsError if `configure` reports wrong settings.
    """
    if implementation.built_in:
        return implementation.function(*(given[name] for name in implementation.arguments))
    try:
        answer, problem = run_with_timeout(seconds, partial(try_call, implementation, given))
    except StillRunning:
        problem = f"did not return within {seconds:g} s"
    if problem is not None:
        cure = "Fix the plugin, or put its name into plugins.disabled."
        raise PluginRejected(f"{implementation.describe(problem)}. {cure}")
    return answer


def _raise(error: BaseException) -> T:  # type: ignore[type-var]  # returns nothing, whatever type is expected
    raise error


# -- many calls, each with a budget --------------------------------------------------------------------------------


class _ThreadReadings:
    """The clocks of a job's thread and their last readings: first at the start of the job, then at each check."""

    __slots__ = ("cpu", "queued", "thread", "wall")

    def __init__(self, thread: ThreadClock, wall: float) -> None:
        self.thread = thread
        self.wall = wall
        self.cpu = thread.cpu()
        self.queued = thread.queued()

    def read(self) -> ThreadSpan:
        """Return what the thread did since the last reading."""
        cpu, queued = self.thread.cpu(), self.thread.queued()
        used = None if cpu is None or self.cpu is None else cpu - self.cpu
        span = ThreadSpan(cpu=used, queued=queued - self.queued)
        self.cpu, self.queued = cpu, queued
        return span


class _Job(Generic[T]):
    """Work for a thread, and the future of its result."""

    def __init__(
        self, work: Callable[[], T], timed_out: Callable[[], HookFailed | None], at_work: Callable[[], str | None]
    ) -> None:
        self.work = work
        self.at_work = at_work
        self.timed_out = timed_out
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.context = contextvars.copy_context()
        self.began: _ThreadReadings | None = None
        self.spent = Spent()
        self.stuck = False

    def run(self, began: _ThreadReadings) -> Callable[[], None]:
        """Do the work, in the thread; return a function that sets the result and is called on the loop."""
        self.began = began
        try:
            result = self.context.run(self.work)
        except BaseException as error:  # noqa: BLE001  # raised again in the caller of `run`
            failure = RuntimeError("the work raised StopIteration") if isinstance(error, StopIteration) else error
            return lambda: self.future.set_exception(failure)  # a future accepts no StopIteration
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
            settle = job.run(_ThreadReadings(clock, self._clocks.wall()))
            # The loop is closed once the adapter has stopped; then no caller waits for the result.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(self._finished, self, job, settle)
            del job, settle  # an idle thread keeps no customer data


class _LastCheck:
    """The readings of the process's clocks at the last check; used on the loop's thread only."""

    def __init__(self, clocks: HookClocks) -> None:
        self._clocks = clocks
        self._thread: ThreadClock | None = None
        self.at = self._cpu = self._queued = 0.0

    def begin(self) -> None:
        """Start to count."""
        self._thread = self._clocks.this_thread()
        self.at, self._cpu, self._queued = self._clocks.wall(), self._clocks.process_cpu(), self._thread.queued()

    def span(self, planned: float, *, hooks: int, queued: float) -> Span:
        """Return the time since the last check; the hooks' threads waited for a core for `queued` seconds."""
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
    """Runs at most `threads` jobs at once, each within `budget_seconds`; further jobs wait their turn.

    When a job exceeds its budget, its caller gets an error, another thread replaces the one that is stuck, and
    `stuck` counts that thread until its job ends. The budget counts from the start of the job, not while it waits
    for a thread; `hook_time` says which time counts. All running jobs are checked together, every `CHECK_SECONDS`.

    Only the loop that calls `run` touches threads, jobs and counts: a thread gets its job through its inbox and
    returns the result by `call_soon_threadsafe`. So there is no lock.
    """

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
        self._check_seconds = max(_MIN_CHECK_SECONDS, min(CHECK_SECONDS, budget_seconds / CHECKS_PER_BUDGET))
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
        self._stuck: set[_Job[object]] = set()
        self._last_timeout: HookFailed | None = None
        self._closed = False

    @property
    def stuck(self) -> int:
        """Threads that exceeded their budget and still run."""
        return len(self._stuck)

    async def run(
        self,
        work: Callable[[], T],
        *,
        timed_out: Callable[[], HookFailed | None],
        at_work: Callable[[], str | None] = lambda: None,
    ) -> T:
        """Return or raise what `work` does, run in a thread, with the caller's context variables.

        `at_work` names the hook that runs in the thread, or ran in it last.

        Raises what `timed_out` returns when the budget is over (None: keep waiting), and HookFailed immediately when
        too many threads are stuck.
        """
        self._raise_when_stuck()
        job = _Job(work, timed_out, at_work)
        if self._busy < self._limit:
            self._start(job)  # type: ignore[arg-type]  # a job of T is handled as one of object; only its future is read
        else:
            self._waiting.append(job)  # type: ignore[arg-type]  # as above
        return await job.future

    def close(self) -> None:
        """End the idle threads now, and each other thread when its job is done."""
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
            self._watch = job.loop.call_later(self._check_seconds, self._check_running)
        thread.inbox.put(job)

    def _check_running(self) -> None:
        """Add up the time of each running job; stop waiting for those that exceed their budget."""
        self._watch = None
        jobs = [(job, job.began, job.began.read()) for job in self._running if job.began is not None]
        span = self._last_check.span(
            self._check_seconds, hooks=len(jobs), queued=sum(each.queued for _, _, each in jobs)
        )
        self._warn_of_stall(span.wall - span.planned)
        for job, began, thread in jobs:
            wall = max(0.0, min(span.wall, self._last_check.at - began.wall))
            job.spent.add(replace(span, wall=wall), thread)
            if job.spent.seconds >= self.budget_seconds:
                self._over_budget(job)
        if self._running:
            self._watch = asyncio.get_running_loop().call_later(self._check_seconds, self._check_running)

    def _warn_of_stall(self, seconds: float) -> None:
        """Warn if the loop was blocked for long, and name the hooks that ran meanwhile."""
        ended, self._ended = self._ended, []
        if seconds < STALL_SECONDS:
            return
        named = {at_work() for at_work in (*ended, *(job.at_work for job in (*self._running, *self._stuck)))}
        if names := sorted(name for name in named if name is not None):
            _log.warning("event-loop-blocked", extra={"seconds": round(seconds, 1), "hooks": names})

    def _over_budget(self, job: _Job[object]) -> None:
        failure = job.timed_out()
        if failure is None:
            job.spent = Spent()
            return
        job.stuck = True
        self._running.discard(job)
        self._stuck.add(job)
        self._last_timeout = failure
        if not job.future.done():
            job.future.set_exception(failure)
        self._release()

    def _finish(self, thread: _Thread, job: _Job[object], settle: Callable[[], None]) -> None:
        self._ended.append(job.at_work)
        if job.stuck:
            self._stuck.discard(job)
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
        """Start the job that has waited longest and whose caller still waits."""
        self._busy -= 1
        while self._waiting:
            job = self._waiting.popleft()
            if not job.future.done():
                self._start(job)
                return

    def _raise_when_stuck(self) -> None:
        last = self._last_timeout
        if last is None or self.stuck < self._stuck_limit:
            return
        raise HookFailed(
            f"Plugin '{last.plugin}' was not called: {self.stuck} threads are stuck in hooks, the last one in its "
            f"{last.hook}. Fix or disable it, and restart the adapter. {KINDS[last.hook].aftermath}",
            plugin=last.plugin,
            hook=last.hook,
        )


# -- the threads of a loop -----------------------------------------------------------------------------------------


class DaemonExecutor(ThreadPoolExecutor):
    """Runs jobs in at most `max_threads` daemon threads, started when needed; further jobs wait.

    It inherits from `ThreadPoolExecutor` only because `loop.set_default_executor` demands that.
    """

    def __init__(self, max_threads: int, *, name: str) -> None:
        super().__init__(max_workers=1)  # the inherited pool gets no job and starts no thread
        self._max_threads = max_threads
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._free = threading.Semaphore(0)
        self._started = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run the job on the next free thread."""
        future: Future[T] = Future()
        self._jobs.put(partial(_do, future, partial(fn, *args, **kwargs)))
        if not self._free.acquire(blocking=False) and self._started < self._max_threads:
            self._started += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End each thread when it is free. Never waits, even if `wait` is true."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # an idle thread keeps no event
            self._free.release()


def _do(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  # raised again where the future is awaited
        future.set_exception(error)
    else:
        future.set_result(result)
