"""Orders that an earlier process may have sent, or that were replayed: queried before anything else is done.

docs/delivery.md, "Possibly sent" and "Plan"; decision 0002.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from key_words import mentions

from adapter import Skip
from adapter.errors import LeaseLost
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.next_step import Unverified
from adapter.protocol.issue import TradeNoKind
from adapter.testing.clock import NOON
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, NOT_ACCEPTED, NOT_SENT, REFUSED_AFTER
from adapter.testing.fakes import TOPICS, FakeMerchants
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, has_header, header
from adapter.values import replace
from flows.fakes import CUSTOMER, OTHER_MERCHANT, Maps
from flows.harness import (
    KNOWN_TRADE_NO,
    SERIAL,
    THREE_PARTS,
    Harness,
    derived,
    line,
    plan_of,
    replayed,
    signed,
    with_headers,
)

# --- after a crash ----------------------------------------------------------------------------------------------------


async def test_after_a_crash_a_known_order_is_recovered_and_nothing_is_sent(harness: Harness) -> None:
    """Asked before anything else is done with it."""
    harness.ecticket.has(derived())

    published = await harness.work(harness.order(), possibly_sent_since=NOON)

    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.calls == [("query", derived())]


async def test_after_a_crash_an_unknown_order_waits_with_its_plan() -> None:
    """Mapped once to learn its number, and never again; sent under it once it is proven that it was never sent."""
    maps = Maps()
    harness = Harness(plugins={"shop": maps})

    first = await harness.work(harness.order(line("MINE")), possibly_sent_since=NOON)
    maps.item_no = "CK851236"
    published = await harness.run(first.deferred_record)

    assert first.only_deferred
    assert plan_of(first.deferred_record).unverified == Unverified()
    assert header(first.deferred_record, "ecticket-possibly-sent-at") == "2026-03-01T04:00:00.000Z"
    assert maps.asked == 1
    assert published.event("submitted").data["recovered"] is False
    assert harness.ecticket.requests[0].ticket_info[0].item_no == "VQT04959"
    assert harness.ecticket.issues == {derived(): 1}
    assert harness.clock() - NOON >= timedelta(seconds=600)


async def test_after_a_crash_no_part_is_sent_before_all_are_verified(harness: Harness) -> None:
    """One part that cannot be asked about holds the others back."""
    harness.ecticket.silent_about = {derived(part=3)}
    published = await harness.work(harness.order(*THREE_PARTS), possibly_sent_since=NOON)
    for _ in range(15):
        published = await harness.work(published.deferred_record)
    assert harness.ecticket.issues == {}
    harness.ecticket.silent_about = set()

    published = await harness.run(published.deferred_record)

    assert published.types == ["submitted"] * 3
    assert harness.ecticket.tickets == {derived(part=part): 1 for part in (1, 2, 3)}


async def test_after_a_crash_breaker_waits_do_not_count_either(harness: Harness) -> None:
    """Also where one part is held back by another's."""
    harness.ecticket.breaker_until = NOON + timedelta(minutes=30)

    published = await harness.work(harness.order(*THREE_PARTS), possibly_sent_since=NOON)

    assert header(published.deferred_record, "ecticket-attempts") == "0"


async def test_after_a_crash_skipping_waits_for_the_proof() -> None:
    """Not known: skipped, but not before that is certain."""
    maps = Maps()
    harness = Harness(plugins={"shop": maps})
    maps.skip = Skip("no-shipping")

    first = await harness.work(harness.order(line("MINE")), possibly_sent_since=NOON)
    published = await harness.run(first.deferred_record)

    assert first.only_deferred
    assert published.event("skipped").data["reason"] == "no-shipping"
    assert published.event("skipped").data["plugin"] == "shop"
    assert harness.ecticket.issues == {}
    assert harness.clock() - NOON >= timedelta(seconds=600)


