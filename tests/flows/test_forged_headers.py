"""A program with write access to a topic can put any header on a record; without the keys none steers the adapter.

Each attack goes through the whole submit stage against an ECTicket in memory. What must come of it is what comes of the
order that the record's value holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from key_words import mentions
from log_lines import capture_logs
from quick import examples

from adapter.flows.messages.record_history import shown_id
from adapter.flows.messages.signatures import Trust
from adapter.issuance.decide import LONGEST_DEFERRAL_SECONDS, SubmitPolicy
from adapter.issuance.plan import DeriveTradeNo, PlanPolicy
from adapter.operations.replay import NotReplayed, ReplayRecord, needs_origin, replay
from adapter.stream.records import Record
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, NOT_SENT
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, has_header, header
from adapter.values import replace
from flows.fakes import OTHER_MERCHANT
from flows.harness import SERIAL, SIGNER, Harness, derived, line, plan_of, replayed, signed, with_headers

FAR = "8999-12-31T23:59:59Z"
MOMENTS = [
    FAR,
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "1970-01-01T00:00:00Z",
]
HAND_COPIED = [TOPICS.orders_paid, TOPICS.orders_deferred]


def _part(number: int, of: int, trade_no: str, **more: object) -> dict[str, object]:
    request = {
        "issue_type": "3",
        "operator": "mallory",
        "is_immediate": True,
        "refund_notify_url": "http://127.0.0.1:9/attacker/refund",
        "use_status_notify_url": "http://127.0.0.1:9/attacker/use",
        "customer": {"name": 0, "phone": 0, "email": 0},
        "ticket_info": [{"item_no": "VQT04959", "ticket_amount": 1}],
    }
    items = [{"item_no": "VQT04959", "quantity": 1}]
    return {
        "number": number,
        "of": of,
        "trade_no": trade_no,
        "kind": "merchant",
        "items": items,
        "request": request,
        **more,
    }


def _plan(*parts: Mapping[str, object], order_id: str = "VICTIM-1", **more: object) -> bytes:
    document = {
        "v": 1,
        "order_id": order_id,
        "merchant_id": MERCHANT,
        "reference": None,
        "parts_done": 0,
        "customer": {"name": ["Mallory"], "phone": ["0900000000"], "email": ["m@evil.example"], "address": []},
        "parts": parts,
        **more,
    }
    return json.dumps(document).encode()


FORGED = _plan(_part(1, 1, "FORGED1"))
SAME_NUMBER = _plan(*(_part(number, 5, "SAME1") for number in range(1, 6)))
MANY = _plan(*(_part(number, 1_500, f"M{number}") for number in range(1, 1_501)))
PLANS = {
    "one": FORGED,
    "the same number five times": SAME_NUMBER,
    "1,500 parts": MANY,
    "truncated": FORGED[: len(FORGED) // 2],
    "half a character": _plan(_part(1, 1, "FORGED1"), reference={"a": "\ud800"}),
    "parts done before": _plan(_part(1, 1, "FORGED1"), parts_done=10**30),
    "a past": _plan(_part(1, 1, "FORGED1", retry_at=FAR, last_attempt_at=FAR, possibly_sent_since=FAR)),
    "a huge quantity": _plan(_part(1, 1, "FORGED1", items=[{"item_no": "VQT04959", "quantity": 10**400}])),
    "an escape": _plan(_part(1, 1, "A\n\x1b]0;x\x07" * 50), order_id="a\nb\x1b[2J"),
    "no JSON": b"\x00\xff",
    "empty": b"",
}


def _issued(harness: Harness) -> list[str]:
    return [request.trade_no.value for request in harness.ecticket.requests]


def _trusts(harness: Harness) -> list[str]:
    return [trust for _, trust in harness.observer.of("untrusted_headers")]


# --- an unsigned plan -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("topic", HAND_COPIED)
async def test_a_forged_plan_buys_nothing(plan: bytes, topic: str) -> None:
    """The order in the record's value is issued, under its own number and once; the forger's plan is not looked at."""
    harness = Harness(MERCHANT)
    record = with_headers(harness.order(), ("ecticket-plan", plan))

    published = await harness.run(replace(record, topic=topic))

    assert published.types == ["submitted"]
    assert _issued(harness) == [derived()]
    assert harness.ecticket.requests[0].refund_notify_url is None
    assert _trusts(harness) == [Trust.UNSIGNED]


async def test_a_forged_plan_over_no_order_is_unreadable() -> None:
    """The value is what counts, and there is no order in it. The dead letter keeps the record without the plan."""
    harness = Harness(MERCHANT)
    record = with_headers(harness.record(b"this is not even JSON"), ("ecticket-plan", FORGED))

    published = await harness.work(record)

    assert published.event("parked").data["reason"] == "unreadable"
    assert (published.dead_letter.key, published.dead_letter.value) == (record.key, record.value)
    assert not has_header(published.dead_letter, "ecticket-plan")
    assert _issued(harness) == []


@pytest.mark.parametrize(
    "signature",
    [b"v1.0000000000000000.AAAA", b"v1", b"", None, b"\xff" * 4000],
)
async def test_an_invented_signature_changes_nothing(signature: bytes | None) -> None:
    """Not its form but the key makes it valid."""
    harness = Harness(MERCHANT)

    published = await harness.run(
        with_headers(harness.order(), ("ecticket-plan", FORGED), ("ecticket-signature", signature))
    )

    assert _issued(harness) == [derived()]
    assert published.types == ["submitted"]


async def _deferred(harness: Harness, **order: object) -> Record:
    """An order that could not be sent, on the deferred topic with its plan."""
    harness.ecticket.faults = [NOT_SENT] * 9
    later = (await harness.work(harness.order(**order))).deferred_record
    harness.ecticket.faults = []
    return later


async def test_a_signed_plan_is_not_moved_to_another_record() -> None:
    """Nor its header, nor the signature, nor both."""
    harness = Harness(MERCHANT)
    first, second = await _deferred(harness, order_id="A-1"), await _deferred(harness, order_id="A-2")

    published = await harness.run(replace(second, headers=first.headers))

    assert _issued(harness) == [derived(order_id="A-2")]
    assert published.event("submitted").data["order_id"] == "A-2"
    assert _trusts(harness) == [Trust.INVALID]


@pytest.mark.parametrize("name", ["ecticket-first-seen", "ecticket-attempts", "ecticket-merchant-id", "ecticket-topic"])
async def test_a_signed_record_without_one_of_its_headers_is_not_signed(name: str) -> None:
    """Whatever is left out: the record is an order as its value says."""
    harness = Harness(MERCHANT)
    later = await _deferred(harness)
    truncated = replace(later, headers=tuple(each for each in later.headers if each[0] != name))

    published = await harness.run(truncated)

    assert published.types == ["submitted"]
    assert _issued(harness) == [derived()]
    assert _trusts(harness) == [Trust.INVALID]


@pytest.mark.parametrize("topic", HAND_COPIED)
async def test_a_signed_record_is_what_it_is_on_every_topic(topic: str) -> None:
    """A copy with headers of the copying tool, in another order, goes on with its plan: it is not mapped again."""
    harness = Harness(MERCHANT)
    later = await _deferred(harness)
    plan = plan_of(later)
    copied = replace(later, topic=topic, headers=(("kcat", b"1"), *reversed(later.headers)))

    published = await harness.run(copied)

    assert published.types == ["submitted"]
    assert [handed_off.part.trade_no.value for handed_off in plan.parts] == _issued(harness)
    assert published.event("submitted").attributes["orderref"] == header(later, "ecticket-topic") + "/2/1"
    assert _trusts(harness) == []


async def test_a_value_that_was_corrected_by_hand_counts() -> None:
    """A person who corrects the value of a dead letter breaks its signature; the value is then mapped, and queried."""
    harness = Harness(MERCHANT)
    harness.ecticket.faults = [LOST_BEFORE]
    later = (await harness.work(harness.order())).deferred_record
    value = json.dumps({**json.loads(later.value or b""), "lines": [line(quantity=1)]}).encode()

    published = await harness.run(replace(later, value=value))

    assert published.event("submitted").data["ticket_count"] == 1
    assert harness.ecticket.calls[:2] == [("issue", derived()), ("query", derived())]


# --- the safe direction -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["2026-03-01T11:00:00Z", *MOMENTS, "yesterday", "", None])
async def test_possibly_sent_counts_with_any_signature(moment: str | None) -> None:
    """Also with a time that cannot be read, or is still to come: the number is queried before it is sent, and found."""
    harness = Harness(MERCHANT)
    harness.ecticket.has(derived())
    record = with_headers(harness.order(), ("ecticket-possibly-sent-at", None if moment is None else moment.encode()))

    published = await harness.run(record)

    assert published.event("submitted").data["recovered"] is True
    assert _issued(harness) == []


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_forged_possibly_sent_delays_an_order_by_the_waiting_time_and_no_more(moment: str) -> None:
    """Nothing that was written can have been sent after it was read."""
    harness = Harness(MERCHANT)
    began = harness.clock()

    published = await harness.run(with_headers(harness.order(), ("ecticket-possibly-sent-at", moment.encode())))

    assert published.types == ["submitted"]
    assert harness.clock() - began <= timedelta(seconds=SubmitPolicy().reissue_after_seconds + 120)


async def test_a_part_that_is_done_is_not_sent_again_when_the_plan_is_not_believed() -> None:
    """The second part was issued, the first never sent. Both are mapped and queried; the second is found, not sent."""
    harness = Harness(MERCHANT)
    harness.ecticket.has(derived(part=2))
    record = with_headers(harness.order(line(), line("SPA", 1, **SERIAL)), ("ecticket-parts-done", b"1"))

    published = await harness.run(record)

    assert "submitted" in published.types
    assert (published.event("submitted").data["part"], published.event("submitted").data["recovered"]) == (2, True)
    assert harness.ecticket.issues[derived(part=2)] == 0


async def test_a_record_holds_how_many_parts_of_its_order_are_done() -> None:
    """In a header of its own, which is read also where the plan is not believed."""
    harness = Harness(MERCHANT)
    harness.ecticket.faults = [None, *[NOT_SENT] * 9]
    published = await harness.work(harness.order(line(), line("SPA", 1, **SERIAL)))

    assert header(published.deferred_record, "ecticket-parts-done") == "1"
    assert not has_header(published.deferred_record, "ecticket-possibly-sent-at")


# --- an unsigned time, or a wrong clock -------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("topic", HAND_COPIED)
async def test_an_unsigned_not_before_is_ignored(moment: str, topic: str) -> None:
    """It fills no waiting room: the record is due at once."""
    harness = Harness(MERCHANT)
    record = with_headers(harness.order(), ("ecticket-not-before", moment.encode()))

    prepared = await harness.submit.prepare(replace(record, topic=topic))

    assert prepared.not_before is None


@pytest.mark.parametrize("days", [-30, -1, 1, 30, 3_000])
async def test_a_deferred_order_waits_as_long_as_its_writer_meant(days: int) -> None:
    """By the writer's own clock, however wrong: what another process reads is due a minute later, or at once."""
    ahead, right = Harness(MERCHANT), Harness(MERCHANT)
    ahead.clock.passes(days * 86_400)
    later = await _deferred(ahead)

    prepared = await right.submit.prepare(later)

    assert prepared.not_before is not None
    assert prepared.not_before - right.clock() <= timedelta(seconds=61)


