"""The submit story, from a record of a paid order to what is published about it (docs/delivery.md, "Submitting").

Orders that are dead letters from the start are in `test_submit_parked`, what a new owner does after a crash in
`test_submit_after_a_crash`.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from key_words import mentions
from log_lines import capture_logs

from adapter import Skip
from adapter.errors import LeaseLost
from adapter.flows.messages.events import rfc3339
from adapter.flows.number_history import NumberHistory
from adapter.issuance.decide import LONGEST_DEFERRAL_SECONDS, QueryFirst, SubmitPolicy
from adapter.issuance.state import Phase
from adapter.protocol.issue import IssuedItem, TradeNoKind
from adapter.testing.clock import NOON
from adapter.testing.ecticket import (
    BUSY,
    LOST_AFTER,
    LOST_BEFORE,
    NOT_ACCEPTED,
    NOT_SENT,
    REFUSED,
    REFUSED_AFTER,
    UNKNOWN,
    Fault,
)
from adapter.testing.fakes import TOPICS, FakeRecordContext
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import has_header, header
from flows.fakes import CUSTOMER, OTHER_MERCHANT, Maps
from flows.harness import KNOWN_TRADE_NO, SERIAL, THREE_PARTS, Harness, derived, line, plan_of, with_headers

# --- a good day -------------------------------------------------------------------------------------------------------


async def test_a_paid_order_is_submitted_and_its_result_awaited(harness: Harness) -> None:
    """One outcome: the event, and the confirmation with all that confirming needs."""
    record = harness.order()

    published = await harness.work(record)

    submitted = published.event("submitted")
    assert submitted.data == {
        "merchant_id": MERCHANT,
        "order_id": "A-1",
        "reference": {"cart": 7},
        "trade_no": derived(),
        "trade_no_kind": "merchant",
        "issue_type": "electronic",
        "part": 1,
        "parts": 1,
        "items": [{"item_no": "VQT04959", "name": None, "quantity": 2}],
        "ticket_count": 2,
        "ticket_trade_no": "2026030112000001",
        "recovered": False,
    }
    assert submitted.key == f"{MERCHANT}/{derived()}"
    assert submitted.attributes["source"] == f"/ecticket-adapter/merchants/{MERCHANT}"
    assert submitted.attributes["subject"] == derived()
    assert submitted.attributes["orderid"] == "A-1"
    assert submitted.attributes["orderref"] == f"orders.paid/2/{record.offset}"
    (confirmation,) = published.confirmations
    assert (confirmation.topic, confirmation.key) == (TOPICS.confirmations, submitted.key.encode())
    assert published.deferred_records == published.dead_letters == []
    assert harness.observer.all == [("issuance_published", "submitted", "False"), ("order_settled", "submitted")]


async def test_what_is_sent_is_what_was_bought(harness: Harness) -> None:
    """The customer's fields that the issue type uses, the settings' operator, and a derived number."""
    await harness.work(harness.order())

    (request,) = harness.ecticket.requests
    assert request.trade_no.value == derived()
    assert request.operator == "tester"
    assert request.customer_phone == CUSTOMER["phone"]
    assert request.customer_address is None


async def test_the_payments_number_is_used_as_it_is(harness: Harness) -> None:
    """ "`trade_no` given: used as it is"."""
    published = await harness.work(harness.order(trade_no="CBX20220302153064851"))

    assert published.event("submitted").data["trade_no"] == "CBX20220302153064851"


async def test_gifts_alone_go_under_a_free_number(harness: Harness) -> None:
    """ "only gift vouchers → free"."""
    published = await harness.work(harness.order(line(voucher="gift", expire_date="2026-12-31")))

    assert published.event("submitted").data["trade_no_kind"] == "free"
    assert harness.ecticket.requests[0].trade_no.kind is TradeNoKind.FREE


async def test_an_order_of_several_parts_is_one_outcome(harness: Harness) -> None:
    """Each part its own issuance, `part` of `parts`, counted from 1; the order counts once."""
    published = await harness.work(harness.order(*THREE_PARTS))

    assert [(event.type, event.data["part"], event.data["parts"]) for event in published.events] == [
        ("submitted", 1, 3),
        ("submitted", 2, 3),
        ("submitted", 3, 3),
    ]
    assert [event.data["trade_no"] for event in published.events] == [derived(part=part) for part in (1, 2, 3)]
    assert len(published.confirmations) == 3
    assert harness.observer.of("order_settled") == [("submitted",)]


async def test_the_trace_of_the_order_goes_on(harness: Harness) -> None:
    """Into each event, and into the confirmation for those that come later."""
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    published = await harness.work(with_headers(harness.order(), ("traceparent", trace)))

    assert published.event("submitted").attributes["traceparent"] == trace.decode()
    assert ("traceparent", trace) in published.confirmations[0].headers


async def test_orders_of_one_merchants_order_share_a_lane(harness: Harness) -> None:
    """Merchant and order id name the lane; a deferred record is in its order's."""
    harness.ecticket.faults = [NOT_ACCEPTED]
    deferred = (await harness.work(harness.order())).deferred_record

    lanes = [
        (await harness.submit.prepare(record)).lane
        for record in (
            harness.order(),
            deferred,
            harness.order(merchant_id=OTHER_MERCHANT),
            harness.order(order_id="A-2"),
        )
    ]

    assert lanes[0] == lanes[1]
    assert len(set(lanes)) == 3


