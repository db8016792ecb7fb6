"""Measures, from the client's answered heartbeats, how certain this process may be that it still owns its partitions.

No fence reaches an HTTP request, so before one is written, the engine must know that the group still counts this
process as a member. A request that the coordinator answered proves it for one session time-out, counted from when the
request was *sent*. aiokafka keeps its heartbeats private, so only this module looks inside it. It does not start if
aiokafka's internals differ from the expected ones.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

_ANSWERED_LATE = (JoinGroupRequest, SyncGroupRequest)  # after the other members have joined
_PROOFS = (HeartbeatRequest, SyncGroupRequest)
_NO_ERROR = 0
_CURE = "it was written for aiokafka 0.14: install that version, or adapt adapter/kafka/lease.py"

# A clock that continues while the machine sleeps, if there is one; CLOCK_MONOTONIC stops then.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> float:
    """Seconds since some moment in the past, including sleep and stops."""
    return time.clock_gettime(_CLOCK)


class HeartbeatLease:
    """The lease of one member, see `port.Lease`; `watch` must have been called with its coordinator.

    Both time-outs are in seconds.
    """

    def __init__(
        self, session_timeout: float, rebalance_timeout: float, clock: Callable[[], float] = boot_clock
    ) -> None:
        self._session_timeout = session_timeout
        self._rebalance_timeout = rebalance_timeout
        self._clock = clock
        self._last_answer_at = clock()
        self._joining = 0
        self._generation: Callable[[], int] = lambda: -1
        self._proof_sent_at = float("-inf")
        self._proven_generation = -1
        self._proven = asyncio.Event()

    @property
    def generation(self) -> int:
        """The generation that this member belongs to; negative if it belongs to none."""
        return self._generation()

    def clock(self) -> float:
        """Seconds on the clock of `proven_after`."""
        return self._clock()

    def holds(self, generation: int) -> bool:
        """Whether a request answered for `generation` was sent less than a session time-out ago."""
        return (
            self._generation() == generation == self._proven_generation
            and self._clock() - self._proof_sent_at < self._session_timeout
        )

    def answered(self) -> bool:
        """See `port.Lease`: any answer counts; while this member joins, the answer may take a rebalance time-out."""
        time_limit = self._rebalance_timeout if self._joining else self._session_timeout
        return self._clock() - self._last_answer_at < time_limit

    async def proven_after(self, moment: float) -> None:
        """Wait until a request that was sent after `moment` has been answered."""
        while self._proof_sent_at <= moment:
            self._proven.clear()
            await self._proven.wait()

    def prove(self, sent: float, generation: int) -> None:
        """Record that the coordinator answered a request sent at `sent` for `generation` without an error."""
        self._proof_sent_at = sent
        self._proven_generation = generation
        self._proven.set()

    def check_proven(self) -> None:
        """Check, once partitions are assigned, that `watch` observes the answers: the assignment itself is a proof.

        Raises AssertionError if it was not observed.
        """
        if self._proven_generation < 0:
            raise AssertionError(f"partitions were assigned, but no answer to the member's requests was seen; {_CURE}")

    def watch(self, coordinator: GroupCoordinator) -> None:
        """Observe the answers to this coordinator's requests.

        Raises AssertionError if aiokafka's internals have changed.
        """
        _check_shape(coordinator)
        send = coordinator._send_req  # the only private method that is wrapped, checked above
        self._generation = lambda: int(coordinator.generation)

        async def watched(request: object) -> object:
            sent, generation = self._clock(), self._generation()
            joining = isinstance(request, _ANSWERED_LATE)
            self._joining += joining
            try:
                response = await send(request)
                self._last_answer_at = self._clock()
            finally:
                self._joining -= joining
            # A heartbeat answered with "rebalance in progress" proves nothing: the group may continue without us.
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
        raise AssertionError(f"aiokafka's group coordinator differs from the one that the lease expects; {_CURE}")
