"""The state machine: hypothesis chooses what happens next in a `World`.

A rule is offered only while it has something to do, and what happens most in life has more rules: otherwise hypothesis
would mostly move partitions between idle processes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from adapter.issuance.answers import (
    BreakerIsOpen,
    CallNotSent,
    CallThrottled,
    EnvelopeRejected,
    IssueAnswer,
    RetryLaterCode,
)

from .ecticket import CLOSED, UNKNOWN, Landing, Outage
from .orders import MAPPINGS
from .process import BUSY
from .protections import ALL_ON, Protections
from .world import World

PICK = st.integers(0, 5)
STEPS = st.sampled_from([1, 2, 5, 9])
LANDINGS = st.sampled_from([Landing.DONE, *Landing, Landing.LOST])
MOST_ORDERS = 5


class OwnersAndEcticket(RuleBasedStateMachine):
    """Every interleaving of what the methods of `World` say."""

    protections: ClassVar[Protections] = ALL_ON
    watched: ClassVar[bool] = True
    world: World

    @initialize(mapping=st.sampled_from(MAPPINGS), orders=st.integers(1, 3), steps=st.integers(0, 4))
    def a_morning(self, mapping: str, orders: int, steps: int) -> None:
        self.world = World(self.protections, mapping, watched=self.watched)
        for _ in range(orders):
            self.world.order()
        self.world.work(0, 0)
        self.world.batch(0)
        self.world.work(0, steps)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                if not self.world.invariants.broken:
                    self.world.rest()
            finally:
                self.world.close()

    @precondition(lambda self: len(self.world.orders) < MOST_ORDERS)
    @rule(hole=st.integers(0, 2))
    def order(self, hole: int) -> None:
        self.world.order(hole=hole)

    @rule(seconds=st.sampled_from([1.0, 11.0, 65.0, 130.0, 590.0, 620.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.passes(seconds)

    # --- work --------------------------------------------------------------------------------------------------------

    @rule(pick=PICK, steps=STEPS, answered=st.booleans(), oldest=st.booleans())
    def work(self, pick: int, steps: int, answered: bool, oldest: bool) -> None:
        self.world.work(pick, steps, answered=answered, oldest=oldest)

    @rule(steps=STEPS)
    def all_work(self, steps: int) -> None:
        for pick in range(3):
            self.world.work(pick, steps)

    @rule(steps=STEPS, pause=st.sampled_from([0.0, 65.0, 620.0]))
    def all_work_and_commit(self, steps: int, pause: float) -> None:
        self.world.passes(pause)
        for pick in range(3):
            self.world.take_over(pick)
            self.world.work(pick, steps)
            self.world.batch(pick)

    @precondition(lambda self: self.world.questions)
    @rule(pick=PICK, lost=st.booleans())
    def answer(self, pick: int, lost: bool) -> None:
        self.world.answer(pick, lost=lost)

    @rule(pick=PICK)
    def hand_off(self, pick: int) -> None:
        self.world.hand_off(pick)

    # --- ECTicket ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.ecticket.on_the_wire)
    @rule(pick=PICK, landing=LANDINGS)
    def issue_lands(self, pick: int, landing: Landing) -> None:
        self.world.land(pick, landing)

    @precondition(lambda self: self.world.ecticket.on_the_wire)
    @rule(landing=LANDINGS, lost=st.booleans())
    def all_issues_land_and_are_answered(self, landing: Landing, lost: bool) -> None:
        while self.world.ecticket.on_the_wire:
            self.world.land(0, landing)
        while self.world.issuing:
            self.world.issue_answer(0, lost=lost)

    @precondition(lambda self: self.world.ecticket.on_the_wire)
    @rule()
    def all_issues_are_refused(self) -> None:
        self.all_issues_land_and_are_answered(Landing.REFUSED, lost=False)

    @precondition(lambda self: self.world.issuing)
    @rule(pick=PICK, lost=st.booleans())
    def issue_is_answered(self, pick: int, lost: bool) -> None:
        self.world.issue_answer(pick, lost=lost)

    @precondition(lambda self: self.world.issuing)
    @rule(pick=PICK, what=st.sampled_from(["not sent", "unread", "not accepted", "not now", "breaker open"]))
    def issue_was_nothing(self, pick: int, what: str) -> None:
        later = self.world.clock.now + timedelta(seconds=30)
        came: dict[str, IssueAnswer] = {
            "not sent": CallNotSent(detail=what),
            "unread": CallThrottled(retry_at=later),
            "not accepted": EnvelopeRejected(detail=what),
            "not now": RetryLaterCode(code=BUSY, message=what),
            "breaker open": BreakerIsOpen(retry_at=later),
        }
        self.world.issue_was_nothing(pick, came[what])

    @precondition(lambda self: self.world.ecticket.hidden)
    @rule(pick=PICK)
    def tickets_show(self, pick: int) -> None:
        self.world.show(pick)

    @rule(code=st.sampled_from([UNKNOWN, CLOSED]), outage=st.sampled_from([Outage.ALL, Outage.QUERIES, *Outage]))
    def maintenance(self, code: int, outage: Outage) -> None:
        self.world.maintenance(code, outage)

    @precondition(lambda self: self.world.ecticket.closed is not None)
    @rule()
    def maintenance_ends(self) -> None:
        self.world.maintenance_ends()

    # --- processes and their group -----------------------------------------------------------------------------------

    @rule(pick=PICK, with_another_mapping=st.booleans())
    def crash(self, pick: int, with_another_mapping: bool) -> None:
        self.world.crash(pick, self.world.another_mapping if with_another_mapping else None)

    @rule(pick=PICK)
    def cut_off_or_reconnect(self, pick: int) -> None:
        self.world.cut_off_or_reconnect(pick)

    @rule(pick=PICK, pause=st.sampled_from([0.0, 65.0, 620.0]), steps=STEPS)
    def one_is_cut_off_and_others_go_on(self, pick: int, pause: float, steps: int) -> None:
        self.world.others_go_on(pick, pause, steps)

    @rule(paid=PICK, deferred=PICK, transactions=st.booleans(), taken_over=st.booleans())
    def rebalance(self, paid: int, deferred: int, transactions: bool, taken_over: bool) -> None:
        self.world.rebalance(paid, deferred, transactions=transactions)
        if taken_over:
            for pick in range(3):
                self.world.take_over(pick)

    @precondition(lambda self: self.world.any_untaken)
    @rule(pick=PICK, half=st.booleans())
    def take_over(self, pick: int, half: bool) -> None:
        self.world.take_over(pick, half=half)

    @precondition(lambda self: self.world.any_untaken)
    @rule(pick=PICK)
    def open_state(self, pick: int) -> None:
        self.world.open_state(pick)

    # --- commits -----------------------------------------------------------------------------------------------------

    @rule(pick=PICK, lands=st.booleans(), heard=st.booleans())
    def batch(self, pick: int, lands: bool, heard: bool) -> None:
        self.world.batch(pick, lands=lands, heard=heard)

    @precondition(lambda self: self.world.broker.under_way)
    @rule(pick=PICK)
    def transaction_lands(self, pick: int) -> None:
        self.world.transaction_lands(pick)
