"""The next step among the parts of one order (docs/delivery.md, "Plan")."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import product

import pytest
from key_words import mentions

from adapter.issuance.actions import Action, ControlQuery, Defer, Finish, Park, ParkReason, Probe, Query, Send, Wait
from adapter.issuance.answers import (
    Accepted,
    BreakerIsOpen,
    CallInDoubt,
    CallNotSent,
    CallResult,
    ControlAnswered,
    Known,
    NotFound,
    ProbeAnswered,
    Refused,
)
from adapter.issuance.decide import SubmitPolicy, conclude, observe
from adapter.issuance.next_step import Step, Unverified, issued_before, mark_possibly_sent, next_step
from adapter.issuance.plan import plan
from adapter.issuance.state import PartState, Phase, WaitReason, initial_state
from adapter.protocol.query_issue_result import IssueStatus

from .samples import ALWAYS, CVS, T0, at, item, order

N = 404
REMAPPED, SKIPPED = Unverified(mapping_changed=True), Unverified(skip="test order", plugin="shop")


class Table:
    """An order's parts; ECTicket has those that are `known`, and answers no query about the `unreachable`."""

    def __init__(
        self,
        parts: int = 2,
        *,
        sent_until: datetime | Sequence[datetime] | None = None,
        unverified: Unverified | None = None,
    ) -> None:
        planned = plan(order(), [item("A", 8 * parts, CVS)], ALWAYS)
        each = sent_until if isinstance(sent_until, Sequence) else [sent_until] * parts
        self.states = [
            initial_state(part, first_seen_at=T0, possibly_sent_since=since)
            for part, since in zip(planned, each, strict=True)
        ]
        self.unverified = unverified
        self.now = T0
        self.known: set[int] = set()
        self.unreachable: set[int] = set()
        self.seconds_a_step = 0.1

    def step(self) -> Step | None:
        """The next step."""
        return next_step(self.states, self.now, SubmitPolicy(), unverified=self.unverified)

    def comes(self, index: int, what: CallResult) -> None:
        """Record a result for a part."""
        self.states[index] = observe(self.states[index], what, self.now)

    def play(self, *, until: type[Action] | None = None) -> list[tuple[int, str]]:
        """Perform steps, with ECTicket answering every query, until none is left or one is of that kind."""
        taken = []
        while (step := self.step()) is not None and not (until and isinstance(step.action, until)):
            taken.append((step.index, type(step.action).__name__))
            self._take(step)
        return taken

    def _take(self, step: Step) -> None:
        self.now += timedelta(seconds=self.seconds_a_step)
        match step.action:
            case Query() if step.index in self.unreachable:
                self.comes(step.index, BreakerIsOpen(retry_at=self.now + timedelta(minutes=30)))
            case Query() if step.index in self.known:
                self.comes(step.index, Known(status=IssueStatus.IN_PROGRESS))
            case Query():
                self.comes(step.index, NotFound(code=N, queried_at=self.now))
            case ControlQuery():
                self.comes(step.index, ControlAnswered(code=N, queried_at=self.now))
            case Probe():
                self.comes(step.index, ProbeAnswered(ok=True))
            case Send():
                self.comes(step.index, Accepted(ticket_trade_no=None))
            case Wait(until=until):
                self.now = until
            case Finish() | Defer() | Park():
                self.states[step.index] = conclude(self.states[step.index], step.action)

    @property
    def phases(self) -> list[Phase]:
        """The phases of the parts."""
        return [state.phase for state in self.states]


def test_parts_are_sent_in_order() -> None:
    """ "Then the parts are sent in order", once ECTicket reports that it does not know the first one's number."""
    table = Table(3)

    queries = [(0, "Query"), (0, "Probe"), (0, "Query")]
    assert table.play() == [*queries, (0, "Send"), (1, "Send"), (2, "Send")]
    assert table.phases == [Phase.SUBMITTED] * 3


def test_a_refusal_or_a_doubt_does_not_stop_the_next_part() -> None:
    """ "a refusal or a doubt does not stop the next part"; "open parts go on together in one deferred record"."""
    table = Table(3)
    table.comes(0, CallInDoubt(detail="reset"))
    table.comes(1, Refused(code=9, message="no"))

    assert table.play() == [(0, "Query"), (1, "Query"), (2, "Send"), (0, "Defer"), (1, "Defer")]
    assert table.phases == [Phase.DEFERRED, Phase.DEFERRED, Phase.SUBMITTED]