async def test_after_a_crash_a_known_order_is_not_skipped() -> None:
    """Its tickets exist, whatever a plugin would say now."""
    maps = Maps()
    harness = Harness(plugins={"shop": maps})
    maps.skip = Skip("no-shipping")
    harness.ecticket.has(derived())

    published = await harness.work(harness.order(line("MINE")), possibly_sent_since=NOON)

    assert published.types == ["submitted"]


async def test_after_a_crash_what_no_mapping_knows_is_still_skipped() -> None:
    """A shop's topic may hold more than tickets; under the same plugins such an order was never sent."""
    maps = Maps()
    harness = Harness(plugins={"shop": maps})
    maps.skip = Skip("no tickets in it")
    record = harness.order(line("PAIR-OF-SHOES"))

    published = await harness.work(record, possibly_sent_since=NOON)

    assert published.types == ["skipped"]
    assert harness.ecticket.calls == []


async def test_after_a_crash_under_another_mapping_what_cannot_be_planned_is_unresolved() -> None:
    """The mapping of then may have known it, so tickets may exist, under an unknown number."""
    maps = Maps()
    harness = Harness(plugins={"shop": maps})
    record = harness.order(line("PAIR-OF-SHOES"))

    published = await harness.work(record, possibly_sent_since=NOON, fingerprint_changed=True)
    maps.skip = Skip("no tickets in it")
    skipped = await harness.work(record, possibly_sent_since=NOON, fingerprint_changed=True)

    for each in (published, skipped):
        assert each.event("parked").data["reason"] == "unresolved"
        assert "PAIR-OF-SHOES" in header(each.dead_letter, "ecticket-message")
        assert "tickets may exist" in header(each.dead_letter, "ecticket-message")
        assert header(each.dead_letter, "ecticket-possibly-sent-at") == "2026-03-01T04:00:00.000Z"


async def test_after_a_crash_a_hook_that_fails_now_proves_nothing_about_then() -> None:
    """It may have answered the earlier process, which then sent the order; that a plugin would skip it now, too."""
    maps = Maps()
    maps.error = KeyError("x")
    harness = Harness(plugins={"shop": maps})

    for skip in (None, Skip("no-shipping")):
        maps.skip = skip
        published = await harness.work(harness.order(line("MINE")), possibly_sent_since=NOON)
        assert (published.event("parked").data["reason"], published.event("parked").data["plugin"]) == (
            "unresolved",
            "shop",
        )


@pytest.mark.parametrize("names_it", [True, False])
async def test_after_a_crash_an_order_of_a_merchant_that_is_gone_is_unresolved(names_it: bool) -> None:
    """Settings changed, not the mapping: the earlier process knew the merchant, or only that one, and may have sent."""
    harness = Harness(MERCHANT, OTHER_MERCHANT) if names_it else Harness(MERCHANT)
    record = harness.order(merchant_id=MERCHANT if names_it else None)
    harness.ecticket.has(derived())
    if names_it:
        harness.merchants.remove(MERCHANT)
    else:
        harness.merchants = FakeMerchants(MERCHANT, OTHER_MERCHANT)
        harness.use()

    published = await harness.work(record, possibly_sent_since=NOON)

    assert published.event("parked").data["reason"] == "unresolved"
    assert "tickets may exist" in header(published.dead_letter, "ecticket-message")


async def test_after_a_crash_under_the_same_mapping_bad_orders_are_as_bad_as_before(harness: Harness) -> None:
    """It could not be sent then either: no alarm."""
    unmapped = await harness.work(harness.order(line("no item number of ECTicket")), possibly_sent_since=NOON)
    poison = await harness.work(harness.record(b"{"), possibly_sent_since=NOON)

    assert unmapped.event("parked").data["reason"] == "unmapped-item"
    assert poison.event("parked").data["reason"] == "unreadable"
    for published in (unmapped, poison):
        assert "tickets may exist" not in header(published.dead_letter, "ecticket-message")
        assert has_header(published.dead_letter, "ecticket-possibly-sent-at")


