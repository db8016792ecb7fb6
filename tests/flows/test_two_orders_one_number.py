"""Two orders bring one trade number: ECTicket issues for one of them, and says "known" to both.

The other is `unresolved`, its dead letter names both orders, and it is never published with items that it did not buy.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from datetime import timedelta

import pytest

from adapter.flows.messages.confirmation import read_confirmation
from adapter.issuance.decide import QueryFirst, SubmitPolicy
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import IssueReply, IssueRequest
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import Record
from adapter.testing.clock import NOON, Clock
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, NOT_SENT, REFUSED, REFUSED_AFTER, FakeEcticket
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, header
from adapter.values import replace
from flows.harness import KNOWN_TRADE_NO, Harness, derived, line, replayed, signed

N = "CBX20260302153064851"


@pytest.fixture
def harness() -> Harness:
    """ECPay's rule holds: a number is never accepted twice."""
    return _harness()


def _harness(policy: SubmitPolicy | None = None) -> Harness:
    harness = Harness(policy=policy)
    harness.ecticket.refuses_repeats = True
    harness.ecticket.usual_status = IssueStatus.ISSUED
    return harness


def _first(harness: Harness, trade_no: str = N) -> Record:
    return harness.order(line("VQT04959", 2), order_id="A-1", trade_no=trade_no)


def _second(harness: Harness, trade_no: str = N) -> Record:
    return harness.order(line("BR103218", 5), order_id="B-1", trade_no=trade_no)


def _names_both(published: OrderEvents, order_id: str = "B-1", other: str = "A-1") -> None:
    """The order is unresolved and published with nothing; its dead letter names both orders."""
    assert published.types == ["parked"]
    assert (published.confirmations, published.deferred_records) == ([], [])
    parked = published.event("parked").data
    assert (parked["order_id"], parked["reason"]) == (order_id, "unresolved")
    message = header(published.dead_letter, "ecticket-message")
    assert f"Order {order_id} " in message
    assert f"order {other}" in message


async def _issued(harness: Harness, published: OrderEvents) -> OrderEvents:
    """The order was submitted, and its result is published."""
    (confirmation,) = published.confirmations
    result, _ = await harness.await_result(confirmation)
    assert result.types == ["issued"]
    return result


@pytest.mark.parametrize("trade_no", [N, N.lower()])
async def test_one_after_the_other(harness: Harness, trade_no: str) -> None:
    """This process knows which order has the number, and does not even send it; letter case makes no other number."""
    await _issued(harness, await harness.run(_first(harness)))

    _names_both(await harness.run(_second(harness, trade_no)))

    assert harness.ecticket.issues == {N: 1}


async def test_both_at_once(harness: Harness) -> None:
    """The one whose Issue is on the wire has the number, whatever comes of it."""
    first, second = await asyncio.gather(harness.run(_first(harness)), harness.run(_second(harness)))

    assert first.types == ["submitted"]
    _names_both(second)
    assert harness.ecticket.issues == {N: 1}


@pytest.mark.parametrize("fault", [LOST_AFTER, LOST_BEFORE])
async def test_the_first_is_in_doubt_when_the_second_comes(harness: Harness, fault: object) -> None:
    """It waits on the deferred topic, and may have sent the number."""
    harness.ecticket.faults = [fault]  # type: ignore[list-item]  # one of the faults
    harness.ecticket.visible_after = 60.0
    deferred = await harness.work(_first(harness))

    _names_both(await harness.run(_second(harness)))

    assert deferred.only_deferred
    assert (await harness.run(deferred.deferred_record)).types == ["submitted"]
    assert harness.ecticket.tickets == {N: 1}


async def test_the_first_was_deferred_without_being_sent(harness: Harness) -> None:
    """Then the number is free, and the second one buys it; the first one finds it taken."""
    harness.ecticket.always = NOT_SENT
    deferred = await harness.work(_first(harness))
    harness.ecticket.always = None

    assert (await harness.run(_second(harness))).types == ["submitted"]
    _names_both(await harness.run(deferred.deferred_record), "A-1", "B-1")


async def test_the_first_failed(harness: Harness) -> None:
    """A number that ECTicket refused for good is free: the shop sends the order again under another id."""
    harness.ecticket.faults = [REFUSED]
    assert (await harness.run(_first(harness))).types == ["failed"]

    assert (await harness.run(_second(harness))).types == ["submitted"]


async def test_after_a_restart_the_tail_of_the_topic_shows_the_owner(harness: Harness) -> None:
    """The second is sent, refused as a repeat, and known; what was published shows that it is the first one's."""
    await _issued(harness, await harness.run(_first(harness)))
    harness.use()

    _names_both(await harness.run(_second(harness)))

    assert harness.ecticket.tickets == {N: 1}


