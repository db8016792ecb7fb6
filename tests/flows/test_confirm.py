"""The confirm story: what is asked when, and what is told of the answers (contract, section 6)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapter.errors import OutcomeTooLarge, Unreadable
from adapter.flows import confirm
from adapter.flows.confirm import Waiting
from adapter.flows.events import rfc3339
from adapter.issuance.confirm import ConfirmPolicy
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.provider.client import Purpose
from adapter.stream.records import Record
from adapter.testing.clock import NOON
from adapter.testing.ecticket import LOST_AFTER
from adapter.testing.orders import MERCHANT
from adapter.testing.surroundings import TOPICS, RecordContext
from adapter.testing.told import Told, has_header, header
from flows.fakes import OTHER_MERCHANT
from flows.house import House, derived, line, replayed, signed, with_headers


def value_of(confirmation: Record) -> Mapping[str, object]:
    """What a confirmation says."""
    value = json.loads(confirmation.value or b"")
    assert isinstance(value, dict)
    return value


async def submitted(house: House, *lines: dict[str, object], **content: object) -> tuple[Told, Record]:
    """A submitted order, and its only confirmation."""
    told = await house.work(house.order(*lines, **content))
    (confirmation,) = told.confirmations
    house.ecticket.calls.clear()
    house.ecticket.purposes.clear()
    house.heard.all.clear()
    return told, confirmation


# --- told -------------------------------------------------------------------------------------------------------------


async def test_tickets_that_exist_are_told(house: House) -> None:
    """Status 1: issued, with when it was submitted and how often was asked; asked after 30 seconds."""
    told, confirmation = await submitted(house)
    house.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, times = await house.await_result(confirmation)

    issued = result.event("issued")
    first = told.event("submitted")
    assert issued.data == {**first.data, "submitted_at": first.attributes["time"], "queries": 1}
    assert issued.key == first.key
    same = ("source", "subject", "orderid", "orderref", "partitionkey")
    assert [issued.attributes[name] for name in same] == [first.attributes[name] for name in same]
    assert issued.id != first.id
    assert times == [pytest.approx(30, abs=0.1)]
    assert (result.confirmations, result.letters) == ([], [])
    assert house.ecticket.purposes == {Purpose.CONFIRM: 1}
    assert house.heard.all == [("issuance_told", "issued", "False")]


async def test_a_job_that_failed_is_told_with_its_remark(house: House) -> None:
    """Status 2: failed, `stage: confirm`; no code, since nothing was refused."""
    _, confirmation = await submitted(house)
    house.ecticket.results[derived()] = (IssueStatus.FAILED, "Inventory shortage")

    result, _ = await house.await_result(confirmation)

    failed = result.event("failed")
    told = [failed.data[name] for name in ("stage", "remark", "rtn_code", "rtn_msg", "trade_no")]
    assert told == ["confirm", "Inventory shortage", None, None, derived()]
    assert result.kinds == ["failed"]


async def test_recovered_is_told_as_it_was_when_it_was_submitted(house: House) -> None:
    """ "`recovered`: As told when it was submitted"; the id is the same as it would be otherwise."""
    house.ecticket.faults = [LOST_AFTER]
    _, confirmation = await submitted(house)
    house.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
    other = House()
    _, usual = await submitted(other)
    other.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    issued = (await house.await_result(confirmation))[0].event("issued")

    assert issued.data["recovered"] is True
    assert issued.data["ticket_trade_no"] is None
    assert issued.id == (await other.await_result(usual))[0].event("issued").id


async def test_gifts_are_asked_about_by_their_free_number(house: House) -> None:
    """The kind of number travels with it."""
    _, confirmation = await submitted(house, line(voucher="gift", expire_date="2026-12-31"))
    house.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    issued = (await house.await_result(confirmation))[0].event("issued")

    assert issued.data["trade_no_kind"] == "free"


async def test_the_trace_goes_on_to_the_end(house: House) -> None:
    """From the order's record into the last event about it."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    told = await house.work(with_headers(house.order(), ("traceparent", trace.encode())))
    house.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, _ = await house.await_result(told.confirmations[0])

    assert result.event("issued").attributes["traceparent"] == trace


# --- asked again ------------------------------------------------------------------------------------------------------


