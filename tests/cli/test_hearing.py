"""What `resolve` holds a person's word against: ECTicket's, and only where that proves something."""

from __future__ import annotations

import pytest
from flows.house import House, derived

from adapter.cli.resolving import hear
from adapter.flows.resolving import Heard, Held, held
from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.protocol.query_issue_result import IssueStatus
from adapter.testing.ecticket import LOST_BEFORE, UNKNOWN
from adapter.testing.orders import MERCHANT

AN_HOUR = 3_600


async def _in_doubt(house: House) -> Held:
    """An order that nobody could find out about in an hour."""
    house.ecticket.faults = [LOST_BEFORE]
    house.ecticket.silent = True
    told = await house.finish(house.order())
    house.ecticket.silent = False
    found = held(told.letter, derived())
    assert found is not None
    return found


async def _awaited(house: House) -> Held:
    """An issuance whose job did not end in an hour, and that ECTicket has forgotten since."""
    (confirmation,) = (await house.work(house.order())).confirmations
    told, _ = await house.await_result(confirmation)
    parked, _ = await house.await_result(told.confirmations[0])
    found = held(parked.letter, derived())
    assert found is not None
    house.ecticket.forgets(derived())
    return found


@pytest.fixture
def house() -> House:
    """Where everything is given up after an hour."""
    return House(
        policy=SubmitPolicy(give_up_after_seconds=AN_HOUR), confirming=ConfirmPolicy(give_up_after_seconds=AN_HOUR)
    )


async def _hear(house: House, found: Held) -> Heard:
    merchant = house.book.find(MERCHANT)
    assert merchant is not None
    return await hear(house.ecticket, merchant, found, now=house.clock)


async def test_a_number_is_not_known_when_ecticket_serves_others_between_two_questions(house: House) -> None:
    """The same grounds as those on which the flows believe it."""
    found = await _in_doubt(house)
    house.ecticket.calls.clear()

    heard = await _hear(house, found)

    assert heard.not_known
    assert [kind for kind, _ in house.ecticket.calls] == ["query", "control", "query", "query"]


async def test_a_number_that_was_awaited_is_held_against_a_known_one(house: House) -> None:
    """ECTicket has forgotten it, and knows another of the merchant's."""
    assert (await _hear(house, await _awaited(house))).not_known


@pytest.mark.parametrize("outage", ["all", "queries"])
async def test_in_an_outage_no_number_is_not_known(house: House, outage: str) -> None:
    """Tickets that exist are refused, too: a person's "failed" is not borne out, whatever other endpoints say."""
    found = await _in_doubt(house)
    house.ecticket.has(derived())
    if outage == "all":
        house.ecticket.maintenance = True
    else:
        house.ecticket.outages = {"query": UNKNOWN}

    heard = await _hear(house, found)

    assert (heard.not_known, heard.status) == (False, None)
    assert "QueryIssueResult" in heard.said


async def test_without_a_known_number_nothing_is_not_known() -> None:
    """The message names the setting that helps."""
    house = House(policy=SubmitPolicy(give_up_after_seconds=AN_HOUR), known_trade_no=None)
    found = await _in_doubt(house)

    heard = await _hear(house, found)

    assert not heard.not_known
    assert "known_trade_no" in heard.said


async def test_answers_that_take_more_than_a_minute_prove_nothing(house: House) -> None:
    """An outage may have begun and ended between them."""
    found = await _in_doubt(house)
    house.ecticket.seconds = 25.0

    heard = await _hear(house, found)

    assert not heard.not_known
    assert "minute" in heard.said


async def test_what_becomes_visible_between_the_questions_is_known(house: House) -> None:
    """The second question counts."""
    found = await _in_doubt(house)
    house.ecticket.visible_after = 2.5
    house.ecticket.seconds = 1.0
    house.ecticket.has(derived())

    heard = await _hear(house, found)

    assert heard.status is IssueStatus.IN_PROGRESS
