"""The numbers of other plans: which they are, and what proves that ECTicket has none (docs/delivery.md, "Plan").

One loop runs every scenario, against an ECTicket that behaves as the test defines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from key_words import mentions

from adapter.issuance.actions import ParkReason, Probe
from adapter.issuance.answers import (
    SUCCESS,
    BreakerIsOpen,
    ControlAnswered,
    Known,
    LastAccepted,
    NotFound,
    ProbeAnswered,
    QueryAnswer,
    QueryUnanswered,
)
from adapter.issuance.order import TicketItem
from adapter.issuance.plan import Part, plan
from adapter.issuance.previous_mappings import (
    BATCH_SIZE,
    QUERIES_EACH,
    CandidateNumber,
    CandidateQuery,
    PreviousMappingCheck,
    QueryCandidate,
    QueryCandidateControl,
    candidate_numbers,
)
from adapter.issuance.state import Postponement, WaitReason
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus

from .samples import ALWAYS, GIFT, MERCHANT, SERIAL, T0, item, order, planned

UNKNOWN, CLOSED, BEING_MADE = 404, 900, 102


def parts_of(*items: TicketItem, **fields: object) -> tuple[Part, ...]:
    return plan(order(**fields), items or [item()], ALWAYS)


def others(parts: tuple[Part, ...], order_id: str = "A-1001", prefix: str = "") -> tuple[CandidateNumber, ...]:
    return candidate_numbers(parts, merchant_id=MERCHANT, order_id=order_id, prefix=prefix)


def number(part: int, kind: TradeNoKind = TradeNoKind.MERCHANT) -> TradeNo:
    return TradeNo(kind=kind, value=derive_trade_no(MERCHANT, "A-1001", part))


# --- which numbers ----------------------------------------------------------------------------------------------------


def test_another_mapping_may_have_made_any_of_twenty_parts_of_either_kind() -> None:
    """All but today's own: one part as a merchant's number leaves 39."""
    found = {(each.trade_no, each.part) for each in others(parts_of())}

    every = {(number(part, kind), part) for part in range(1, 21) for kind in TradeNoKind}
    assert found == every - {(number(1), 1)}


def test_todays_parts_are_left_out_as_they_are_numbered_today() -> None:
    """A gift that was sold under the earlier mapping has the same number in the other field."""
    today = parts_of(item("N", kind=SERIAL), item(voucher=GIFT))

    found = {each.trade_no for each in others(today)}

    assert [part.trade_no for part in today] == [number(1), number(2, TradeNoKind.FREE)]
    assert len(found) == 38
    assert {number(1, TradeNoKind.FREE), number(2)} <= found
    assert not found & {part.trade_no for part in today}


def test_a_number_of_the_orders_own_may_have_been_of_the_other_kind() -> None:
    """And the earlier parser may have found no number, so that derived ones were used."""
    found = {each.trade_no for each in others(parts_of(trade_no="PAY1"))}

    assert len(found) == 41
    assert TradeNo(kind=TradeNoKind.FREE, value="PAY1") in found


def test_a_number_too_long_for_its_field_was_never_sent_in_it() -> None:
    """FreeTradeNo is String(20), MerchantTradeNo String(25)."""
    found = {each.trade_no.value for each in others(parts_of(trade_no="P" * 21))}

    assert "P" * 21 not in found
    assert len(found) == 20


def test_an_order_id_from_which_no_number_can_be_derived_has_only_its_own() -> None:
    """Nothing raises: it has come this far under the number it brings."""
    found = others(parts_of(order_id="A\x001", trade_no="PAY1"), order_id="A\x001")

    assert [each.trade_no for each in found] == [TradeNo(kind=TradeNoKind.FREE, value="PAY1")]


def test_other_numbers_have_todays_prefix() -> None:
    """As today's own have."""
    assert {each.trade_no.value[:2] for each in others(parts_of(trade_no="T1PAY"), prefix="T1")} == {"T1"}


# --- what is believed -------------------------------------------------------------------------------------------------


