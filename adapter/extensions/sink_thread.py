"""Runs one sink on a thread and event loop of its own, so that it cannot block any other loop.

The caller waits for a delivery no longer than the time-out; then the delivery is cancelled. A sink that blocks its
loop or ignores the cancellation keeps the delivery open. `stuck` counts such deliveries, and when there are too many,
the sink is not called until one of them has ended. A sink that ends its loop (`sys.exit` in a task of its own,
`loop.stop()`) gets another one, and its open deliveries have failed. The thread and those of `asyncio.to_thread` are
daemons, so a stuck one does not delay the exit.

Only the loop that calls `deliver` touches the state; the sink's loop reports to it by `call_soon_threadsafe`. So there
is no lock.

Every exception of a sink becomes a value with a reason. The text of the exception is not used, because it may quote
what the sink received or holds; the texts of `NotDelivered`, `RetryAfter` and `Undeliverable` are written for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Final

from msgspec import Struct

from adapter.extensions.bounded_threads import DaemonExecutor
from adapter.extensions.invocation import location_in
from adapter.extensions.provided_sinks import ProvidedSink
from adapter.extensions.sinks import Event, NotDelivered, RetryAfter, Undeliverable, asks_for

CLOSE_SECONDS: Final = 2.0
"""Time limit of a sink's `aclose`."""
RESTART_SECONDS: Final = 0.1
"""Pause before a sink whose loop has ended gets another one."""


class DeliveryOutcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    UNWANTED = "unwanted"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class DeliveryAttempt(Struct, frozen=True, kw_only=True):
    """The result of one attempt."""

    outcome: DeliveryOutcome
    reason: str = ""
    """Of a failure: the end of a sentence that begins with the sink."""
    pause_seconds: float | None = None
    """The sink asked for no further call for so long."""
    permanent: bool = False
    """A retry would fail as well."""

    @property
    def failed(self) -> bool:
        """Whether the event is still to be delivered."""
        return self.outcome in (DeliveryOutcome.FAILED, DeliveryOutcome.TIMED_OUT)


LOOP_ENDED: Final = DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason="ended its own event loop")