async def test_a_record_that_cannot_be_read_any_more_warns_of_tickets(harness: Harness) -> None:
    """Its headers say that it may have been sent, or a plugin that is gone could read it."""
    sent = ("ecticket-possibly-sent-at", b"2026-03-01T03:00:00Z")
    published = [
        await harness.work(with_headers(harness.record(b"{"), sent)),
        await harness.work(harness.record(b"{"), possibly_sent_since=NOON, fingerprint_changed=True),
        await harness.work(with_headers(harness.record(b"{}"), ("ecticket-possibly-sent-at", b"yesterday"))),
    ]

    for each in published:
        assert header(each.dead_letter, "ecticket-reason") == "unreadable"
        assert "tickets may exist" in header(each.dead_letter, "ecticket-message")
        assert has_header(each.dead_letter, "ecticket-possibly-sent-at")


@pytest.mark.parametrize("known", [1, 2, 3])
async def test_after_a_crash_and_another_mapping_a_known_part_parks_the_rest(harness: Harness, known: int) -> None:
    """ "some part is known at ECTicket, the rest is parked as `unresolved`"."""
    harness.ecticket.has(derived(part=known))

    published = await harness.work(harness.order(*THREE_PARTS), possibly_sent_since=NOON, fingerprint_changed=True)

    assert published.event("submitted").data["part"] == known
    assert (published.event("parked").data["reason"], published.event("parked").data["parts_done"]) == ("unresolved", 1)
    assert mentions(header(published.dead_letter, "ecticket-message"), "mapping changed")
    assert [part.part.number for part in plan_of(published.dead_letter).parts] == [n for n in (1, 2, 3) if n != known]
    assert published.deferred_records == []
    assert harness.ecticket.issues == {}


async def test_after_a_crash_and_another_mapping_an_unknown_order_is_sent(harness: Harness) -> None:
    """Once all its numbers are proven; a changed mapping alone parks nothing."""
    published = await harness.run(harness.order(*THREE_PARTS), possibly_sent_since=NOON, fingerprint_changed=True)

    assert published.types == ["submitted"] * 3


async def test_after_a_crash_a_known_part_lets_the_others_go_on_under_the_same_mapping(harness: Harness) -> None:
    """The first is recovered; the others are sent when they are proven, `part` of `parts` as ever."""
    harness.ecticket.has(derived(part=1))

    first = await harness.work(harness.order(*THREE_PARTS), possibly_sent_since=NOON)
    rest = await harness.run(first.deferred_record)

    assert [event.data["part"] for event in first.events] == [1]
    assert [(event.data["part"], event.data["parts"]) for event in rest.events] == [(2, 3), (3, 3)]
    assert set(harness.ecticket.tickets.values()) == {1}


async def test_after_a_crash_field_rules_wait_for_the_proof(harness: Harness) -> None:
    """The gift has expired over night: not known, so the order is invalid with nothing sent."""
    record = harness.order(line(voucher="gift", expire_date="2026-03-01"))
    harness.clock.passes(86_400)

    first = await harness.work(record, possibly_sent_since=harness.clock())
    published = await harness.run(first.deferred_record)

    assert first.only_deferred
    assert published.event("parked").data["reason"] == "invalid-order"
    assert "ExpireDate" in header(published.dead_letter, "ecticket-message")
    assert harness.ecticket.issues == {}


async def test_after_a_crash_a_known_order_may_break_rules(harness: Harness) -> None:
    """Its tickets exist; what it breaks today does not matter any more."""
    record = harness.order(line(voucher="gift", expire_date="2026-03-01"))
    harness.ecticket.has(derived(), TradeNoKind.FREE)
    harness.clock.passes(86_400)

    published = await harness.work(record, possibly_sent_since=harness.clock())

    assert published.types == ["submitted"]


EXPIRED = (line(), line("SPA", 1, **{**SERIAL, "voucher": "gift", "expire_date": "2026-03-01"}))
"""Two parts, of which the second is a gift that expires on the first day."""


