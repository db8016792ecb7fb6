"""Two orders bring one trade number: ECTicket issues for one of them, and says "known" to both.

The other is `unresolved`, its dead letter names both orders, and it is never published with items that nobody bought.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from adapter.flows.confirmation import read_confirmation
from adapter.issuance.decide import QueryFirst, SubmitPolicy
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import IssueReply, IssueRequest
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import Record
from adapter.testing.clock import NOON, Clock
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, NOT_SENT, REFUSED, REFUSED_AFTER, FakeEcticket
from adapter.testing.orders import MERCHANT
from adapter.testing.surroundings import TOPICS
from adapter.testing.told import Told, header
from flows.house import KNOWN_TRADE_NO, House, derived, line, replayed

N = "CBX20260302153064851"


@pytest.fixture
def house() -> House:
    """ECPay's rule holds: a number is never accepted twice."""
    return _house()


def _house(policy: SubmitPolicy | None = None) -> House:
    house = House(policy=policy)
    house.ecticket.refuses_repeats = True
    house.ecticket.usual_status = IssueStatus.ISSUED
    return house


def _first(house: House, trade_no: str = N) -> Record:
    return house.order(line("VQT04959", 2), order_id="A-1", trade_no=trade_no)


def _second(house: House, trade_no: str = N) -> Record:
    return house.order(line("BR103218", 5), order_id="B-1", trade_no=trade_no)


def _names_both(told: Told, order_id: str = "B-1", other: str = "A-1") -> None:
    """The order is unresolved and published with nothing; its dead letter names both orders."""
    assert told.kinds == ["parked"]
    assert (told.confirmations, told.deferred) == ([], [])
    parked = told.event("parked").data
    assert (parked["order_id"], parked["reason"]) == (order_id, "unresolved")
    message = header(told.letter, "ecticket-message")
    assert f"Order {order_id} " in message
    assert f"order {other}" in message


async def _issued(house: House, told: Told) -> Told:
    """The order was submitted, and its result is published."""
    (confirmation,) = told.confirmations
    result, _ = await house.await_result(confirmation)
    assert result.kinds == ["issued"]
    return result


@pytest.mark.parametrize("trade_no", [N, N.lower()])
async def test_one_after_the_other(house: House, trade_no: str) -> None:
    """This process knows whose the number is, and does not even send it; letter case makes no other number."""
    await _issued(house, await house.finish(_first(house)))

    _names_both(await house.finish(_second(house, trade_no)))

    assert house.ecticket.issues == {N: 1}


async def test_both_at_once(house: House) -> None:
    """The one whose Issue is on the wire has the number, whatever comes of it."""
    first, second = await asyncio.gather(house.finish(_first(house)), house.finish(_second(house)))

    assert first.kinds == ["submitted"]
    _names_both(second)
    assert house.ecticket.issues == {N: 1}


@pytest.mark.parametrize("fault", [LOST_AFTER, LOST_BEFORE])
async def test_the_first_is_in_doubt_when_the_second_comes(house: House, fault: object) -> None:
    """It waits on the deferred topic, and may have sent the number."""
    house.ecticket.faults = [fault]  # type: ignore[list-item]  # one of the faults
    house.ecticket.visible_after = 60.0
    deferred = await house.work(_first(house))

    _names_both(await house.finish(_second(house)))

    assert deferred.nothing_but_deferred
    assert (await house.finish(deferred.later)).kinds == ["submitted"]
    assert house.ecticket.tickets == {N: 1}


async def test_the_first_was_deferred_without_being_sent(house: House) -> None:
    """Then the number is free, and the second one buys it; the first one finds it taken."""
    house.ecticket.always = NOT_SENT
    deferred = await house.work(_first(house))
    house.ecticket.always = None

    assert (await house.finish(_second(house))).kinds == ["submitted"]
    _names_both(await house.finish(deferred.later), "A-1", "B-1")


async def test_the_first_failed(house: House) -> None:
    """A number that ECTicket refused for good is free: the shop sends the order again under another id."""
    house.ecticket.faults = [REFUSED]
    assert (await house.finish(_first(house))).kinds == ["failed"]

    assert (await house.finish(_second(house))).kinds == ["submitted"]


async def test_after_a_restart_the_tail_of_the_topic_says_whose_it_is(house: House) -> None:
    """The second is sent, refused as a repeat, and known; what was published shows that it is the first one's."""
    await _issued(house, await house.finish(_first(house)))
    house.use()

    _names_both(await house.finish(_second(house)))

    assert house.ecticket.tickets == {N: 1}