async def test_a_plugin_gets_the_outcome() -> None:
    """`order_settled` gets every part's phase."""
    maps = Maps()
    harness = Harness(plugins={"shop": maps})
    harness.ecticket.faults = [None, LOST_BEFORE]

    await harness.work(harness.order(*THREE_PARTS))
    await harness.hook_runner.aclose()

    (outcome,) = maps.settled
    assert [part.phase for part in outcome.parts] == [Phase.SUBMITTED, Phase.DEFERRED, Phase.SUBMITTED]
    assert (outcome.parked, outcome.skipped) == (None, None)


async def test_a_skipped_order_gets_no_tickets() -> None:
    """ "`Skip(reason)` → `skipped`", and nothing is asked or sent."""
    maps = Maps()
    maps.skip = Skip("test order")
    harness = Harness(plugins={"shop": maps})
    record = harness.order()

    published = await harness.work(record)

    skipped = published.event("skipped")
    assert (skipped.data["reason"], skipped.data["plugin"], skipped.data["parts_done"]) == ("test order", "shop", 0)
    assert (skipped.key, skipped.attributes["subject"]) == ("A-1", "A-1")
    assert harness.ecticket.calls == []
    assert maps.asked == 0


async def test_asking_first_is_a_setting() -> None:
    """`submit.query_first: always`: a number that ECTicket knows is not sent."""
    harness = Harness(policy=SubmitPolicy(query_first=QueryFirst.ALWAYS))
    harness.ecticket.has(derived())

    published = await harness.work(harness.order())

    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.issues == {}


async def test_a_second_record_of_an_issued_order_issues_nothing(harness: Harness) -> None:
    """ECPay refuses the number; the same facts are published again, with the same ids."""
    harness.ecticket.refuses_repeats = True
    first = await harness.work(harness.order(*THREE_PARTS))

    again = await harness.work(harness.order(*THREE_PARTS))

    assert [event.id for event in again.events] == [event.id for event in first.events]
    assert [event.data["recovered"] for event in again.events] == [True] * 3
    assert [event.data["ticket_trade_no"] for event in again.events] == [None] * 3
    assert {event.attributes["orderref"] for event in again.events} != {
        event.attributes["orderref"] for event in first.events
    }
    assert set(harness.ecticket.tickets.values()) == {1}


async def test_a_second_record_that_is_mapped_to_more_parts_buys_none_of_them(harness: Harness) -> None:
    """The first record was one part; what a later mapping adds is asked about and left to a person."""
    harness.ecticket.refuses_repeats = True
    await harness.work(harness.order())

    again = await harness.work(harness.order(*THREE_PARTS))
    published = await harness.run(again.deferred_record)

    assert again.event("submitted").data["recovered"] is True
    assert published.types == ["parked"]
    assert published.event("parked").data["reason"] == "unresolved"
    assert mentions(header(published.dead_letters[0], "ecticket-message"), "earlier record issued")
    assert harness.ecticket.tickets == {derived(): 1}
    assert harness.clock() - NOON >= timedelta(seconds=600)


async def test_a_second_record_buys_nothing_besides_when_its_answer_is_lost(harness: Harness) -> None:
    """Nothing of it is sent when its first number is known: after a lost answer it could not be distinguished from our
    own.
    """
    harness.ecticket.refuses_repeats = True
    await harness.work(harness.order())
    harness.ecticket.faults = [LOST_AFTER]

    again = await harness.work(harness.order(*THREE_PARTS))
    published = await harness.run(again.deferred_record)

    assert again.event("submitted").data["recovered"] is True
    assert published.event("parked").data["reason"] == "unresolved"
    assert harness.ecticket.tickets == {derived(): 1}


@pytest.mark.parametrize("fault", [None, LOST_AFTER])
async def test_a_second_record_in_an_outage_of_queries_buys_nothing_besides(
    harness: Harness, fault: Fault | None
) -> None:
    """ "Not known" says nothing while queries alone know no number; the order waits until they do."""
    harness.ecticket.refuses_repeats = True
    await harness.work(harness.order())
    harness.ecticket.outages["query"] = BUSY
    harness.ecticket.faults = [fault] if fault else []

    published = await harness.work(harness.order(*THREE_PARTS))
    for _ in range(3):
        published = await harness.work(published.deferred_record)
    harness.ecticket.outages.clear()
    harness.ecticket.faults = []
    again = await harness.run(published.deferred_record)

    assert again.event("submitted").data["recovered"] is True
    assert again.event("parked").data["reason"] == "unresolved"
    assert harness.ecticket.tickets == {derived(): 1}


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("fault", [None, LOST_AFTER])
async def test_a_second_record_of_a_process_that_ends_buys_nothing_besides(
    harness: Harness, fault: Fault | None, remembered: bool
) -> None:
    """The known number may be of either record, but events show that it was published for the first one."""
    harness.ecticket.refuses_repeats = True
    harness.ecticket.faults = [fault]
    first = await harness.run(harness.order())
    if not remembered:
        harness.use()

    again = await harness.work(harness.order(*THREE_PARTS), possibly_sent_since=harness.clock())
    published = await harness.run(again.deferred_record)

    assert first.event("submitted").data["recovered"] is (fault is LOST_AFTER)
    assert again.event("submitted").data["recovered"] is True
    assert published.types == ["parked"]
    assert published.event("parked").data["reason"] == "unresolved"
    assert mentions(header(published.dead_letters[0], "ecticket-message"), "earlier record issued")
    assert harness.ecticket.tickets == {derived(): 1}