@pytest.mark.parametrize("seconds", [-7_200, -60, 0, 5])
async def test_the_topics_own_clock_shortens_no_wait(seconds: float) -> None:
    """Where the broker sets the timestamps (LogAppendTime), a slow one does not make an order due at once."""
    harness = Harness(MERCHANT)
    later = await _deferred(harness)
    written = replace(later, timestamp=harness.clock() + timedelta(seconds=seconds))

    prepared = await harness.submit.prepare(written)

    assert prepared.not_before is not None
    assert prepared.not_before - harness.clock() >= timedelta(seconds=60 - max(seconds, 0) - 1)


async def test_a_wrong_clock_neither_gives_up_early_nor_late() -> None:
    """First seen is not later than now, and not earlier than the order's own record."""
    for days, reads in ((30, "the future"), (-30, "the past")):
        skewed, right = Harness(MERCHANT), Harness(MERCHANT)
        record = right.order()
        skewed.clock.passes(days * 86_400)
        skewed.ecticket.faults = [NOT_SENT] * 9
        later = (await skewed.work(record)).deferred_record
        right.ecticket.faults = [NOT_SENT] * 20_000
        began = right.clock()

        published = await right.run(later)

        assert published.event("parked").data["reason"] == "gave-up", reads
        waited = right.clock() - began
        assert timedelta(hours=24) <= waited <= timedelta(hours=24, minutes=5), reads


