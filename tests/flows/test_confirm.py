"""The confirm story: what is queried when, and what is published about the answers (docs/delivery.md, "Confirming")."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from adapter.errors import OutcomeTooLarge, Unreadable
from adapter.flows import issuance_parking
from adapter.flows.confirm import ConfirmSubject, PendingQuery
from adapter.flows.messages.events import rfc3339
from adapter.flows.messages.signatures import RecordSigner, SigningKey, signing_key
from adapter.flows.unverified import KEY_MAY_COME_WITHIN
from adapter.issuance.confirm import ConfirmPolicy
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.provider.client import Purpose
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import PreparedRecord, RetryLater
from adapter.testing.clock import NOON
from adapter.testing.ecticket import LOST_AFTER
from adapter.testing.fakes import TOPICS, FakeRecordContext
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, has_header, header
from adapter.values import replace
from flows.fakes import OTHER_MERCHANT
from flows.harness import SIGNER, Harness, derived, line, replayed, signed, with_headers


def _pending(prepared: PreparedRecord[ConfirmSubject]) -> PendingQuery:
    """What the stage waits for."""
    assert isinstance(prepared.subject, PendingQuery)
    return prepared.subject


def value_of(confirmation: Record) -> Mapping[str, object]:
    """What a confirmation says."""
    value = json.loads(confirmation.value or b"")
    assert isinstance(value, dict)
    return value


async def submitted(harness: Harness, *lines: dict[str, object], **content: object) -> tuple[OrderEvents, Record]:
    """A submitted order, and its only confirmation."""
    published = await harness.work(harness.order(*lines, **content))
    (confirmation,) = published.confirmations
    harness.ecticket.calls.clear()
    harness.ecticket.purposes.clear()
    harness.observer.all.clear()
    return published, confirmation


# --- published --------------------------------------------------------------------------------------------------------


async def test_tickets_that_exist_are_published(harness: Harness) -> None:
    """Status 1: issued, with when it was submitted and how often was asked; asked after 30 seconds."""
    published, confirmation = await submitted(harness)
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, times = await harness.await_result(confirmation)

    issued = result.event("issued")
    first = published.event("submitted")
    assert issued.data == {**first.data, "submitted_at": first.attributes["time"], "queries": 1}
    assert issued.key == first.key
    same = ("source", "subject", "orderid", "orderref", "partitionkey")
    assert [issued.attributes[name] for name in same] == [first.attributes[name] for name in same]
    assert issued.id != first.id
    assert times == [pytest.approx(30, abs=0.1)]
    assert (result.confirmations, result.dead_letters) == ([], [])
    assert harness.ecticket.purposes == {Purpose.CONFIRM: 1}
    assert harness.observer.of("issuance_published") == [("issued", "False")]


async def test_a_job_that_failed_is_published_with_its_remark(harness: Harness) -> None:
    """Status 2: failed, `stage: confirm`; no code, since nothing was refused."""
    _, confirmation = await submitted(harness)
    harness.ecticket.results[derived()] = (IssueStatus.FAILED, "Inventory shortage")

    result, _ = await harness.await_result(confirmation)

    failed = result.event("failed")
    published = [failed.data[name] for name in ("stage", "remark", "rtn_code", "rtn_msg", "trade_no")]
    assert published == ["confirm", "Inventory shortage", None, None, derived()]
    assert result.types == ["failed"]


async def test_recovered_is_published_as_it_was_when_it_was_submitted(harness: Harness) -> None:
    """ "`recovered`: As published when it was submitted"; the id is the same as it would be otherwise."""
    harness.ecticket.faults = [LOST_AFTER]
    _, confirmation = await submitted(harness)
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
    other = Harness()
    _, usual = await submitted(other)
    other.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    issued = (await harness.await_result(confirmation))[0].event("issued")

    assert issued.data["recovered"] is True
    assert issued.data["ticket_trade_no"] is None
    assert issued.id == (await other.await_result(usual))[0].event("issued").id


async def test_gifts_are_asked_about_by_their_free_number(harness: Harness) -> None:
    """The kind of number travels with it."""
    _, confirmation = await submitted(harness, line(voucher="gift", expire_date="2026-12-31"))
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    issued = (await harness.await_result(confirmation))[0].event("issued")

    assert issued.data["trade_no_kind"] == "free"


async def test_the_trace_goes_on_to_the_end(harness: Harness) -> None:
    """From the order's record into the last event about it."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    published = await harness.work(with_headers(harness.order(), ("traceparent", trace.encode())))
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, _ = await harness.await_result(published.confirmations[0])

    assert result.event("issued").attributes["traceparent"] == trace


