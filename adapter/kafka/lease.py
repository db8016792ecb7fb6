"""The lease: how certain this process may be that its partitions are still its own, read off the client's heartbeats.

It exists because no fence reaches an HTTP request: before one is written, somebody must know that the group still
counts us in. A request of ours that the coordinator answered proves it for one session time-out, counted from when the
request was *sent*. aiokafka keeps its heartbeats to itself, so this is the one place that looks inside; it refuses to
start when the inside is not what it was written for, instead of promising what it does not know.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

_ANSWERED_LATE = (JoinGroupRequest, SyncGroupRequest)  # when the others have joined too
_PROOFS = (HeartbeatRequest, SyncGroupRequest)
_NO_ERROR = 0
_CURE = "it was written for aiokafka 0.14: install that, or mend adapter/kafka/lease.py"

# The clock that goes on while the machine sleeps, where there is one; CLOCK_MONOTONIC stands still then.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> float:
    """Seconds since some moment in the past, sleep and stops included."""
    return time.clock_gettime(_CLOCK)


class HeartbeatLease:
    """The lease of one member, see `port.Lease`; `watch` must have seen its coordinator.

    Both time-outs in seconds.
    """

    def __init__(
        self, session_timeout: float, rebalance_timeout: float, clock: Callable[[], float] = boot_clock
    ) -> None:
        self._session_timeout = session_timeout
        self._rebalance_timeout = rebalance_timeout
        self._clock = clock
        self._heard = clock()
        self._joining = 0
        self._generation: Callable[[], int] = lambda: -1
        self._sent = float("-inf")
        self._proven_for = -1
        self._proven = asyncio.Event()

    @property
    def generation(self) -> int:
        """The generation that this member belongs to; negative when it belongs to none."""
        return self._generation()

    def clock(self) -> float:
        """Seconds on the clock that `proven_after` speaks of."""
        return self._clock()

    def holds(self, generation: int) -> bool:
        """Whether a request answered for `generation` was sent less than a session time-out ago."""
        return (
            self._generation() == generation == self._proven_for and self._clock() - self._sent < self._session_timeout
        )

    def answered(self) -> bool:
        """See `port.Lease`: anything counts; while this member joins, the answer may take a rebalance time-out."""
        drain_timeout = self._rebalance_timeout if self._joining else self._session_timeout
        return self._clock() - self._heard < drain_timeout

    async def proven_after(self, moment: float) -> None:
        """Wait until a request that was sent after `moment` has been answered."""
        while self._sent <= moment:
            self._proven.clear()
            await self._proven.wait()

    def prove(self, sent: float, generation: int) -> None:
        """Note that the coordinator answered, without any complaint, a request sent at `sent` for `generation`."""
        self._sent = sent
        self._proven_for = generation
        self._proven.set()

    def check_proven(self) -> None:
        """Be sure, once partitions are assigned, that `watch` sees what it must: the assignment itself is a proof.

        Raises AssertionError when it was not seen.
        """
        if self._proven_for < 0:
            raise AssertionError(f"partitions were assigned, but no answer to the member's requests was seen; {_CURE}")

    def watch(self, coordinator: GroupCoordinator) -> None:
        """Note every proof among the answers to this coordinator's requests.

        Raises AssertionError when aiokafka's inside has changed.
        """
        _check_shape(coordinator)
        send = coordinator._send_req  # the one private thing that is wrapped, checked above
        self._generation = lambda: int(coordinator.generation)

        async def watched(request: object) -> object:
            sent, generation = self._clock(), self._generation()
            joining = isinstance(request, _ANSWERED_LATE)
            self._joining += joining
            try:
                response = await send(request)
                self._heard = self._clock()
            finally:
                self._joining -= joining
            # A heartbeat answered with "rebalance in progress" proves nothing: the group may go on without us at once.
            if isinstance(request, _PROOFS) and response.error_code == _NO_ERROR:
                self.prove(sent, generation)
            return response

        coordinator._send_req = watched


def _check_shape(coordinator: object) -> None:
    send: Callable[..., Awaitable[object]] | None = getattr(coordinator, "_send_req", None)
    fits = (
        isinstance(coordinator, GroupCoordinator)
        and isinstance(getattr(coordinator, "generation", None), int)
        and inspect.iscoroutinefunction(send)
        and list(inspect.signature(send).parameters) == ["request"]
    )
    if not fits:
        raise AssertionError(f"aiokafka's group coordinator is not the one that the lease was written for; {_CURE}")
