"""What counts against a hook's budget, as a table; and on real threads, what must never be blamed on a plugin."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_lines import log_line

from adapter.errors import HookFailed
from adapter.extensions.bounded_threads import STALL_SECONDS, BudgetedWorkers
from adapter.extensions.hook_time import Span, Spent, SystemClocks, ThreadClock, ThreadSpan

LOOK = 0.02
SECONDS = st.floats(0, 100)


def span(wall: float = LOOK, cpu: float = 0.0, *, queued: float = 0.0, hooks: int = 1) -> Span:
    return Span(wall=wall, planned=LOOK, process_cpu=cpu, queued=queued, hooks=hooks)


def counted(passed: Span, cpu: float | None, queued: float = 0.0) -> float:
    spent = Spent()
    spent.add(passed, ThreadSpan(cpu=cpu, queued=queued))
    return spent.seconds


@pytest.mark.parametrize(
    ("passed", "cpu", "queued", "counts"),
    [
        # It computes alone, or while others compute too and it waits for the interpreter.
        (span(cpu=LOOK), LOOK, 0.0, LOOK),
        (span(cpu=LOOK), LOOK / 2, 0.0, LOOK / 2),
        (span(0.2, cpu=0.2), 0.005, 0.0, 0.005),
        # It waits for the interpreter: it wakes up now and then, and others have it.
        (span(cpu=LOOK), 0.00002, 0.0, 0.00002),
        # It blocks, alone or while others compute: its clock stands still.
        (span(), 0.0, 0.0, LOOK),
        (span(cpu=LOOK), 0.0, 0.0, LOOK),
        (span(0.2, cpu=0.2), 0.0, 0.0, 0.2),
        # It blocks for a moment again and again while no other thread runs.
        (span(cpu=0.001), 0.001, 0.0, LOOK),
        # The process was stopped, or got no core, for three seconds.
        (span(3.0), 0.0, 0.0, LOOK),
        (span(3.0, cpu=0.01), 0.01, 0.0, LOOK + 0.01),
        # It waited for a core, or the one that had the interpreter did.
        (span(cpu=0.01, queued=0.01), 0.01, 0.01, 0.01),
        (span(cpu=0.01, queued=0.01), 0.001, 0.0, 0.001),
        # The system does not report a thread's CPU time: what the process used is shared.
        (span(cpu=LOOK, hooks=4), None, 0.0, LOOK / 4),
        (span(hooks=4), None, 0.0, LOOK),
    ],
)
def test_a_span_counts_as_what_the_thread_did_in_it(
    passed: Span, cpu: float | None, queued: float, counts: float
) -> None:
    """CPU time and real blocking count; waiting for the interpreter, for a core or for a stopped machine does not."""
    assert counted(passed, cpu, queued) == pytest.approx(counts)


def test_a_wait_for_a_core_is_given_back_when_it_is_known() -> None:
    """Meanwhile the thread's clock stood still, as that of a blocked thread does."""
    spent = Spent()
    spent.add(span(), ThreadSpan(cpu=0.0))
    spent.add(span(cpu=0.001, queued=LOOK), ThreadSpan(cpu=0.001, queued=LOOK))

    assert spent.seconds <= LOOK


@given(st.lists(st.tuples(SECONDS, SECONDS, st.floats(0, 1), SECONDS), max_size=20))
def test_what_is_spent_is_never_less_than_the_cpu_time(looks: list[tuple[float, float, float, float]]) -> None:
    """However the waits fall: a hook that computes for its whole budget has spent it."""
    spent, used = Spent(), 0.0
    for wall, others, part, queued in looks:
        cpu = wall * part
        used += cpu
        spent.add(span(wall, cpu=cpu + others, queued=queued), ThreadSpan(cpu=cpu, queued=queued))

        assert spent.seconds >= used - 1e-9


@given(st.floats(0, 1e9), st.floats(0, LOOK))
def test_a_stopped_process_is_charged_one_look_at_most(stopped: float, cpu: float) -> None:
    """A suspended laptop, a migrated machine, SIGSTOP, a CPU quota that is used up."""
    assert counted(span(LOOK + stopped, cpu=cpu), 0.0) <= LOOK + cpu


class Shown:
    """Clocks that show what the test says; each thread's CPU clock stands still."""

    def __init__(self) -> None:
        self.now = self.used = 0.0

    def wall(self) -> float:
        return self.now

    def process_cpu(self) -> float:
        return self.used

    def this_thread(self) -> ThreadClock:
        return ThreadClock(cpu=lambda: 0.0, queued=lambda: 0.0)


def over_budget() -> HookFailed:
    return HookFailed("over budget", plugin="slow", hook="map_item")


async def _looks(clocks: Shown, task: asyncio.Task[bool], seconds: float, *, step: float) -> None:
    """Let time pass in steps, and the workers look at their jobs after each."""
    until = clocks.now + seconds
    while clocks.now < until and not task.done():
        clocks.now += step
        await asyncio.sleep(0.025)


async def test_a_blocked_hook_is_given_up_by_the_steady_clock_and_a_stopped_process_is_not_blamed() -> None:
    """The machine stands still for an hour: nothing. The hook blocks for its budget: it is given up."""
    clocks, gate = Shown(), threading.Event()
    pool = BudgetedWorkers(budget_seconds=0.1, threads=1, name="test", clocks=clocks)
    task = asyncio.create_task(pool.run(lambda: gate.wait(60), timed_out=over_budget))
    try:
        await _looks(clocks, task, 3600, step=1200)
        assert not task.done()

        await _looks(clocks, task, 1, step=0.02)
        with pytest.raises(HookFailed):
            await task
        assert pool.stuck == 1
    finally:
        gate.set()