async def test_doubt_of_a_fast_clock_waits_its_time_and_no_more() -> None:
    """What was sent in a month by the writer's clock was sent by now at the latest by the reader's."""
    ahead, right = Harness(MERCHANT), Harness(MERCHANT)
    ahead.clock.passes(30 * 86_400)
    ahead.ecticket.faults = [LOST_BEFORE]
    later = (await ahead.work(ahead.order())).deferred_record
    began = right.clock()

    published = await right.run(later)

    assert published.types == ["submitted"]
    assert timedelta(seconds=600) <= right.clock() - began <= timedelta(seconds=780)


async def test_a_replay_under_a_fast_clock_still_doubts_every_part() -> None:
    """Bounding the times does not hide that the replay came after all that the plan knows."""
    ahead, right = Harness(MERCHANT, policy=SubmitPolicy(give_up_after_seconds=3_600)), Harness(MERCHANT)
    ahead.clock.passes(30 * 86_400)
    ahead.ecticket.silent = True
    ahead.ecticket.faults = [LOST_AFTER] * 2
    dead_letter = (await ahead.run(ahead.order())).dead_letter
    right.ecticket.has(derived())

    published = await right.run(replayed(dead_letter, topic=TOPICS.orders_deferred, clock=ahead.clock))

    assert published.event("submitted").data["recovered"] is True
    assert _issued(right) == []