@pytest.mark.parametrize("known_at_once", [True, False], ids=["in the same run", "in an earlier one"])
async def test_after_a_crash_a_part_that_breaks_rules_next_to_a_known_one_is_unresolved(
    harness: Harness, known_at_once: bool
) -> None:
    """The order is partly issued, so it is not "invalid, with nothing sent"; a person must look."""
    record = harness.order(*EXPIRED)
    harness.ecticket.has(derived(part=1))
    harness.clock.passes(86_400)
    fenced = harness.clock()
    if known_at_once:
        fenced -= timedelta(seconds=700)

    published = await harness.run(record, possibly_sent_since=fenced)

    assert published.event("submitted").data["part"] == 1
    assert (published.event("parked").data["reason"], published.event("parked").data["parts_done"]) == ("unresolved", 1)
    assert "ExpireDate" in header(published.dead_letter, "ecticket-message")
    assert harness.ecticket.issues == {}


async def test_after_a_crash_a_deferred_plan_is_queried_and_not_mapped_again() -> None:
    """The plan is the record's own, so nothing is unproven but its parts."""
    maps = Maps()
    harness = Harness(plugins={"shop": maps})
    harness.ecticket.faults = [NOT_ACCEPTED]
    later = (await harness.work(harness.order(line("MINE")))).deferred_record
    harness.clock.passes(100)

    first = await harness.work(later, possibly_sent_since=harness.clock(), fingerprint_changed=True)
    published = await harness.run(first.deferred_record)

    assert first.only_deferred
    assert plan_of(first.deferred_record).unverified is None
    assert maps.asked == 1
    assert harness.ecticket.issues == {derived(): 2}
    assert published.event("submitted").data["recovered"] is False


