"""The desk takes whatever comes and always knows what the client gets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.dev.sandbox import SandboxSettings, Simulator
from adapter.dev.sandbox.fault_types import AcceptRepeats, AnswerLostAfter, LateEffect
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.simulator import Closed, Download, Reply, SimulatedResponse
from adapter.protocol.endpoints import Endpoint, Family
from adapter.protocol.envelope import open_response, seal_request

from .helpers import MERCHANT, START, electronic, paper

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30),
    st.sampled_from(["1", "2", "3", "4", "A1", "VQT04959", "20231201", "99991231", "00010101", "3085676"]),
)
FIELDS = st.sampled_from(
    [*paper(), *electronic(), "FreeTradeNo", "StoreID", "ReportType", "BeginDate", "EndDate", "ItemNo"]
)
ENTRIES = st.lists(
    st.dictionaries(
        st.sampled_from(["ItemNo", "ItemName", "TicketPrice", "TicketAmount", "StartDate", "ExpireDate"]), VALUES
    ),
    max_size=3,
)
PAYLOADS = st.builds(
    lambda changes, entries: {**paper(), **changes, "TicketInfo": entries},
    st.dictionaries(FIELDS, VALUES, max_size=6),
    st.one_of(VALUES, ENTRIES),
)


def take(
    simulator: Simulator, payload: Mapping[str, object], endpoint: Endpoint = Endpoint.ISSUE, after: float = 0
) -> SimulatedResponse:
    now = START + timedelta(seconds=after)
    body = seal_request(payload, MERCHANT, timestamp=int(now.timestamp()))
    return simulator.respond(endpoint, Family.TICKET, body, now)


@given(payload=PAYLOADS, endpoint=st.sampled_from(Endpoint))
@settings(deadline=None)
def test_whatever_a_payload_holds_it_is_answered(payload: Mapping[str, object], endpoint: Endpoint) -> None:
    """With RtnCode 1 or a refusal with words, or a report; never by an exception."""
    response = take(Simulator(SandboxSettings()), payload, endpoint)

    if isinstance(response.answer, Download):
        assert b"".join(response.answer.chunks)
        return
    assert isinstance(response.answer, Reply)
    answer = open_response(response.answer.body, MERCHANT).payload
    assert answer is not None
    assert isinstance(answer["RtnCode"], int)
    assert response.outcome == ("accepted" if answer["RtnCode"] == 1 else "refused")


@given(body=st.binary(max_size=300))
def test_whatever_bytes_come_they_are_answered(body: bytes) -> None:
    """TransCode ≠ 1."""
    response = Simulator(SandboxSettings()).respond(Endpoint.ISSUE, Family.TICKET, body, START)

    assert response.outcome == "not_accepted"


def test_late_effects_come_in_the_order_in_which_they_are_due() -> None:
    """Each at its own time, whenever the next call comes."""
    simulator = Simulator(SandboxSettings())
    simulator.faults.arm(
        FaultRule(behaviour=LateEffect(seconds=20), trade_no="A1"),
        FaultRule(behaviour=LateEffect(seconds=10), trade_no="A2"),
    )
    for number in ("A1", "A2"):
        assert take(simulator, paper(number)).answer == Closed(reset=False)

    simulator.catch_up(START + timedelta(seconds=60))

    found = [
        (key[1].value, simulator.order_store.issuances(key)[0].received_at - START)
        for key in simulator.order_store.numbers()
    ]
    assert found == [("A2", timedelta(seconds=10)), ("A1", timedelta(seconds=20))]


def test_a_late_effect_still_comes_after_the_faults_were_cleared() -> None:
    """What is on its way cannot be called back."""
    simulator = Simulator(SandboxSettings())
    simulator.faults.arm(FaultRule(behaviour=LateEffect(seconds=20)))
    take(simulator, paper())

    simulator.faults.clear()
    simulator.catch_up(START + timedelta(seconds=20))

    assert len(simulator.order_store) == 1


@pytest.mark.parametrize(("repeats", "times"), [(False, 1), (True, 2)])
def test_a_retry_after_a_lost_answer_is_what_uniqueness_saves(repeats: bool, times: int) -> None:
    """On the worst server nothing saves it: that is the server the adapter is tested against."""
    simulator = Simulator(SandboxSettings())
    worst = [FaultRule(behaviour=AcceptRepeats())] if repeats else []
    simulator.faults.arm(FaultRule(behaviour=AnswerLostAfter(), count=1), *worst)

    take(simulator, paper())
    take(simulator, paper(), after=1)

    (key,) = simulator.order_store.numbers()
    assert len(simulator.order_store.issuances(key)) == times
