"""A person says what became of an issuance: told as the flows would have told it, and held against ECTicket's word."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from adapter.flows.journey import PLAN
from adapter.flows.resolving import Ending, Heard, Held, held, objection, resolve
from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.protocol.issue import TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import Record
from adapter.stream.stage import Outcome
from adapter.testing.clock import Clock
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, REFUSED
from adapter.testing.surroundings import TOPICS
from adapter.testing.told import Told, header
from flows.house import SERIAL, THREE_PARTS, House, derived, line, plan_of, replayed

WHY = "seen in the vendor console"
AN_HOUR = SubmitPolicy(give_up_after_seconds=3_600)
SETTLES = timedelta(seconds=600)


async def _unresolved(house: House, *lines: dict[str, object]) -> Told:
    """An order of which nobody could find out anything."""
    house.ecticket.silent = True
    return await house.finish(house.order(*lines))


async def _awaited(house: House) -> Told:
    """A confirmation whose job never said that it was done."""
    submitted = await house.work(house.order())
    delayed, _ = await house.await_result(submitted.confirmations[0])
    told, _ = await house.await_result(delayed.confirmations[0])
    return told


def _resolved(house: House, letter: Record, ending: Ending, trade_no: str | None = None) -> Told:
    found = _found(letter, trade_no or derived())
    producer_records = resolve(
        found, ending, WHY, topics=TOPICS, now=house.clock(), signer=house.signer
    ).producer_records
    return house.reader.read(Outcome(records=producer_records))


def _found(letter: Record, trade_no: str) -> Held:
    found = held(letter, trade_no)
    assert found is not None
    return found


# --- what is told -----------------------------------------------------------------------------------------------------


async def test_an_order_in_doubt_is_told_as_submitted_and_issued() -> None:
    """Recovered, under the ids that the flows would have used; nothing is left of it."""
    house = House(policy=AN_HOUR)
    house.ecticket.faults = [LOST_AFTER]
    parked = await _unresolved(house)

    told = _resolved(house, parked.letter, Ending.ISSUED)

    assert told.kinds == ["submitted", "issued"]
    assert all(event.data["recovered"] is True for event in told.events)
    assert told.event("issued").data["trade_no"] == derived()
    assert told.event("issued").attributes["orderref"] == parked.event("parked").attributes["orderref"]
    assert (told.letters, told.confirmations) == ([], [])


async def test_the_same_facts_have_the_ids_that_asking_on_would_have_told() -> None:
    """Resolved here, replayed there: readers drop the second."""
    house = House(policy=AN_HOUR)
    house.ecticket.faults = [LOST_AFTER]
    letter = (await _unresolved(house)).letter
    house.ecticket.silent = False

    resolved = _resolved(house, letter, Ending.ISSUED)
    asked = await house.finish(replayed(letter, topic=TOPICS.orders_deferred, clock=house.clock))

    assert resolved.event("submitted").id == asked.event("submitted").id
    assert house.ecticket.tickets == {derived(): 1}


async def test_an_order_in_doubt_is_told_as_failed_with_the_persons_words() -> None:
    """At stage submit, without a code where ECTicket never gave one."""
    house = House(policy=AN_HOUR)
    house.ecticket.faults = [LOST_BEFORE]
    letter = (await _unresolved(house)).letter

    failed = _resolved(house, letter, Ending.FAILED).event("failed").data

    assert (failed["stage"], failed["rtn_code"], failed["rtn_msg"], failed["remark"]) == ("submit", None, None, WHY)


async def test_a_refusal_that_was_never_final_keeps_its_code() -> None:
    """ECTicket's last word of it."""
    house = House(policy=AN_HOUR)
    house.ecticket.faults = [REFUSED]
    letter = (await _unresolved(house)).letter

    failed = _resolved(house, letter, Ending.FAILED).event("failed").data

    assert (failed["rtn_code"], failed["rtn_msg"]) == (10_200_001, "Inventory shortage")


@pytest.mark.parametrize("ending", list(Ending))
async def test_an_awaited_issuance_is_told_its_result(ending: Ending) -> None:
    """`submitted` was told long ago."""
    house = House(confirming=ConfirmPolicy(give_up_after_seconds=3_600))
    parked = await _awaited(house)

    told = _resolved(house, parked.letter, ending)

    data = told.event(ending.value).data
    assert told.kinds == [ending.value]
    assert data["trade_no"] == derived()
    assert told.event(ending.value).attributes["orderref"] == "orders.paid/2/1"
    assert ending is Ending.ISSUED or (data["stage"], data["remark"]) == ("confirm", WHY)


async def test_the_other_parts_go_on_in_a_new_letter() -> None:
    """With their own plan; one part more is done, and the message says why this letter is here."""
    house = House(policy=AN_HOUR)
    house.ecticket.faults = [LOST_BEFORE, LOST_BEFORE, LOST_BEFORE]
    letter = (await _unresolved(house, *THREE_PARTS)).letter

    told = _resolved(house, letter, Ending.ISSUED, derived(part=2))

    rest = plan_of(told.letter)
    assert [carried.part.number for carried in rest.parts] == [1, 3]
    assert rest.parts_done == 1
    assert header(told.letter, "ecticket-message").startswith(f"{derived(part=2)} was resolved as issued since")
    assert (told.letter.key, told.letter.value) == (letter.key, letter.value)
    assert {name for name, _ in told.letter.headers} == {name for name, _ in letter.headers} | {"ecticket-parts-done"}
    assert house.signer.verify(told.letter).valid


