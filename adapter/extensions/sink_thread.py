"""The thread and event loop of one sink: whatever a sink does there, nobody else's loop stands still.

A delivery is handed over, and waited for no longer than its time. What runs longer is cancelled and given up; a sink
that blocks its loop, or does not let itself be cancelled, keeps it for as long as it likes. So deliveries that were
given up and have not ended are counted (`stuck`), and when there are too many, the sink is not called until one of
them has. A sink that ends its loop (`sys.exit` in a task of its own, `loop.stop()`) gets another one, and what was
under way has failed. The thread is a daemon, and so are those of `asyncio.to_thread`: a stuck one never holds up the
exit.

State is only ever touched on the loop that calls `deliver`, and what runs on the sink's loop reports there by
`call_soon_threadsafe`. Hence no lock.

Whatever a sink raises becomes a value that says why. The text of an exception is not told, since it may quote what the
sink was given or holds; that of `NotDelivered` and its kin is, since whoever raises those writes it for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from adapter.extensions.daemon_executor import DaemonExecutor
from adapter.extensions.invocation import place_in
from adapter.extensions.provided_sinks import ProvidedSink
from adapter.extensions.sinks import Event, NotDelivered, RetryAfter, Undeliverable

CLOSE_SECONDS: Final = 2.0
"""What a sink's `aclose` may take."""
RESTART_SECONDS: Final = 0.1
"""How long a sink whose loop has ended is without one."""


class DeliveryOutcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    UNWANTED = "unwanted"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """What came of one attempt; for one that failed, `reason` is the end of a sentence that begins with the sink.

    `pause_seconds`: the sink asked to be left alone for so long. `permanent`: trying again is.
    """

    outcome: DeliveryOutcome
    reason: str = ""
    pause_seconds: float | None = None
    permanent: bool = False

    @property
    def failed(self) -> bool:
        """Whether the event has still to be delivered."""
        return self.outcome in (DeliveryOutcome.FAILED, DeliveryOutcome.TIMED_OUT)


LOOP_ENDED: Final = DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason="ended its own event loop")


@dataclass(frozen=True, slots=True, kw_only=True)
class _SinkLoop:
    """One loop of a sink's, and what ends it in good order."""

    loop: asyncio.AbstractEventLoop
    closing: asyncio.Event

    def call_soon(self, function: Callable[..., None], *arguments: object) -> None:
        """Call the function there, unless the loop has ended."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(function, *arguments)


class _Call:
    """One delivery under way on one loop of the sink's, and where its end is reported."""

    def __init__(self, event: Event, sink_loop: _SinkLoop) -> None:
        self.event = event
        self.sink_loop = sink_loop
        self.caller = asyncio.get_running_loop()
        self.future: asyncio.Future[DeliveryAttempt] = self.caller.create_future()
        self.task: asyncio.Task[DeliveryAttempt] | None = None
        self.given_up = False


class SinkThread:
    """One sink at work; `deliver` belongs to one loop. Started by `start`, ended by `close`.

    At most `concurrency` deliveries may linger before the sink is called no more, and it has as many threads beside.
    """

    def __init__(self, provided: ProvidedSink, *, timeout_seconds: float, concurrency: int) -> None:
        self.name = provided.name
        self.plugin = provided.plugin
        self._sink = provided.sink
        self._timeout = timeout_seconds
        self._concurrency = concurrency
        self._open: set[_Call] = set()
        self._caller: asyncio.AbstractEventLoop | None = None
        self._sink_loop: _SinkLoop | None = None
        self._begun = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run_thread, name=f"sink-{self.name}", daemon=True)

    @property
    def stuck(self) -> int:
        """Deliveries that were given up and have not ended: the sink is stuck, or was for a moment."""
        return sum(call.given_up for call in tuple(self._open))

    def start(self) -> None:
        """Begin to turn."""
        self._thread.start()
        self._begun.wait()

    async def deliver(self, event: Event) -> DeliveryAttempt:
        """Try once, for at most its time; never raises but when it is cancelled itself."""
        if self._sink_loop is None:
            raise AssertionError(f"sink {self.name} is called before it was started")
        stuck = self.stuck
        if stuck >= self._concurrency:
            reason = f"has not ended {stuck} earlier deliveries; it blocks, or ignores being cancelled"
            return DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason=reason)
        self._caller = asyncio.get_running_loop()
        call = _Call(event, self._sink_loop)
        self._open.add(call)
        call.sink_loop.call_soon(self._begin, call)
        try:
            async with asyncio.timeout(self._timeout):
                return await call.future
        except TimeoutError:
            return DeliveryAttempt(
                outcome=DeliveryOutcome.TIMED_OUT, reason=f"did not deliver within {self._timeout:g} s"
            )
        finally:
            if call.future.cancelled():
                self._give_up(call)

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Let the sink close what it has opened, and end the thread; one that is stuck is left alone."""
        self._over.set()
        if self._sink_loop is not None:
            self._sink_loop.call_soon(self._sink_loop.closing.set)
            await asyncio.to_thread(self._thread.join, seconds + 1.0)

    # --- on the caller's loop ----------------------------------------------------------------------------------------

    def _give_up(self, call: _Call) -> None:
        call.given_up = True
        call.sink_loop.call_soon(self._cancel, call)

    def _lost(self, sink_loop: _SinkLoop) -> None:
        """What was under way on a loop that has ended will not be reported from there."""
        for call in tuple(self._open):
            if call.sink_loop is sink_loop:
                self._ended(call, LOOP_ENDED)

    def _ended(self, call: _Call, attempt: DeliveryAttempt) -> None:
        self._open.discard(call)
        if not call.future.done():
            call.future.set_result(attempt)

    # --- on the sink's loop ------------------------------------------------------------------------------------------

    def _run_thread(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(BaseException):  # whatever the sink has ended its loop by
                asyncio.run(self._run_loop())
            self._over.wait(RESTART_SECONDS)

    async def _run_loop(self) -> None:
        before, self._sink_loop = self._sink_loop, _SinkLoop(loop=asyncio.get_running_loop(), closing=asyncio.Event())
        self._sink_loop.loop.set_default_executor(DaemonExecutor(self._concurrency, name=f"sink-{self.name}-beside"))
        self._begun.set()
        if before is not None and self._caller is not None:
            with contextlib.suppress(RuntimeError):  # the caller's loop is closed, and nobody waits
                self._caller.call_soon_threadsafe(self._lost, before)
        try:
            if not self._over.is_set():
                await self._sink_loop.closing.wait()
        finally:
            self._sink_loop.closing.set()  # the sink may have ended this: nothing is begun on a loop that ends
        close = getattr(self._sink, "aclose", None)
        if close is not None:
            # Whatever it raises: nothing is left to be done about it, and the process ends.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await close()

    def _begin(self, call: _Call) -> None:
        if call.given_up:  # while the loop was blocked
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
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed, and nobody waits
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
        except BaseException as error:  # noqa: BLE001  # any mistake of a sink, sys.exit() too
            place = place_in(self._sink.deliver, error.__traceback__)
            return DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason=f"raised {type(error).__name__}{place}")

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
