"""The lease: what proves it, how long it holds, and that an unexpected client is refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from adapter.kafka.lease import HeartbeatLease, boot_clock

REBALANCE_IN_PROGRESS = 27


@dataclass
class Answer:
    error_code: int = 0


class Coordinator(GroupCoordinator):  # type: ignore[misc]  # aiokafka has no types
    """A coordinator without a broker; the test says what is answered, and when."""

    def __init__(self) -> None:
        self.generation = 5
        self.answer = Answer()
        self.answered = asyncio.Event()
        self.answered.set()

    async def _send_req(self, request: object) -> Answer:
        await self.answered.wait()
        return self.answer


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def heartbeat() -> object:
    return HeartbeatRequest("group", 5, "member")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def lease(clock: Clock, coordinator: Coordinator) -> HeartbeatLease:
    lease = HeartbeatLease(10, 30, clock)
    lease.watch(coordinator)
    return lease


async def test_without_any_answer_there_is_no_lease(lease: HeartbeatLease) -> None:
    """A member that was never counted in owns nothing."""
    assert not lease.holds(5)
    with pytest.raises(AssertionError, match=r"aiokafka 0\.14"):
        lease.check_proven()


async def test_an_answered_heartbeat_is_good_for_one_session(
    lease: HeartbeatLease, coordinator: Coordinator, clock: Clock
) -> None:
    """And not a moment longer."""
    await coordinator._send_req(heartbeat())
    lease.check_proven()

    clock.now += 9.9
    assert lease.holds(5)
    clock.now += 0.1
    assert not lease.holds(5)


async def test_the_session_counts_from_when_the_heartbeat_was_sent(
    lease: HeartbeatLease, coordinator: Coordinator, clock: Clock
) -> None:
    """An answer that took long proves less."""
    coordinator.answered.clear()
    beating = asyncio.create_task(coordinator._send_req(heartbeat()))
    await asyncio.sleep(0)
    clock.now += 9
    coordinator.answered.set()
    await beating

    assert lease.holds(5)
    clock.now += 1
    assert not lease.holds(5)


async def test_an_assignment_proves_it_too(lease: HeartbeatLease, coordinator: Coordinator) -> None:
    """A successful sync is the group's own word."""
    await coordinator._send_req(SyncGroupRequest("group", 5, "member", None, []))

    assert lease.holds(5)


async def test_joining_proves_nothing(lease: HeartbeatLease, coordinator: Coordinator) -> None:
    """A member that has joined has no partition yet."""
    await coordinator._send_req(JoinGroupRequest("group", 10_000, 10_000, "", None, "consumer", []))

    assert not lease.holds(5)


async def test_a_heartbeat_answered_with_a_rebalance_proves_nothing(
    lease: HeartbeatLease, coordinator: Coordinator
) -> None:
    """The group may go on without us at once."""
    coordinator.answer = Answer(REBALANCE_IN_PROGRESS)
    await coordinator._send_req(heartbeat())

    assert not lease.holds(5)


async def test_another_generation_ends_the_lease(lease: HeartbeatLease, coordinator: Coordinator) -> None:
    """Whatever was proven was proven for another assignment."""
    await coordinator._send_req(heartbeat())

    coordinator.generation = -1
    assert not lease.holds(5)
    assert not lease.holds(-1)
    assert lease.generation == -1


async def test_brokers_that_do_not_answer_are_noticed_after_one_session(
    lease: HeartbeatLease, coordinator: Coordinator, clock: Clock
) -> None:
    """Any answer shows that they are there, one that proves nothing too."""
    coordinator.answer = Answer(REBALANCE_IN_PROGRESS)
    clock.now += 9
    await coordinator._send_req(heartbeat())
    clock.now += 9
    assert lease.answered()
    clock.now += 1

    assert not lease.answered()


async def test_a_rebalance_may_be_answered_late(lease: HeartbeatLease, coordinator: Coordinator, clock: Clock) -> None:
    """Joining takes as long as the slowest of the others; no heartbeat is sent meanwhile."""
    coordinator.answered.clear()
    join = JoinGroupRequest("group", 10_000, 10_000, "", None, "consumer", [])
    joining = asyncio.create_task(coordinator._send_req(join))
    await asyncio.sleep(0)
    clock.now += 29
    assert lease.answered()
    clock.now += 1
    assert not lease.answered()

    coordinator.answered.set()
    await joining

    assert lease.answered()


async def test_a_proof_can_be_waited_for(lease: HeartbeatLease, coordinator: Coordinator, clock: Clock) -> None:
    """Only one that was sent later counts."""
    await coordinator._send_req(heartbeat())
    waiting = asyncio.create_task(lease.proven_after(lease.clock()))
    await coordinator._send_req(heartbeat())
    await asyncio.sleep(0)
    assert not waiting.done()

    clock.now += 1
    await coordinator._send_req(heartbeat())
    await asyncio.wait_for(waiting, 1)


async def test_an_unexpected_client_is_refused(clock: Clock) -> None:
    """An upgrade that changes the inside fails loudly, and at the start."""

    class Changed(Coordinator):
        async def _send_req(self, request: object, timeout: float = 1) -> Answer:  # noqa: ASYNC109
            return Answer()

    for stranger in (object(), Changed()):
        with pytest.raises(AssertionError, match=r"aiokafka 0\.14"):
            HeartbeatLease(10, 30, clock).watch(stranger)


def test_the_clock_does_not_stand_still() -> None:
    """It is the one that counts time asleep, where the system has it."""
    first = boot_clock()

    assert boot_clock() >= first > 0