async def test_after_a_crash_and_hours_without_answers_it_is_unresolved() -> None:
    """The give-up clock runs for an unproven order, too."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600))
    harness.ecticket.silent = True

    published = await harness.run(harness.order(*THREE_PARTS), possibly_sent_since=NOON)

    assert published.event("parked").data["reason"] == "unresolved"
    assert len(plan_of(published.dead_letter).parts) == 3
    assert harness.ecticket.issues == {}


# --- after a crash under another mapping, which made other parts ------------------------------------------------------


def _others_asked(harness: Harness, *todays: str) -> Counter[str]:
    """How often each number was asked about that today's plan does not have; the other field's numbers count, too."""
    return Counter(number for number in harness.ecticket.calls_of("query") if number not in (*todays, KNOWN_TRADE_NO))


@pytest.mark.parametrize(
    ("part", "kind"), [(2, TradeNoKind.MERCHANT), (20, TradeNoKind.FREE), (1, TradeNoKind.FREE)], ids=str
)
async def test_after_a_crash_tickets_under_another_plan_keep_todays_from_being_bought(
    harness: Harness, part: int, kind: TradeNoKind
) -> None:
    """Two parts were sent and the second arrived; today's mapping makes one. The dead letter names the number that
    exists.
    """
    harness.ecticket.has(derived(part=part), kind)

    published = await harness.run(harness.order(), possibly_sent_since=NOON, fingerprint_changed=True)

    assert published.types == ["parked"]
    assert (published.event("parked").data["reason"], published.event("parked").data["parts_done"]) == ("unresolved", 0)
    message = header(published.dead_letter, "ecticket-message")
    assert f"{kind.field_name} {derived(part=part)}" in message
    assert mentions(message, f"part {part} MerchantTradeNo {derived()} not sent")
    assert harness.ecticket.issues == {}


async def test_after_a_crash_all_other_numbers_are_asked_about_twice_once_the_waiting_time_is_over(
    harness: Harness,
) -> None:
    """Not before, and not when the order is deferred; then it is sent."""
    record = harness.order()

    first = await harness.work(record, possibly_sent_since=NOON, fingerprint_changed=True)
    asked_at_once = _others_asked(harness, derived())
    published = await harness.run(first.deferred_record)

    assert first.only_deferred
    assert asked_at_once == {}
    assert _others_asked(harness, derived()) == {derived(part=part): 4 for part in range(2, 21)}
    assert len(harness.ecticket.calls) < 100
    assert published.types == ["submitted"]
    assert harness.ecticket.issues == {derived(): 1}


async def test_after_a_crash_under_the_same_mapping_no_other_number_is_asked_about(harness: Harness) -> None:
    """The plan is the same, so there are none."""
    await harness.run(harness.order(), possibly_sent_since=NOON)

    assert _others_asked(harness, derived()) == {}


async def test_after_a_crash_an_order_with_a_number_of_its_own_may_have_been_sent_under_derived_ones(
    harness: Harness,
) -> None:
    """The version that parsed it then saw none."""
    harness.ecticket.has(derived())

    published = await harness.run(harness.order(trade_no="PAY1"), possibly_sent_since=NOON, fingerprint_changed=True)

    assert published.types == ["parked"]
    assert derived() in header(published.dead_letter, "ecticket-message")
    assert harness.ecticket.issues == {}


async def test_after_a_crash_neither_skipping_nor_field_rules_pass_over_tickets_under_another_plan() -> None:
    """Otherwise "nothing was sent" would be published about an order that has tickets."""
    maps = Maps()
    harness = Harness(plugins={"shop": maps})
    harness.ecticket.has(derived(part=2))
    maps.skip = Skip("no-shipping")
    skipped = await harness.run(harness.order(line("MINE")), possibly_sent_since=NOON, fingerprint_changed=True)
    maps.skip = None
    expired = harness.order(line(voucher="gift", expire_date="2026-03-01"))
    harness.clock.passes(86_400)

    invalid = await harness.run(expired, possibly_sent_since=harness.clock(), fingerprint_changed=True)

    for published in (skipped, invalid):
        assert published.types == ["parked"]
        assert published.event("parked").data["reason"] == "unresolved"
        assert derived(part=2) in header(published.dead_letter, "ecticket-message")


async def test_after_a_crash_lost_answers_do_not_keep_another_plans_numbers_from_being_settled(
    harness: Harness,
) -> None:
    """One answer in seven is lost: each query is repeated, and the run still gets through dozens of queries."""
    harness.ecticket.every_lost = 7

    published = await harness.run(harness.order(), possibly_sent_since=NOON, fingerprint_changed=True)

    assert published.types == ["submitted"]
    assert len(harness.ecticket.calls) < 300


async def test_after_a_crash_another_plans_number_that_cannot_be_asked_about_holds_the_order_back() -> None:
    """Silence is no "not known": the order waits, starts again in a later run, and is finally given up."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600))
    harness.ecticket.silent_about = {derived(part=7)}
    published = await harness.work(harness.order(), possibly_sent_since=NOON, fingerprint_changed=True)
    for _ in range(15):
        published = await harness.work(published.deferred_record)
    held_back = published.deferred_record
    given_up = await harness.run(held_back)
    harness.ecticket.silent_about = set()

    sent = await harness.run(held_back)

    assert plan_of(held_back).unverified == Unverified(mapping_changed=True)
    assert given_up.event("parked").data["reason"] == "unresolved"
    assert sent.types == ["submitted"]
    assert harness.ecticket.issues == {derived(): 1}


async def test_after_a_crash_what_was_parked_because_of_another_plan_is_not_sent_by_a_replay(harness: Harness) -> None:
    """Asked about again, with the same answer; nor is a part that was parked beside a known one."""
    harness.ecticket.has(derived(part=2))
    one_part = await harness.run(harness.order(), possibly_sent_since=NOON, fingerprint_changed=True)
    three_parts = await harness.run(harness.order(*THREE_PARTS), possibly_sent_since=NOON, fingerprint_changed=True)

    for dead_letter in (one_part.dead_letter, three_parts.dead_letter):
        again = await harness.run(replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock))
        assert again.types == ["parked"]
        assert derived(part=2) in header(again.dead_letter, "ecticket-message")

    assert harness.ecticket.issues == {}