async def test_a_second_record_whose_own_answer_is_lost_buys_nothing_besides(harness: Harness) -> None:
    """The first number is not visible yet, but this process knows that it was issued: nothing is sent."""
    harness.ecticket.visible_after = 60.0
    await harness.work(harness.order())
    harness.ecticket.faults = [LOST_BEFORE]

    published = await harness.run(harness.order(*THREE_PARTS[:2]))

    assert published.event("submitted").data["recovered"] is True
    assert published.event("parked").data["reason"] == "unresolved"
    assert harness.ecticket.issues == harness.ecticket.tickets == {derived(): 1}


@pytest.mark.parametrize("first_call", [LOST_BEFORE, LOST_AFTER, NOT_SENT, None])
async def test_a_second_record_in_a_new_process_buys_nothing_besides_a_number_not_visible_yet(
    harness: Harness, first_call: Fault | None
) -> None:
    """The first call of the second record is lost, not sent or refused; then events show the first record."""
    harness.ecticket.refuses_repeats = True
    harness.ecticket.visible_after = 60.0
    await harness.work(harness.order())
    harness.use()
    harness.ecticket.faults = [first_call]

    again = await harness.work(harness.order(*THREE_PARTS))
    published = await harness.run(again.deferred_record)

    assert [event.data["part"] for event in published.events if event.type == "submitted"] == [1]
    assert published.event("submitted").data["recovered"] is True
    assert published.event("parked").data["reason"] == "unresolved"
    assert mentions(header(published.dead_letters[0], "ecticket-message"), "earlier record issued")
    assert harness.ecticket.tickets == {derived(): 1}


@pytest.mark.parametrize(("first_call", "reads"), [(None, 0), (LOST_BEFORE, 1)])
async def test_events_are_read_only_for_an_order_whose_first_part_is_not_accepted(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, first_call: Fault | None, reads: int
) -> None:
    """They are read once for all its later parts, which are sent if no event is of an earlier record."""
    read = 0
    look = NumberHistory.look

    async def counted(history: NumberHistory) -> None:
        nonlocal read
        read += 1
        await look(history)

    monkeypatch.setattr(NumberHistory, "look", counted)
    harness.ecticket.faults = [first_call]

    await harness.work(harness.order(*THREE_PARTS))

    assert read == reads
    assert harness.ecticket.issues == {derived(part=part): 1 for part in (1, 2, 3)}


async def test_a_later_record_that_found_a_part_does_not_stop_the_one_that_sent_it(harness: Harness) -> None:
    """It claims only what it found; the record that comes first has its other parts sent after a crash."""
    harness.ecticket.refuses_repeats = True
    harness.ecticket.has(derived())
    first, second = harness.order(*THREE_PARTS), harness.order(*THREE_PARTS)

    found = await harness.work(second)
    published = await harness.run(first, possibly_sent_since=harness.clock())

    assert found.event("submitted").data["recovered"] is True
    assert published.types == ["submitted"] * 3
    assert harness.ecticket.tickets == {derived(part=part): 1 for part in (1, 2, 3)}


async def test_a_second_record_under_another_number_is_another_purchase(harness: Harness) -> None:
    """What remains: only by the number can ECTicket, and so the adapter, recognise an earlier order."""
    harness.ecticket.refuses_repeats = True
    await harness.work(harness.order())

    again = await harness.work(harness.order(trade_no="PAID1"))

    assert again.event("submitted").data["recovered"] is False
    assert harness.ecticket.tickets == {derived(): 1, "PAID1": 1}


async def test_a_second_record_waits_for_what_the_first_has_still_to_do(harness: Harness) -> None:
    """Its other parts are found when the first record has had them issued."""
    harness.ecticket.refuses_repeats = True
    harness.ecticket.faults = [None, LOST_BEFORE, LOST_BEFORE]
    first = await harness.work(harness.order(*THREE_PARTS))

    again = await harness.work(harness.order(*THREE_PARTS))
    rest = await harness.run(first.deferred_record)
    published = await harness.run(again.deferred_record)

    assert (first.types, again.types, rest.types) == (["submitted"], ["submitted"], ["submitted"] * 2)
    assert published.types == ["submitted"] * 2
    assert [event.data["recovered"] for event in (*rest.events, *published.events)] == [False, False, True, True]
    assert set(harness.ecticket.tickets.values()) == {1}


# --- refused ----------------------------------------------------------------------------------------------------------


async def test_a_refusal_is_final_only_when_it_is_trustworthily_not_known(harness: Harness) -> None:
    """ "Else queried (never sent) again, the last time when 600 s have passed ...: not known → `failed`"."""
    harness.ecticket.faults = [REFUSED]

    first = await harness.work(harness.order())
    published = await harness.run(first.deferred_record)

    assert first.only_deferred
    failed = published.event("failed")
    assert (failed.data["stage"], failed.data["rtn_code"], failed.data["rtn_msg"], failed.data["remark"]) == (
        "submit",
        10_200_001,
        "Inventory shortage",
        None,
    )
    assert published.types == ["failed"]
    assert published.confirmations == published.dead_letters == []
    assert harness.ecticket.issues == {derived(): 1}
    assert harness.clock() - NOON >= timedelta(seconds=600)
    assert harness.ecticket.calls_of("control")
    assert harness.ecticket.calls_of("query")[-2:] == [KNOWN_TRADE_NO, derived()]


