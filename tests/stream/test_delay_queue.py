"""The delay queue: what is due when, and how many of which topic wait."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from adapter.stream.delay_queue import DelayQueue


@dataclass(frozen=True, eq=False)
class Patient:
    name: int
    topic: str = "deferred"


def test_the_longest_due_come_first() -> None:
    """In the order of their times, and of their coming where the times are equal."""
    room: DelayQueue[Patient] = DelayQueue()
    late, early, also_early = Patient(1), Patient(2), Patient(3)
    room.put(late, 30)
    room.put(early, 10)
    room.put(also_early, 10)

    assert room.next_due() == 10
    assert list(room.due(20)) == [early, also_early]
    assert list(room.due(29.9)) == []
    assert list(room.due(30)) == [late]
    assert room.next_due() is None


def test_topics_are_counted_apart() -> None:
    """One topic's bound does not stop another topic."""
    room: DelayQueue[Patient] = DelayQueue()
    room.put(Patient(1), 10)
    room.put(Patient(2), 10)
    room.put(Patient(3, topic="paid"), 10)

    assert (room.count("deferred"), room.count("paid"), room.count("else")) == (2, 1, 0)


def test_who_left_is_not_called() -> None:
    """A record that was handed off, or whose partition was released."""
    room: DelayQueue[Patient] = DelayQueue()
    gone, stays = Patient(1), Patient(2)
    room.put(gone, 10)
    room.put(stays, 10)
    room.discard(gone)
    room.discard(gone)

    assert len(room) == 1
    assert list(room.due(10)) == [stays]
    assert room.count("deferred") == 0


def test_who_comes_again_waits_for_the_new_time_only() -> None:
    """An old place in the heap means nothing any more."""
    room: DelayQueue[Patient] = DelayQueue()
    patient = Patient(1)
    room.put(patient, 10)
    room.discard(patient)
    room.put(patient, 20)

    assert list(room.due(15)) == []
    assert list(room.due(20)) == [patient]


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans())))
def test_no_item_is_lost_or_due_early(visits: list[tuple[int, bool]]) -> None:
    """Everyone who stays is called once, at the first look after their time."""
    room: DelayQueue[Patient] = DelayQueue()
    patients = [(Patient(number), until, leaves) for number, (until, leaves) in enumerate(visits)]
    for patient, until, _ in patients:
        room.put(patient, until)
    for patient, _, leaves in patients:
        if leaves:
            room.discard(patient)

    called: dict[Patient, int] = {}
    for now in range(21):
        for patient in room.due(now):
            assert patient not in called
            called[patient] = now

    assert called == {patient: until for patient, until, leaves in patients if not leaves}
    assert len(room) == 0
