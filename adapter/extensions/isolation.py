"""Worker threads with a time budget: a merchant's hook may be slow or stuck, the loop must not be.

A thread cannot be ended from outside. So a thread whose job ran over its budget is given up: the caller gets an error
at once, another thread takes its place, and the stuck one is counted in `abandoned` until it comes back by itself and
ends. All are daemon threads, so that a stuck one never holds up the exit. Why not `ThreadPoolExecutor`: it joins its
threads at exit, and gives up nothing.

Threads, jobs and counts are only ever touched on the loop that calls `run`; a thread gets its job through its inbox and
hands back the result by `call_soon_threadsafe`. Hence no lock.

The budget is counted from the moment the job runs, never while it waits for a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from adapter.errors import HookFailed

T = TypeVar("T")

ABANDONED_LIMIT: Final = 256
"""Stuck threads at which no further job is taken; `/livez` complains long before."""


class _Job(Generic[T]):
    """Work for a thread, and where its result goes."""

    def __init__(self, work: Callable[[], T], overrun: Callable[[], HookFailed | None]) -> None:
        self.work = work
        self.overrun = overrun
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.context = contextvars.copy_context()
        self.began: float | None = None
        self.watch: asyncio.TimerHandle | None = None
        self.abandoned = False

    def run(self) -> Callable[[], None]:
        """Do the work, in the thread; what comes back is to be called on the loop."""
        self.began = time.monotonic()
        try:
            result = self.context.run(self.work)
        except BaseException as error:  # noqa: BLE001  # raised again where the job was given
            failure = RuntimeError("the work raised StopIteration") if isinstance(error, StopIteration) else error
            return lambda: self.future.set_exception(failure)  # which takes no StopIteration
        return lambda: self.future.set_result(result)


class _Thread:
    """One daemon thread and its inbox; None in the inbox ends it."""

    def __init__(self, name: str, finished: Callable[[_Thread, _Job[object], Callable[[], None]], None]) -> None:
        self.inbox: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._finished = finished
        threading.Thread(target=self._live, name=name, daemon=True).start()

    def _live(self) -> None:
        while (job := self.inbox.get()) is not None:
            settle = job.run()
            # The loop is closed once the adapter has stopped; then nobody waits for the result.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(self._finished, self, job, settle)
            del job, settle  # an idle thread keeps no customer data


class Workers:
    """At most `threads` jobs at once, each at most `budget_seconds` long; further jobs wait their turn."""

    def __init__(
        self, *, budget_seconds: float, threads: int, name: str, abandoned_limit: int = ABANDONED_LIMIT
    ) -> None:
        self.budget_seconds = budget_seconds
        self._limit = threads
        self._abandoned_limit = abandoned_limit
        self._names = (f"{name}-{number}" for number in itertools.count(1))
        self._idle: list[_Thread] = []
        self._waiting: deque[_Job[object]] = deque()
        self._busy = 0
        self._abandoned = 0
        self._last_overrun: HookFailed | None = None
        self._closed = False

    @property
    def abandoned(self) -> int:
        """Threads given up and not yet back."""
        return self._abandoned

    async def run(self, work: Callable[[], T], *, overrun: Callable[[], HookFailed | None]) -> T:
        """What `work` returns or raises, done in a thread, with the caller's context variables.

        Raises what `overrun` returns when the budget is over (None: go on waiting), and HookFailed at once when too
        many threads are stuck.
        """
        self._refuse_when_stuck()
        job = _Job(work, overrun)
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
        thread = self._idle.pop() if self._idle else _Thread(next(self._names), self._finish)
        self._busy += 1
        job.watch = job.loop.call_later(self.budget_seconds, self._look_at, job)
        thread.inbox.put(job)

    def _look_at(self, job: _Job[object]) -> None:
        """Give the thread up, unless it began late: then look again when its budget is over."""
        left = self.budget_seconds - (time.monotonic() - job.began) if job.began is not None else self.budget_seconds
        failure = job.overrun() if left <= 0 else None
        if failure is None:
            job.watch = job.loop.call_later(left if left > 0 else self.budget_seconds, self._look_at, job)
            return
        job.abandoned = True
        self._abandoned += 1
        self._last_overrun = failure
        if not job.future.done():
            job.future.set_exception(failure)
        self._release()

    def _finish(self, thread: _Thread, job: _Job[object], settle: Callable[[], None]) -> None:
        if job.abandoned:
            self._abandoned -= 1
            thread.inbox.put(None)
            return
        if job.watch is not None:
            job.watch.cancel()
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
        last = self._last_overrun
        if last is None or self._abandoned < self._abandoned_limit:
            return
        raise HookFailed(
            f"Plugin '{last.plugin}' was not asked: {self._abandoned} threads are stuck in hooks, the last one in its "
            f"{last.hook}. Mend or disable it, restart the adapter, and replay the order "
            f"(`ecticket-adapter dead-letters replay --reason plugin-error`).",
            plugin=last.plugin,
            hook=last.hook,
        )