@pytest.mark.parametrize("returns", [True, False])
async def test_a_loop_that_stood_still_is_logged_with_the_hooks_that_were_at_work(
    returns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when the hook that kept the interpreter has returned by the time the loop turns again."""
    clocks, gate = Shown(), threading.Event()
    pool = BudgetedWorkers(budget_seconds=60.0, threads=2, name="test", clocks=clocks)
    began = threading.Semaphore(0)

    def held() -> bool:
        began.release()
        return gate.wait(60)

    names = ("Plugin 'greedy': hook map_item(order, line)", "Plugin 'b': hook parse_order(record)")
    tasks = [asyncio.create_task(pool.run(held, timed_out=over_budget, at_work=partial(str, name))) for name in names]
    await asyncio.sleep(0)
    began.acquire()
    began.acquire()
    clocks.now += STALL_SECONDS + 2.0
    try:
        if returns:
            gate.set()
            await asyncio.gather(*tasks[:2])
        async with asyncio.timeout(10):
            while not caplog.messages:  # noqa: ASYNC110  # the workers look by themselves
                await asyncio.sleep(0.001)
    finally:
        gate.set()
    await asyncio.gather(*tasks)

    (line,) = map(log_line, caplog.records)
    assert (line["event"], line["seconds"]) == ("event-loop-blocked", 5.0)
    assert all(name in str(line["hooks"]) for name in names)


async def test_a_loop_that_turns_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither is a hook that merely takes its time."""
    clocks, gate = Shown(), threading.Event()
    pool = BudgetedWorkers(budget_seconds=3600.0, threads=1, name="test", clocks=clocks)
    task = asyncio.create_task(pool.run(lambda: gate.wait(60), timed_out=over_budget, at_work=lambda: "Plugin 'slow'"))
    try:
        await _looks(clocks, task, 5 * STALL_SECONDS, step=STALL_SECONDS - 0.5)
    finally:
        gate.set()
    await task

    assert caplog.messages == []


def _computes(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def test_many_hooks_at_once_are_not_blamed_for_each_other() -> None:
    """On real threads: each needs a fifth of its budget, and twelve times as long while the others compute as well."""
    pool = BudgetedWorkers(budget_seconds=0.1, threads=16, name="test")

    ends = await asyncio.gather(
        *(pool.run(lambda: _computes(0.02), timed_out=over_budget) for _ in range(48)), return_exceptions=True
    )

    assert Counter(map(type, ends)) == {type(None): 48}


@pytest.mark.parametrize(
    "work",
    [
        "threading.Event().wait(60)",
        "time.sleep(60)",
        "[time.sleep(0.001) for _ in range(60_000)]",
        "all(True for _ in iter(int, 1))",
    ],
)
def test_a_hook_that_does_not_come_back_is_given_up(work: str) -> None:
    """Whatever keeps it: a lock, a sleep, polling, computing. Its process ends although the thread goes on."""
    program = dedent(
        f"""
        import asyncio, os, threading, time
        from adapter.errors import HookFailed
        from adapter.extensions.bounded_threads import STALL_SECONDS, BudgetedWorkers

        async def main():
            pool = BudgetedWorkers(budget_seconds=0.1, threads=1, name="test")
            try:
                await pool.run(lambda: {work}, timed_out=lambda: HookFailed("x", plugin="p", hook="h"))
            except HookFailed:
                print("given up", pool.stuck, flush=True)
                os._exit(0)

        asyncio.run(main())
        """
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "given up 1\n", "")


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="the system does not report a thread's CPU time")
def test_the_clocks_of_a_thread_can_be_read_by_others_and_after_its_end() -> None:
    """A thread that ended while it was looked at breaks nothing."""
    made: list[ThreadClock] = []
    used: list[float | None] = []

    def work() -> None:
        made.append(SystemClocks().this_thread())
        _computes(0.01)
        used.append(made[0].cpu())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert used[0] is not None
    assert used[0] >= 0.01
    assert made[0].queued() >= 0
    made[0].cpu()


@pytest.mark.skipif(sys.platform != "linux", reason="stops a process")
def test_a_stopped_process_fails_no_hook() -> None:
    """On real threads: SIGSTOP for longer than the budget, while hooks of 10 ms are running all the time."""
    program = dedent(
        """
        import asyncio, os, subprocess, sys, time
        from adapter.errors import HookFailed
        from adapter.extensions.bounded_threads import STALL_SECONDS, BudgetedWorkers

        STOP = "import os, time; os.kill({0}, 19); time.sleep(0.7); os.kill({0}, 18)"

        async def main():
            pool = BudgetedWorkers(budget_seconds=0.4, threads=16, name="test")
            stopper = subprocess.Popen([sys.executable, "-c", STOP.format(os.getpid())])
            ends = []

            async def one():
                while stopper.poll() is None:
                    try:
                        late = lambda: HookFailed("x", plugin="p", hook="h")
                        await pool.run(lambda: time.sleep(0.01), timed_out=late)
                    except HookFailed:
                        ends.append("failed")
                    else:
                        ends.append("done")

            await asyncio.gather(*(one() for _ in range(8)))
            print(set(ends), pool.stuck)

        asyncio.run(main())
        """
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "{'done'} 0\n", "")