async def test_a_refused_order_is_handed_off_with_all_that_is_known(harness: Harness) -> None:
    """The order record as it came, the plan with the refusal, and the headers of section 5."""
    harness.ecticket.faults = [REFUSED]
    record = with_headers(harness.order(), ("x-shop", b"1"), ("ecticket-reason", b"stale"))

    later = (await harness.work(record)).deferred_record

    assert (later.key, later.value, later.headers[0]) == (record.key, record.value, ("x-shop", b"1"))
    assert not has_header(later, "ecticket-reason")
    assert header(later, "ecticket-not-before") == "2026-03-01T04:01:00.020Z"
    assert header(later, "ecticket-first-seen") == "2026-03-01T04:00:00.000Z"
    assert header(later, "ecticket-attempts") == "1"
    assert header(later, "ecticket-replays") == "0"
    assert header(later, "ecticket-possibly-sent-at") == "2026-03-01T04:00:00.010Z"
    origin = [header(later, f"ecticket-{name}") for name in ("topic", "partition", "offset")]
    assert origin == ["orders.paid", "2", str(record.offset)]
    (part,) = plan_of(later).parts
    assert part.history.refusal is not None
    assert (part.history.refusal.code, part.history.refusal.message) == (10_200_001, "Inventory shortage")
    assert part.history.last_attempt_at == NOON + timedelta(seconds=0.01)


async def test_refused_and_yet_taken_in_is_recovered(harness: Harness) -> None:
    """A refusal may come after the effect; a query shows it."""
    harness.ecticket.faults = [REFUSED_AFTER]
    harness.ecticket.visible_after = 300

    published = await harness.run(harness.order())

    assert published.types == ["submitted"]
    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.issues == {derived(): 1}


async def test_in_a_maintenance_nothing_fails_and_nothing_is_sent_again(harness: Harness) -> None:
    """Every call is refused, with one code: that proves nothing. When it is over, the refusal becomes final."""
    harness.ecticket.maintenance = True

    published = await harness.work(harness.order())
    for _ in range(60):
        assert published.only_deferred
        published = await harness.work(published.deferred_record)
    harness.ecticket.maintenance = False
    published = await harness.run(published.deferred_record)

    assert harness.clock() - NOON > timedelta(hours=1)
    assert harness.ecticket.issues == {derived(): 1}
    assert published.event("failed").data["rtn_msg"] == "System maintenance"


async def test_an_outage_of_queries_alone_proves_nothing(harness: Harness) -> None:
    """QueryIssueResult refuses every number, known ones too, while Issue and QueryItemInfo work: doubt waits."""
    harness.ecticket.faults = [REFUSED_AFTER]
    harness.ecticket.outages = {"query": UNKNOWN}

    published = await harness.work(harness.order())
    for number in range(30):
        assert published.only_deferred
        assert (await harness.work(harness.order(order_id=f"B-{number}"))).types == ["submitted"]
        published = await harness.work(published.deferred_record)
    harness.ecticket.outages = {}
    published = await harness.run(published.deferred_record)

    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.issues[derived()] == 1


async def test_an_outage_of_queries_alone_sends_nothing_again(harness: Harness) -> None:
    """The lost answer's tickets exist; the order is recovered once queries work."""
    harness.ecticket.faults = [LOST_AFTER]
    harness.ecticket.outages = {"query": UNKNOWN}

    published = await harness.work(harness.order())
    for number in range(30):
        assert published.only_deferred
        await harness.work(harness.order(order_id=f"B-{number}"))
        published = await harness.work(published.deferred_record)
    harness.ecticket.outages = {}
    published = await harness.run(published.deferred_record)

    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.tickets[derived()] == 1


async def test_an_outage_of_issue_alone_fails_only_on_evidence(harness: Harness) -> None:
    """Queries work and do not know the number: the refusal becomes final after its waiting time, as any other."""
    harness.ecticket.outages = {"issue": BUSY}

    published = await harness.run(harness.order())

    assert published.event("failed").data["rtn_code"] == BUSY
    assert harness.clock() - NOON >= timedelta(seconds=600)


async def test_a_number_of_this_process_proves_that_queries_work() -> None:
    """A new merchant without a known number in the settings: its second order settles doubts about the first."""
    harness = Harness(known_trade_no=None)
    harness.ecticket.faults = [REFUSED]
    published = await harness.work(harness.order())
    for _ in range(15):
        assert published.only_deferred
        published = await harness.work(published.deferred_record)
    waited = harness.clock() - NOON
    await harness.work(harness.order(order_id="A-2"))

    published = await harness.run(published.deferred_record)

    assert waited > timedelta(seconds=600)
    assert published.types == ["failed"]
    assert derived("A-2") in harness.ecticket.calls_of("query")


async def test_a_result_that_was_awaited_proves_that_queries_work() -> None:
    """What the confirm stage sees QueryIssueResult know serves the submit stage of the same process."""
    harness = Harness(known_trade_no=None)
    (confirmation,) = (await harness.work(harness.order(order_id="A-2"))).confirmations
    await harness.query(confirmation)
    harness.ecticket.faults = [REFUSED]

    published = await harness.run(harness.order())

    assert published.types == ["failed"]


