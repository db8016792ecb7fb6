"""An event loop without a network: it uses the model's clock, and runs only when it is stepped.

So the engine's real tasks are driven step by step, and the same steps always lead to the same end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import TypeVar, TypeVarTuple, Unpack

from .clock import Clock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _NoNetwork:
    """The selector of a loop that waits for nothing."""

    def select(self, _timeout: float | None = None) -> list[object]:
        return []


class SteppedLoop(asyncio.BaseEventLoop):
    """Runs what can run now, timers that are due by `clock` included, and nothing else."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._selector = _NoNetwork()
        self._clock = clock
        self._called = 0
        self._errors: list[BaseException] = []
        self.set_exception_handler(self._keep_error)

    def time(self) -> float:
        return self._clock.seconds

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._called += 1
        return super().call_soon(callback, *args, context=context)

    def do(self, step: Callable[[], T]) -> T:
        """Take a step on the loop, and let everything come to rest that follows from it. Raises what it raises."""
        came: list[T] = []

        def take() -> None:
            came.append(step())

        self.call_soon(take)
        self.settle()
        return came[0]

    def begin(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Begin a task, and let it go as far as it can."""
        return self.do(lambda: self.create_task(work))

    def settle(self) -> None:
        """Run until nothing can run before time passes or the world answers. Raises what a callback raised."""
        before = -1
        while before != self._called:
            super().call_soon(self.stop)
            before = self._called
            self.run_forever()
        if self._errors:
            raise self._errors[0]

    def end(self) -> None:
        """Cancel every task, as when its process dies."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.settle()
        self.close()

    def _keep_error(self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        """What a callback raised is raised again by the step that led to it."""
        error = context.get("exception")
        if isinstance(error, BaseException):
            self._errors.append(error)

    def _process_events(self, _events: list[object]) -> None:
        """There is no network."""