@pytest.mark.parametrize("seconds", [6.0, 9.0])
async def test_after_a_crash_all_candidate_numbers_are_settled_however_long_a_call_is_queued(
    harness: Harness, seconds: float
) -> None:
    """Hundreds of such orders at once: a call may wait up to ten seconds, and ten numbers do not fit into a minute."""
    harness.ecticket.seconds = seconds

    published = await harness.run(harness.order(), possibly_sent_since=NOON, fingerprint_changed=True)

    assert published.types == ["submitted"]
    assert harness.ecticket.issues == {derived(): 1}
    assert harness.clock() - NOON < timedelta(hours=2)


async def test_after_a_crash_an_order_is_asked_about_again_when_other_plans_took_longer_than_its_minute(
    harness: Harness,
) -> None:
    """What is sent was asked about within a minute, whatever the pace: two seconds a call here."""
    harness.ecticket.seconds = 2.0

    published = await harness.run(harness.order(), possibly_sent_since=NOON, fingerprint_changed=True)

    numbers = [number for kind, number in harness.ecticket.calls if kind in ("query", "issue")]
    assert published.types == ["submitted"]
    assert numbers[-4:] == [derived(), KNOWN_TRADE_NO, derived(), derived()]
    assert harness.ecticket.calls[-1] == ("issue", derived())


async def test_after_a_crash_twenty_parts_are_verified_although_answers_are_slow(harness: Harness) -> None:
    """Querying all takes two minutes here: what was proven stays so, and is queried again before it is sent."""
    harness.ecticket.seconds = 1.5
    record = harness.order(*[line(f"VQT{number:05}", 100) for number in range(20)])

    published = await harness.run(record, possibly_sent_since=NOON)

    assert published.types == ["submitted"] * 20
    assert set(harness.ecticket.tickets.values()) == {1}
    assert harness.clock() - NOON < timedelta(minutes=20)
    for part in range(1, 21):
        about = [kind for kind, number in harness.ecticket.calls if number == derived(part=part)]
        sent = about.index("issue")
        assert about[sent - 2 : sent] == ["query", "query"]


# --- replayed ---------------------------------------------------------------------------------------------------------


async def _given_up(harness: Harness) -> OrderEvents:
    harness.ecticket.always = NOT_SENT
    return await harness.run(harness.order())


async def test_a_replayed_order_counts_as_possibly_sent_and_keeps_its_plan() -> None:
    """Its own headers say so, later than its plan: asked first, then sent under the same number; the clock is reset."""
    maps = Maps()
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600), plugins={"shop": maps})
    harness.ecticket.always = NOT_SENT
    record = harness.order(line("MINE"))
    dead_letter = (await harness.run(record)).dead_letter
    harness.ecticket.always = None
    again = replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock)
    replayed_at = harness.clock()

    first = await harness.work(again)
    published = await harness.run(first.deferred_record)

    assert first.only_deferred
    assert header(first.deferred_record, "ecticket-replays") == "1"
    assert header(first.deferred_record, "ecticket-attempts") == "1"
    assert header(first.deferred_record, "ecticket-first-seen") == header(again, "ecticket-first-seen")
    assert harness.clock() - replayed_at >= timedelta(seconds=600)
    assert maps.asked == 1
    assert published.event("submitted").attributes["orderref"] == f"orders.paid/2/{record.offset}"
    assert harness.ecticket.issues == {derived(): 1}