async def test_a_doubt_of_a_new_merchant_waits_and_names_what_is_missing() -> None:
    """Nothing can show that queries work: no order is failed, none is sent again, a person gets the cure."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600), known_trade_no=None)
    harness.ecticket.faults = [REFUSED]

    with capture_logs() as logs:
        published = await harness.run(harness.order())

    assert published.event("parked").data["reason"] == "unresolved"
    assert f"merchants.{MERCHANT}.known_trade_no" in str(published.event("parked").data["message"])
    assert len(harness.observer.of("no_known_number")) > 10
    assert set(harness.observer.of("deferred")) == {("refusal_not_final",), ("no_known_number",)}
    warned = [line for line in logs if line["event"] == "no-known-number"]
    assert len(warned) == len(harness.observer.of("no_known_number"))
    assert {line["merchant_id"] for line in warned} == {MERCHANT}


async def test_a_listed_code_means_again_later() -> None:
    """ "RtnCodes listed in `submit.retry_rtn_codes` | again later": nothing happened, so it is simply sent again."""
    harness = Harness(policy=SubmitPolicy(retry_rtn_codes=frozenset({10_500_009})))
    harness.ecticket.faults = [Fault((10_500_009, "Busy"))]

    first = await harness.work(harness.order())
    published = await harness.work(first.deferred_record)

    assert first.only_deferred
    assert header(first.deferred_record, "ecticket-attempts") == "1"
    assert not has_header(first.deferred_record, "ecticket-possibly-sent-at")
    assert published.event("submitted").data["recovered"] is False
    assert harness.ecticket.calls_of("query") == []


# --- in doubt ---------------------------------------------------------------------------------------------------------


async def test_an_answer_lost_after_the_effect_is_recovered(harness: Harness) -> None:
    """Asked before anything else, and found; one Issue call, tickets once."""
    harness.ecticket.faults = [LOST_AFTER]

    published = await harness.work(harness.order())

    submitted = published.event("submitted")
    assert (submitted.data["recovered"], submitted.data["ticket_trade_no"]) == (True, None)
    assert json.loads(published.confirmations[0].value or b"")["recovered"] is True
    assert [kind for kind, _ in harness.ecticket.calls] == ["issue", "query"]
    assert harness.ecticket.tickets == {derived(): 1}


async def test_an_answer_lost_before_the_effect_is_sent_again_on_full_evidence_only(harness: Harness) -> None:
    """Not before the waiting time is over, under the same number, and after question, control and liveness proof."""
    harness.ecticket.faults = [LOST_BEFORE]

    first = await harness.work(harness.order())
    published = await harness.run(first.deferred_record)

    assert first.only_deferred
    assert published.event("submitted").data["recovered"] is False
    assert published.event("submitted").data["trade_no"] == derived()
    assert harness.ecticket.issues == {derived(): 2}
    assert harness.ecticket.tickets == {derived(): 1}
    assert harness.clock() - NOON >= timedelta(seconds=600)
    kinds = [kind for kind, _ in harness.ecticket.calls]
    assert kinds[-5:] == ["query", "control", "query", "query", "issue"]


async def test_an_effect_that_comes_late_is_found_before_it_is_sent_again(harness: Harness) -> None:
    """ECTicket creates received orders in a job; until it has run, queries do not know the number."""
    harness.ecticket.faults = [LOST_AFTER]
    harness.ecticket.visible_after = 590

    published = await harness.run(harness.order())

    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.issues == {derived(): 1}


async def test_a_silent_ecticket_leaves_the_doubt_open(harness: Harness) -> None:
    """No answer to a query proves nothing, however long it takes."""
    harness.ecticket.faults = [LOST_BEFORE]
    harness.ecticket.silent = True

    published = await harness.work(harness.order())
    for _ in range(20):
        published = await harness.work(published.deferred_record)

    assert published.only_deferred
    assert harness.ecticket.issues == {derived(): 1}


async def test_an_ecticket_that_knows_every_number_is_an_alarm() -> None:
    """ "A control that is itself answered with RtnCode 1 means that nothing is ever "not known": alarm"."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600))
    harness.ecticket.faults = [LOST_BEFORE]
    harness.ecticket.knows_everything = True

    published = await harness.run(harness.order())

    assert set(harness.observer.of("control_known")) == {(MERCHANT,)}
    assert published.event("parked").data["reason"] == "unresolved"
    assert mentions(str(published.event("parked").data["message"]), "random number")
    assert harness.ecticket.issues == {derived(): 1}


async def test_an_order_that_may_have_been_sent_is_unresolved_at_last() -> None:
    """ "After `submit.give_up_after_hours`: dead letter, `unresolved` if it may have been sent"."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=7_200))
    harness.ecticket.always = LOST_BEFORE
    harness.ecticket.silent = True
    record = harness.order()

    published = await harness.run(record)

    parked, dead_letter = published.event("parked"), published.dead_letter
    assert parked.data == {
        "order_id": "A-1",
        "reason": "unresolved",
        "stage": "submit",
        "plugin": None,
        "message": header(dead_letter, "ecticket-message"),
        "parts_done": 0,
    }
    assert (parked.key, parked.attributes["orderref"]) == ("A-1", f"orders.paid/2/{record.offset}")
    assert derived() in header(dead_letter, "ecticket-message")
    assert (dead_letter.key, dead_letter.value) == (record.key, record.value)
    assert header(dead_letter, "ecticket-offset") == str(record.offset)
    assert has_header(dead_letter, "ecticket-possibly-sent-at")
    assert plan_of(dead_letter).parts[0].part.trade_no.value == derived()
    assert timedelta(hours=2) <= harness.clock() - NOON <= timedelta(hours=2, minutes=3)


# --- held up ----------------------------------------------------------------------------------------------------------


async def test_what_was_not_sent_is_sent_again_at_once_with_pauses(harness: Harness) -> None:
    """ "not sent: again with back-off and jitter"; nothing is asked, since nothing can have happened."""
    harness.ecticket.faults = [NOT_SENT, NOT_SENT, NOT_SENT]

    published = await harness.work(harness.order())

    assert published.event("submitted").data["recovered"] is False
    assert harness.ecticket.calls_of("query") == []
    assert timedelta(seconds=0.5) < harness.clock() - NOON < timedelta(seconds=5)


async def test_an_order_that_could_never_be_sent_is_given_up() -> None:
    """ "else `gave-up`": certainly never sent, and the message says so."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600))
    harness.ecticket.always = NOT_SENT

    published = await harness.run(harness.order())

    assert published.event("parked").data["reason"] == "gave-up"
    assert "no tickets exist" in header(published.dead_letter, "ecticket-message")
    assert not has_header(published.dead_letter, "ecticket-possibly-sent-at")
    assert harness.ecticket.issues == {}


