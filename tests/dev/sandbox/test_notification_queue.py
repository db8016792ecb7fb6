"""The schedule of notifications as a table, and its promises under any run of answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.dev.sandbox import SandboxSettings
from adapter.dev.sandbox.fault_types import DelayedNotification, DuplicateNotification, TamperedNotification
from adapter.dev.sandbox.faults import FaultRule, Faults
from adapter.dev.sandbox.notification_envelope import ACCEPTED, Verdict
from adapter.dev.sandbox.notification_queue import STEPS, Delivery, NotificationQueue, Sent, State
from adapter.dev.sandbox.notifications import NotificationKind, OutgoingNotification
from adapter.protocol.issue import TradeNo, TradeNoKind

from .helpers import START

YES = Verdict(name=ACCEPTED, message="RtnCode 1", http_status=200)
NO = Verdict(name="timed_out", message="no answer within 10 seconds")


def notification(trade_no: str = "A1") -> OutgoingNotification:
    return OutgoingNotification(
        kind=NotificationKind.USE_STATUS,
        url="http://shop.tw/use",
        merchant_id="3085676",
        platform_id=None,
        trade_no=TradeNo(kind=TradeNoKind.MERCHANT, value=trade_no),
        ticket_no="CB1",
        data={},
    )


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def queue_of(faults: Faults | None = None, **settings: float) -> NotificationQueue:
    return NotificationQueue(SandboxSettings(**settings), faults or Faults())  # type: ignore[arg-type] # all of them are numbers


def answer(queue: NotificationQueue, delivery: Delivery, now: datetime, *verdicts: Verdict) -> None:
    sent = [
        Sent(attempt=delivery.attempt, copy=copy, at=now, tampered=delivery.injected.tampered, verdict=verdict)
        for copy, verdict in enumerate(verdicts, start=1)
    ]
    queue.record_attempt(delivery, sent, now)


def run(queue: NotificationQueue, verdicts: Sequence[Verdict]) -> list[datetime]:
    """Answer each attempt of the only notification in turn; the moments at which they were due."""
    moments: list[datetime] = []
    for verdict in verdicts:
        due = queue.next_due()
        if due is None:
            break
        (delivery,) = queue.take(due, 1)
        moments.append(due)
        answer(queue, delivery, due, verdict)
    return moments


def state(queue: NotificationQueue) -> State:
    (delivery,) = queue.newest()
    return delivery.state


def test_a_notification_is_due_at_once_and_answered_once() -> None:
    """ECPay's job is daily; the sandbox does not wait, unless a setting says so."""
    queue = queue_of()
    queue.add(notification(), START)

    assert run(queue, [YES, YES]) == [START]
    assert (state(queue), queue.open_count) == (State.ANSWERED, 0)


def test_the_first_sending_waits_as_long_as_set() -> None:
    """As ECPay's daily job makes them wait."""
    queue = queue_of(notify_after_seconds=60)
    queue.add(notification(), START)

    assert list(queue.take(at(59.9), 1)) == []
    assert len(list(queue.take(at(60), 1))) == 1


def test_it_is_sent_again_after_five_to_fifteen_minutes_up_to_four_times() -> None:
    """Once and four times more (page 46921); then it is given up."""
    queue = queue_of()
    queue.add(notification(), START)

    moments = run(queue, [NO] * 10)

    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert len(gaps) == 4
    assert all(timedelta(minutes=5) <= gap <= timedelta(minutes=15) for gap in gaps)
    assert state(queue) is State.GIVEN_UP


@pytest.mark.parametrize("refused", [0, 1, 2, 3, 4])
def test_an_accepted_answer_ends_it_whenever_it_comes(refused: int) -> None:
    """At the first sending or the last."""
    queue = queue_of()
    queue.add(notification(), START)

    run(queue, [*[NO] * refused, YES])

    (delivery,) = queue.newest()
    assert (delivery.state, len(delivery.sent)) == (State.ANSWERED, refused + 1)


def test_one_accepted_copy_is_enough() -> None:
    """A duplicate that is refused as one does not bring it back."""
    queue = queue_of()
    queue.add(notification(), START)
    (delivery,) = queue.take(START, 1)

    answer(queue, delivery, START, YES, NO)

    assert state(queue) is State.ANSWERED