class _SinkLoop(Struct, frozen=True, kw_only=True):
    """One event loop of a sink, and the event that ends it cleanly."""

    loop: asyncio.AbstractEventLoop
    closing: asyncio.Event

    def call_soon(self, function: Callable[..., None], *arguments: object) -> None:
        """Call the function on the loop, unless the loop has ended."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(function, *arguments)


class _Call:
    """One running delivery, its loop, and the future of its result."""

    def __init__(self, event: Event, sink_loop: _SinkLoop) -> None:
        self.event = event
        self.sink_loop = sink_loop
        self.caller = asyncio.get_running_loop()
        self.future: asyncio.Future[DeliveryAttempt] = self.caller.create_future()
        self.task: asyncio.Task[DeliveryAttempt] | None = None
        self.cancelled = False


class SinkThread:
    """Runs one sink between `start` and `close`; `deliver` belongs to one loop.

    At `concurrency` stuck deliveries the sink is no longer called. `asyncio.to_thread` has as many threads there.
    """

    def __init__(self, provided: ProvidedSink, *, timeout_seconds: float, concurrency: int) -> None:
        self.name = provided.name
        self.plugin = provided.plugin
        self.types = provided.types
        self._sink = provided.sink
        self._timeout = timeout_seconds
        self._concurrency = concurrency
        self._open: set[_Call] = set()
        self._caller: asyncio.AbstractEventLoop | None = None
        self._sink_loop: _SinkLoop | None = None
        self._started = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run_thread, name=f"sink-{self.name}", daemon=True)

    @property
    def stuck(self) -> int:
        """Number of deliveries that were cancelled and have not ended."""
        return sum(call.cancelled for call in tuple(self._open))

    def start(self) -> None:
        """Start the thread and its loop."""
        self._thread.start()
        self._started.wait()

    async def deliver(self, event: Event) -> DeliveryAttempt:
        """Try to deliver once, within the time-out. Raises only if it is cancelled itself."""
        if not asks_for(self.types, event.type):
            return DeliveryAttempt(outcome=DeliveryOutcome.UNWANTED)
        if self._sink_loop is None:
            raise AssertionError(f"sink {self.name} is called before it is started")
        stuck = self.stuck
        if stuck >= self._concurrency:
            reason = f"has not ended {stuck} earlier deliveries; it blocks its loop, or ignores cancellation"
            return DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason=reason)
        self._caller = asyncio.get_running_loop()
        call = _Call(event, self._sink_loop)
        self._open.add(call)
        call.sink_loop.call_soon(self._start_delivery, call)
        try:
            async with asyncio.timeout(self._timeout):
                return await call.future
        except TimeoutError:
            return DeliveryAttempt(
                outcome=DeliveryOutcome.TIMED_OUT, reason=f"did not deliver within {self._timeout:g} s"
            )
        finally:
            if call.future.cancelled():
                self._cancel_delivery(call)

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Call the sink's `aclose` and end the thread; does not wait for one that is stuck."""
        self._closing.set()
        if self._sink_loop is not None:
            self._sink_loop.call_soon(self._sink_loop.closing.set)
            await asyncio.to_thread(self._thread.join, seconds + 1.0)

    # --- on the caller's loop ----------------------------------------------------------------------------------------

    def _cancel_delivery(self, call: _Call) -> None:
        call.cancelled = True
        call.sink_loop.call_soon(self._cancel, call)

    def _lost(self, sink_loop: _SinkLoop) -> None:
        """Fail the open deliveries of a loop that has ended: it cannot report them."""
        for call in tuple(self._open):
            if call.sink_loop is sink_loop:
                self._ended(call, LOOP_ENDED)

    def _ended(self, call: _Call, attempt: DeliveryAttempt) -> None:
        self._open.discard(call)
        if not call.future.done():
            call.future.set_result(attempt)

    # --- on the sink's loop ------------------------------------------------------------------------------------------

    def _run_thread(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(BaseException):  # anything by which the sink has ended its loop
                asyncio.run(self._run_loop())
            self._closing.wait(RESTART_SECONDS)

    async def _run_loop(self) -> None:
        before, self._sink_loop = self._sink_loop, _SinkLoop(loop=asyncio.get_running_loop(), closing=asyncio.Event())
        self._sink_loop.loop.set_default_executor(DaemonExecutor(self._concurrency, name=f"sink-{self.name}-beside"))
        self._started.set()
        if before is not None and self._caller is not None:
            with contextlib.suppress(RuntimeError):  # the caller's loop is closed; no task waits
                self._caller.call_soon_threadsafe(self._lost, before)
        try:
            if not self._closing.is_set():
                await self._sink_loop.closing.wait()
        finally:
            self._sink_loop.closing.set()  # the sink may have ended the loop: no delivery starts on a loop that ends
        close = getattr(self._sink, "aclose", None)
        if close is not None:
            # An error here has no consequence: the process ends.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await close()

    def _start_delivery(self, call: _Call) -> None:
        if call.cancelled:  # while the loop was blocked
            self._report(call, DeliveryAttempt(outcome=DeliveryOutcome.TIMED_OUT))
            return
        if call.sink_loop.closing.is_set():
            self._report(call, LOOP_ENDED)
            return
        call.task = asyncio.get_running_loop().create_task(self._try_delivery(call.event))
        call.task.add_done_callback(lambda task: self._report(call, _result(task)))

    def _cancel(self, call: _Call) -> None:
        if call.task is not None:
            call.task.cancel()

    def _report(self, call: _Call, attempt: DeliveryAttempt) -> None:
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed; no task waits
            call.caller.call_soon_threadsafe(self._ended, call, attempt)

    async def _try_delivery(self, event: Event) -> DeliveryAttempt:
        try:
            return await self._call_sink(event)
        except NotDelivered as error:
            return DeliveryAttempt(
                outcome=DeliveryOutcome.FAILED,
                reason=error.reason,
                pause_seconds=error.seconds if isinstance(error, RetryAfter) else None,
                permanent=isinstance(error, Undeliverable),
            )
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # any error of a sink, also sys.exit()
            location = location_in(self._sink.deliver, error.__traceback__)
            return DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason=f"raised {type(error).__name__}{location}")

    async def _call_sink(self, event: Event) -> DeliveryAttempt:
        wants: Callable[[Event], object] | None = getattr(self._sink, "wants", None)
        answer_to_wants = True if wants is None else wants(event)
        if not isinstance(answer_to_wants, bool):
            if inspect.iscoroutine(answer_to_wants):
                answer_to_wants.close()
            return DeliveryAttempt(
                outcome=DeliveryOutcome.FAILED,
                reason=f"returned a {type(answer_to_wants).__name__} from wants, not True or False",
            )
        if not answer_to_wants:
            return DeliveryAttempt(outcome=DeliveryOutcome.UNWANTED)
        deliver: Callable[[Event], Coroutine[object, object, object]] = self._sink.deliver
        answer = await deliver(event)
        if answer is not None:
            return DeliveryAttempt(
                outcome=DeliveryOutcome.FAILED,
                reason=f"returned a {type(answer).__name__} from deliver, which returns nothing or raises",
            )
        return DeliveryAttempt(outcome=DeliveryOutcome.DELIVERED)


def _result(task: asyncio.Task[DeliveryAttempt]) -> DeliveryAttempt:
    if task.cancelled():
        return DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason="was cancelled from within")
    error = task.exception()
    return (
        task.result()
        if error is None
        else DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason=f"raised {type(error).__name__}")
    )