# --- asked again ------------------------------------------------------------------------------------------------------


async def test_a_job_in_progress_is_asked_about_at_growing_intervals(harness: Harness) -> None:
    """Every 30 seconds, doubling up to 240, until it is delayed after 600."""
    _, confirmation = await submitted(harness)

    result, times = await harness.await_result(confirmation)

    assert result.types == ["delayed"]
    assert times == [pytest.approx(seconds, abs=1) for seconds in (30, 60, 120, 240, 480, 600)]


async def test_paper_is_asked_about_at_once(harness: Harness) -> None:
    """It is issued during the call."""
    _, confirmation = await submitted(harness, issue_type="paper")
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    _, times = await harness.await_result(confirmation)

    assert times == [pytest.approx(0, abs=0.1)]


async def test_everything_that_is_no_result_is_asked_again(harness: Harness) -> None:
    """A number that is not found yet, a question without an answer, an open breaker: none of them is a failure."""
    _, confirmation = await submitted(harness)
    harness.ecticket.forgets(derived())
    waiting, _ = await harness.query(confirmation)
    harness.ecticket.has(derived())
    harness.ecticket.silent = True
    waiting, _ = await harness.query_again(confirmation, _still(waiting))
    harness.ecticket.silent = False
    harness.ecticket.breaker_until = harness.clock() + timedelta(minutes=4)
    waiting, held_back_at = await harness.query_again(confirmation, _still(waiting))
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, queried_at = await harness.query_again(confirmation, _still(waiting))

    assert queried_at >= harness.ecticket.breaker_until > held_back_at
    assert isinstance(result, OrderEvents)
    assert result.event("issued").data["queries"] == 3


def _still(result: OrderEvents | PendingQuery) -> PendingQuery:
    assert isinstance(result, PendingQuery)
    return result


async def test_a_merchant_that_is_not_configured_is_waited_for(harness: Harness) -> None:
    """Its keys may come back; ECTicket has the issuance all the same."""
    _, confirmation = await submitted(harness)
    merchant = harness.merchants.find(MERCHANT)
    harness.merchants.remove(MERCHANT)
    waiting, _ = await harness.query(confirmation)
    assert merchant is not None
    harness.merchants.add(merchant)
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, _ = await harness.query_again(confirmation, _still(waiting))

    assert isinstance(result, OrderEvents)
    assert result.types == ["issued"]


# --- delayed ----------------------------------------------------------------------------------------------------------


async def test_a_delayed_issuance_is_published_once_and_rewritten_with_it(harness: Harness) -> None:
    """One outcome: the event, and the record with not-before, submitted-at, queries and that it was published."""
    published, confirmation = await submitted(harness)

    result, _ = await harness.await_result(confirmation)

    submitted_at = published.event("submitted").attributes["time"]
    assert result.event("delayed").data["queries"] == 6
    assert result.event("delayed").data["submitted_at"] == submitted_at
    (rewritten,) = result.confirmations
    assert (rewritten.topic, rewritten.key) == (TOPICS.confirmations, confirmation.key)
    value = value_of(rewritten)
    assert (value["delayed"], value["queries"], value["submitted_at"]) == (True, 6, submitted_at)
    assert value["not_before"] == rfc3339(harness.clock() + timedelta(seconds=600))
    assert value["issuance"] == value_of(confirmation)["issuance"]