def test_no_more_is_taken_than_can_be_sent() -> None:
    """The others stay due, in their order."""
    queue = queue_of()
    for place in range(3):
        queue.add(notification(f"A{place}"), at(place))

    first = [each.number for each in queue.take(at(10), 2)]
    second = [each.number for each in queue.take(at(10), 2)]

    assert (first, second) == ([0, 1], [2])


def test_finished_notifications_make_room_and_open_ones_never() -> None:
    """So the memory is bounded and every notification is sent."""
    queue = queue_of(max_notifications=200)
    for place in range(200):
        queue.add(notification(f"A{place}"), START)
    (first, second) = queue.take(START, 2)
    assert queue.room == 0

    answer(queue, second, START, YES)
    queue.add(notification("B1"), START)

    numbers = [each.number for each in queue.newest()]
    assert (len(queue), queue.room) == (200, 0)
    assert first.number in numbers
    assert second.number not in numbers


def test_an_illegal_step_is_refused() -> None:
    """An answer to what was never sent would be a mistake of the sender's."""
    queue = queue_of()
    queue.add(notification(), START)
    (delivery,) = queue.newest()

    with pytest.raises(ValueError, match=r"waiting .*answered"):
        answer(queue, delivery, START, YES)


def test_finished_is_finished() -> None:
    """Two states have no way out, the others one at least."""
    assert {each for each, onward in STEPS.items() if not onward} == {State.ANSWERED, State.GIVEN_UP}


def test_faults_are_drawn_again_for_each_sending() -> None:
    """A tampered notification is followed by the true one, as after a change on the way."""
    faults = Faults()
    faults.arm(
        FaultRule(behaviour=TamperedNotification(), count=1),
        FaultRule(behaviour=DuplicateNotification(copies=3), arrivals=frozenset({2})),
    )
    queue = queue_of(faults)
    queue.add(notification(), START)
    seen = []
    for verdict in (NO, YES):
        due = queue.next_due()
        assert due is not None
        (delivery,) = queue.take(due, 1)
        seen.append((delivery.injected.tampered, delivery.injected.copies))
        answer(queue, delivery, due, verdict)

    assert seen == [(True, 1), (False, 3)]


def test_a_tampered_notification_that_is_accepted_is_counted() -> None:
    """It is what a receiver must never do."""
    faults = Faults()
    faults.arm(FaultRule(behaviour=TamperedNotification()))
    queue = queue_of(faults)
    queue.add(notification(), START)

    run(queue, [YES])

    assert queue.describe()["tampered_accepted"] == 1


def test_a_delayed_notification_is_overtaken() -> None:
    """What happened first may be sent last."""
    faults = Faults()
    faults.arm(FaultRule(behaviour=DelayedNotification(seconds=30), trade_no="A1"))
    queue = queue_of(faults)
    queue.add(notification("A1"), START)
    queue.add(notification("A2"), at(1))

    assert [each.notification.trade_no.value for each in queue.take(at(29), 9)] == ["A2"]
    assert [each.notification.trade_no.value for each in queue.take(at(30), 9)] == ["A1"]


@given(
    answers=st.lists(st.lists(st.sampled_from([YES, NO]), min_size=1, max_size=3), min_size=5, max_size=5),
    again=st.floats(0, 10_000),
    times=st.integers(0, 4),
)
def test_it_ends_answered_or_given_up_after_as_many_sendings_as_it_takes(
    answers: list[list[Verdict]], again: float, times: int
) -> None:
    """Whatever is answered: never sent after an accepted answer, never more often than allowed, counters agree."""
    queue = queue_of(notify_again_seconds=again, notify_again_times=times)
    queue.add(notification(), START)
    attempts = 0
    while (due := queue.next_due()) is not None:
        (delivery,) = queue.take(due, 1)
        answer(queue, delivery, due, *answers[attempts])
        attempts += 1

    accepted = next((place for place, each in enumerate(answers, start=1) if YES in each), 99)
    expected = min(accepted, times + 1)
    assert attempts == expected
    assert state(queue) is (State.ANSWERED if accepted <= times + 1 else State.GIVEN_UP)
    assert queue.answers.total() == sum(len(each) for each in answers[:expected])