async def test_a_job_in_progress_is_asked_about_at_growing_intervals(house: House) -> None:
    """Every 30 seconds, doubling up to 240, until it is delayed after 600."""
    _, confirmation = await submitted(house)

    result, times = await house.await_result(confirmation)

    assert result.kinds == ["delayed"]
    assert times == [pytest.approx(seconds, abs=1) for seconds in (30, 60, 120, 240, 480, 600)]


async def test_paper_is_asked_about_at_once(house: House) -> None:
    """It is issued during the call."""
    _, confirmation = await submitted(house, issue_type="paper")
    house.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    _, times = await house.await_result(confirmation)

    assert times == [pytest.approx(0, abs=0.1)]


async def test_everything_that_is_no_result_is_asked_again(house: House) -> None:
    """A number that is not found yet, a question without an answer, an open breaker: none of them is a failure."""
    _, confirmation = await submitted(house)
    house.ecticket.forgets(derived())
    waiting, _ = await house.ask(confirmation)
    house.ecticket.has(derived())
    house.ecticket.silent = True
    waiting, _ = await house.ask_again(confirmation, _still(waiting))
    house.ecticket.silent = False
    house.ecticket.breaker_until = house.clock() + timedelta(minutes=4)
    waiting, held_back_at = await house.ask_again(confirmation, _still(waiting))
    house.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, asked_at = await house.ask_again(confirmation, _still(waiting))

    assert asked_at >= house.ecticket.breaker_until > held_back_at
    assert isinstance(result, Told)
    assert result.event("issued").data["queries"] == 3


def _still(result: Told | Waiting) -> Waiting:
    assert isinstance(result, Waiting)
    return result


async def test_a_merchant_that_is_not_configured_is_waited_for(house: House) -> None:
    """Its keys may come back; ECTicket has the issuance all the same."""
    _, confirmation = await submitted(house)
    merchant = house.book.find(MERCHANT)
    house.book.remove(MERCHANT)
    waiting, _ = await house.ask(confirmation)
    assert merchant is not None
    house.book.add(merchant)
    house.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, _ = await house.ask_again(confirmation, _still(waiting))

    assert isinstance(result, Told)
    assert result.kinds == ["issued"]


# --- delayed ----------------------------------------------------------------------------------------------------------


async def test_a_delayed_issuance_is_told_once_and_written_anew_with_it(house: House) -> None:
    """One outcome: the event, and the record with not-before, submitted-at, queries and that it was told."""
    told, confirmation = await submitted(house)

    result, _ = await house.await_result(confirmation)

    submitted_at = told.event("submitted").attributes["time"]
    assert result.event("delayed").data["queries"] == 6
    assert result.event("delayed").data["submitted_at"] == submitted_at
    (anew,) = result.confirmations
    assert (anew.topic, anew.key) == (TOPICS.confirmations, confirmation.key)
    value = value_of(anew)
    assert (value["delayed"], value["queries"], value["submitted_at"]) == (True, 6, submitted_at)
    assert value["not_before"] == rfc3339(house.clock() + timedelta(seconds=600))
    assert value["issuance"] == value_of(confirmation)["issuance"]


async def test_a_delayed_issuance_is_asked_about_at_long_intervals_until_it_is_issued(house: House) -> None:
    """Every 600 seconds, without being told again; all its questions count."""
    _, confirmation = await submitted(house)
    anew = (await house.await_result(confirmation))[0].confirmations[0]
    waiting, asked_at = await house.ask(anew)
    waiting, asked_again_at = await house.ask_again(anew, _still(waiting))
    house.ecticket.results[derived()] = (IssueStatus.ISSUED, None)

    result, _ = await house.ask_again(anew, _still(waiting))

    assert asked_again_at - asked_at == pytest.approx(timedelta(seconds=600), abs=timedelta(seconds=1))
    assert isinstance(result, Told)
    assert result.kinds == ["issued"]
    assert result.event("issued").data["queries"] == 9