async def test_a_replayed_order_that_is_parked_again_is_another_fact() -> None:
    """The dead letter that it was is part of the id, so no reader drops it as seen; the headers are replaced."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600))
    first = await _given_up(harness)
    harness.ecticket.silent = True

    second = await harness.run(replayed(first.dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock))

    assert second.event("parked").id != first.event("parked").id
    assert second.event("parked").data["reason"] == header(second.dead_letter, "ecticket-reason") == "unresolved"
    names = [name for name, _ in second.dead_letter.headers]
    assert len(names) == len(set(names))
    assert header(second.dead_letter, "ecticket-replays") == "1"


async def test_a_replayed_order_without_a_plan_is_mapped_again_and_unverified() -> None:
    """It was parked before it had one; the mapping under which it may have been sent is unknown."""
    maps = Maps()
    maps.error = KeyError("x")
    harness = Harness(plugins={"shop": maps})
    dead_letter = (await harness.work(harness.order(line("MINE")))).dead_letter
    maps.error = None

    first = await harness.work(replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock))
    published = await harness.run(first.deferred_record)

    assert plan_of(first.deferred_record).unverified == Unverified(mapping_changed=True)
    assert published.types == ["submitted"]


async def test_a_replay_does_not_skip_the_rest_of_an_order_that_is_partly_issued() -> None:
    """Skipped means that nothing was sent: beside a part that was published as submitted a person decides about the
    rest.
    """
    maps = Maps()
    harness = Harness(plugins={"shop": maps})
    maps.skip = Skip("no-shipping")
    harness.ecticket.has(derived())
    first = await harness.run(harness.order(line("MINE"), line("SPA", 1, **SERIAL)), possibly_sent_since=NOON)

    again = await harness.run(replayed(first.dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock))

    assert first.types == ["submitted", "parked"]
    assert again.types == ["parked"]
    assert (again.event("parked").data["reason"], again.event("parked").data["parts_done"]) == ("unresolved", 1)
    assert mentions(header(again.dead_letter, "ecticket-message"), "skip no-shipping")
    assert harness.ecticket.issues == {}


async def test_an_omitted_value_does_not_matter_to_an_order_with_a_plan(harness: Harness) -> None:
    """All that is needed is in the plan, the customer's data included."""
    harness.ecticket.faults = [LOST_BEFORE]
    later = (await harness.work(harness.order())).deferred_record

    published = await harness.run(signed(replace(later, value=None)))

    assert published.types == ["submitted"]
    assert harness.ecticket.requests[-1].customer_phone == CUSTOMER["phone"]


# --- together ---------------------------------------------------------------------------------------------------------


Sabotage = Callable[[Harness], None]


def _lost(harness: Harness) -> None:
    harness.ecticket.faults = [LOST_AFTER, LOST_BEFORE, LOST_AFTER]


def _late(harness: Harness) -> None:
    harness.ecticket.faults = [LOST_AFTER, REFUSED_AFTER, LOST_AFTER]
    harness.ecticket.visible_after = 500


def _unsent(harness: Harness) -> None:
    harness.ecticket.faults = [NOT_SENT, NOT_ACCEPTED, NOT_SENT, None, NOT_SENT]


@pytest.mark.parametrize("sabotage", [_lost, _late, _unsent])
@pytest.mark.parametrize("crashes_after", [0, 1, 2, None])
async def test_whatever_happens_each_part_is_published_once_and_issued_once(
    harness: Harness, sabotage: Sabotage, crashes_after: int | None
) -> None:
    """A crash at any send, and answers lost besides: three parts, three events, tickets once each."""
    sabotage(harness)
    record = harness.order(*THREE_PARTS)
    fenced: datetime | None = None
    if crashes_after is not None:
        with pytest.raises(LeaseLost):
            await harness.work(record, lost_after=crashes_after)
        harness.clock.passes(20)
        fenced = harness.clock()

    published = await harness.run(record, possibly_sent_since=fenced)

    assert sorted(str(event.data["part"]) for event in published.events) == ["1", "2", "3"]
    assert set(published.types) == {"submitted"}
    assert harness.ecticket.tickets == {derived(part=part): 1 for part in (1, 2, 3)}
    assert published.dead_letters == []