@pytest.mark.parametrize(
    ("answer", "sends"), [(ProbeAnswered(ok=False), 0), (ProbeAnswered(ok=False, none_known=True), 3)]
)
def test_an_outage_of_queries_is_no_reason_to_send_an_order_of_several_parts(answer: ProbeAnswered, sends: int) -> None:
    """In an outage every number is unknown, those of an earlier record too. A new merchant has no number to compare."""
    table = Table(3)

    assert table.play(until=Probe) == [(0, "Query")]
    table.comes(0, answer)
    taken = table.play()

    assert [action for _, action in taken].count("Send") == sends
    assert table.phases == ([Phase.SUBMITTED] * 3 if sends else [Phase.DEFERRED] * 3)


def test_queries_that_are_too_slow_to_show_anything_end_after_a_few() -> None:
    """Each pair of queries must lie within a minute; the order is deferred and begins again."""
    table = Table(2)
    table.seconds_a_step = 61.0

    taken = table.play()

    assert "Send" not in {action for _, action in taken}
    assert table.phases == [Phase.DEFERRED] * 2
    assert len(taken) < 30


def test_an_order_of_one_part_is_sent_without_a_question() -> None:
    """No other part can be bought as well."""
    assert Table(1).play() == [(0, "Send")]


def test_nothing_is_sent_while_the_first_of_several_numbers_cannot_be_asked_about() -> None:
    """In this run and in the next one."""
    table = Table(3)
    table.unreachable = {0}

    assert table.play() == [(0, "Query"), (0, "Defer"), (1, "Defer"), (2, "Defer")]


def test_what_waits_for_a_first_number_that_is_given_up_unasked_is_given_up_too() -> None:
    """Sent in a later run, it could be bought in addition to an earlier record's tickets; a replay queries all."""
    table = Table(3)
    table.unreachable = {0}
    table.now = at(86_400)

    assert table.play() == [(0, "Query"), (0, "Park"), (1, "Park"), (2, "Park")]
    assert table.phases == [Phase.PARKED] * 3


def test_a_first_number_that_is_known_before_it_was_sent_shows_that_the_order_was_issued_before() -> None:
    """It was not sent for this record."""
    table = Table(2)
    table.known = {0}

    assert table.play(until=Send) == [(0, "Query")]
    assert issued_before(table.states[0])
    assert not issued_before(table.states[1])


def test_the_first_of_several_parts_is_asked_about_only_before_anything_is_sent() -> None:
    """A later run continues the open parts; the query was answered before the first call was sent."""
    table = Table(2)
    table.play(until=Send)
    table.comes(0, CallInDoubt(detail="reset"))
    rest = Table(2)
    rest.states = [later_run(table.states[1])]

    assert rest.play() == [(0, "Send")]


def test_waiting_is_for_those_who_have_nothing_better_to_do() -> None:
    """Others go first, and of two that wait the one that waits less."""
    table = Table(3)
    table.play(until=Send)
    table.comes(0, BreakerIsOpen(retry_at=table.now + timedelta(seconds=2)))
    table.comes(1, CallNotSent(detail="connect refused"))

    assert table.play() == [(2, "Send"), (1, "Wait"), (1, "Send"), (0, "Wait"), (0, "Send")]


def test_all_parts_of_an_unverified_order_are_queried_before_any_is_sent() -> None:
    """After a crash the numbers are only guesses until every one of them is reliably not known."""
    table = Table(2, sent_until=at(-700), unverified=Unverified())

    taken = table.play(until=Send)

    assert [index for index, action in taken if action == "Query"] == [0, 0, 1, 1]
    assert table.step() == Step(index=0, action=Send())


def test_a_part_that_is_known_lets_the_others_be_sent_under_the_same_plan() -> None:
    """A crash between two parts: the first is recovered, and the second is its order's to send."""
    table = Table(2, sent_until=at(-700), unverified=Unverified())
    table.known = {0}

    table.play(until=Send)

    assert table.phases == [Phase.SUBMITTED, Phase.IN_DOUBT]
    assert table.step() == Step(index=1, action=Send())


