"""What ECTicket's answers prove about a number that a person wants to resolve."""

from __future__ import annotations

import pytest
from flows.harness import Harness, derived

from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.operations.resolve import EcticketAnswer, PendingIssuance, find_pending, query_status
from adapter.protocol.query_issue_result import IssueStatus
from adapter.testing.ecticket import LOST_BEFORE, UNKNOWN
from adapter.testing.orders import MERCHANT

AN_HOUR = 3_600


async def _in_doubt(harness: Harness) -> PendingIssuance:
    """An order whose result stayed unknown for an hour."""
    harness.ecticket.faults = [LOST_BEFORE]
    harness.ecticket.silent = True
    result = await harness.run(harness.order())
    harness.ecticket.silent = False
    found = find_pending(result.dead_letter, derived())
    assert found is not None
    return found


async def _awaited(harness: Harness) -> PendingIssuance:
    """An issuance whose job did not end in an hour, and that ECTicket has forgotten since."""
    (confirmation,) = (await harness.work(harness.order())).confirmations
    result, _ = await harness.await_result(confirmation)
    parked, _ = await harness.await_result(result.confirmations[0])
    found = find_pending(parked.dead_letter, derived())
    assert found is not None
    harness.ecticket.forgets(derived())
    return found


@pytest.fixture
def harness() -> Harness:
    """Where everything is given up after an hour."""
    return Harness(
        policy=SubmitPolicy(give_up_after_seconds=AN_HOUR), confirm_policy=ConfirmPolicy(give_up_after_seconds=AN_HOUR)
    )


async def _query_status(harness: Harness, found: PendingIssuance) -> EcticketAnswer:
    merchant = harness.merchants.find(MERCHANT)
    assert merchant is not None
    return await query_status(harness.ecticket, merchant, found.trade_no, now=harness.clock)


async def test_a_number_is_not_known_when_ecticket_serves_others_between_two_questions(harness: Harness) -> None:
    """The same grounds as those on which the flows believe it."""
    found = await _in_doubt(harness)
    harness.ecticket.calls.clear()

    status = await _query_status(harness, found)

    assert status.not_known
    assert [kind for kind, _ in harness.ecticket.calls] == ["query", "control", "query", "query"]


async def test_a_number_that_was_awaited_is_compared_with_a_known_one(harness: Harness) -> None:
    """ECTicket has forgotten it, and knows another of the merchant's."""
    assert (await _query_status(harness, await _awaited(harness))).not_known


@pytest.mark.parametrize("outage", ["all", "queries"])
async def test_in_an_outage_no_number_is_not_known(harness: Harness, outage: str) -> None:
    """Tickets that exist are refused, too: a person's "failed" is not borne out, whatever other endpoints say."""
    found = await _in_doubt(harness)
    harness.ecticket.has(derived())
    if outage == "all":
        harness.ecticket.maintenance = True
    else:
        harness.ecticket.outages = {"query": UNKNOWN}

    status = await _query_status(harness, found)

    assert (status.not_known, status.status) == (False, None)
    assert "QueryIssueResult" in status.description


async def test_without_a_known_number_nothing_is_not_known() -> None:
    """The message names the setting that helps."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=AN_HOUR), known_trade_no=None)
    found = await _in_doubt(harness)

    status = await _query_status(harness, found)

    assert not status.not_known
    assert "known_trade_no" in status.description


async def test_answers_that_take_more_than_a_minute_prove_nothing(harness: Harness) -> None:
    """An outage may have begun and ended between them."""
    found = await _in_doubt(harness)
    harness.ecticket.seconds = 25.0

    status = await _query_status(harness, found)

    assert not status.not_known
    assert "minute" in status.description


async def test_what_becomes_visible_between_the_questions_is_known(harness: Harness) -> None:
    """The second question counts."""
    found = await _in_doubt(harness)
    harness.ecticket.visible_after = 2.5
    harness.ecticket.seconds = 1.0
    harness.ecticket.has(derived())

    status = await _query_status(harness, found)

    assert status.status is IssueStatus.IN_PROGRESS