async def test_after_a_restart_the_first_ones_failure_was_published(house: House) -> None:
    """The number is free for this process, too."""
    house.ecticket.faults = [REFUSED]
    await house.finish(_first(house))
    house.use()

    assert (await house.finish(_second(house))).kinds == ["submitted"]


async def test_after_a_restart_a_deferred_record_says_that_its_order_may_have_sent_the_number(house: House) -> None:
    """It is read before its time has come, and remembered while it waits."""
    house.ecticket.faults = [LOST_AFTER]
    house.ecticket.visible_after = 300.0
    deferred = await house.work(_first(house))
    house.use()
    await house.submit.prepare(deferred.later)

    _names_both(await house.finish(_second(house)))

    assert (await house.finish(deferred.later)).kinds == ["submitted"]


async def test_after_a_crash_neither_of_two_that_may_have_been_sent_is_believed(house: House) -> None:
    """The process died with both in hand: nobody can say whose the tickets are."""
    house.ecticket.has(N)
    records = [_first(house), _second(house)]
    house.ecticket.seconds = 0.0

    first, second = await asyncio.gather(*(house.finish(each, possibly_sent_since=NOON) for each in records))

    ends = sorted(told.kinds for told in (first, second))
    assert ends in ([["parked"], ["parked"]], [["parked"], ["submitted"]])
    assert "issue" not in [kind for kind, _ in house.ecticket.calls]


async def test_a_second_record_of_the_same_order_is_no_other_order(house: House) -> None:
    """The same facts are published again, under the same ids; after a restart, too."""
    first = await house.finish(_first(house))
    second = await house.finish(_first(house))
    house.use()
    third = await house.finish(_first(house))

    assert [told.kinds for told in (first, second, third)] == [["submitted"]] * 3
    assert first.events[0].id == second.events[0].id == third.events[0].id
    await _issued(house, third)


async def test_a_replay_of_the_second_finds_the_same(house: House) -> None:
    """As often as it is replayed, in this process and after a restart."""
    await house.finish(_first(house))
    told = await house.finish(_second(house))
    for restart in (False, True):
        if restart:
            house.use()
        again = replayed(told.letter, topic=TOPICS.orders_deferred, clock=house.clock)
        told = await house.finish(again)
        _names_both(told)

    assert house.ecticket.issues == {N: 1}


async def test_a_replay_of_the_first_is_recovered(house: House) -> None:
    """Its number is its own."""
    house.ecticket.faults = [LOST_AFTER]
    house.ecticket.silent = True
    parked = await house.finish(_first(house))
    house.ecticket.silent = False
    house.clock.passes(60)

    told = await house.finish(replayed(parked.letter, topic=TOPICS.orders_deferred, clock=house.clock))

    assert told.event("submitted").data["recovered"] is True
    _names_both(await house.finish(_second(house)))


async def test_a_number_that_is_queried_first_is_not_taken_for_the_orders_own() -> None:
    """`submit.query_first: always` finds the first one's tickets."""
    house = _house(SubmitPolicy(query_first=QueryFirst.ALWAYS))
    await house.finish(_first(house))
    house.use()

    _names_both(await house.finish(_second(house)))


async def test_parts_with_numbers_of_their_own_are_bought(house: House) -> None:
    """Only the part under the other order's number is left to a person; derived numbers belong to their order."""
    await house.finish(_first(house))
    gift = line("VNS21400", 1, voucher="gift", expire_date="2030-01-01")

    told = await house.finish(house.order(line(), gift, order_id="B-1", trade_no=N, issue_type="electronic"))

    assert N not in [event.data.get("trade_no") for event in told.events]
    assert told.event("parked").data["reason"] == "unresolved"


async def test_another_merchants_number_is_another_number(house: House) -> None:
    """ECPay's numbers are unique per merchant."""
    await house.finish(_first(house))

    told = await house.finish(house.order(order_id="B-1", trade_no=N, merchant_id=house.book.ids[1]))

    assert told.kinds == ["submitted"]


# --- whatever happens -------------------------------------------------------------------------------------------------

MISHAPS = (None, LOST_AFTER, LOST_BEFORE, REFUSED, REFUSED_AFTER, NOT_SENT)