async def test_after_a_restart_the_first_ones_failure_was_published(harness: Harness) -> None:
    """The number is free for this process, too."""
    harness.ecticket.faults = [REFUSED]
    await harness.run(_first(harness))
    harness.use()

    assert (await harness.run(_second(harness))).types == ["submitted"]


async def test_after_a_restart_a_deferred_record_shows_that_its_order_may_have_sent_the_number(
    harness: Harness,
) -> None:
    """It is read before its time has come, and remembered while it waits."""
    harness.ecticket.faults = [LOST_AFTER]
    harness.ecticket.visible_after = 300.0
    deferred = await harness.work(_first(harness))
    harness.use()
    await harness.submit.prepare(deferred.deferred_record)

    _names_both(await harness.run(_second(harness)))

    assert (await harness.run(deferred.deferred_record)).types == ["submitted"]


async def test_after_a_crash_neither_of_two_that_may_have_been_sent_is_believed(harness: Harness) -> None:
    """The process died with both in hand: it is unknown whose the tickets are."""
    harness.ecticket.has(N)
    records = [_first(harness), _second(harness)]
    harness.ecticket.seconds = 0.0

    first, second = await asyncio.gather(*(harness.run(each, possibly_sent_since=NOON) for each in records))

    ends = sorted(published.types for published in (first, second))
    assert ends in ([["parked"], ["parked"]], [["parked"], ["submitted"]])
    assert "issue" not in [kind for kind, _ in harness.ecticket.calls]


async def test_a_second_record_of_the_same_order_is_no_other_order(harness: Harness) -> None:
    """The same facts are published again, under the same ids; after a restart, too."""
    first = await harness.run(_first(harness))
    second = await harness.run(_first(harness))
    harness.use()
    third = await harness.run(_first(harness))

    assert [published.types for published in (first, second, third)] == [["submitted"]] * 3
    assert first.events[0].id == second.events[0].id == third.events[0].id
    await _issued(harness, third)


async def test_a_replay_of_the_second_finds_the_same(harness: Harness) -> None:
    """As often as it is replayed, in this process and after a restart."""
    await harness.run(_first(harness))
    published = await harness.run(_second(harness))
    for restart in (False, True):
        if restart:
            harness.use()
        again = replayed(published.dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock)
        published = await harness.run(again)
        _names_both(published)

    assert harness.ecticket.issues == {N: 1}


async def test_a_replay_of_the_first_is_recovered(harness: Harness) -> None:
    """Its number is its own."""
    harness.ecticket.faults = [LOST_AFTER]
    harness.ecticket.silent = True
    parked = await harness.run(_first(harness))
    harness.ecticket.silent = False
    harness.clock.passes(60)

    published = await harness.run(replayed(parked.dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock))

    assert published.event("submitted").data["recovered"] is True
    _names_both(await harness.run(_second(harness)))


async def test_a_number_that_is_queried_first_is_not_taken_for_the_orders_own() -> None:
    """`submit.query_first: always` finds the first one's tickets."""
    harness = _harness(SubmitPolicy(query_first=QueryFirst.ALWAYS))
    await harness.run(_first(harness))
    harness.use()

    _names_both(await harness.run(_second(harness)))


async def test_parts_with_numbers_of_their_own_are_bought(harness: Harness) -> None:
    """Only the part under the other order's number is left to a person; derived numbers belong to their order."""
    await harness.run(_first(harness))
    gift = line("VNS21400", 1, voucher="gift", expire_date="2030-01-01")

    published = await harness.run(harness.order(line(), gift, order_id="B-1", trade_no=N, issue_type="electronic"))

    assert N not in [event.data.get("trade_no") for event in published.events]
    assert published.event("parked").data["reason"] == "unresolved"


async def test_another_merchants_number_is_another_number(harness: Harness) -> None:
    """ECPay's numbers are unique per merchant."""
    await harness.run(_first(harness))

    published = await harness.run(harness.order(order_id="B-1", trade_no=N, merchant_id=harness.merchants.ids[1]))

    assert published.types == ["submitted"]


# --- whatever happens -------------------------------------------------------------------------------------------------

MISHAPS = (None, LOST_AFTER, LOST_BEFORE, REFUSED, REFUSED_AFTER, NOT_SENT)