def test_a_part_that_is_known_parks_the_rest_when_the_mapping_has_changed() -> None:
    """ "when the mapping's fingerprint has changed meanwhile and some part is known at ECTicket, the rest is parked as
    `unresolved`": whichever of them is known, and whether or not the rest could be sent by now."""
    for since in (-700.0, -10.0):
        for unverified in (REMAPPED, SKIPPED):
            for known in (0, 1):
                table = Table(2, sent_until=at(since), unverified=unverified)
                table.known = {known}
                table.play(until=Park)
                step = table.step()
                assert step is not None
                assert isinstance(step.action, Park)
                assert step.action.reason is ParkReason.UNRESOLVED
                table.play()
                assert table.phases[known] is Phase.SUBMITTED
                assert table.phases[1 - known] is Phase.PARKED


def test_a_part_that_cannot_be_asked_about_holds_the_others_back() -> None:
    """Its answer is unknown, so all parts are deferred together."""
    table = Table(2, sent_until=at(-700), unverified=Unverified())
    table.comes(0, BreakerIsOpen(retry_at=at(1_800)))

    table.play()

    assert table.phases == [Phase.DEFERRED, Phase.DEFERRED]


def test_no_part_is_queried_any_more_once_one_was_deferred_or_parked() -> None:
    """A later answer could not stop the part that is already deferred or parked."""
    table = Table(2, sent_until=at(-100), unverified=REMAPPED)
    table.play(until=Defer)
    first = table.step()
    assert first is not None
    assert isinstance(first.action, Defer)
    table.states[0] = conclude(table.states[0], first.action)
    table.known = {1}
    table.now = at(600)

    table.play()

    assert table.phases == [Phase.DEFERRED, Phase.DEFERRED]


def test_a_part_that_is_given_up_parks_the_rest_under_another_plan() -> None:
    """Tickets may exist for it, and so under another plan for the others."""
    table = Table(2, sent_until=at(86_000), unverified=REMAPPED)
    table.now = at(86_400)

    table.play()

    assert table.phases == [Phase.PARKED, Phase.PARKED]


YOUNG, OLD = at(-100), at(-700)
"""Possibly sent until then: the waiting time is not over, or it is."""


@pytest.mark.parametrize("unverified", [Unverified(), REMAPPED, SKIPPED], ids=["same plan", "remapped", "skipped"])
def test_whatever_becomes_of_the_parts_an_unverified_order_is_sent_on_full_proof_only(unverified: Unverified) -> None:
    """Every combination of three parts that are known, verified, too young to be verified, or cannot be queried."""
    for fates in product(("known", "proven", "young", "unreachable"), repeat=3):
        table = Table(3, sent_until=[YOUNG if fate == "young" else OLD for fate in fates], unverified=unverified)
        table.known = {index for index, fate in enumerate(fates) if fate == "known"}
        table.unreachable = {index for index, fate in enumerate(fates) if fate == "unreachable"}

        table.play(until=Send)

        assert table.phases == expected(fates, unverified), fates
        step = table.step()
        assert step == (Step(index=fates.index("proven"), action=Send()) if can_be_sent(fates, unverified) else None)


def can_be_sent(fates: Sequence[str], unverified: Unverified) -> bool:
    """A part is to be sent, none is in doubt, and the plan that was sent before is the same."""
    settled = set(fates) <= {"known", "proven"} and "proven" in fates
    return settled and not (unverified.plan_may_differ and "known" in fates)


def expected(fates: Sequence[str], unverified: Unverified) -> list[Phase]:
    """The phases of the parts when no step but sending is left."""
    others = Phase.PARKED if unverified.plan_may_differ and "known" in fates else Phase.DEFERRED
    if can_be_sent(fates, unverified):
        others = Phase.IN_DOUBT
    return [Phase.SUBMITTED if fate == "known" else others for fate in fates]


def test_a_part_that_waits_for_another_one_is_no_attempt() -> None:
    """ "breaker waits do not count": the part that could be sent waits for one that waits for the breaker."""
    table = Table(2, sent_until=OLD, unverified=Unverified())
    table.unreachable = {1}
    table.play(until=Defer)

    first = table.step()

    assert first == Step(
        index=0, action=Defer(useful_at=table.now, reason=WaitReason.ANOTHER_PART_IN_DOUBT, counted=False)
    )


