"""A sink on its own thread: the caller gets an answer in time, and no other loop waits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from key_words import mentions

from adapter import NotDelivered, RetryAfter, Undeliverable
from adapter.extensions.provided_sinks import ProvidedSink
from adapter.extensions.sink_thread import DeliveryAttempt, DeliveryOutcome, SinkThread
from extensions.plugins import coroutine
from extensions.test_sinks import event

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# The sinks below are what merchants write, mistakes included.


class Ours:
    """A sink whose delivering and wanting the test writes."""

    name = "ours"

    def __init__(self, deliver=None, wants=None):
        self._deliver = deliver
        self.threads: list[str] = []
        self.closed = False
        if wants is not None:
            self.wants = wants

    async def deliver(self, event):
        self.threads.append(threading.current_thread().name)
        return await self._deliver(event) if self._deliver else None

    async def aclose(self):
        self.closed = True


@asynccontextmanager
async def at_work(sink: Ours, *, seconds: float = 60.0, concurrency: int = 4) -> AsyncIterator[SinkThread]:
    provided = ProvidedSink(name=sink.name, plugin="ours", sink=sink)
    thread = SinkThread(provided, timeout_seconds=seconds, concurrency=concurrency)
    thread.start()
    try:
        yield thread
    finally:
        await thread.close(0.2)


async def tried(sink: Ours, **options: float) -> DeliveryAttempt:
    async with at_work(sink, **options) as thread:  # type: ignore[arg-type]  # a test's shorthand
        return await thread.deliver(event())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # the sink's thread signals nothing to tests
            await asyncio.sleep(0.002)


async def test_an_event_is_delivered_on_the_sinks_own_thread() -> None:
    """And the sink closes there what it has opened."""
    sink = Ours()
    async with at_work(sink) as thread:
        assert await thread.deliver(event()) == DeliveryAttempt(outcome=DeliveryOutcome.DELIVERED)

    assert sink.threads == ["sink-ours"]
    assert sink.closed


async def test_an_event_that_is_not_wanted_is_not_delivered() -> None:
    """`wants` is asked each time, on the same thread."""
    sink = Ours(wants=lambda event: event.type == "other")

    assert (await tried(sink)).outcome is DeliveryOutcome.UNWANTED
    assert sink.threads == []


def raising(error: BaseException):
    async def deliver(event):
        raise error

    return deliver


@pytest.mark.parametrize(
    ("error", "attempt"),
    [
        (NotDelivered("was full"), DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason="was full")),
        (
            RetryAfter(30, "was busy"),
            DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason="was busy", pause_seconds=30.0),
        ),
        (
            Undeliverable("wants none"),
            DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason="wants none", permanent=True),
        ),
    ],
)
async def test_the_reason_of_a_sink_is_reported(error: NotDelivered, attempt: DeliveryAttempt) -> None:
    """In its own words, which it wrote for that."""
    assert await tried(Ours(raising(error))) == attempt


@pytest.mark.parametrize("error", [KeyError("王小明"), SystemExit(1), KeyboardInterrupt(), RetryAfter])
async def test_another_exception_of_a_sink_is_reported_by_type_and_line(error: BaseException) -> None:
    """And never by its text; nothing of it ends the thread."""
    sink = Ours(raising(error))
    async with at_work(sink) as thread:
        attempt = await thread.deliver(event())
        assert (await thread.deliver(event())).failed

    assert attempt.outcome is DeliveryOutcome.FAILED
    assert attempt.reason.startswith("raised ")
    assert "at test_sink_thread.py line " in attempt.reason
    assert "王小明" not in attempt.reason


async def answers_false(_event: object) -> bool:
    return False


async def test_an_answer_is_no_delivery() -> None:
    """A sink that returns False means that it failed; any other value may mean the same."""
    attempt = await tried(Ours(answers_false))

    assert attempt.failed
    assert mentions(attempt.reason, "bool deliver")


@pytest.mark.parametrize(("wants", "expected_text"), [(lambda _: None, "a NoneType"), (coroutine, "a coroutine")])
async def test_wanting_is_true_or_false(wants: object, expected_text: str) -> None:
    """A forgotten return must not cost every event."""
    attempt = await tried(Ours(wants=wants))

    assert attempt.failed
    assert expected_text in attempt.reason


async def hangs(_event: object) -> None:
    await asyncio.Event().wait()


async def test_a_delivery_that_hangs_is_cancelled_after_its_time() -> None:
    """And nothing of it is left."""
    async with at_work(Ours(hangs), seconds=0.02) as thread:
        attempt = await thread.deliver(event())
        await until(lambda: thread.stuck == 0)

    assert attempt.outcome is DeliveryOutcome.TIMED_OUT
    assert mentions(attempt.reason, "not 0.02")


async def test_a_sink_that_blocks_its_loop_stops_no_other_loop(gate: threading.Event) -> None:
    """The caller's loop turns, the delivery times out, and another sink delivers; nothing is left in the end."""

    async def blocks(_event: object) -> None:
        gate.wait()

    async with at_work(Ours(blocks), seconds=0.05, concurrency=2) as stuck, at_work(Ours()) as other:
        first = asyncio.create_task(stuck.deliver(event()))
        assert (await other.deliver(event())).outcome is DeliveryOutcome.DELIVERED
        assert (await first).outcome is DeliveryOutcome.TIMED_OUT
        assert (await stuck.deliver(event())).outcome is DeliveryOutcome.TIMED_OUT
        assert stuck.stuck == 2
        refused = await stuck.deliver(event())
        gate.set()
        await until(lambda: stuck.stuck == 0)

    assert "2 earlier deliveries" in refused.reason