class Buyers(FakeEcticket):
    """It writes down whose request it issued for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.bought: list[str] = []

    async def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, authorize_send: Callable[[], None]
    ) -> IssueReply:
        before = self.tickets.total()
        try:
            return await super().issue(merchant, request, subject=subject, authorize_send=authorize_send)
        finally:
            if self.tickets.total() > before:
                self.bought.append(subject.rpartition("/")[2])


@pytest.mark.parametrize("seed", range(40))
async def test_tickets_are_published_for_the_order_that_bought_them(seed: int) -> None:
    """Lost answers, refusals, late visibility, restarts, in any order: once, and never for the other order."""
    chance, made = random.Random(seed), list[Buyers]()

    def make_ecticket(clock: Clock) -> Buyers:
        made.append(Buyers(clock))
        return made[0]

    harness = Harness(make_ecticket=make_ecticket)
    (ecticket,) = made
    ecticket.had(KNOWN_TRADE_NO)
    ecticket.refuses_repeats, ecticket.usual_status = True, IssueStatus.ISSUED
    ecticket.faults = [chance.choice(MISHAPS) for _ in range(chance.randrange(5))]
    ecticket.visible_after = chance.choice([0.0, 30.0, 300.0])
    orders = {"A-1": _first(harness), "B-1": _second(harness)}
    awaited: list[tuple[str, Record]] = []
    published_events: list[tuple[str, str]] = []
    while orders or awaited:
        if chance.random() < 0.05:
            harness.use()
            for record in orders.values():
                await harness.submit.prepare(record)
        if orders and (not awaited or chance.random() < 0.6):
            order_id = chance.choice(sorted(orders))
            published = await harness.work(orders.pop(order_id))
            orders.update((order_id, record) for record in published.deferred_records)
            awaited += [(order_id, record) for record in published.confirmations]
        else:
            order_id, record = awaited.pop(chance.randrange(len(awaited)))
            published, _ = await harness.await_result(record)
        published_events += [
            (order_id, event.type) for event in published.events if event.type in ("submitted", "issued")
        ]

    assert len(ecticket.bought) <= 1
    assert sorted(published_events) == sorted(
        (buyer, kind) for buyer in ecticket.bought for kind in ("submitted", "issued")
    )


# --- confirm ----------------------------------------------------------------------------------------------------------


def _recovered(confirmation: Record, order_id: str) -> Record:
    """The confirmation of another order that was recovered under the same number, as another process wrote it."""
    found = read_confirmation(confirmation.value)
    data = found.model_copy(
        update={"issuance": found.issuance.model_copy(update={"order_id": order_id}), "recovered": True}
    )
    return signed(replace(confirmation, offset=confirmation.offset + 1, value=data.model_dump_json().encode()))


@pytest.mark.parametrize("status", [IssueStatus.ISSUED, IssueStatus.FAILED])
async def test_a_confirmation_of_another_order_is_not_published(harness: Harness, status: IssueStatus) -> None:
    """Both came from processes that knew nothing of each other; they meet in one partition, whose key is the number."""
    harness.ecticket.usual_status = status
    (confirmation,) = (await harness.run(_first(harness))).confirmations
    other = _recovered(confirmation, "B-1")
    harness.use()
    for each in (other, confirmation):
        await harness.confirm.prepare(each)

    mine, _ = await harness.await_result(confirmation)
    theirs, _ = await harness.await_result(other)

    assert mine.types == ["issued" if status is IssueStatus.ISSUED else "failed"]
    assert theirs.types == ["parked"]
    assert theirs.event("parked").data["reason"] == "unresolved"
    message = header(theirs.dead_letter, "ecticket-message")
    assert "Order B-1 " in message
    assert "order A-1" in message


async def test_a_confirmation_after_a_restart_is_compared_with_the_tail(harness: Harness) -> None:
    """The first one's result was published before; memory is empty."""
    (confirmation,) = (await harness.run(_first(harness))).confirmations
    await harness.await_result(confirmation)
    harness.use()

    published, _ = await harness.await_result(_recovered(confirmation, "B-1"))

    assert published.event("parked").data["reason"] == "unresolved"


async def test_a_recovered_issuance_is_confirmed(harness: Harness) -> None:
    """No other order has its number."""
    harness.ecticket.faults = [LOST_AFTER]
    published = await harness.run(harness.order())
    harness.use()

    (confirmation,) = published.confirmations
    result, _ = await harness.await_result(confirmation)

    assert result.event("issued").data["recovered"] is True
    assert result.event("issued").data["trade_no"] == derived()


def test_the_message_names_what_to_do() -> None:
    """It names the commands that look the number up and close the dead letter, and no customer."""
    harness = _harness()
    asyncio.run(harness.run(_first(harness)))
    published = asyncio.run(harness.run(_second(harness)))

    message = header(published.dead_letter, "ecticket-message")
    assert f"ecticket-adapter query {N}" in message
    assert f"ecticket-adapter resolve {N} --as failed" in message
    assert json.loads(published.dead_letter.value or b"")["order_id"] == "B-1"
    assert harness.clock() - NOON < timedelta(seconds=60)
    assert published.event("parked").data["message"] == message
    assert MERCHANT in (harness.merchants.ids)