async def test_a_delayed_issuance_is_asked_about_at_long_intervals_until_it_is_issued(harness: Harness) -> None:
    """Every 600 seconds, without another event; all its queries count."""
    _, confirmation = await submitted(harness)
    rewritten = (await harness.await_result(confirmation))[0].confirmations[0]
    waiting, queried_at = await harness.query(rewritten)
    waiting, asked_again_at = await harness.query_again(rewritten, _still(waiting))
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, _ = await harness.query_again(rewritten, _still(waiting))

    assert asked_again_at - queried_at == pytest.approx(timedelta(seconds=600), abs=timedelta(seconds=1))
    assert isinstance(result, OrderEvents)
    assert result.types == ["issued"]
    assert result.event("issued").data["queries"] == 9


async def test_after_a_day_a_person_must_look(harness: Harness) -> None:
    """Dead letter `unresolved` with the confirmation as it is, and an event about the order."""
    published, confirmation = await submitted(harness)
    rewritten = (await harness.await_result(confirmation))[0].confirmations[0]

    result, times = await harness.await_result(rewritten)

    submitted_at = published.event("submitted").attributes["time"]
    parked, dead_letter = result.event("parked"), result.dead_letter
    message = header(dead_letter, "ecticket-message")
    assert parked.data == {
        "order_id": "A-1",
        "reason": "unresolved",
        "stage": "confirm",
        "plugin": None,
        "message": message,
        "parts_done": 0,
    }
    assert derived() in message
    assert parked.key == "A-1"
    assert parked.attributes["source"] == f"/ecticket-adapter/merchants/{MERCHANT}"
    assert parked.attributes["orderref"] == published.event("submitted").attributes["orderref"]
    assert (dead_letter.key, dead_letter.value) == (rewritten.key, rewritten.value)
    assert header(dead_letter, "ecticket-topic") == TOPICS.confirmations
    assert header(dead_letter, "ecticket-offset") == str(rewritten.offset)
    assert (
        header(dead_letter, "ecticket-possibly-sent-at") == header(dead_letter, "ecticket-first-seen") == submitted_at
    )
    assert times[-1] == pytest.approx(86_400, abs=1)
    assert harness.observer.of("parked") == [("confirm", "unresolved")]


async def test_two_parts_of_one_order_that_stay_unresolved_are_two_facts() -> None:
    """Their events have ids of their own, from the confirmations' coordinates, and name the same order record."""
    harness = Harness(confirm_policy=ConfirmPolicy(delayed_after_seconds=7_200, give_up_after_seconds=3_600))
    published = await harness.work(harness.order(line(), line("BR103218", issue_type="paper")))

    parked = [(await harness.await_result(record))[0].event("parked") for record in published.confirmations]

    assert len({event.id for event in parked}) == 2
    assert len({event.attributes["orderref"] for event in parked}) == 1


# --- carried, restarted, replayed -------------------------------------------------------------------------------------


async def test_what_is_handed_off_keeps_its_time_and_its_count(harness: Harness) -> None:
    """Thousands are carried at once, and ECTicket must not be asked about all of them in a moment."""
    _, confirmation = await submitted(harness)
    waiting, _ = await harness.query(confirmation)
    due = _still(waiting).due

    handed_off = _handed_off(harness, confirmation, _still(waiting))

    value = value_of(handed_off)
    assert (value["queries"], value["delayed"]) == (1, False)
    assert value["not_before"] == rfc3339(due)
    assert value["submitted_at"] == value_of(confirmation)["submitted_at"]
    assert due > harness.clock()
    assert (await harness.confirm.prepare(handed_off)).not_before == due.replace(
        microsecond=due.microsecond // 1000 * 1000
    )


async def test_a_delayed_one_that_is_handed_off_is_not_published_again(harness: Harness) -> None:
    """The flag goes along."""
    _, confirmation = await submitted(harness)
    rewritten = (await harness.await_result(confirmation))[0].confirmations[0]
    waiting, _ = await harness.query(rewritten)

    handed_off = _handed_off(harness, rewritten, _still(waiting))

    assert value_of(handed_off)["delayed"] is True
    assert (await harness.await_result(handed_off))[0].types == ["parked"]