async def test_after_a_day_a_person_must_look(house: House) -> None:
    """Dead letter `unresolved` with the confirmation as it is, and an event about the order."""
    told, confirmation = await submitted(house)
    anew = (await house.await_result(confirmation))[0].confirmations[0]

    result, times = await house.await_result(anew)

    submitted_at = told.event("submitted").attributes["time"]
    parked, letter = result.event("parked"), result.letter
    message = header(letter, "ecticket-message")
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
    assert parked.attributes["orderref"] == told.event("submitted").attributes["orderref"]
    assert (letter.key, letter.value) == (anew.key, anew.value)
    assert header(letter, "ecticket-topic") == TOPICS.confirmations
    assert header(letter, "ecticket-offset") == str(anew.offset)
    assert header(letter, "ecticket-possibly-sent-at") == header(letter, "ecticket-first-seen") == submitted_at
    assert times[-1] == pytest.approx(86_400, abs=1)
    assert house.heard.of("parked") == [("confirm", "unresolved")]


async def test_two_parts_of_one_order_that_stay_unresolved_are_two_facts() -> None:
    """Their events have ids of their own, from the confirmations' coordinates, and name the same order record."""
    house = House(confirming=ConfirmPolicy(delayed_after_seconds=7_200, give_up_after_seconds=3_600))
    told = await house.work(house.order(line(), line("BR103218", issue_type="paper")))

    parked = [(await house.await_result(record))[0].event("parked") for record in told.confirmations]

    assert len({event.id for event in parked}) == 2
    assert len({event.attributes["orderref"] for event in parked}) == 1


# --- carried, restarted, replayed -------------------------------------------------------------------------------------


