"""Threads for what a sink does beside its loop (`asyncio.to_thread`, looking up names), which hold up no exit.

Why not `ThreadPoolExecutor` itself: Python joins its threads before the process ends, so a request without a time limit
in one of them would keep the adapter from ending until it is killed. Nor is `asyncio.run` kept waiting for them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonExecutor(ThreadPoolExecutor):
    """At most `most` threads, started when needed; what comes beyond waits. A pool only by name: loops ask for one."""

    def __init__(self, most: int, *, name: str) -> None:
        super().__init__(max_workers=1)  # never started: nothing is handed to it
        self._most = most
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._free = threading.Semaphore(0)
        self._started = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have it done by the next thread that is free."""
        future: Future[T] = Future()
        self._jobs.put(partial(_do, future, partial(fn, *args, **kwargs)))
        if not self._free.acquire(blocking=False) and self._started < self._most:
            self._started += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End each thread when it is free; none is waited for, whatever is asked."""
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
    except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
        future.set_exception(error)
    else:
        future.set_result(result)
