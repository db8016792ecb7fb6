"""What `resolve` holds a person's word against: ECTicket's, and only where that proves something."""

from __future__ import annotations

import pytest
from flows.house import SERIAL, House, derived, line

from adapter.cli.resolving import hear
from adapter.flows.resolving import Heard, Held, held
from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.protocol.query_issue_result import IssueStatus
from adapter.testing.ecticket import LOST_BEFORE
from adapter.testing.orders import MERCHANT

AN_HOUR = 3_600


async def _in_doubt(house: House, *lines: dict[str, object]) -> Held:
    """An order that nobody could find out about in an hour."""
    house.ecticket.faults = [LOST_BEFORE]
    house.ecticket.silent = True
    told = await house.finish(house.order(*lines))
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
    return await hear(house.ecticket, merchant, found)


async def test_a_number_is_not_known_when_ecticket_serves_others_between_two_questions(house: House) -> None:
    """The same grounds as those on which the flows believe it."""
    found = await _in_doubt(house)
    house.ecticket.calls.clear()

    heard = await _hear(house, found)

    assert heard.not_known
    assert [kind for kind, _ in house.ecticket.calls] == ["query", "control", "item", "query"]


async def test_a_number_that_was_awaited_is_held_against_its_own_products(house: House) -> None:
    """They stand in the confirmation."""
    assert (await _hear(house, await _awaited(house))).not_known


async def test_in_a_maintenance_no_number_is_not_known(house: House) -> None:
    """Everything is refused with one code then, tickets that exist included: a person's "failed" is not borne out."""
    found = await _in_doubt(house)
    house.ecticket.has(derived())
    house.ecticket.maintenance = True

    heard = await _hear(house, found)

    assert (heard.not_known, heard.status) == (False, None)
    assert "refusing everything" in heard.said


async def test_serial_numbers_alone_cannot_be_held_against_anything(house: House) -> None:
    """They have no product that could be asked about; whoever knows better says so."""
    found = await _in_doubt(house, line("SPA", 1, **SERIAL))

    assert not (await _hear(house, found)).not_known


async def test_what_becomes_visible_between_the_questions_is_known(house: House) -> None:
    """The second question counts."""
    found = await _in_doubt(house)
    house.ecticket.visible_after = 2.5
    house.ecticket.seconds = 1.0
    house.ecticket.has(derived())

    heard = await _hear(house, found)

    assert heard.status is IssueStatus.IN_PROGRESS
