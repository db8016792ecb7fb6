"""A person resolves an issuance: the events are those of the flows, and ECTicket's answer is checked first."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flows.harness import SERIAL, THREE_PARTS, Harness, derived, line, plan_of, replayed
from key_words import mentions

from adapter.flows.messages.record_history import PLAN
from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.operations.resolve import EcticketAnswer, PendingIssuance, Resolution, find_pending, objection, resolve
from adapter.protocol.issue import TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import Record
from adapter.stream.stage import Outcome
from adapter.testing.clock import Clock
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, REFUSED
from adapter.testing.fakes import TOPICS
from adapter.testing.outcome_reader import OrderEvents, header
from adapter.values import replace

REASON = "seen in the vendor console"
AN_HOUR = SubmitPolicy(give_up_after_seconds=3_600)
SETTLES = timedelta(seconds=600)


async def _unresolved(harness: Harness, *lines: dict[str, object]) -> OrderEvents:
    """An order whose result is unknown."""
    harness.ecticket.silent = True
    return await harness.run(harness.order(*lines))


async def _awaited(harness: Harness) -> OrderEvents:
    """A confirmation whose job never said that it was done."""
    submitted = await harness.work(harness.order())
    delayed, _ = await harness.await_result(submitted.confirmations[0])
    published, _ = await harness.await_result(delayed.confirmations[0])
    return published


def _resolved(harness: Harness, dead_letter: Record, ending: Resolution, trade_no: str | None = None) -> OrderEvents:
    found = _found(dead_letter, trade_no or derived())
    producer_records = resolve(
        found, ending, REASON, topics=TOPICS, now=harness.clock(), signer=harness.signer
    ).producer_records
    return harness.reader.read(Outcome(records=producer_records))


def _found(dead_letter: Record, trade_no: str) -> PendingIssuance:
    found = find_pending(dead_letter, trade_no)
    assert found is not None
    return found


# --- what is published ------------------------------------------------------------------------------------------------


async def test_an_order_in_doubt_is_published_as_submitted_and_issued() -> None:
    """Recovered, under the ids that the flows would have used; nothing is left of it."""
    harness = Harness(policy=AN_HOUR)
    harness.ecticket.faults = [LOST_AFTER]
    parked = await _unresolved(harness)

    published = _resolved(harness, parked.dead_letter, Resolution.ISSUED)

    assert published.types == ["submitted", "issued"]
    assert all(event.data["recovered"] is True for event in published.events)
    assert published.event("issued").data["trade_no"] == derived()
    assert published.event("issued").attributes["orderref"] == parked.event("parked").attributes["orderref"]
    assert (published.dead_letters, published.confirmations) == ([], [])


async def test_the_same_facts_have_the_ids_that_further_queries_would_have_published() -> None:
    """Resolved here, replayed there: readers drop the second."""
    harness = Harness(policy=AN_HOUR)
    harness.ecticket.faults = [LOST_AFTER]
    dead_letter = (await _unresolved(harness)).dead_letter
    harness.ecticket.silent = False

    resolved = _resolved(harness, dead_letter, Resolution.ISSUED)
    asked = await harness.run(replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock))

    assert resolved.event("submitted").id == asked.event("submitted").id
    assert harness.ecticket.tickets == {derived(): 1}


async def test_an_order_in_doubt_is_published_as_failed_with_the_operators_reason() -> None:
    """At stage submit, without a code where ECTicket never gave one."""
    harness = Harness(policy=AN_HOUR)
    harness.ecticket.faults = [LOST_BEFORE]
    dead_letter = (await _unresolved(harness)).dead_letter

    failed = _resolved(harness, dead_letter, Resolution.FAILED).event("failed").data

    assert (failed["stage"], failed["rtn_code"], failed["rtn_msg"], failed["remark"]) == ("submit", None, None, REASON)


async def test_a_refusal_that_was_never_final_keeps_its_code() -> None:
    """ECTicket's last word of it."""
    harness = Harness(policy=AN_HOUR)
    harness.ecticket.faults = [REFUSED]
    dead_letter = (await _unresolved(harness)).dead_letter

    failed = _resolved(harness, dead_letter, Resolution.FAILED).event("failed").data

    assert (failed["rtn_code"], failed["rtn_msg"]) == (10_200_001, "Inventory shortage")


@pytest.mark.parametrize("ending", list(Resolution))
async def test_an_awaited_issuance_is_resolved_with_its_result(ending: Resolution) -> None:
    """`submitted` was published long ago."""
    harness = Harness(confirm_policy=ConfirmPolicy(give_up_after_seconds=3_600))
    parked = await _awaited(harness)

    published = _resolved(harness, parked.dead_letter, ending)

    data = published.event(ending.value).data
    assert published.types == [ending.value]
    assert data["trade_no"] == derived()
    assert published.event(ending.value).attributes["orderref"] == "orders.paid/2/1"
    assert ending is Resolution.ISSUED or (data["stage"], data["remark"]) == ("confirm", REASON)


async def test_the_other_parts_go_on_in_a_new_dead_letter() -> None:
    """With their own plan; one part more is done, and the message says why this dead letter is here."""
    harness = Harness(policy=AN_HOUR)
    harness.ecticket.faults = [LOST_BEFORE, LOST_BEFORE, LOST_BEFORE]
    dead_letter = (await _unresolved(harness, *THREE_PARTS)).dead_letter

    published = _resolved(harness, dead_letter, Resolution.ISSUED, derived(part=2))

    rest = plan_of(published.dead_letter)
    assert [handed_off.part.number for handed_off in rest.parts] == [1, 3]
    assert rest.parts_done == 1
    assert mentions(header(published.dead_letter, "ecticket-message"), f"{derived(part=2)} resolved issued")
    assert (published.dead_letter.key, published.dead_letter.value) == (dead_letter.key, dead_letter.value)
    assert {name for name, _ in published.dead_letter.headers} == {name for name, _ in dead_letter.headers} | {
        "ecticket-parts-done"
    }
    assert harness.signer.verify(published.dead_letter).valid