@pytest.mark.parametrize("name", ["ecticket-not-before", "ecticket-first-seen", "ecticket-timestamp"])
@pytest.mark.parametrize("moment", [FAR, "1970-01-01T00:00:00Z"])
async def test_a_signed_time_is_limited_to_what_an_adapter_could_have_written(name: str, moment: str) -> None:
    """Even a signature does not make an order wait longer than an adapter lets any order wait."""
    harness = Harness(MERCHANT)
    later = await _deferred(harness)
    headers = tuple((each, moment.encode() if each == name else value) for each, value in later.headers)

    prepared = await harness.submit.prepare(signed(replace(later, headers=headers)))

    assert _trusts(harness) == []
    assert prepared.not_before is not None
    assert prepared.not_before <= harness.clock() + timedelta(seconds=LONGEST_DEFERRAL_SECONDS)


# --- what else a header may claim -------------------------------------------------------------------------------------


async def test_counters_and_origin_of_an_unsigned_record_do_not_count() -> None:
    """A forged origin would give the event the id of another order's, and readers would drop that one as seen."""
    harness = Harness(MERCHANT)
    genuine = await harness.work(harness.record(b"{"))
    forged = with_headers(
        harness.record(b"{"),
        ("ecticket-topic", header(genuine.dead_letter, "ecticket-topic").encode()),
        ("ecticket-partition", header(genuine.dead_letter, "ecticket-partition").encode()),
        ("ecticket-offset", header(genuine.dead_letter, "ecticket-offset").encode()),
        ("ecticket-attempts", b"9"),
        ("ecticket-replays", b"9"),
        ("ecticket-order-id", b"VICTIM-1"),
        ("ecticket-dead-letter", b"ecticket.dead-letters/0/1"),
    )

    published = await harness.work(forged)

    assert published.event("parked").id != genuine.event("parked").id
    assert published.event("parked").data["order_id"] is None
    assert published.event("parked").attributes["orderref"] == f"{forged.topic}/{forged.partition}/{forged.offset}"
    assert (header(published.dead_letter, "ecticket-attempts"), header(published.dead_letter, "ecticket-replays")) == (
        "0",
        "0",
    )