@dataclass
class Scenario:
    """A check of parts 2, 3, ... of an order that has one part today; ECTicket answers after 0.1 s."""

    count: int = 3
    seconds: float = 0.1
    known: set[int] = field(default_factory=set)
    shows: set[int] = field(default_factory=set)
    closed: Callable[[float], bool] = lambda _: False
    codes: dict[int, int] = field(default_factory=dict)
    unanswered: list[int] = field(default_factory=list)
    control: int = UNKNOWN
    facts: bool = False
    now: datetime = T0
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plans = PreviousMappingCheck.of([CandidateNumber(trade_no=number(part), part=part) for part in self.parts])

    @property
    def parts(self) -> range:
        """The parts of the numbers that are asked about."""
        return range(2, self.count + 2)

    def play(self, *, most: int = 1_000) -> Postponement | QueryAnswer | None:
        """Query until all is settled (None), or more queries are of no use (a Postponement), or a call failed."""
        for _ in range(most):
            question = self.plans.next(self.now)
            if question is None or isinstance(question, Postponement):
                return question
            result = self._answer(question)
            self.now += timedelta(seconds=self.seconds)
            self.plans = self.plans.observe(question, result, self.now)
            if self.plans.is_failed_call(result):
                return result
            if self.facts:
                self.plans = self.plans.observe(None, LastAccepted(at=self.now), self.now)
        raise AssertionError("it does not end")

    def _answer(self, question: CandidateQuery) -> QueryAnswer:
        closed = self.closed((self.now - T0).total_seconds())
        match question:
            case QueryCandidate(trade_no=trade_no):
                (part,) = (part for part in self.parts if number(part) == trade_no)
                known = part in self.known or (part in self.shows and str(part) in self.asked)
                self.asked.append(str(part))
                if part in self.unanswered:
                    self.unanswered.remove(part)
                    return QueryUnanswered(detail="time-out")
                if known and not closed:
                    return Known(status=IssueStatus.IN_PROGRESS)
                return NotFound(code=CLOSED if closed else self.codes.get(part, UNKNOWN), queried_at=self.now)
            case QueryCandidateControl():
                self.asked.append("control")
                return ControlAnswered(code=CLOSED if closed else self.control, queried_at=self.now)
            case Probe():
                self.asked.append("probe")
                return ProbeAnswered(ok=not closed)


def test_every_number_is_asked_about_twice_with_liveness_proof_between() -> None:
    """One control and one liveness query serve them all."""
    scenario = Scenario(count=3)

    assert scenario.play() is None
    assert scenario.plans.all_unknown
    assert scenario.asked == ["2", "3", "4", "control", "probe", "2", "3", "4"]


def test_no_probe_is_sent_where_others_are_served() -> None:
    """RtnCode 1 for any number of this merchant proves that queries work."""
    scenario = Scenario(count=3, facts=True)

    assert scenario.play() is None
    assert scenario.asked == ["2", "3", "4", "control", "2", "3", "4"]


def test_all_39_are_settled_in_fewer_than_ninety_calls() -> None:
    """Twice each, and a control and a liveness query for every ten of a kind."""
    scenario = Scenario()
    scenario.plans = PreviousMappingCheck.of(others(parts_of()))
    calls = 0
    while (question := scenario.plans.next(scenario.now)) is not None:
        assert not isinstance(question, Postponement)
        calls += 1
        result: QueryAnswer
        match question:
            case QueryCandidate():
                result = NotFound(code=UNKNOWN, queried_at=scenario.now)
            case QueryCandidateControl():
                result = ControlAnswered(code=UNKNOWN, queried_at=scenario.now)
            case Probe():
                result = ProbeAnswered(ok=True)
        scenario.now += timedelta(seconds=0.1)
        scenario.plans = scenario.plans.observe(question, result, scenario.now)

    assert scenario.plans.all_unknown
    assert 2 * 39 < calls < 90


def test_at_a_slow_pace_each_chain_still_fits_its_minute() -> None:
    """Four seconds a call: ten numbers together need fifty."""
    scenario = Scenario(count=19, seconds=4.0)

    assert scenario.play() is None
    assert scenario.plans.all_unknown


@pytest.mark.parametrize("seconds", [6.0, 12.0, 20.0])
def test_numbers_are_asked_about_with_fewer_others_where_ten_do_not_fit_into_a_minute(seconds: float) -> None:
    """Ten queries, a control and a liveness query lie between the two of one number."""
    scenario = Scenario(count=BATCH_SIZE, seconds=seconds)

    assert scenario.play() is None
    assert scenario.plans.all_unknown


def test_at_a_pace_that_no_chain_survives_asking_ends() -> None:
    """Doubt, and no end of questions."""
    scenario = Scenario(count=BATCH_SIZE, seconds=40.0)

    assert scenario.play() == Postponement(until=None, reason=WaitReason.QUERY_LIMIT_REACHED)
    assert len([each for each in scenario.asked if each.isdigit()]) == QUERIES_EACH * BATCH_SIZE