async def test_what_is_overdue_when_it_is_handed_off_waits_for_one_more_interval(harness: Harness) -> None:
    """Due at once, the backlog of a merchant that does not answer would be written again without a pause."""
    _, confirmation = await submitted(harness)
    prepared = await harness.confirm.prepare(confirmation)
    harness.clock.passes(100)

    handed_off = value_of(_handed_off(harness, confirmation, _pending(prepared)))
    assert handed_off["not_before"] == rfc3339(harness.clock() + timedelta(seconds=30))


def _handed_off(harness: Harness, record: Record, waiting: PendingQuery) -> Record:
    (handed_off,) = harness.reader.read(
        harness.confirm.hand_off(record, waiting, FakeRecordContext(record))
    ).confirmations
    return handed_off


@pytest.mark.parametrize(("late", "spread"), [(100, 100), (10_000, 240)])
async def test_a_restart_spreads_what_is_overdue(harness: Harness, late: float, spread: float) -> None:
    """Over as long as it is late, and over the longest interval at most."""
    _, confirmation = await submitted(harness)
    harness.clock.time = NOON + timedelta(seconds=30 + late)

    assert await _due(harness, confirmation, 0.0) == harness.clock()
    assert await _due(harness, confirmation, 0.5) - harness.clock() == pytest.approx(
        timedelta(seconds=spread / 2), abs=timedelta(seconds=0.1)
    )


async def _due(harness: Harness, record: Record, fraction: float) -> datetime:
    harness.jitter_share = fraction
    due = (await harness.confirm.prepare(record)).not_before
    assert due is not None
    return due


async def _issued_after_two_queries(harness: Harness, order_id: str) -> None:
    """Its job is not done at the first query, and done at the second one."""
    _, confirmation = await submitted(harness, order_id=order_id)
    waiting, _ = await harness.query(confirmation)
    harness.ecticket.results[(confirmation.key or b"").decode().partition("/")[2]] = (IssueStatus.ISSUED, None)
    result, _ = await harness.query_again(confirmation, _still(waiting))
    assert isinstance(result, OrderEvents)
    assert result.event("issued").data["queries"] == 2


async def test_an_issuance_is_queried_when_its_job_is_probably_done(harness: Harness) -> None:
    """Four jobs that took longer than 30 seconds are enough; a restarted process begins at 30 seconds again."""
    for number in range(4):
        await _issued_after_two_queries(harness, f"SLOW-{number}")
    _, confirmation = await submitted(harness, order_id="NEXT")
    at = harness.clock()

    assert await _due(harness, confirmation, 0.0) > at + timedelta(seconds=40)
    harness.use()
    assert await _due(harness, confirmation, 0.0) <= at + timedelta(seconds=31)


async def test_what_is_not_due_is_not_spread(harness: Harness) -> None:
    """It waits for its own time."""
    _, confirmation = await submitted(harness)

    assert await _due(harness, confirmation, 0.9) == pytest.approx(
        NOON + timedelta(seconds=30), abs=timedelta(seconds=0.1)
    )


