"""Which connection gives up its slot for a newcomer, and when the newcomer waits instead."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from adapter.web.connection_slots import PASSED_OVER_AT_MOST, ConnectionSlots


@dataclass(eq=False)
class _Connection:
    """A connection whose client has sent `unread` pieces; each look finds one, and the server reads it after that."""

    address: str = "192.0.2.1"
    unread: float = 0
    given_way: list[str] = field(default_factory=list)

    def is_unread(self) -> bool:
        self.unread -= 1
        return self.unread >= 0

    def give_way(self, reason: str) -> None:
        self.given_way.append(reason)


async def _full(*connections: _Connection) -> ConnectionSlots:
    """Slots that these connections have, and wait for their clients."""
    slots = ConnectionSlots(len(connections))
    for each in connections:
        await slots.take(each)
        slots.set_waiting(each, waits=True)
    return slots


async def _begin_to_take(slots: ConnectionSlots, newcomer: _Connection) -> asyncio.Task[None]:
    """The newcomer's attempt, after more passes of the loop than it needs for one."""
    taking = asyncio.create_task(slots.take(newcomer))
    await _passes()
    return taking


async def _passes() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_connection_that_waits_longest_gives_way() -> None:
    """From its last answer on."""
    connections = [_Connection() for _ in range(3)]
    slots = await _full(*connections)
    slots.set_waiting(connections[0], waits=False)
    slots.set_waiting(connections[0], waits=True)

    taking = await _begin_to_take(slots, _Connection())

    assert taking.done()
    assert [each.given_way for each in connections] == [[], ["too-many"], []]


async def test_a_newcomer_waits_until_a_complete_request_is_answered() -> None:
    """The connection is closed then, or waits for its client and gives way."""
    for closed in (True, False):
        busy = _Connection()
        slots = await _full(busy)
        slots.set_waiting(busy, waits=False)

        taking = await _begin_to_take(slots, _Connection())
        waited = not taking.done()
        if closed:
            slots.remove(busy)
        else:
            slots.set_waiting(busy, waits=True)
        await _passes()

        assert waited
        assert taking.done()
        assert busy.given_way == ([] if closed else ["too-many"])


async def test_a_connection_that_has_just_taken_its_slot_does_not_give_way() -> None:
    """It is not connected to the event loop yet, so nothing of it could be read."""
    slots = ConnectionSlots(1)
    first = _Connection()
    await slots.take(first)

    taking = await _begin_to_take(slots, _Connection())

    assert not taking.done()
    assert not first.given_way
    taking.cancel()


async def test_a_connection_with_something_unread_is_passed_over() -> None:
    """The next one gives way."""
    connections = [_Connection(unread=1), _Connection()]
    slots = await _full(*connections)

    taking = await _begin_to_take(slots, _Connection())

    assert taking.done()
    assert [each.given_way for each in connections] == [[], ["too-many"]]


async def test_a_newcomer_waits_until_what_has_come_is_read() -> None:
    """If all of the address with the most have sent something. No other address gives way in their stead."""
    complete, slow, slower = (_Connection(unread=1) for _ in range(3))
    other = _Connection("192.0.2.2")
    slots = await _full(other, complete, slow, slower)

    taking = asyncio.create_task(slots.take(_Connection()))
    await asyncio.sleep(0)
    waited = not taking.done()
    slots.set_waiting(complete, waits=False)  # the server has read it
    await _passes()

    assert waited
    assert taking.done()
    assert [each.given_way for each in (other, complete, slow, slower)] == [[], [], ["too-many"], []]


async def test_bytes_that_come_one_by_one_do_not_keep_a_slot() -> None:
    """A connection is passed over only a few times."""
    dripping = _Connection(unread=float("inf"))
    slots = await _full(dripping)

    taking = await _begin_to_take(slots, _Connection())

    assert taking.done()
    assert dripping.given_way == ["too-many"]


async def test_each_request_of_a_connection_is_passed_over_as_often() -> None:
    """What came for an earlier one does not count."""
    reused, other = _Connection(unread=PASSED_OVER_AT_MOST), _Connection()
    slots = await _full(reused, other)
    for _ in range(PASSED_OVER_AT_MOST):
        newcomer = _Connection()
        await slots.take(newcomer)
        slots.set_waiting(newcomer, waits=True)
    slots.set_waiting(reused, waits=False)
    slots.set_waiting(reused, waits=True)
    reused.unread = 1

    await slots.take(_Connection())

    assert not reused.given_way
