"""Lanes: one at a time, in order, whatever leaves when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapter.stream.lanes import Lanes


def test_a_lane_has_one_current_work_at_a_time() -> None:
    """The second record of an order waits for the first."""
    lanes: Lanes[str] = Lanes()

    assert lanes.enter("order 1", "first")
    assert not lanes.enter("order 1", "second")
    assert lanes.enter("order 2", "other")
    assert lanes.leave("order 1", "first") == "second"


def test_a_record_without_a_lane_waits_for_no_other() -> None:
    """None is a lane of one's own, each time."""
    lanes: Lanes[str] = Lanes()

    assert lanes.enter(None, "one")
    assert lanes.enter(None, "two")
    assert lanes.leave(None, "one") is None
    assert len(lanes) == 0


def test_leaving_from_the_queue_makes_no_other_current() -> None:
    """A queued record that is handed off does not let a third one overtake the first."""
    lanes: Lanes[str] = Lanes()
    for item in ("first", "second", "third"):
        lanes.enter("order", item)

    assert lanes.leave("order", "second") is None
    assert lanes.leave("order", "first") == "third"


def test_an_empty_lane_is_forgotten() -> None:
    """Memory stays flat over millions of orders."""
    lanes: Lanes[str] = Lanes()
    lanes.enter("order", "only")
    lanes.leave("order", "only")

    assert len(lanes) == 0


def test_who_is_behind_is_known() -> None:
    """What follows a handed-off record must count as possibly sent."""
    lanes: Lanes[str] = Lanes()
    for item in ("first", "second", "third"):
        lanes.enter("order", item)

    assert list(lanes.behind("order", "first")) == ["second", "third"]
    assert list(lanes.behind("order", "third")) == []
    assert list(lanes.behind(None, "anything")) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5))))
def test_each_lane_is_a_queue(steps: list[tuple[str, int]]) -> None:
    """Whatever enters and leaves, the current item is always the oldest that is still there."""
    lanes: Lanes[int] = Lanes()
    model: dict[str, list[int]] = {}
    for number, (lane, leaver) in enumerate(steps):
        queue = model.setdefault(lane, [])
        if leaver < len(queue):
            was_current = leaver == 0
            gone = queue.pop(leaver)
            expected = queue[0] if was_current and queue else None
            assert lanes.leave(lane, gone) == expected
        else:
            assert lanes.enter(lane, number) == (not queue)
            queue.append(number)
    assert len(lanes) == sum(bool(queue) for queue in model.values())