async def test_a_replayed_confirmation_is_asked_about_for_another_day() -> None:
    """ "A replay resets first-seen, attempts and the give-up clock": it does not come back at the first question."""
    harness = Harness(confirm_policy=ConfirmPolicy(give_up_after_seconds=3_600))
    published, confirmation = await submitted(harness)
    rewritten = (await harness.await_result(confirmation))[0].confirmations[0]
    first = (await harness.await_result(rewritten))[0]
    harness.clock.passes(100_000)
    again = replayed(first.dead_letter, topic=TOPICS.confirmations, clock=harness.clock)
    replayed_at = harness.clock()

    second, times = await harness.await_result(again)

    assert len(times) == 7
    assert harness.clock() - replayed_at == pytest.approx(timedelta(seconds=3_600), abs=timedelta(seconds=1))
    assert second.event("parked").id != first.event("parked").id
    assert header(second.dead_letter, "ecticket-dead-letter") == f"{TOPICS.dead_letters}/2/{first.dead_letter.offset}"
    names = [name for name, _ in second.dead_letter.headers]
    assert len(names) == len(set(names))
    assert header(second.dead_letter, "ecticket-replays") == "1"
    assert header(second.dead_letter, "ecticket-offset") == str(rewritten.offset)
    assert header(second.dead_letter, "ecticket-first-seen") == rfc3339(replayed_at)
    assert header(second.dead_letter, "ecticket-possibly-sent-at") == published.event("submitted").attributes["time"]


async def test_awaited_issuances_of_several_merchants_have_bulkheads() -> None:
    """A merchant whose queries time out keeps no places from another's."""
    harness = Harness(MERCHANT, OTHER_MERCHANT)
    published = await harness.work(harness.order(merchant_id=OTHER_MERCHANT))

    prepared = await harness.confirm.prepare(published.confirmations[0])

    assert (prepared.bulkhead, prepared.may_hand_off) == (OTHER_MERCHANT, True)


async def test_a_replayed_confirmation_stays_one_when_it_is_handed_off() -> None:
    """Its headers go along, or its old clock would give it up at once."""
    harness = Harness(confirm_policy=ConfirmPolicy(give_up_after_seconds=3_600))
    published, confirmation = await submitted(harness)
    rewritten = (await harness.await_result(confirmation))[0].confirmations[0]
    dead_letter = (await harness.await_result(rewritten))[0].dead_letter
    harness.clock.passes(100_000)
    again = replayed(dead_letter, topic=TOPICS.confirmations, clock=harness.clock)
    waiting, _ = await harness.query(again)

    handed_off = _handed_off(harness, again, _still(waiting))
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
    result, _ = await harness.await_result(handed_off)

    assert header(handed_off, "ecticket-replays") == "1"
    assert not has_header(handed_off, "ecticket-reason")
    issued = result.event("issued")
    assert issued.data["submitted_at"] == published.event("submitted").attributes["time"]


# --- what is no confirmation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"{}", b'{"issuance": 5}', b"\xff\xfe"])
async def test_what_is_no_confirmation_is_a_dead_letter(harness: Harness, value: bytes | None) -> None:
    """Another program wrote to the topic; nothing is queried."""
    record = harness.record(value, key=b"k", topic=TOPICS.confirmations)
    with pytest.raises(Unreadable) as caught:
        await harness.confirm.prepare(record)

    result = harness.reader.read(harness.confirm.on_error(record, caught.value, FakeRecordContext(record)))

    parked = result.event("parked")
    assert (parked.data["reason"], parked.data["stage"], parked.data["order_id"]) == ("unreadable", "confirm", None)
    assert parked.attributes["orderref"] == f"{TOPICS.confirmations}/2/{record.offset}"
    assert (result.dead_letter.key, result.dead_letter.value) == (b"k", value)
    assert harness.ecticket.calls == []


@pytest.mark.parametrize("days", [1, 30])
async def test_a_confirmation_of_a_fast_clock_is_neither_late_nor_kept_for_ever(days: int) -> None:
    """Queried as soon as its writer meant, and given up after a day of the reader's."""
    ahead, right = Harness(), Harness()
    ahead.clock.passes(days * 86_400)
    _, confirmation = await submitted(ahead)
    began = right.clock()

    prepared = await right.confirm.prepare(confirmation)

    assert prepared.not_before is not None
    assert prepared.not_before - began <= timedelta(seconds=31)
    assert _pending(prepared).awaited.submitted_at <= began


# --- without a valid signature ----------------------------------------------------------------------------------------


def _forged(confirmation: Record, **issuance: object) -> Record:
    """The confirmation with another value, without a signature."""
    value = dict(value_of(confirmation))
    value["issuance"] = {**value["issuance"], **issuance}  # type: ignore[dict-item]  # an object
    return replace(confirmation, value=json.dumps(value).encode(), headers=())