@pytest.mark.parametrize(
    ("unverified", "expected"),
    [(REMAPPED, "mapping changed"), (SKIPPED, "plugin skip")],
)
def test_the_message_names_why_a_part_was_not_sent(unverified: Unverified, expected: str) -> None:
    """Under which number, and what has changed."""
    table = Table(2, sent_until=OLD, unverified=unverified)
    table.known = {0}
    table.play(until=Park)

    step = table.step()

    assert step is not None
    assert isinstance(step.action, Park)
    assert mentions(step.action.message, f"{expected} {table.states[1].part.trade_no.value}")


def test_an_unverified_order_waits_in_the_same_run_for_moments() -> None:
    """As any other: a second before the waiting time is over, no part is deferred."""
    table = Table(2, sent_until=at(-599), unverified=Unverified())

    taken = table.play(until=Send)

    assert "Wait" in [action for _, action in taken]
    assert table.step() == Step(index=0, action=Send())


def test_an_order_that_is_no_longer_unverified_sends_what_is_verified() -> None:
    """Once the deferred checks are applied, the mark is removed and the parts are sent one by one."""
    table = Table(2, sent_until=OLD, unverified=Unverified(mapping_changed=True))
    table.play(until=Send)
    table.unverified = None

    assert table.play() == [(0, "Send"), (1, "Send")]


def test_a_verified_part_is_parked_with_one_that_is_given_up_under_another_plan() -> None:
    """It would be sent without the other part, whose plan is unknown."""
    table = Table(2, sent_until=OLD, unverified=REMAPPED)
    table.now = at(86_400)
    table.unreachable = {1}

    table.play()

    assert table.phases == [Phase.PARKED, Phase.PARKED]


def test_no_step_is_left_when_all_parts_are_done() -> None:
    """None ends the run."""
    table = Table(1)
    table.play()

    assert table.step() is None


def test_a_refused_number_that_ecticket_has_shows_that_the_order_was_issued_before() -> None:
    """It was not sent for this record before, and only once now."""
    table = Table(2)
    table.known = {0}
    table.comes(0, Refused(code=9, message="used"))

    assert table.play(until=Send) == [(0, "Query")]
    assert issued_before(table.states[0])
    assert not issued_before(table.states[1])


def test_after_a_refusal_nothing_is_sent_before_the_refused_part_was_asked_about() -> None:
    """An unanswered query holds the next part back, in this run and the next one; an answered one does not."""
    silent, answered = Table(2), Table(2)
    silent.unreachable = {0}
    for table in (silent, answered):
        table.comes(0, Refused(code=9, message="used"))

    assert silent.play() == [(0, "Query"), (0, "Defer"), (1, "Defer")]
    assert answered.play() == [(0, "Query"), (1, "Send"), (0, "Defer")]


def test_a_number_that_we_may_have_sent_ourselves_shows_nothing() -> None:
    """In doubt first, refused when it was sent again, and known: that is our own."""
    table = Table(1)
    table.comes(0, CallInDoubt(detail="reset"))
    table.known = {0}
    table.comes(0, Refused(code=9, message="used"))
    table.play()

    assert table.phases == [Phase.SUBMITTED]
    assert not issued_before(table.states[0])


def test_the_other_parts_of_an_order_that_was_issued_before_are_queried_and_never_sent() -> None:
    """What ECTicket has is published; the rest waits for the earlier record, and is then parked."""
    table = Table(3, unverified=Unverified(issued_before=True))
    table.states = mark_possibly_sent(table.states, table.now)
    table.known = {1}

    first = table.play()
    table.states = [state if state.phase is Phase.SUBMITTED else later_run(state) for state in table.states]
    table.now += timedelta(minutes=11)
    table.play()

    assert ("Send" in {name for _, name in first}) is False
    assert table.phases == [Phase.PARKED, Phase.SUBMITTED, Phase.PARKED]


def later_run(state: PartState) -> PartState:
    """The same part when its deferred record is resumed."""
    return initial_state(state.part, first_seen_at=state.first_seen_at, history=state.history)
