"""Bulkheads: what one of them may hold, whose turn it is, who waits outside and who may be moved away."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adapter.stream.bulkheads import OTHERS_SECONDS, SPARE_CAPACITY, STUCK_SECONDS, Bulkheads

A, B, C = "A", "B", "C"


def waiting(slots: int, **counts: int) -> Bulkheads[str]:
    """Bulkheads with so many ready records of each, in rounds."""
    bulkheads: Bulkheads[str] = Bulkheads(slots)
    for number in range(max(counts.values())):
        for key in counts:
            if number < counts[key]:
                bulkheads.admit(key, f"{key}{number}", 0.0)
                bulkheads.make_ready(key, f"{key}{number}")
    return bulkheads


def start_all(bulkheads: Bulkheads[str]) -> list[str]:
    """Start whatever may start."""
    started = []
    while (item := bulkheads.next()) is not None:
        bulkheads.started(item[0])
        started.append(item)
    return started


def fill(bulkheads: Bulkheads[str], key: str) -> int:
    """Enter records as long as there is room for one bulkhead; how many entered."""
    for number in range(1000):
        if not bulkheads.may_admit(key):
            return number
        bulkheads.admit(key, f"{key}{number}", 0.0)
    raise AssertionError("there is room without an end")


def start_none(bulkheads: Bulkheads[str]) -> int:
    count = 0
    while bulkheads.next() is not None:
        bulkheads.started(None)
        count += 1
    return count


@pytest.mark.parametrize(("slots", "alone"), [(1, 1), (2, 1), (4, 3), (8, 7), (16, 14), (64, 56), (256, 224)])
def test_one_busy_bulkhead_takes_nearly_everything(slots: int, alone: int) -> None:
    """Seven eighths, and all but one place of few."""
    assert len(start_all(waiting(slots, A=2 * slots))) == alone


def test_records_without_a_bulkhead_use_every_slot() -> None:
    """Where one merchant has the process to itself, nothing is kept free."""
    bulkheads: Bulkheads[str] = Bulkheads(16)
    for number in range(20):
        bulkheads.admit(None, str(number), 0.0)
        bulkheads.make_ready(None, str(number))

    assert start_none(bulkheads) == 16


@pytest.mark.parametrize("count", [2, 3, 10])
def test_busy_bulkheads_share_alike_and_leave_slots_free(count: int) -> None:
    """However many are in trouble, a newcomer finds a place at once."""
    keys = [chr(ord("A") + number) for number in range(count)]
    bulkheads = waiting(256, **dict.fromkeys(keys, 256))

    held = Counter(item[0] for item in start_all(bulkheads))

    assert max(held.values()) - min(held.values()) <= 1
    assert sum(held.values()) < 256
    bulkheads.admit("z", "z", 0.0)
    bulkheads.make_ready("z", "z")
    assert start_all(bulkheads) == ["z"]


def test_a_newcomer_does_not_wait_for_a_slot_of_the_busy_one() -> None:
    """The busy one takes its share of what comes free, and never the last place."""
    bulkheads = waiting(16, A=16)
    assert len(start_all(bulkheads)) == 14
    bulkheads.admit(B, "B0", 0.0)
    bulkheads.make_ready(B, "B0")

    assert start_all(bulkheads) == ["B0"]
    bulkheads.ended(A)
    assert start_all(bulkheads) == ["A14"]
    bulkheads.admit(C, "C0", 0.0)
    bulkheads.make_ready(C, "C0")
    assert start_all(bulkheads) == ["C0"]


def test_turns_go_round_and_keep_each_ones_order() -> None:
    """A thousand records of one merchant do not come before the first of another."""
    assert start_all(waiting(100, A=3, B=2, C=1)) == ["A0", "B0", "C0", "A1", "B1", "A2"]


def test_room_inside_is_shared_and_never_refused_to_one_that_has_none() -> None:
    """One alone has half of it; with no room left each may still have one record ready."""
    bulkheads: Bulkheads[str] = Bulkheads(50)

    assert fill(bulkheads, A) == (50 + SPARE_CAPACITY) // 2
    assert fill(bulkheads, B) == (50 + SPARE_CAPACITY) // 4
    for other in range(100):
        key = f"other {other}"
        assert bulkheads.may_admit(key)
        bulkheads.admit(key, key, 0.0)
    assert not bulkheads.may_admit("other 1")


def test_who_waits_outside_comes_in_first_come_first_served() -> None:
    """As soon as something of its bulkhead has gone on."""
    bulkheads: Bulkheads[str] = Bulkheads(2)
    fill(bulkheads, A)
    for late in ("first", "second"):
        bulkheads.add_to_backlog(A, late, 0.0)

    assert bulkheads.pop_backlog(A) is None
    bulkheads.remove(A, "A0")
    assert bulkheads.pop_backlog(A) == "first"


def in_backlog(*keys: str, at: float = 0.0) -> Bulkheads[str]:
    bulkheads: Bulkheads[str] = Bulkheads(2)
    for number, key in enumerate(keys):
        bulkheads.add_to_backlog(key, f"{key}{number}", at)
    return bulkheads


def test_what_waits_is_moved_only_where_others_come_or_nothing_moves() -> None:
    """A merchant that is alone is not rewritten without need, unless it is stuck: then no other record can be read."""
    assert list(in_backlog(A, A).hand_off_candidates(0.0)) == []
    assert list(in_backlog(A, A).hand_off_candidates(STUCK_SECONDS - 1)) == []
    assert list(in_backlog(A, A).hand_off_candidates(STUCK_SECONDS)) == ["A1", "A0"]
    assert list(in_backlog(B, A, A).hand_off_candidates(0.0)) == ["B0", "A2", "A1"]


def test_another_bulkhead_counts_for_ten_minutes() -> None:
    """What came long ago is not expected."""
    for seconds, moved in ((OTHERS_SECONDS, ["A1"]), (OTHERS_SECONDS + 1, [])):
        bulkheads: Bulkheads[str] = Bulkheads(2)
        bulkheads.admit(B, "B0", 0.0)
        bulkheads.add_to_backlog(A, "A1", seconds)
        assert list(bulkheads.hand_off_candidates(seconds)) == moved


class Shares(RuleBasedStateMachine):
    """Anything may happen in any order: nothing is lost, shares hold, and what is over leaves nothing behind."""

    @initialize(slots=st.integers(1, 20))
    def begin(self, slots: int) -> None:
        self.partitions_of = slots
        self.bulkheads: Bulkheads[tuple[str | None, int]] = Bulkheads(slots)
        self.ready: dict[tuple[str | None, int], None] = {}
        self.admitted: dict[tuple[str | None, int], None] = {}
        self.backlog: dict[tuple[str | None, int], None] = {}
        self.running: list[str | None] = []
        self.number = 0

    @rule(key=st.sampled_from([None, "A", "B", "C", "D"]))
    def come(self, key: str | None) -> None:
        self.number += 1
        item = (key, self.number)
        if self.bulkheads.may_admit(key):
            self.bulkheads.admit(key, item, 0.0)
            self.admitted[item] = None
        else:
            self.bulkheads.add_to_backlog(key, item, 0.0)
            self.backlog[item] = None

    @rule(pick=st.integers(0, 100))
    def become_ready(self, pick: int) -> None:
        unready = [item for item in self.admitted if item not in self.ready]
        if unready:
            item = unready[pick % len(unready)]
            self.bulkheads.make_ready(item[0], item)
            self.ready[item] = None

    @rule()
    def start(self) -> None:
        item = self.bulkheads.next()
        if item is not None:
            free = self.partitions_of - len(self.running)
            assert free > 0
            assert item == next(each for each in self.ready if each[0] == item[0])
            self.bulkheads.started(item[0])
            self.running.append(item[0])
            del self.ready[item], self.admitted[item]
        elif self.ready:
            assert (
                not [key for key, _ in self.ready if key not in self.running] or len(self.running) == self.partitions_of
            )

    @rule(pick=st.integers(0, 100))
    def end(self, pick: int) -> None:
        if self.running:
            self.bulkheads.ended(self.running.pop(pick % len(self.running)))

    @rule(pick=st.integers(0, 100))
    def leave(self, pick: int) -> None:
        present = [*self.admitted, *self.backlog]
        if present:
            item = present[pick % len(present)]
            self.bulkheads.remove(item[0], item)
            for each in (self.admitted, self.ready, self.backlog):
                each.pop(item, None)

    @rule(key=st.sampled_from(["A", "B", "C", "D"]))
    def come_in(self, key: str) -> None:
        item = self.bulkheads.pop_backlog(key)
        if item is not None:
            assert item == next(each for each in self.backlog if each[0] == key)
            del self.backlog[item]
            self.bulkheads.admit(key, item, 0.0)
            self.admitted[item] = None

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if hasattr(self, "bulkheads"):
            assert self.bulkheads.running == len(self.running) <= self.partitions_of
            keys = {key for key, _ in (*self.admitted, *self.backlog)} | set(self.running)
            assert len(self.bulkheads) == len(keys)


TestShares = Shares.TestCase


@given(st.lists(st.sampled_from("ABC"), min_size=1, max_size=60), st.integers(1, 8))
def test_everything_that_is_ready_is_started_in_the_end(keys: list[str], slots: int) -> None:
    """No starvation: as places come free, each record has its turn."""
    bulkheads: Bulkheads[str] = Bulkheads(slots)
    for number, key in enumerate(keys):
        bulkheads.admit(key, f"{key}{number}", 0.0)
        bulkheads.make_ready(key, f"{key}{number}")
    started: list[str] = []
    for _ in range(len(keys) + 1):
        some = start_all(bulkheads)
        started.extend(some)
        for item in some:
            bulkheads.ended(item[0])

    assert sorted(started) == sorted(f"{key}{number}" for number, key in enumerate(keys))