async def test_an_open_breaker_counts_no_attempts(harness: Harness) -> None:
    """ "breaker waits do not count"; nothing is tried, and nothing may have been sent."""
    harness.ecticket.breaker_until = NOON + timedelta(minutes=30)

    published = await harness.work(harness.order(*THREE_PARTS))
    for more in range(1, 6):
        assert published.only_deferred
        assert header(published.deferred_record, "ecticket-attempts") == "0"
        assert not has_header(published.deferred_record, "ecticket-possibly-sent-at")
        harness.ecticket.breaker_until = NOON + timedelta(minutes=30 + more)
        published = await harness.work(published.deferred_record)
    published = await harness.run(published.deferred_record)

    assert published.types == ["submitted"] * 3
    assert ("breaker_open",) in harness.observer.of("deferred")


async def test_a_lock_out_counts_no_attempts(harness: Harness) -> None:
    """HTTP 403: refused before execution, so nothing was sent; sent again at the given time, and not before."""
    harness.ecticket.locked_out_until = NOON + timedelta(minutes=30)

    published = await harness.work(harness.order())

    assert published.only_deferred
    assert header(published.deferred_record, "ecticket-attempts") == "0"
    assert not has_header(published.deferred_record, "ecticket-possibly-sent-at")
    assert harness.ecticket.calls_of("query") == []


@pytest.mark.parametrize("minutes", [30, 10, 59])
@pytest.mark.parametrize("parts", [1, 3])
async def test_a_locked_out_merchants_order_is_written_once_for_the_whole_lock_out(
    harness: Harness, minutes: int, parts: int
) -> None:
    """Retrying makes no sense before it ends: the order is due then, and not every minute until then."""
    ends = harness.ecticket.breaker_until = NOON + timedelta(minutes=minutes)

    published = await harness.work(harness.order(*THREE_PARTS[:parts]))

    assert published.only_deferred
    assert header(published.deferred_record, "ecticket-not-before") == rfc3339(ends)
    assert (await harness.work(published.deferred_record)).types == ["submitted"] * parts


async def test_an_order_that_met_the_lock_out_itself_is_due_when_it_ends(harness: Harness) -> None:
    """Its Issue call got HTTP 403; the time is ECTicket's own."""
    harness.ecticket.locked_out_until = NOON + timedelta(minutes=30)

    published = await harness.work(harness.order())

    assert header(published.deferred_record, "ecticket-not-before") == rfc3339(NOON + timedelta(minutes=30))


async def test_a_lock_out_without_an_end_is_looked_at_each_hour(harness: Harness) -> None:
    """No record waits longer than what the adapter could mean; a clock or a header that is wrong stays bounded."""
    harness.ecticket.breaker_until = NOON + timedelta(days=3)

    published = await harness.work(harness.order())

    assert header(published.deferred_record, "ecticket-not-before") == rfc3339(
        NOON + timedelta(seconds=LONGEST_DEFERRAL_SECONDS)
    )


async def test_each_of_several_merchants_has_a_bulkhead_of_its_own() -> None:
    """A single merchant has none, and so every slot; those that are not configured share one."""
    alone, several = Harness(MERCHANT), Harness(MERCHANT, OTHER_MERCHANT)

    async def bulkhead(harness: Harness, merchant_id: str) -> object:
        return (await harness.submit.prepare(harness.order(merchant_id=merchant_id))).bulkhead

    assert await bulkhead(alone, MERCHANT) is None
    assert await bulkhead(several, MERCHANT) == MERCHANT
    assert await bulkhead(several, OTHER_MERCHANT) == OTHER_MERCHANT
    assert await bulkhead(several, "1") == await bulkhead(several, "2") == await bulkhead(alone, "3") == ""


async def test_a_deferred_order_may_be_handed_off_and_holds_what_was_sent(harness: Harness) -> None:
    """The engine hands it on while it waits for long, and does not doubt it when it comes back."""
    harness.ecticket.breaker_until = NOON + timedelta(minutes=30)
    record = harness.order()
    fresh, later = await harness.submit.prepare(record), (await harness.work(record)).deferred_record
    prepared = await harness.submit.prepare(later)

    assert (fresh.may_hand_off, fresh.resumes) == (True, False)
    assert (prepared.may_hand_off, prepared.resumes) == (True, True)


async def test_a_short_throttling_is_waited_for_in_the_same_run(harness: Harness) -> None:
    """HTTP 429 or 503 with a Retry-After of a second: not worth a deferral."""
    harness.ecticket.locked_out_until = NOON + timedelta(seconds=1)
    prepared = await harness.submit.prepare(harness.order())

    async def unlock(seconds: float) -> None:
        harness.clock.passes(seconds)
        harness.ecticket.locked_out_until = None

    harness.submit._sleep = unlock
    published = harness.reader.read(await harness.submit.handle(prepared.subject, FakeRecordContext(harness.order())))

    assert published.types == ["submitted"]
    assert sum(harness.ecticket.issues.values()) == 2