async def test_the_rest_of_a_dead_letter_goes_on_when_it_is_replayed() -> None:
    """The resolved part is not queried any more."""
    harness = Harness(policy=AN_HOUR)
    harness.ecticket.faults = [LOST_AFTER, LOST_AFTER]
    harness.ecticket.visible_after = 600
    sent = await harness.work(harness.order(line(), line("SPA", 1, **SERIAL)))
    harness.ecticket.silent = True
    dead_letter = (await harness.run(sent.deferred_record)).dead_letter
    harness.ecticket.silent = False

    rest = _resolved(harness, dead_letter, Resolution.ISSUED).dead_letter
    published = await harness.run(replayed(rest, topic=TOPICS.orders_deferred, clock=harness.clock))

    assert [(event.type, event.data["part"]) for event in published.events] == [("submitted", 2)]


async def test_a_number_that_is_not_in_the_dead_letter_is_not_found() -> None:
    """Nor in one that holds no plan, or no confirmation."""
    harness = Harness(policy=AN_HOUR)
    harness.ecticket.faults = [LOST_BEFORE]
    dead_letter = (await _unresolved(harness)).dead_letter
    bare = tuple(each for each in dead_letter.headers if each[0] != PLAN)
    no_confirmation = (("ecticket-stage", b"confirm"),)

    assert find_pending(dead_letter, derived(part=2)) is None
    assert find_pending(replace(dead_letter, headers=bare), derived()) is None
    assert find_pending(replace(dead_letter, headers=no_confirmation), derived()) is None
    assert _found(dead_letter, derived()).trade_no.kind is TradeNoKind.MERCHANT


# --- ECTicket's word --------------------------------------------------------------------------------------------------

ISSUED = EcticketAnswer(status=IssueStatus.ISSUED, description="It is issued.")
FAILED = EcticketAnswer(status=IssueStatus.FAILED, description="It failed.")
IN_PROGRESS = EcticketAnswer(status=IssueStatus.IN_PROGRESS, description="It is in progress.")
NOT_KNOWN = EcticketAnswer(not_known=True, description="It is not known.")
SILENT = EcticketAnswer(description="No answer.")


@pytest.mark.parametrize(
    ("ending", "heard", "allowed"),
    [
        (Resolution.ISSUED, ISSUED, True),
        (Resolution.ISSUED, FAILED, False),
        (Resolution.ISSUED, IN_PROGRESS, False),
        (Resolution.ISSUED, NOT_KNOWN, False),
        (Resolution.ISSUED, SILENT, False),
        (Resolution.FAILED, ISSUED, False),
        (Resolution.FAILED, FAILED, True),
        (Resolution.FAILED, IN_PROGRESS, False),
        (Resolution.FAILED, NOT_KNOWN, True),
        (Resolution.FAILED, SILENT, False),
    ],
)
async def test_what_ecticket_contradicts_is_objected_to(
    ending: Resolution, heard: EcticketAnswer, allowed: bool
) -> None:
    """And what it says is in the objection."""
    harness = Harness(policy=AN_HOUR)
    harness.ecticket.faults = [LOST_BEFORE]
    found = _found((await _unresolved(harness)).dead_letter, derived())

    reason = objection(ending, found, heard, now=harness.clock(), settles_after=SETTLES)

    assert (reason is None) is allowed
    assert reason is None or heard.description in reason


@pytest.mark.parametrize("heard", [ISSUED, FAILED, IN_PROGRESS, NOT_KNOWN, SILENT])
async def test_another_orders_number_is_never_issued_for_this_one(heard: EcticketAnswer) -> None:
    """Whatever ECTicket knows of it is the other order's; this order has no tickets, and may be closed as failed."""
    harness = Harness(policy=AN_HOUR)
    harness.ecticket.faults = [LOST_BEFORE]
    found = _found((await _unresolved(harness)).dead_letter, derived())

    def reason(ending: Resolution) -> str | None:
        return objection(ending, found, heard, now=harness.clock(), settles_after=SETTLES, other_order="B-1")

    assert reason(Resolution.FAILED) is None
    assert "B-1" in (reason(Resolution.ISSUED) or "")


async def test_what_may_still_come_is_not_failed_yet() -> None:
    """It was sent a moment ago, and queries may be late in knowing it."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=10))
    harness.ecticket.always = LOST_BEFORE
    found = _found((await _unresolved(harness)).dead_letter, derived())

    def objects(clock: Clock) -> bool:
        return objection(Resolution.FAILED, found, NOT_KNOWN, now=clock(), settles_after=SETTLES) is not None

    assert objects(harness.clock)
    harness.clock.passes(600)
    assert not objects(harness.clock)


async def test_what_was_taken_in_a_moment_ago_is_not_failed_yet_either() -> None:
    """RtnCode 1 came for it, and queries may be late in knowing it all the same; its dead letter is a minute old."""
    harness = Harness(confirm_policy=ConfirmPolicy(delayed_after_seconds=40, give_up_after_seconds=60))
    found = _found((await _awaited(harness)).dead_letter, derived())

    def objects(clock: Clock) -> bool:
        return objection(Resolution.FAILED, found, NOT_KNOWN, now=clock(), settles_after=SETTLES) is not None

    assert objects(harness.clock)
    harness.clock.passes(600)
    assert not objects(harness.clock)