async def test_a_delivery_that_will_not_be_cancelled_is_counted_until_it_ends() -> None:
    """It is not waited for."""
    ends = threading.Event()

    async def stubborn(_event: object) -> None:
        while not ends.is_set():
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                continue

    async with at_work(Ours(stubborn), seconds=0.05) as thread:
        assert (await thread.deliver(event())).outcome is DeliveryOutcome.TIMED_OUT
        assert thread.stuck == 1
        ends.set()
        await until(lambda: thread.stuck == 0)


async def cancels_itself(_event: object) -> None:
    raise asyncio.CancelledError


async def test_being_cancelled_from_within_is_a_failure() -> None:
    """As by a library's own time-out gone wrong."""
    attempt = await tried(Ours(cancels_itself))

    assert attempt.outcome is DeliveryOutcome.FAILED
    assert "cancelled" in attempt.reason


async def test_a_caller_that_is_cancelled_cancels_the_delivery() -> None:
    """As when the adapter stops."""
    begun = threading.Event()

    async def deliver(_event: object) -> None:
        begun.set()
        await hangs(_event)

    async with at_work(Ours(deliver)) as thread:
        task = asyncio.create_task(thread.deliver(event()))
        await until(begun.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: thread.stuck == 0)


async def test_closing_does_not_wait_for_a_stuck_sink(gate: threading.Event) -> None:
    """Its thread is left alone, and ends with the process."""

    async def blocks(_event: object) -> None:
        gate.wait()

    async with at_work(Ours(blocks), seconds=0.02) as thread:
        assert (await thread.deliver(event())).outcome is DeliveryOutcome.TIMED_OUT

    assert not gate.is_set()


async def exits_in_a_task_of_its_own():
    async def leave():
        sys.exit(1)

    await asyncio.gather(asyncio.create_task(leave()))


async def stops_its_loop():
    asyncio.get_running_loop().stop()
    await asyncio.Event().wait()


async def cancels_everything():
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.Event().wait()


@pytest.mark.parametrize("mistake", [exits_in_a_task_of_its_own, stops_its_loop, cancels_everything])
async def test_a_sink_that_ends_its_loop_is_asked_again_on_another_one(mistake) -> None:
    """Otherwise every event would wait for a day and then be parked, until the adapter is restarted."""
    loops = []

    async def deliver(event):
        loops.append(asyncio.get_running_loop())
        if len(loops) == 1:
            await mistake()

    async with at_work(Ours(deliver)) as thread, asyncio.timeout(30):
        assert (await thread.deliver(event())).failed
        while loops[0] is loops[-1]:
            attempt = await thread.deliver(event())

        assert attempt.outcome is DeliveryOutcome.DELIVERED
        assert thread.stuck == 0


STUCK_BESIDE_ITS_LOOP = """
import asyncio, threading
from adapter.extensions.provided_sinks import ProvidedSink
from adapter.extensions.sink_thread import SinkThread
from adapter.testing import Events

class Stuck:
    name = "stuck"
    async def deliver(self, event):
        await asyncio.to_thread(threading.Event().wait)

async def main():
    provided = ProvidedSink(name="stuck", plugin="ours", sink=Stuck())
    thread = SinkThread(provided, timeout_seconds=0.01, concurrency=1)
    thread.start()
    print((await thread.deliver(Events().issued())).outcome)
    await thread.close()

asyncio.run(main())
"""


def test_what_is_stuck_beside_a_sinks_loop_holds_up_no_exit() -> None:
    """A request without a time limit in `asyncio.to_thread`, say: Python would wait for it at the end."""
    ran = subprocess.run([sys.executable, "-c", STUCK_BESIDE_ITS_LOOP], capture_output=True, timeout=60, check=True)

    assert ran.stdout.split() == [b"timed_out"]


async def test_a_sink_has_threads_beside_its_loop_and_no_more_than_deliveries() -> None:
    """They are used again, and hand back what was returned or raised."""
    names: set[str] = set()

    def beside(event):
        names.add(threading.current_thread().name)
        if event.id == "e-2":
            raise NotDelivered("was busy")

    sink = Ours(lambda event: asyncio.to_thread(beside, event))
    async with at_work(sink, concurrency=2) as thread:
        ends = await asyncio.gather(*(thread.deliver(event(id=f"e-{number}")) for number in range(1, 8)))

    assert [attempt.reason for attempt in ends] == ["", "was busy", "", "", "", "", ""]
    assert names <= {"sink-ours-beside-1", "sink-ours-beside-2"}


@pytest.mark.parametrize(
    ("types", "gets"),
    [
        (None, {"issued"}),
        (["ecticket.ticket.collected.v1"], {"collected"}),
        (("ecticket.ticket.collected.v1", "ecticket.issuance.issued.v1"), {"issued", "collected"}),
        ({"ecticket.issuance.failed.v1"}, set()),
    ],
)
async def test_a_sink_gets_what_it_asks_for_and_redemption_codes_only_by_name(types, gets) -> None:
    """Without `types` every event but `collected`; with them, those."""
    given = set()

    async def deliver(each):
        given.add(each.type.split(".")[2])

    sink = Ours(deliver)
    provided = ProvidedSink(name="ours", plugin="ours", sink=sink, types=None if types is None else frozenset(types))
    thread = SinkThread(provided, timeout_seconds=60, concurrency=4)
    thread.start()
    try:
        for name in ("ecticket.issuance.issued.v1", "ecticket.ticket.collected.v1"):
            await thread.deliver(event(type=name))
    finally:
        await thread.close(0.2)

    assert given == gets