@pytest.mark.parametrize("known", [2, 3, 4])
def test_a_number_that_is_known_ends_it_and_all_that_are_known_are_named(known: int) -> None:
    """Each of the others is queried at most once more, so that the person who looks misses none."""
    scenario = Scenario(count=5, known={known, 6})

    assert scenario.play() is None
    assert [each.part for each in scenario.plans.found] == [known, 6]
    assert not scenario.plans.all_unknown
    assert scenario.asked == ["2", "3", "4", "5", "6"]


def test_a_number_that_shows_late_is_found_by_its_second_question() -> None:
    """The first answers of all were "not known"."""
    scenario = Scenario(count=3)
    scenario.shows = {3}

    assert scenario.play() is None
    assert [each.part for each in scenario.plans.found] == [3]


@pytest.mark.parametrize("begins", [step / 10 for step in range(10)])
@pytest.mark.parametrize("lasts", [step / 10 for step in range(1, 10)])
def test_no_maintenance_passes_for_not_known(begins: float, lasts: float) -> None:
    """Whenever it begins and however long it lasts, and although all are refused with the code of unknown numbers."""
    scenario = Scenario(count=3, known={3})
    scenario.closed = lambda seconds: begins <= seconds < begins + lasts
    scenario.codes = dict.fromkeys(scenario.parts, CLOSED)
    scenario.control = CLOSED

    scenario.play()

    assert not scenario.plans.all_unknown


def test_a_number_with_a_code_of_its_own_is_doubt() -> None:
    """Its tickets may be in the making."""
    scenario = Scenario(count=3, codes={3: BEING_MADE})

    assert scenario.play() == Postponement(until=None, reason=WaitReason.CONTROL_DIFFERS)
    assert not scenario.plans.all_unknown


def test_an_ecticket_that_knows_random_numbers_is_a_failed_call() -> None:
    """Then nothing is ever "not known"; the part that waits records it."""
    result = Scenario(control=SUCCESS).play()

    assert isinstance(result, ControlAnswered)
    assert result.known


def test_without_liveness_proof_the_part_waits() -> None:
    """A refused probe shows that queries do not work."""
    assert Scenario(closed=lambda seconds: seconds > 0.35).play() == ProbeAnswered(ok=False)


def test_a_question_without_an_answer_is_put_again_and_nothing_is_lost() -> None:
    """The part has waited; what was learned before still counts."""
    scenario = Scenario(count=3, unanswered=[3])

    assert scenario.play() == QueryUnanswered(detail="time-out")
    scenario.now += timedelta(seconds=1)
    assert scenario.play() is None
    assert scenario.asked == ["2", "3", "3", "4", "control", "probe", "2", "3", "4"]


@pytest.mark.parametrize("result", [QueryUnanswered(detail="time-out"), BreakerIsOpen(retry_at=T0)])
def test_once_something_is_found_silence_changes_nothing(result: QueryAnswer) -> None:
    """The order is parked with what is known, without waiting for the rest."""
    plans = PreviousMappingCheck.of([CandidateNumber(trade_no=number(part), part=part) for part in (2, 3)])
    plans = plans.observe(QueryCandidate(trade_no=number(2)), Known(status=None), T0)

    after = plans.observe(QueryCandidate(trade_no=number(3)), result, T0)

    assert not after.is_failed_call(result)
    assert after.next(T0) is None
    assert [each.part for each in after.found] == [2]


def test_where_no_other_mapping_is_reckoned_with_nothing_is_asked() -> None:
    """No numbers, no queries."""
    assert PreviousMappingCheck.of(()).all_unknown
    assert PreviousMappingCheck.of(()).next(T0) is None


def test_the_message_names_what_exists_what_was_not_sent_and_what_to_do() -> None:
    """Every number with its name at ECTicket, and the part that it belonged to."""
    free = CandidateNumber(trade_no=number(1, TradeNoKind.FREE), part=1)
    state = planned()

    park = PreviousMappingCheck(
        numbers=(), found=(free, CandidateNumber(trade_no=number(2), part=2)), queries_left=0
    ).park([state])

    assert park.reason is ParkReason.UNRESOLVED
    assert f"FreeTradeNo {number(1).value} (part 1)" in park.message
    assert f"MerchantTradeNo {number(2).value} (part 2)" in park.message
    assert mentions(park.message, f"MerchantTradeNo {state.part.trade_no.value} not sent")
    assert f"query {number(1).value} --free" in park.message
    assert f"resolve {state.part.trade_no.value} --as failed" in park.message