async def test_a_confirmation_without_a_signature_is_parked_and_not_queried(harness: Harness) -> None:
    """ECTicket has issued the number, and the result would name the forger's order, items and reference."""
    _, confirmation = await submitted(harness)
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
    queries = len(harness.ecticket.calls)

    parked, _ = await harness.await_result(_forged(confirmation, order_id="VICTIM", reference={"forged": True}))

    assert isinstance(parked, OrderEvents)
    assert parked.types == ["parked"]
    assert (parked.event("parked").data["reason"], parked.confirmations) == ("unresolved", [])
    assert len(harness.ecticket.calls) == queries
    assert not has_header(parked.dead_letter, "ecticket-signature")
    assert harness.observer.of("untrusted_headers") == [("confirm", "unsigned")]


async def test_a_confirmation_without_a_signature_claims_no_number(harness: Harness) -> None:
    """The honest order with that number is sent and issued."""
    _, confirmation = await submitted(harness)
    await harness.confirm.prepare(_forged(confirmation, order_id="FORGED", trade_no="PAID7"))

    honest = await harness.run(harness.order(order_id="HONEST", trade_no="PAID7"))

    assert honest.types == ["submitted"]


async def test_an_order_that_looks_like_a_confirmation_confirms_nothing(harness: Harness) -> None:
    """The adapter signs its dead letter, bytes of a shop included; a copy of that is no confirmation of an adapter."""
    _, confirmation = await submitted(harness)
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
    as_order = harness.record(_forged(confirmation, order_id="EVIL").value)
    dead_letter = (await harness.work(as_order)).dead_letter

    copy = replace(dead_letter, topic=confirmation.topic)
    parked, _ = await harness.await_result(copy)

    assert SIGNER.verify(copy).valid
    assert isinstance(parked, OrderEvents)
    assert parked.types == ["parked"]
    assert not has_header(parked.dead_letter, "ecticket-signature")


async def test_the_keys_of_one_merchant_confirm_nothing_of_another(harness: Harness) -> None:
    """A shop knows its own keys."""
    _, confirmation = await submitted(harness)

    parked, _ = await harness.await_result(signed(replace(confirmation, headers=()), OTHER_MERCHANT))

    assert isinstance(parked, OrderEvents)
    assert parked.types == ["parked"]
    assert harness.observer.of("untrusted_headers") == [("confirm", "other-merchant")]


async def test_a_confirmation_under_a_key_that_is_not_known_yet_waits_for_it(harness: Harness) -> None:
    """Another process has read the new key first. Without the key it is parked after ten minutes, visibly."""
    _, confirmation = await submitted(harness)
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
    key = signing_key("n" * 40)
    known: list[SigningKey] = []
    signer = RecordSigner(_LateKey(key, known))
    unsigned = replace(confirmation, headers=())
    written = signer.sign(ProducerRecord(topic=unsigned.topic, key=unsigned.key, value=unsigned.value), MERCHANT)
    record, began = replace(unsigned, headers=written.headers), harness.clock()
    harness.confirm._signer = signer

    parked, _ = await harness.await_result(record)
    waited = harness.clock() - began
    prepared = await harness.confirm.prepare(record)
    handed_off = [harness.confirm.hand_off(record, prepared.subject, FakeRecordContext(record))]
    known.append(key)
    handed_off.append(harness.confirm.hand_off(record, prepared.subject, FakeRecordContext(record)))
    pending = await harness.confirm.handle(prepared.subject, FakeRecordContext(record))

    assert isinstance(parked, OrderEvents)
    assert (parked.types, waited) == (["parked"], KEY_MAY_COME_WITHIN)
    assert prepared.not_before is not None
    assert isinstance(pending, RetryLater)
    assert isinstance(pending.subject, PendingQuery)
    assert [harness.reader.read(outcome).types for outcome in handed_off] == [["parked"], []]
    assert [record.topic for record in handed_off[1].records] == [confirmation.topic]