async def test_an_envelope_that_is_refused_alone_is_dead_lettered(harness: Harness) -> None:
    """ "an order that stays alone with it for `submit.attempts` while the control query is fine"."""
    harness.ecticket.always = NOT_ACCEPTED

    published = await harness.run(harness.order())

    assert published.event("parked").data["reason"] == "refused-envelope"
    assert harness.ecticket.issues == {derived(): SubmitPolicy().attempts}
    assert harness.ecticket.calls_of("control") == ["merchant"]
    assert not has_header(published.dead_letter, "ecticket-possibly-sent-at")
    assert header(published.dead_letter, "ecticket-attempts") == str(SubmitPolicy().attempts - 1)


async def test_an_envelope_that_is_refused_with_the_control_is_not_the_orders_fault(harness: Harness) -> None:
    """Then settings or clock are wrong: everything waits, and no order is parked."""
    harness.ecticket.always = NOT_ACCEPTED
    harness.ecticket.silent = True

    published = await harness.work(harness.order())
    for _ in range(20):
        assert published.only_deferred
        published = await harness.work(published.deferred_record)


# --- in several parts -------------------------------------------------------------------------------------------------


async def test_each_part_ends_for_itself_and_all_in_one_outcome(harness: Harness) -> None:
    """One submitted, one refused, one in doubt: two events' worth of records, one transaction."""
    harness.ecticket.faults = [None, REFUSED, LOST_BEFORE]
    record = harness.order(*THREE_PARTS)

    first = await harness.work(record)
    rest = await harness.run(first.deferred_record)

    assert first.types == ["submitted"]
    assert len(first.confirmations) == 1
    plan = plan_of(first.deferred_record)
    assert [(part.part.number, part.part.of) for part in plan.parts] == [(2, 3), (3, 3)]
    assert plan.parts_done == 1
    assert [(event.type, event.data["part"], event.data["parts"]) for event in rest.events] == [
        ("failed", 2, 3),
        ("submitted", 3, 3),
    ]
    assert [event.data["trade_no"] for event in rest.events] == [derived(part=2), derived(part=3)]
    assert {event.attributes["orderref"] for event in rest.events} == {f"orders.paid/2/{record.offset}"}
    assert harness.ecticket.tickets == {derived(part=1): 1, derived(part=3): 1}
    assert sorted(set(harness.observer.of("order_settled"))) == [("deferred",), ("failed",), ("submitted",)]


async def test_a_refusal_in_front_does_not_stop_the_parts_behind(harness: Harness) -> None:
    """ "a refusal or a doubt does not stop the next part"."""
    harness.ecticket.faults = [REFUSED, LOST_BEFORE, None]

    published = await harness.work(harness.order(*THREE_PARTS))

    assert [event.data["part"] for event in published.events] == [3]
    assert [part.part.number for part in plan_of(published.deferred_record).parts] == [1, 2]


async def test_parts_that_are_parked_show_how_many_were_done() -> None:
    """ "`parts_done`": the order is partly issued, and the person who handles it must know."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600))
    harness.ecticket.faults = [None, LOST_BEFORE, LOST_BEFORE]
    first = await harness.work(harness.order(*THREE_PARTS))
    harness.ecticket.silent = True

    published = await harness.run(first.deferred_record)

    assert published.types == ["parked"]
    assert published.event("parked").data["parts_done"] == 1
    assert plan_of(published.dead_letter).parts_done == 1
    assert [part.part.number for part in plan_of(published.dead_letter).parts] == [2, 3]
    assert derived(part=2) in header(published.dead_letter, "ecticket-message")
    assert derived(part=3) in header(published.dead_letter, "ecticket-message")


async def test_parts_parked_for_several_reasons_show_the_gravest() -> None:
    """One was never sent, another may have been: tickets may exist."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600))
    harness.ecticket.faults = [NOT_ACCEPTED, LOST_BEFORE]
    harness.ecticket.always = NOT_ACCEPTED
    first = await harness.work(harness.order(line(), line("SPA", 1, **SERIAL)))
    harness.ecticket.silent = True

    published = await harness.run(first.deferred_record)

    assert published.event("parked").data["reason"] == header(published.dead_letter, "ecticket-reason") == "unresolved"
    assert [part.part.number for part in plan_of(published.dead_letter).parts] == [1, 2]


# --- the lease and the engine's carrying ------------------------------------------------------------------------------


async def test_a_lost_lease_passes_through_with_nothing_written(harness: Harness) -> None:
    """The partition may have another owner, and so may the order."""
    with pytest.raises(LeaseLost):
        await harness.work(harness.order(), lost_after=0)

    assert harness.ecticket.calls == []


async def test_a_lease_lost_between_parts_leaves_the_rest_to_the_next_owner(harness: Harness) -> None:
    """The first part is found by asking, and each part is issued once."""
    record = harness.order(*THREE_PARTS)
    with pytest.raises(LeaseLost):
        await harness.work(record, lost_after=1)
    harness.clock.passes(10)

    published = await harness.run(record, possibly_sent_since=harness.clock())

    recovered = {event.data["part"]: event.data["recovered"] for event in published.events}
    assert recovered == {1: True, 2: False, 3: False}
    assert set(harness.ecticket.tickets.values()) == {1}