class Buyers(FakeEcticket):
    """It writes down whose request it issued for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.bought: list[str] = []

    async def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, clearance: Callable[[], None]
    ) -> IssueReply:
        before = self.tickets.total()
        try:
            return await super().issue(merchant, request, subject=subject, clearance=clearance)
        finally:
            if self.tickets.total() > before:
                self.bought.append(subject.rpartition("/")[2])


@pytest.mark.parametrize("seed", range(40))
async def test_tickets_are_published_for_the_order_that_bought_them(seed: int) -> None:
    """Lost answers, refusals, late visibility, restarts, in any order: once, and never for the other order."""
    chance, made = random.Random(seed), list[Buyers]()

    def calling(clock: Clock) -> Buyers:
        made.append(Buyers(clock))
        return made[0]

    house = House(calling=calling)
    (ecticket,) = made
    ecticket.had(KNOWN_TRADE_NO)
    ecticket.refuses_repeats, ecticket.usual_status = True, IssueStatus.ISSUED
    ecticket.faults = [chance.choice(MISHAPS) for _ in range(chance.randrange(5))]
    ecticket.visible_after = chance.choice([0.0, 30.0, 300.0])
    orders = {"A-1": _first(house), "B-1": _second(house)}
    awaited: list[tuple[str, Record]] = []
    published: list[tuple[str, str]] = []
    while orders or awaited:
        if chance.random() < 0.05:
            house.use()
            for record in orders.values():
                await house.submit.prepare(record)
        if orders and (not awaited or chance.random() < 0.6):
            order_id = chance.choice(sorted(orders))
            told = await house.work(orders.pop(order_id))
            orders.update((order_id, record) for record in told.deferred)
            awaited += [(order_id, record) for record in told.confirmations]
        else:
            order_id, record = awaited.pop(chance.randrange(len(awaited)))
            told, _ = await house.await_result(record)
        published += [(order_id, event.kind) for event in told.events if event.kind in ("submitted", "issued")]

    assert len(ecticket.bought) <= 1
    assert sorted(published) == sorted((buyer, kind) for buyer in ecticket.bought for kind in ("submitted", "issued"))


# --- confirm ----------------------------------------------------------------------------------------------------------


def _recovered(confirmation: Record, order_id: str) -> Record:
    """The confirmation of another order that was recovered under the same number, as another process wrote it."""
    found = read_confirmation(confirmation.value)
    data = found.model_copy(
        update={"issuance": found.issuance.model_copy(update={"order_id": order_id}), "recovered": True}
    )
    return replace(confirmation, offset=confirmation.offset + 1, value=data.model_dump_json().encode())


@pytest.mark.parametrize("status", [IssueStatus.ISSUED, IssueStatus.FAILED])
async def test_a_confirmation_of_another_order_is_not_published(house: House, status: IssueStatus) -> None:
    """Both came from processes that knew nothing of each other; they meet in one partition, whose key is the number."""
    house.ecticket.usual_status = status
    (confirmation,) = (await house.finish(_first(house))).confirmations
    other = _recovered(confirmation, "B-1")
    house.use()
    for each in (other, confirmation):
        await house.confirm.prepare(each)

    mine, _ = await house.await_result(confirmation)
    theirs, _ = await house.await_result(other)

    assert mine.kinds == ["issued" if status is IssueStatus.ISSUED else "failed"]
    assert theirs.kinds == ["parked"]
    assert theirs.event("parked").data["reason"] == "unresolved"
    message = header(theirs.letter, "ecticket-message")
    assert "Order B-1 " in message
    assert "order A-1" in message


async def test_a_confirmation_after_a_restart_is_held_against_the_tail(house: House) -> None:
    """The first one's result was published before; memory is empty."""
    (confirmation,) = (await house.finish(_first(house))).confirmations
    await house.await_result(confirmation)
    house.use()

    told, _ = await house.await_result(_recovered(confirmation, "B-1"))

    assert told.event("parked").data["reason"] == "unresolved"


async def test_a_recovered_issuance_is_confirmed(house: House) -> None:
    """Nobody else has its number."""
    house.ecticket.faults = [LOST_AFTER]
    told = await house.finish(house.order())
    house.use()

    (confirmation,) = told.confirmations
    result, _ = await house.await_result(confirmation)

    assert result.event("issued").data["recovered"] is True
    assert result.event("issued").data["trade_no"] == derived()


def test_the_message_says_what_to_do() -> None:
    """It names the commands that look the number up and close the letter, and no customer."""
    house = _house()
    asyncio.run(house.finish(_first(house)))
    told = asyncio.run(house.finish(_second(house)))

    message = header(told.letter, "ecticket-message")
    assert f"ecticket-adapter query {N}" in message
    assert f"ecticket-adapter resolve {N} --as failed" in message
    assert json.loads(told.letter.value or b"")["order_id"] == "B-1"
    assert house.clock() - NOON < timedelta(seconds=60)
    assert told.event("parked").data["message"] == message
    assert MERCHANT in (house.book.ids)
