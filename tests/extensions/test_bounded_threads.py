"""Threads with a budget: the caller of a stuck job gets an error, and no other job is affected.

Jobs block on events that the tests set, so that nothing here depends on time but the shortest of budgets.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from textwrap import dedent

import pytest

from adapter.errors import HookFailed
from adapter.extensions.bounded_threads import BudgetedWorkers

LONG = 60.0
SHORT = 0.02


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What stuck jobs wait for; opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def timed_out() -> HookFailed:
    return HookFailed("over budget", plugin="slow", hook="map_item")


def never() -> HookFailed:
    raise AssertionError("nothing ran over its budget")


def workers(*, budget: float = LONG, threads: int = 2, stuck_limit: int = 256) -> BudgetedWorkers:
    return BudgetedWorkers(budget_seconds=budget, threads=threads, name="test", stuck_limit=stuck_limit)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is waited for is set by a thread, on the loop
            await asyncio.sleep(0.001)


async def test_job_runs_in_a_daemon_thread_of_its_own() -> None:
    """Never on the loop, and never holding up the exit."""
    thread = await workers().run(threading.current_thread, timed_out=never)

    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name == "test-1"


async def test_threads_are_used_again() -> None:
    """One after another, jobs need one thread."""
    pool = workers()

    threads = {(await pool.run(threading.current_thread, timed_out=never)).name for _ in range(5)}

    assert threads == {"test-1"}


async def test_what_the_job_raises_reaches_the_caller() -> None:
    """As it was raised."""

    def breaks() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        await workers().run(breaks, timed_out=never)


async def test_context_variables_come_along() -> None:
    """A plugin's log lines carry the order they belong to."""
    current: contextvars.ContextVar[str] = contextvars.ContextVar("current")
    current.set("A-1")

    assert await workers().run(current.get, timed_out=never) == "A-1"


async def test_stuck_job_is_given_up_and_counted_until_it_comes_back(gate: threading.Event) -> None:
    """The caller gets its error at once; the thread ends when the job does."""
    pool = workers(budget=SHORT)

    with pytest.raises(HookFailed, match="over budget"):
        await pool.run(gate.wait, timed_out=timed_out)

    assert pool.stuck == 1
    gate.set()
    await until(lambda: pool.stuck == 0)


async def test_stuck_job_takes_no_place_from_others(gate: threading.Event) -> None:
    """With one thread and a stuck job in it, the next job runs in another one."""
    pool = workers(budget=SHORT, threads=1)

    stuck, following = await asyncio.gather(
        pool.run(gate.wait, timed_out=timed_out),
        pool.run(lambda: threading.current_thread().name, timed_out=lambda: None),
        return_exceptions=True,
    )

    assert isinstance(stuck, HookFailed)
    assert following == "test-2"


async def test_no_more_jobs_at_once_than_threads(gate: threading.Event) -> None:
    """What comes beyond waits its turn, and its budget does not run meanwhile."""
    pool = workers(threads=2)
    running: list[int] = []

    def job(number: int) -> int:
        running.append(number)
        gate.wait(10)
        return number

    tasks = [asyncio.create_task(pool.run(lambda number=number: job(number), timed_out=never)) for number in range(5)]  # type: ignore[misc]
    await until(lambda: len(running) == 2)
    assert sorted(running) == [0, 1]
    gate.set()

    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]


async def test_budget_is_not_counted_before_a_hook_was_called() -> None:
    """`timed_out` without a culprit gives no verdict: a slow machine is no plugin's fault."""
    asked: list[None] = []
    release = threading.Event()

    def slow_machine() -> None:
        asked.append(None)
        if len(asked) == 3:
            release.set()

    pool = workers(budget=0.001)

    assert await pool.run(lambda: release.wait(10), timed_out=slow_machine)
    assert pool.stuck == 0


async def test_caller_that_goes_away_leaves_the_thread_usable(gate: threading.Event) -> None:
    """A cancelled order, as at a rebalance, must not cost a thread."""
    pool = workers(threads=1)
    task = asyncio.create_task(pool.run(gate.wait, timed_out=never))
    waiting = asyncio.create_task(pool.run(gate.wait, timed_out=never))
    await asyncio.sleep(0)
    task.cancel()
    waiting.cancel()
    gate.set()

    assert await pool.run(lambda: threading.current_thread().name, timed_out=never) == "test-1"


async def test_too_many_stuck_threads_refuse_further_jobs(gate: threading.Event) -> None:
    """A plugin that always blocks must not fill the memory with threads."""
    pool = workers(budget=SHORT, stuck_limit=2)
    for _ in range(2):
        with pytest.raises(HookFailed):
            await pool.run(gate.wait, timed_out=timed_out)

    with pytest.raises(HookFailed, match="2 threads") as found:
        await pool.run(gate.wait, timed_out=timed_out)

    assert (found.value.plugin, found.value.hook) == ("slow", "map_item")


async def test_idle_threads_end_when_closed() -> None:
    """Nothing is left behind."""
    pool = workers()
    thread = await pool.run(threading.current_thread, timed_out=never)

    pool.close()

    thread.join(10)
    assert not thread.is_alive()


async def test_busy_threads_end_after_their_job_when_closed(gate: threading.Event) -> None:
    """Closing does not wait for jobs."""
    pool = workers()
    threads: list[threading.Thread] = []

    def job() -> None:
        threads.append(threading.current_thread())
        gate.wait(10)

    task = asyncio.create_task(pool.run(job, timed_out=never))
    await until(lambda: bool(threads))
    pool.close()
    gate.set()
    await task

    threads[0].join(10)
    assert not threads[0].is_alive()


async def test_idle_thread_keeps_nothing_of_its_last_job() -> None:
    """Orders hold customer data; a thread that waits for work does not."""

    class Order:
        pass

    async def visit() -> None:
        order = Order()
        await pool.run(lambda: order, timed_out=never)

    pool = workers()
    await visit()
    await pool.run(lambda: None, timed_out=never)
    gc.collect()

    assert not [each for each in gc.get_objects() if isinstance(each, Order)]


def test_stuck_thread_does_not_hold_up_the_exit() -> None:
    """The process ends although a hook never returns."""
    program = dedent(
        """
        import asyncio, threading
        from adapter.errors import HookFailed
        from adapter.extensions.bounded_threads import BudgetedWorkers

        async def main():
            pool = BudgetedWorkers(budget_seconds=0.01, threads=1, name="test")
            try:
                await pool.run(threading.Event().wait, timed_out=lambda: HookFailed("slow", plugin="p", hook="h"))
            except HookFailed:
                print("given up", pool.stuck)

        asyncio.run(main())
        """
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "given up 1\n", "")


async def test_stop_iteration_is_an_error_like_any_other() -> None:
    """No future takes it: the caller would wait for ever, and the thread's place be gone."""

    def stops() -> None:
        raise StopIteration

    one = workers(threads=1)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        await asyncio.wait_for(one.run(stops, timed_out=never), 10)

    assert await one.run(lambda: 7, timed_out=never) == 7