class _LateKey:
    """Signs under a key that this process accepts only once it is `known`."""

    def __init__(self, key: SigningKey, known: list[SigningKey]) -> None:
        self._key, self._known = key, known

    def signing(self, merchant_id: str | None) -> SigningKey | None:
        return self._key

    def accepted(self, key_id: str) -> SigningKey | None:
        return next((key for key in self._known if key.key_id == key_id), None)


async def test_a_confirmation_with_a_broken_header_is_a_dead_letter(harness: Harness) -> None:
    """As everywhere: it is named, and the order with it."""
    _, confirmation = await submitted(harness)
    broken = signed(with_headers(confirmation, ("ecticket-replays", b"many")))
    with pytest.raises(Unreadable, match="ecticket-replays") as caught:
        await harness.confirm.prepare(broken)

    result = harness.reader.read(harness.confirm.on_error(broken, caught.value, FakeRecordContext(broken)))

    assert result.event("parked").data["order_id"] == "A-1"
    assert has_header(result.dead_letter, "ecticket-possibly-sent-at")


def breaks(*_: object, **__: object) -> None:
    raise RuntimeError("wang@example.com")


async def test_an_internal_error_is_named_by_type_and_code_location(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by its text; the order is named, since the record can be read."""
    _, confirmation = await submitted(harness)
    prepared = await harness.confirm.prepare(confirmation)

    monkeypatch.setattr(harness.ecticket, "query", breaks)
    with pytest.raises(RuntimeError) as caught:
        await harness.confirm.handle(prepared.subject, FakeRecordContext(confirmation))

    result = harness.reader.read(harness.confirm.on_error(confirmation, caught.value, FakeRecordContext(confirmation)))

    parked = result.event("parked")
    assert (parked.data["reason"], parked.data["order_id"]) == ("internal-error", "A-1")
    assert "RuntimeError at test_confirm.py:" in str(parked.data["message"])
    assert "wang" not in str(parked.data["message"])


async def test_an_outcome_that_no_topic_takes_is_too_large(harness: Harness) -> None:
    """The engine asks for a smaller one."""
    _, confirmation = await submitted(harness)

    error = OutcomeTooLarge("42")
    result = harness.reader.read(harness.confirm.on_error(confirmation, error, FakeRecordContext(confirmation)))

    assert result.event("parked").data["reason"] == "too-large"


async def test_a_dead_letter_that_cannot_be_built_is_the_coordinates_alone(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record does not stay open; the issuance counts as possibly sent."""
    _, confirmation = await submitted(harness)
    monkeypatch.setattr(issuance_parking, "dead_letter_record", breaks)

    result = harness.reader.read(
        harness.confirm.on_error(confirmation, RuntimeError("x"), FakeRecordContext(confirmation))
    )

    assert result.event("parked").data["reason"] == "internal-error"
    assert (result.dead_letter.key, result.dead_letter.value) == (None, None)
    assert header(result.dead_letter, "ecticket-offset") == str(confirmation.offset)
    assert has_header(result.dead_letter, "ecticket-possibly-sent-at")


async def test_a_confirmation_of_another_version_can_be_read(harness: Harness) -> None:
    """Fields are only ever added, with defaults: old records are read by new processes, and new ones by old ones."""
    _, confirmation = await submitted(harness)
    value = dict(value_of(confirmation))
    issuance = value["issuance"]
    assert isinstance(issuance, dict)
    old = {name: field for name, field in value.items() if name not in ("queries", "delayed")}
    new = {**value, "later": 1, "issuance": {**issuance, "later": 1}}

    for each in (old, new):
        record = signed(harness.record(json.dumps(each).encode(), topic=TOPICS.confirmations))
        prepared = await harness.confirm.prepare(record)
        assert _pending(prepared).awaited.trade_no == TradeNo(kind=TradeNoKind.MERCHANT, value=derived())
        assert prepared.lane is None