async def test_what_is_carried_keeps_its_time_and_its_count(house: House) -> None:
    """Thousands are carried at once, and ECTicket must not be asked about all of them in a moment."""
    _, confirmation = await submitted(house)
    waiting, _ = await house.ask(confirmation)
    due = _still(waiting).due

    carried = _carried(house, confirmation, _still(waiting))

    value = value_of(carried)
    assert (value["queries"], value["delayed"]) == (1, False)
    assert value["not_before"] == rfc3339(due)
    assert value["submitted_at"] == value_of(confirmation)["submitted_at"]
    assert due > house.clock()
    assert (await house.confirm.prepare(carried)).not_before == due.replace(microsecond=due.microsecond // 1000 * 1000)


async def test_a_delayed_one_that_is_carried_is_not_told_again(house: House) -> None:
    """The flag goes along."""
    _, confirmation = await submitted(house)
    anew = (await house.await_result(confirmation))[0].confirmations[0]
    waiting, _ = await house.ask(anew)

    carried = _carried(house, anew, _still(waiting))

    assert value_of(carried)["delayed"] is True
    assert (await house.await_result(carried))[0].kinds == ["parked"]


async def test_what_is_overdue_when_it_is_carried_waits_for_one_more_interval(house: House) -> None:
    """Due at once, the backlog of a merchant that does not answer would be written anew without a pause."""
    _, confirmation = await submitted(house)
    prepared = await house.confirm.prepare(confirmation)
    house.clock.passes(100)

    carried = value_of(_carried(house, confirmation, prepared.subject))
    assert carried["not_before"] == rfc3339(house.clock() + timedelta(seconds=30))


def _carried(house: House, record: Record, waiting: Waiting) -> Record:
    (carried,) = house.reader.read(house.confirm.hand_off(record, waiting, RecordContext(record))).confirmations
    return carried


async def test_an_unsigned_confirmation_does_not_wait_for_the_time_that_it_names(house: House) -> None:
    """A changed value would otherwise hold its place in the partition, for an hour after each take-over."""
    _, confirmation = await submitted(house)
    later = json.loads(confirmation.value or b"{}") | {"not_before": "2090-01-01T00:00:00.000Z"}
    changed = replace(confirmation, value=json.dumps(later).encode())

    assert await _due(house, changed, 0.9) == house.clock()


@pytest.mark.parametrize(("late", "spread"), [(100, 100), (10_000, 240)])
async def test_a_restart_spreads_what_is_overdue(house: House, late: float, spread: float) -> None:
    """Over as long as it is late, and over the longest interval at most."""
    _, confirmation = await submitted(house)
    house.clock.time = NOON + timedelta(seconds=30 + late)

    assert await _due(house, confirmation, 0.0) == house.clock()
    assert await _due(house, confirmation, 0.5) - house.clock() == pytest.approx(
        timedelta(seconds=spread / 2), abs=timedelta(seconds=0.1)
    )


async def _due(house: House, record: Record, fraction: float) -> datetime:
    house.fraction = fraction
    due = (await house.confirm.prepare(record)).not_before
    assert due is not None
    return due


async def test_what_is_not_due_is_not_spread(house: House) -> None:
    """It waits for its own time."""
    _, confirmation = await submitted(house)

    assert await _due(house, confirmation, 0.9) == pytest.approx(
        NOON + timedelta(seconds=30), abs=timedelta(seconds=0.1)
    )


async def test_a_replayed_confirmation_is_asked_about_for_another_day() -> None:
    """ "A replay resets first-seen, attempts and the give-up clock": it does not come back at the first question."""
    house = House(confirming=ConfirmPolicy(give_up_after_seconds=3_600))
    told, confirmation = await submitted(house)
    anew = (await house.await_result(confirmation))[0].confirmations[0]
    first = (await house.await_result(anew))[0]
    house.clock.passes(100_000)
    again = replayed(first.letter, topic=TOPICS.confirmations, clock=house.clock)
    replayed_at = house.clock()

    second, times = await house.await_result(again)

    assert len(times) == 7
    assert house.clock() - replayed_at == pytest.approx(timedelta(seconds=3_600), abs=timedelta(seconds=1))
    assert second.event("parked").id != first.event("parked").id
    assert header(second.letter, "ecticket-dead-letter") == f"{TOPICS.dead_letters}/2/{first.letter.offset}"
    names = [name for name, _ in second.letter.headers]
    assert len(names) == len(set(names))
    assert header(second.letter, "ecticket-replays") == "1"
    assert header(second.letter, "ecticket-offset") == str(anew.offset)
    assert header(second.letter, "ecticket-first-seen") == rfc3339(replayed_at)
    assert header(second.letter, "ecticket-possibly-sent-at") == told.event("submitted").attributes["time"]


async def test_awaited_issuances_of_several_merchants_have_bulkheads() -> None:
    """A merchant whose queries time out keeps no places from another's."""
    house = House(MERCHANT, OTHER_MERCHANT)
    told = await house.work(house.order(merchant_id=OTHER_MERCHANT))

    prepared = await house.confirm.prepare(told.confirmations[0])

    assert (prepared.bulkhead, prepared.may_hand_off) == (OTHER_MERCHANT, True)


async def test_a_replayed_confirmation_stays_one_when_it_is_carried() -> None:
    """Its headers go along, or its old clock would give it up at once."""
    house = House(confirming=ConfirmPolicy(give_up_after_seconds=3_600))
    told, confirmation = await submitted(house)
    anew = (await house.await_result(confirmation))[0].confirmations[0]
    letter = (await house.await_result(anew))[0].letter
    house.clock.passes(100_000)
    again = replayed(letter, topic=TOPICS.confirmations, clock=house.clock)
    waiting, _ = await house.ask(again)

    carried = _carried(house, again, _still(waiting))
    house.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
    result, _ = await house.await_result(carried)

    assert header(carried, "ecticket-replays") == "1"
    assert not has_header(carried, "ecticket-reason")
    issued = result.event("issued")
    assert issued.data["submitted_at"] == told.event("submitted").attributes["time"]


# --- what is no confirmation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"{}", b'{"issuance": 5}', b"\xff\xfe"])
async def test_what_is_no_confirmation_is_a_dead_letter(house: House, value: bytes | None) -> None:
    """Somebody else wrote to the topic; nothing is asked."""
    record = house.record(value, key=b"k", topic=TOPICS.confirmations)
    with pytest.raises(Unreadable) as caught:
        await house.confirm.prepare(record)

    result = house.reader.read(house.confirm.on_error(record, caught.value, RecordContext(record)))

    parked = result.event("parked")
    assert (parked.data["reason"], parked.data["stage"], parked.data["order_id"]) == ("unreadable", "confirm", None)
    assert parked.attributes["orderref"] == f"{TOPICS.confirmations}/2/{record.offset}"
    assert (result.letter.key, result.letter.value) == (b"k", value)
    assert house.ecticket.calls == []


@pytest.mark.parametrize("days", [1, 30])
async def test_a_confirmation_of_a_fast_clock_is_neither_late_nor_kept_for_ever(days: int) -> None:
    """Queried as soon as its writer meant, and given up after a day of the reader's."""
    ahead, right = House(), House()
    ahead.clock.passes(days * 86_400)
    _, confirmation = await submitted(ahead)
    began = right.clock()

    prepared = await right.confirm.prepare(confirmation)

    assert prepared.not_before is not None
    assert prepared.not_before - began <= timedelta(seconds=31)
    assert prepared.subject.awaited.submitted_at <= began


async def test_a_confirmation_without_a_valid_signature_is_counted_and_queried(house: House) -> None:
    """Its value counts, so that no result is lost with a key; its headers do not."""
    _, confirmation = await submitted(house)
    unsigned = tuple(each for each in confirmation.headers if each[0] != "ecticket-signature")
    forged = replace(confirmation, headers=(*unsigned, ("ecticket-replays", b"1"), ("ecticket-first-seen", b"garbage")))

    for record in (replace(confirmation, headers=unsigned), forged):
        prepared = await house.confirm.prepare(record)
        assert prepared.subject.awaited.submitted_at == value_submitted_at(confirmation)

    assert house.heard.of("unverified") == [("confirm", "unsigned"), ("confirm", "unsigned")]


def value_submitted_at(confirmation: Record) -> datetime:
    """When it was submitted, as the confirmation's value says."""
    return datetime.fromisoformat(str(value_of(confirmation)["submitted_at"]))


async def test_a_confirmation_with_a_broken_header_is_a_dead_letter(house: House) -> None:
    """As everywhere: it is named, and the order with it."""
    _, confirmation = await submitted(house)
    broken = signed(with_headers(confirmation, ("ecticket-replays", b"many")))
    with pytest.raises(Unreadable, match="ecticket-replays") as caught:
        await house.confirm.prepare(broken)

    result = house.reader.read(house.confirm.on_error(broken, caught.value, RecordContext(broken)))

    assert result.event("parked").data["order_id"] == "A-1"
    assert has_header(result.letter, "ecticket-possibly-sent-at")


def breaks(*_: object, **__: object) -> None:
    raise RuntimeError("wang@example.com")


async def test_a_mistake_of_ours_is_told_by_type_and_place(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by its text; the order is named, since the record can be read."""
    _, confirmation = await submitted(house)
    prepared = await house.confirm.prepare(confirmation)

    monkeypatch.setattr(house.ecticket, "query", breaks)
    with pytest.raises(RuntimeError) as caught:
        await house.confirm.handle(prepared.subject, RecordContext(confirmation))

    result = house.reader.read(house.confirm.on_error(confirmation, caught.value, RecordContext(confirmation)))

    parked = result.event("parked")
    assert (parked.data["reason"], parked.data["order_id"]) == ("internal-error", "A-1")
    assert "RuntimeError at test_confirm.py:" in str(parked.data["message"])
    assert "wang" not in str(parked.data["message"])


async def test_an_outcome_that_no_topic_takes_is_too_large(house: House) -> None:
    """The engine asks for a smaller one."""
    _, confirmation = await submitted(house)

    error = OutcomeTooLarge("42")
    result = house.reader.read(house.confirm.on_error(confirmation, error, RecordContext(confirmation)))

    assert result.event("parked").data["reason"] == "too-large"


async def test_a_dead_letter_that_cannot_be_built_is_the_coordinates_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record does not stay open; the issuance counts as possibly sent."""
    _, confirmation = await submitted(house)
    monkeypatch.setattr(confirm, "dead_letter", breaks)

    result = house.reader.read(house.confirm.on_error(confirmation, RuntimeError("x"), RecordContext(confirmation)))

    assert result.event("parked").data["reason"] == "internal-error"
    assert (result.letter.key, result.letter.value) == (None, None)
    assert header(result.letter, "ecticket-offset") == str(confirmation.offset)
    assert has_header(result.letter, "ecticket-possibly-sent-at")


async def test_a_confirmation_of_another_version_can_be_read(house: House) -> None:
    """Fields are only ever added, with defaults: old records are read by new processes, and new ones by old ones."""
    _, confirmation = await submitted(house)
    value = dict(value_of(confirmation))
    issuance = value["issuance"]
    assert isinstance(issuance, dict)
    old = {name: field for name, field in value.items() if name not in ("queries", "delayed", "traceparent")}
    new = {**value, "later": 1, "issuance": {**issuance, "later": 1}}

    for each in (old, new):
        record = house.record(json.dumps(each).encode(), topic=TOPICS.confirmations)
        prepared = await house.confirm.prepare(record)
        assert prepared.subject.awaited.trade_no == TradeNo(kind=TradeNoKind.MERCHANT, value=derived())
        assert prepared.lane is None