OWN_NAMES = st.sampled_from(
    [
        *(f"ecticket-{each}" for each in ("topic", "partition", "offset", "timestamp", "first-seen", "attempts")),
        *(f"ecticket-{each}" for each in ("replays", "not-before", "plan", "parts-done", "signature", "stage")),
        *(f"ecticket-{each}" for each in ("order-id", "merchant-id", "dead-letter", "possibly-sent-by", "anything")),
    ]
)
VALUES = (
    st.none() | st.binary(max_size=30) | st.sampled_from(MOMENTS).map(str.encode) | st.sampled_from([*PLANS.values()])
)


@given(st.lists(st.tuples(OWN_NAMES, VALUES), max_size=6).map(tuple))
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_no_header_loses_an_order_or_issues_another(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    """Whatever headers a record has, its order is issued once under its number; only a wait may come before it."""
    harness = Harness(MERCHANT)

    published = await harness.run(with_headers(harness.order(), *headers))

    assert published.types == ["submitted"]
    assert _issued(harness) == [derived()]


async def test_unverified_records_are_counted_and_logged_each() -> None:
    """What is logged names the record and nothing that is in it."""
    harness = Harness(MERCHANT)
    with capture_logs() as logs:
        for _ in range(3):
            await harness.submit.prepare(with_headers(harness.order(), ("ecticket-plan", FORGED)))

    warnings = [log for log in logs if log["log_level"] == "warning"]
    assert len(_trusts(harness)) == 3
    assert [log["event"] for log in warnings] == ["headers-untrusted"] * 3
    assert "Mallory" not in repr(warnings)
    assert warnings[0]["reason"] == "unsigned"


# --- a plan that is signed is checked all the same --------------------------------------------------------------------


async def _resumed(harness: Harness, plan: bytes) -> OrderEvents:
    """What comes of an order record with this plan and a valid signature."""
    record = with_headers(harness.order(), ("ecticket-plan", plan), ("ecticket-merchant-id", MERCHANT.encode()))
    return await harness.run(signed(record))


def _derived_part(number: int, of: int, **more: object) -> dict[str, object]:
    return _part(number, of, derived(part=number, order_id="A-1"), **more)


BROKEN_PLANS = {
    "21 parts": _plan(*(_derived_part(number, 21) for number in range(1, 22)), order_id="A-1"),
    "one of 21": _plan(_derived_part(1, 21), order_id="A-1"),
    "a part number twice": _plan(_derived_part(1, 2), _part(1, 2, "OTHER1"), order_id="A-1"),
    "a trade number twice": _plan(_part(1, 2, derived(part=1)), _part(2, 2, derived(part=1)), order_id="A-1"),
    "parts that differ in their count": _plan(_derived_part(1, 2), _derived_part(2, 3), order_id="A-1"),
    "two numbers that are not derived": _plan(_part(1, 2, "GIVEN1"), _part(2, 2, "GIVEN2"), order_id="A-1"),
    "a reissue under a given number": _plan(_part(1, 1, "GIVEN1", reissue=1), order_id="A-1"),
    "more parts done than an order has": _plan(_derived_part(1, 2), order_id="A-1", parts_done=21),
    "another merchant's": _plan(_derived_part(1, 1), order_id="A-1", merchant_id=OTHER_MERCHANT),
}


@pytest.mark.parametrize("plan", BROKEN_PLANS.values(), ids=BROKEN_PLANS)
async def test_a_plan_that_no_adapter_could_have_made_is_unreadable(plan: bytes) -> None:
    """Nothing is sent, and a person decides; the dead letter keeps the plan."""
    harness = Harness(MERCHANT, OTHER_MERCHANT)

    published = await _resumed(harness, plan)

    assert published.event("parked").data["reason"] == "unreadable"
    assert _issued(harness) == []
    assert header(published.dead_letter, "ecticket-plan") == plan.decode()


async def test_a_resumed_plan_is_checked_against_every_field_rule() -> None:
    """As a fresh order is: one violation parks it, and nothing is sent."""
    harness = Harness(MERCHANT)
    part = _derived_part(1, 1)
    part["request"] = {**part["request"], "operator": "mallory; drop table"}  # type: ignore[dict-item]

    published = await _resumed(harness, _plan(part, order_id="A-1"))

    assert published.event("parked").data["reason"] == "invalid-order"
    assert "Operator" in str(published.event("parked").data["message"])
    assert _issued(harness) == []


async def test_a_resumed_part_that_breaks_a_rule_by_now_is_parked_and_the_others_go_on() -> None:
    """It may have been sent, so it is queried first; a date has passed while it waited."""
    harness = Harness(MERCHANT)
    past = {"possibly_sent_since": "2026-03-01T03:00:00Z"}
    dated = _derived_part(1, 2, **past)
    dated["request"] = {
        **dated["request"],  # type: ignore[dict-item]
        "is_immediate": False,
        "ticket_info": [{"item_no": "VQT04959", "ticket_amount": 1, "start_date": "2026-02-01"}],
    }

    published = await _resumed(harness, _plan(dated, _derived_part(2, 2), order_id="A-1"))

    assert _issued(harness) == [derived(part=2)]
    assert published.event("submitted").data["part"] == 2
    assert published.event("parked").data["reason"] == "unresolved"
    assert "StartDate" in str(published.event("parked").data["message"])


async def test_notification_urls_come_from_the_settings_and_never_from_a_plan() -> None:
    """Those of the process that resumes the order; the plan has none, and one that is put there is not read."""
    harness = Harness(MERCHANT)
    url = "https://shop.example/callbacks"
    harness.submit._plan_policy = PlanPolicy(
        derive=DeriveTradeNo.ALWAYS, operator="tester", refund_notify_url=url, use_status_notify_url=url
    )

    published = await _resumed(harness, _plan(_derived_part(1, 1), order_id="A-1"))

    assert published.types == ["submitted"]
    (request,) = harness.ecticket.requests
    assert (request.refund_notify_url, request.use_status_notify_url) == (url, url)
    assert b"notify_url" not in _header_bytes(await _deferred(harness, order_id="A-9"), "ecticket-plan")


def _header_bytes(record: Record, name: str) -> bytes:
    return dict(record.headers)[name] or b""


async def test_the_keys_of_one_merchant_sign_no_plan_of_another() -> None:
    """A shop that knows its own keys cannot order under those of another one."""
    harness = Harness(MERCHANT, OTHER_MERCHANT)
    record = with_headers(
        harness.order(merchant_id=MERCHANT), ("ecticket-plan", FORGED), ("ecticket-merchant-id", MERCHANT.encode())
    )

    published = await harness.run(signed(record, OTHER_MERCHANT))

    assert _issued(harness) == [derived()]
    assert published.types == ["submitted"]
    assert _trusts(harness) == [Trust.OTHER_MERCHANT]


# --- dead letters -----------------------------------------------------------------------------------------------------


async def _parked(harness: Harness) -> OrderEvents:
    harness.ecticket.faults = [LOST_BEFORE]
    harness.ecticket.silent = True
    published = await harness.run(harness.order())
    harness.ecticket.silent = False
    return published


@pytest.mark.parametrize("topic", HAND_COPIED)
async def test_a_dead_letter_that_is_copied_back_by_hand_goes_on(topic: str) -> None:
    """With its plan, by any tool that keeps key, value and headers; what comes of it is another fact."""
    harness = Harness(MERCHANT)
    parked = await _parked(harness)
    copied = replace(
        parked.dead_letter, topic=topic, offset=99, headers=(*parked.dead_letter.headers, ("x-copied-by", b"me"))
    )
    harness.ecticket.silent = True

    again = await harness.run(copied)

    assert _trusts(harness) == []
    assert again.event("parked").attributes["orderref"] == parked.event("parked").attributes["orderref"]
    assert again.event("parked").id != parked.event("parked").id
    assert header(again.dead_letter, "ecticket-dead-letter") == f"{topic}/2/99"


async def test_the_same_parking_has_the_same_id() -> None:
    """A record that is handled again after a crash, whose outcome was not committed, says the same fact."""
    harness = Harness(MERCHANT)
    record = harness.order(line("no item number of ECTicket"))

    first, second = await harness.work(record), await harness.work(record)

    assert first.event("parked").id == second.event("parked").id


async def test_a_graver_parking_of_the_same_record_has_another_id() -> None:
    """The reason is part of it."""
    harness = Harness(MERCHANT, OTHER_MERCHANT)
    record = harness.order(line("no item number of ECTicket"), merchant_id=MERCHANT)
    first = await harness.work(record)
    harness.merchants.remove(MERCHANT)

    second = await harness.work(record)

    assert first.event("parked").data["reason"] != second.event("parked").data["reason"]
    assert first.event("parked").id != second.event("parked").id


async def test_two_dead_letters_of_one_order_have_two_ids() -> None:
    """Each part is parked in a run of its own, for the same reason; readers must get both events."""
    harness = Harness(MERCHANT, policy=SubmitPolicy(give_up_after_seconds=3_600))
    harness.ecticket.faults = [LOST_BEFORE, LOST_BEFORE]
    later = (await harness.work(harness.order(line(), line("SPA", 1, **SERIAL)))).deferred_record
    plan = json.loads(header(later, "ecticket-plan"))
    ids = []
    for part in plan["parts"]:
        alone = json.dumps({**plan, "parts": [part]}).encode()
        headers = tuple((name, alone if name == "ecticket-plan" else value) for name, value in later.headers)
        harness.ecticket.silent = True
        published = await harness.run(signed(replace(later, headers=headers)))
        ids.append(published.event("parked").id)
        assert published.event("parked").data["reason"] == "unresolved"

    assert len(set(ids)) == 2


async def test_a_dead_letter_without_a_valid_signature_is_replayed_as_an_ordinary_order() -> None:
    """Only on demand, because a replay signs what it writes; even then its plan does not become a signed one."""
    harness = Harness(MERCHANT)
    dead_letter = with_headers(
        (await harness.work(harness.record(harness.order().value))).confirmations[0], ("ecticket-stage", b"submit")
    )
    forged = replace(
        dead_letter,
        value=harness.order(order_id="A-7").value,
        headers=(
            ("ecticket-stage", b"submit"),
            ("ecticket-reason", b"unresolved"),
            ("ecticket-plan", FORGED),
            ("ecticket-replays", b"2"),
            ("ecticket-not-before", FAR.encode()),
        ),
    )

    assert isinstance(replay(forged, topics=TOPICS, now=harness.clock(), signer=SIGNER), NotReplayed)
    again = replay(forged, topics=TOPICS, now=harness.clock(), signer=SIGNER, unsigned=True)
    assert isinstance(again, ReplayRecord)
    published = await harness.run(harness.reader.published(again.producer_record))

    assert (again.replays, again.mapped_again) == (1, True)
    assert "FORGED1" not in _issued(harness)
    assert published.event("submitted").data["order_id"] == "A-7"


@pytest.mark.parametrize("claim", ["ecticket-parts-done", "ecticket-plan-lost"])
async def test_what_claims_published_parts_without_a_valid_signature_is_not_mapped_again(claim: str) -> None:
    """As what `resolve` leaves of an unsigned order: its first numbers may be issued, or published as failed."""
    harness = Harness(MERCHANT)
    order = harness.order()
    rest = replace(order, headers=(("ecticket-stage", b"submit"), ("ecticket-reason", b"unresolved"), (claim, b"1")))

    refused = replay(rest, topics=TOPICS, now=harness.clock(), signer=SIGNER, unsigned=True)
    again = replay(
        replace(rest, headers=rest.headers[:-1]), topics=TOPICS, now=harness.clock(), signer=SIGNER, unsigned=True
    )

    assert isinstance(refused, NotReplayed)
    assert mentions(refused.reason, "resolve")
    assert isinstance(again, ReplayRecord)


async def test_an_unsigned_dead_letter_without_its_value_is_not_replayed() -> None:
    """The coordinates that it names may be those of another order."""
    harness = Harness(MERCHANT)
    dead_letter = replace(
        harness.record(None),
        headers=(
            ("ecticket-stage", b"parse"),
            ("ecticket-value-omitted", b"true"),
            ("ecticket-topic", b"orders.paid"),
            ("ecticket-partition", b"0"),
            ("ecticket-offset", b"7"),
        ),
    )

    assert needs_origin(dead_letter, signer=SIGNER) is None
    for unsigned in (False, True):
        again = replay(dead_letter, topics=TOPICS, now=harness.clock(), signer=SIGNER, unsigned=unsigned)
        assert isinstance(again, NotReplayed)


async def test_a_dead_letter_without_its_value_is_marked_when_it_is_parked_again() -> None:
    """Copied back by hand and parked again, it still names the record that a replay reads the value from."""
    harness = Harness(MERCHANT)
    large = harness.record(b" " * 3_000_000)
    first = (await harness.work(large)).dead_letter

    second = (await harness.work(replace(first, topic=TOPICS.orders_paid, offset=50))).dead_letter

    for dead_letter in (first, second):
        assert dead_letter.value is None
        assert header(dead_letter, "ecticket-value-omitted") == "true"
        assert str(needs_origin(dead_letter, signer=SIGNER)) == f"{large.topic}/{large.partition}/{large.offset}"


# --- ids --------------------------------------------------------------------------------------------------------------


async def test_parsed_ids_travel_with_the_order() -> None:
    """Deferred records and dead letters show them, so that a command finds the order whatever form its value has."""
    harness = Harness(MERCHANT)
    parked = await _parked(harness)

    for record in (parked.dead_letter, await _deferred(harness, order_id="A-2")):
        assert header(record, "ecticket-merchant-id") == MERCHANT
        assert header(record, "ecticket-order-id") == json.loads(record.value or b"")["order_id"]


async def test_an_order_that_breaks_the_adapter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead letter of a mistake in the adapter, and its event."""
    harness = Harness(MERCHANT)

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("wang@example.com")

    monkeypatch.setattr(harness.submit, "_merchant", breaks)

    published = await harness.work(harness.order(order_id="A-5"))

    assert published.event("parked").data["order_id"] == "A-5"
    assert header(published.dead_letter, "ecticket-order-id") == "A-5"
    assert harness.submit._failed_orders == {}


@settings(deadline=None)
@given(st.text())
def test_an_id_in_a_header_is_one_readable_line(text: str) -> None:
    """Whatever a plugin reads as an id: UTF-8, no control or invisible character, of bounded length."""
    shown = shown_id(text)

    assert shown.encode().decode() == shown
    assert shown.isprintable() or not shown
    assert len(shown) <= 200


@pytest.mark.parametrize("text", ["A-1001", "訂單 7", "#1042/2", "café"])
def test_an_ordinary_id_stays_as_it_is(text: str) -> None:
    """So that the operator finds it as the shop writes it."""
    assert shown_id(text) == text


@pytest.mark.parametrize("text", ["a\nb\x1b[2J", "\ud800", "\u202etxt", "x" * 5_000])
def test_an_odd_id_is_made_safe(text: str) -> None:
    """It cannot look like another line, or like another id."""
    assert shown_id(text) != text
    assert shown_id(text).isprintable()