async def test_the_rest_of_a_letter_goes_on_when_it_is_replayed() -> None:
    """The part that was resolved is nobody's business any more."""
    house = House(policy=AN_HOUR)
    house.ecticket.faults = [LOST_AFTER, LOST_AFTER]
    house.ecticket.visible_after = 600
    sent = await house.work(house.order(line(), line("SPA", 1, **SERIAL)))
    house.ecticket.silent = True
    letter = (await house.finish(sent.later)).letter
    house.ecticket.silent = False

    rest = _resolved(house, letter, Ending.ISSUED).letter
    told = await house.finish(replayed(rest, topic=TOPICS.orders_deferred, clock=house.clock))

    assert [(event.kind, event.data["part"]) for event in told.events] == [("submitted", 2)]


async def test_a_number_that_is_not_in_the_letter_is_not_found() -> None:
    """Nor in one that holds no plan, or no confirmation."""
    house = House(policy=AN_HOUR)
    house.ecticket.faults = [LOST_BEFORE]
    letter = (await _unresolved(house)).letter
    bare = tuple(each for each in letter.headers if each[0] != PLAN)
    no_confirmation = (("ecticket-stage", b"confirm"),)

    assert held(letter, derived(part=2)) is None
    assert held(replace(letter, headers=bare), derived()) is None
    assert held(replace(letter, headers=no_confirmation), derived()) is None
    assert _found(letter, derived()).trade_no.kind is TradeNoKind.MERCHANT


# --- ECTicket's word --------------------------------------------------------------------------------------------------

ISSUED = Heard(status=IssueStatus.ISSUED, said="It is issued.")
FAILED = Heard(status=IssueStatus.FAILED, said="It failed.")
IN_PROGRESS = Heard(status=IssueStatus.IN_PROGRESS, said="It is in progress.")
NOT_KNOWN = Heard(not_known=True, said="It is not known.")
SILENT = Heard(said="No answer.")


@pytest.mark.parametrize(
    ("ending", "heard", "allowed"),
    [
        (Ending.ISSUED, ISSUED, True),
        (Ending.ISSUED, FAILED, False),
        (Ending.ISSUED, IN_PROGRESS, False),
        (Ending.ISSUED, NOT_KNOWN, False),
        (Ending.ISSUED, SILENT, False),
        (Ending.FAILED, ISSUED, False),
        (Ending.FAILED, FAILED, True),
        (Ending.FAILED, IN_PROGRESS, False),
        (Ending.FAILED, NOT_KNOWN, True),
        (Ending.FAILED, SILENT, False),
    ],
)
async def test_what_ecticket_contradicts_is_objected_to(ending: Ending, heard: Heard, allowed: bool) -> None:
    """And what it says is in the objection."""
    house = House(policy=AN_HOUR)
    house.ecticket.faults = [LOST_BEFORE]
    found = _found((await _unresolved(house)).letter, derived())

    why = objection(ending, found, heard, now=house.clock(), settles_after=SETTLES)

    assert (why is None) is allowed
    assert why is None or heard.said in why


@pytest.mark.parametrize("heard", [ISSUED, FAILED, IN_PROGRESS, NOT_KNOWN, SILENT])
async def test_another_orders_number_is_never_issued_for_this_one(heard: Heard) -> None:
    """Whatever ECTicket knows of it is the other order's; this order has no tickets, and may be closed as failed."""
    house = House(policy=AN_HOUR)
    house.ecticket.faults = [LOST_BEFORE]
    found = _found((await _unresolved(house)).letter, derived())

    def why(ending: Ending) -> str | None:
        return objection(ending, found, heard, now=house.clock(), settles_after=SETTLES, other_order="B-1")

    assert why(Ending.FAILED) is None
    assert "B-1" in (why(Ending.ISSUED) or "")


async def test_what_may_still_come_is_not_failed_yet() -> None:
    """It was sent a moment ago, and queries may be late in knowing it."""
    house = House(policy=SubmitPolicy(give_up_after_seconds=10))
    house.ecticket.always = LOST_BEFORE
    found = _found((await _unresolved(house)).letter, derived())

    def objects(clock: Clock) -> bool:
        return objection(Ending.FAILED, found, NOT_KNOWN, now=clock(), settles_after=SETTLES) is not None

    assert objects(house.clock)
    house.clock.passes(600)
    assert not objects(house.clock)


async def test_what_was_taken_in_a_moment_ago_is_not_failed_yet_either() -> None:
    """RtnCode 1 came for it, and queries may be late in knowing it all the same; its letter is a minute old."""
    house = House(confirming=ConfirmPolicy(delayed_after_seconds=40, give_up_after_seconds=60))
    found = _found((await _awaited(house)).letter, derived())

    def objects(clock: Clock) -> bool:
        return objection(Ending.FAILED, found, NOT_KNOWN, now=clock(), settles_after=SETTLES) is not None

    assert objects(house.clock)
    house.clock.passes(600)
    assert not objects(house.clock)