async def test_each_send_asks_for_the_lease(harness: Harness) -> None:
    """Every Issue call, also a second one, goes through the grant; questions do not."""
    harness.ecticket.faults = [LOST_BEFORE]
    record = harness.order(*THREE_PARTS)
    context = FakeRecordContext(record)

    await harness.submit.handle((await harness.submit.prepare(record)).subject, context)

    assert context.sends == 3


async def test_a_handed_off_order_keeps_plan_and_clocks(harness: Harness) -> None:
    """Handed on by the engine: nothing was tried, so attempts stay; it may have been sent, as the grant says."""
    harness.ecticket.faults = [LOST_BEFORE]
    later = (await harness.work(harness.order())).deferred_record
    prepared = await harness.submit.prepare(later)
    harness.clock.passes(30)
    fenced = harness.clock()

    handed_off = harness.reader.read(
        harness.submit.hand_off(later, prepared.subject, FakeRecordContext(later, possibly_sent_since=fenced))
    ).deferred_record

    same = ("ecticket-plan", "ecticket-attempts", "ecticket-first-seen", "ecticket-offset", "ecticket-timestamp")
    assert [header(handed_off, name) for name in same] == [header(later, name) for name in same]
    assert header(handed_off, "ecticket-possibly-sent-at") == fenced.isoformat(timespec="milliseconds").replace(
        "+00:00", "Z"
    )
    assert header(handed_off, "ecticket-not-before") == header(later, "ecticket-not-before")
    assert (handed_off.key, handed_off.value) == (later.key, later.value)


@pytest.mark.parametrize(("waited", "least", "most"), [(0, 60, 60), (600, 110, 150), (7200, 450, 600)])
async def test_an_order_that_is_not_started_waits_longer_each_time(
    harness: Harness, waited: float, least: float, most: float
) -> None:
    """Handed on although it is due: a backlog is rewritten a few times an hour, and not every minute."""
    record = harness.order()
    prepared = await harness.submit.prepare(record)
    harness.clock.passes(waited)

    handed_off = harness.reader.read(
        harness.submit.hand_off(record, prepared.subject, FakeRecordContext(record))
    ).deferred_record

    due = datetime.fromisoformat(header(handed_off, "ecticket-not-before"))
    assert least <= (due - harness.clock()).total_seconds() <= most


async def test_what_may_have_been_sent_is_handed_off_by_a_clock_that_is_behind(harness: Harness) -> None:
    """Part 1 is in doubt, by a clock that was five minutes ahead; part 2 was sent, and then the lease was lost."""
    harness.ecticket.faults = [LOST_BEFORE, NOT_SENT]
    harness.ecticket.always = NOT_SENT
    later = (await harness.work(harness.order(*THREE_PARTS[:2]))).deferred_record
    harness.ecticket.always = None
    harness.clock.time = NOON - timedelta(minutes=5)
    prepared = await harness.submit.prepare(later)
    harness.ecticket.visible_after = 300
    harness.ecticket.has(derived(part=2))

    outcome = harness.submit.hand_off(
        later, prepared.subject, FakeRecordContext(later, possibly_sent_since=harness.clock())
    )
    published = await harness.run(harness.reader.read(outcome).deferred_record)

    assert published.types == ["submitted"] * 2
    assert harness.ecticket.tickets == {derived(part=part): 1 for part in (1, 2)}


async def test_a_new_order_that_is_handed_off_is_new_afterwards(harness: Harness) -> None:
    """It was never begun: mapped when its time comes, and sent at once."""
    record = harness.order()
    prepared = await harness.submit.prepare(record)

    handed_off = harness.reader.read(
        harness.submit.hand_off(record, prepared.subject, FakeRecordContext(record))
    ).deferred_record
    published = await harness.work(handed_off)

    assert not has_header(handed_off, "ecticket-plan")
    assert not has_header(handed_off, "ecticket-possibly-sent-at")
    assert [kind for kind, _ in harness.ecticket.calls] == ["issue"]
    assert published.event("submitted").attributes["orderref"] == f"orders.paid/2/{record.offset}"


# --- what ECTicket says it took in ------------------------------------------------------------------------------------


async def test_other_tickets_than_asked_for_raise_an_alarm_and_change_no_outcome(harness: Harness) -> None:
    """RtnCode 1 with our number is certain; log and metric name the difference, for a person."""
    harness.ecticket.reported_items = (
        IssuedItem(item_no="VQT04959", item_name=None, ticket_price=None, ticket_amount=1),
    )

    with capture_logs() as logs:
        published = await harness.run(harness.order())

    assert published.types == ["submitted"]
    assert published.event("submitted").data["ticket_count"] == 2
    assert harness.observer.of("ticket_data_differs") == [(MERCHANT,)]
    (alarm,) = [line for line in logs if line["log_level"] == "error"]
    assert (alarm["trade_no"], alarm["order_id"]) == (derived(), "A-1")
    assert alarm["differences"] == ["VQT04959: requested 2, issued 1"]


async def test_no_ticket_data_raises_no_alarm(harness: Harness) -> None:
    """Absent or unreadable, it cannot be compared."""
    harness.ecticket.reported_items = ()

    assert (await harness.run(harness.order(*THREE_PARTS))).types == ["submitted"] * 3
    assert harness.observer.of("ticket_data_differs") == []


async def test_the_tickets_asked_for_raise_no_alarm(harness: Harness) -> None:
    """Every type of ticket, and an item in several lines."""
    published = await harness.run(harness.order(*THREE_PARTS, line()))

    assert published.types == ["submitted"] * 3
    assert harness.observer.of("ticket_data_differs") == []
