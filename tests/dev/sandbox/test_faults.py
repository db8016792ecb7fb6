"""Which calls are hit by which fault: pure, with time as an argument."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapter.dev.sandbox.fault_types import (
    KINDS,
    AcceptRepeats,
    AnswerLostAfter,
    AnswerLostBefore,
    Behaviour,
    CorruptedChecksum,
    DelayedNotification,
    DuplicateNotification,
    Garbage,
    IssueOutage,
    JobFails,
    JobNeverFinishes,
    LateEffect,
    LockOut,
    Maintenance,
    NotAcceptedEnvelope,
    QueryOutage,
    Slow,
    TamperedNotification,
    kind_of,
)
from adapter.dev.sandbox.faults import Call, FaultRule, Faults, InjectedFaults
from adapter.dev.sandbox.notifications import NotificationKind
from adapter.protocol.endpoints import Endpoint

from .helpers import START


def call(
    trade_no: str | None = "A1",
    *,
    endpoint: Endpoint = Endpoint.ISSUE,
    merchant_id: str | None = "3085676",
    readable: bool = True,
) -> Call:
    return Call(endpoint=endpoint, merchant_id=merchant_id, trade_no=trade_no, readable=readable)


def hits(faults: Faults, count: int) -> list[bool]:
    return [faults.inject(call(f"N{place}"), START) != InjectedFaults() for place in range(count)]


def armed(*faults: FaultRule, seed: int = 0) -> Faults:
    armed_faults = Faults()
    armed_faults.arm(*faults, seed=seed)
    return armed_faults


def test_without_faults_nothing_goes_wrong() -> None:
    """A sandbox has no faults until some are armed."""
    assert Faults().inject(call(), START) == InjectedFaults()


@pytest.mark.parametrize(
    ("fault", "hit", "spared"),
    [
        (FaultRule(behaviour=Slow(), endpoint=Endpoint.ISSUE), call(), call(endpoint=Endpoint.ORDER_DETAIL)),
        (FaultRule(behaviour=Slow(), merchant_id="3085676"), call(), call(merchant_id="3362787")),
        (FaultRule(behaviour=Slow(), merchant_id="3085676"), call(), call(merchant_id=None)),
        (FaultRule(behaviour=Slow(), trade_no="A1"), call("A1"), call("A12")),
        (FaultRule(behaviour=Slow(), trade_no="A1"), call("A1"), call(None)),
        (FaultRule(behaviour=Slow(), trade_no_prefix="A1"), call("A12"), call("B1")),
        (FaultRule(behaviour=Slow(), trade_no_prefix="A1"), call("A1"), call(None)),
        (FaultRule(behaviour=LateEffect()), call(), call(endpoint=Endpoint.QUERY_ISSUE_RESULT)),
        (FaultRule(behaviour=JobFails()), call(), call(endpoint=Endpoint.QUERY_ISSUE_RESULT)),
        (FaultRule(behaviour=JobNeverFinishes()), call(), call(endpoint=Endpoint.QUERY_ITEM_INFO)),
        (FaultRule(behaviour=AcceptRepeats()), call(), call(endpoint=Endpoint.QUERY_ITEM_INFO)),
        (FaultRule(behaviour=CorruptedChecksum()), call(), call(endpoint=Endpoint.ORDER_DETAIL)),
        (FaultRule(behaviour=LockOut()), call(), call(merchant_id=None)),
        (FaultRule(behaviour=Maintenance()), call(), call(readable=False)),
        (FaultRule(behaviour=QueryOutage()), call(endpoint=Endpoint.QUERY_ISSUE_RESULT), call()),
        (FaultRule(behaviour=IssueOutage()), call(), call(endpoint=Endpoint.QUERY_ISSUE_RESULT)),
        (FaultRule(behaviour=IssueOutage()), call(), call(endpoint=Endpoint.QUERY_ITEM_INFO)),
        (FaultRule(behaviour=IssueOutage()), call(), call(readable=False)),
        (FaultRule(behaviour=NotAcceptedEnvelope()), call(), call(readable=False)),
        (FaultRule(behaviour=LateEffect()), call(), call(readable=False)),
        (FaultRule(behaviour=CorruptedChecksum()), call(), call(readable=False)),
    ],
)
def test_a_fault_hits_what_it_fits_and_spares_the_rest(fault: FaultRule, hit: Call, spared: Call) -> None:
    """Each matcher, and the places where a fault makes sense."""
    assert armed(fault).inject(spared, START) == InjectedFaults()
    assert armed(fault).inject(hit, START) != InjectedFaults()


def test_count_is_how_often_a_fault_fires_at_most() -> None:
    """Then it is spent."""
    assert hits(armed(FaultRule(behaviour=Slow(), count=2)), 4) == [True, True, False, False]


@pytest.mark.parametrize(
    ("every", "out"),
    [(0.0, [True, True, False, False, False, False]), (30.0, [True, True, False, True, False, True])],
)
def test_an_outage_lasts_from_the_first_call_on_and_may_come_again(every: float, out: list[bool]) -> None:
    """Every call within its seconds is hit, and none besides; other endpoints do not begin it."""
    faults = armed(FaultRule(behaviour=QueryOutage(seconds=10, every_seconds=every)))
    faults.inject(call(), START - timedelta(hours=1))
    query = call(endpoint=Endpoint.QUERY_ISSUE_RESULT)

    hit = [faults.inject(query, START + timedelta(seconds=at)) != InjectedFaults() for at in (0, 9.9, 10, 31, 42, 60)]

    assert hit == out


def test_arrivals_name_the_calls_by_their_order() -> None:
    """Counted from 1, among the calls that fit."""
    faults = armed(FaultRule(behaviour=Slow(), arrivals=frozenset({2, 3}), trade_no_prefix="N"))
    faults.inject(call("other"), START)

    assert hits(faults, 4) == [False, True, True, False]


def test_rate_is_drawn_from_the_seed() -> None:
    """The same seed hits the same calls, another seed others; about as many as asked for."""
    fault = FaultRule(behaviour=Slow(), rate=0.25)
    first, again, other = (hits(armed(fault, seed=seed), 1_000) for seed in (7, 7, 8))

    assert first == again
    assert first != other
    assert 200 < sum(first) < 300


def test_another_fault_does_not_change_whom_a_fault_hits() -> None:
    """Each has its own generator."""
    late = FaultRule(behaviour=JobFails(), rate=0.5)
    alone, beside = armed(late, seed=7), armed(late, FaultRule(behaviour=Slow(), rate=0.5), seed=7)

    for place in range(100):
        assert alone.inject(call(f"N{place}"), START).job == beside.inject(call(f"N{place}"), START).job


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0), (1.0, 100)])
def test_rate_zero_never_fires_and_rate_one_always(rate: float, expected: int) -> None:
    """The ends of the scale are certain."""
    assert sum(hits(armed(FaultRule(behaviour=Slow(), rate=rate)), 100)) == expected


def test_faults_of_different_slots_combine() -> None:
    """A call can be slow, lose its answer, fail as a job and be a repeat, all at once."""
    behaviours: tuple[Behaviour, ...] = (Slow(), AnswerLostAfter(), JobFails(), AcceptRepeats())

    injected = armed(*(FaultRule(behaviour=behaviour) for behaviour in behaviours)).inject(call(), START)

    assert injected == InjectedFaults(slow=Slow(), answer=AnswerLostAfter(), job=JobFails(), accept_repeats=True)


def test_the_first_fault_of_a_slot_wins_and_the_others_do_not_see_the_call() -> None:
    """So a list of faults reads from top to bottom."""
    faults = armed(
        FaultRule(behaviour=AnswerLostBefore(), count=1), FaultRule(behaviour=Garbage(), arrivals=frozenset({1}))
    )

    assert [faults.inject(call(), START).answer for _ in range(3)] == [AnswerLostBefore(), Garbage(), None]


def test_a_lock_out_holds_for_its_time_and_for_its_merchant_only() -> None:
    """It needs no further fault to go on, and it ends by itself."""
    faults = armed(FaultRule(behaviour=LockOut(seconds=10, retry_after=True), count=1))
    lock = faults.inject(call(), START).lock

    assert lock is not None
    assert lock.retry_after
    assert faults.inject(call(merchant_id="3362787"), START).lock is None
    assert faults.inject(call(), START + timedelta(seconds=9.9)).lock == lock
    assert faults.inject(call(), START + timedelta(seconds=10)).lock is None


def test_clearing_ends_faults_and_lock_outs_but_not_the_count_of_what_fired() -> None:
    """The statistics cover the whole life of a sandbox."""
    faults = armed(FaultRule(behaviour=LockOut()))
    faults.inject(call(), START)

    faults.clear()

    assert faults.inject(call(), START) == InjectedFaults()
    assert faults.fired == {"lock_out": 1}


def test_every_kind_knows_its_own_name() -> None:
    """Names and behaviours are one to one."""
    assert [kind_of(kind()) for kind in KINDS.values()] == list(KINDS)


def test_a_fault_of_calls_never_hits_a_notification_nor_the_other_way_round() -> None:
    """Without a matcher, each hits all of its own."""
    faults = armed(FaultRule(behaviour=AnswerLostAfter()), FaultRule(behaviour=TamperedNotification()))
    notification = Call(endpoint=NotificationKind.REFUND, merchant_id="3085676", trade_no="A1")

    assert faults.inject(notification, START) == InjectedFaults(tampered=True)
    assert faults.inject(call(), START) == InjectedFaults(answer=AnswerLostAfter())


def test_the_faults_of_a_notification_combine() -> None:
    """Each touches another thing about it."""
    faults = armed(
        FaultRule(behaviour=DuplicateNotification(copies=3)),
        FaultRule(behaviour=TamperedNotification()),
        FaultRule(behaviour=DelayedNotification(seconds=9)),
        FaultRule(behaviour=DuplicateNotification(copies=5)),
    )
    notification = Call(endpoint=NotificationKind.USE_STATUS, merchant_id="3085676", trade_no="A1")

    assert faults.inject(notification, START) == InjectedFaults(copies=3, tampered=True, delay_seconds=9)


def test_a_merchant_that_is_locked_out_is_notified_all_the_same() -> None:
    """It calls too often; ECTicket does not."""
    faults = armed(FaultRule(behaviour=LockOut(), count=1))
    faults.inject(call(), START)

    notification = Call(endpoint=NotificationKind.USE_STATUS, merchant_id="3085676", trade_no="A1")

    assert faults.inject(call(), START).lock is not None
    assert faults.inject(notification, START) == InjectedFaults()
