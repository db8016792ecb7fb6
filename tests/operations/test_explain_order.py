"""Orders explained from topics in memory: each is driven through its stages, and then found again by id or number."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from zlib import crc32

import pytest
from flows.fakes import CUSTOMER, OTHER_MERCHANT
from flows.harness import KNOWN_TRADE_NO, THREE_PARTS, Harness, derived, line, plan_of, replayed

from adapter.flows.messages.collection import collection_of_event, collection_record, is_issued_event
from adapter.flows.messages.events import (
    CollectedTicket,
    IssuanceData,
    IssuanceFailed,
    IssuanceIssued,
    IssuanceSubmitted,
    Notified,
    Origin,
    ReconciliationDifference,
    ReportedSide,
    TicketCollected,
    TicketStatusChanged,
    issuance_event,
    notification_event,
    reconciliation_event,
    rfc3339,
)
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.messages.record_history import history_headers, read_coordinates, read_history
from adapter.flows.ports import Ecticket
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.plan_codec import DeferredPart, encode_plan
from adapter.issuance.state import PartHistory
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.operations import found_order, topic_search
from adapter.operations.ecticket_answers import EcticketAnswers
from adapter.operations.explain_order import OrderNotFound, explain_order
from adapter.operations.timeline import Actor, FactKind, OrderTimeline, ProgressState
from adapter.operations.topic_search import OrderTopics
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.port import TopicPartition, UnreadableBatch
from adapter.stream.records import Record, encode_headers
from adapter.testing.clock import NOON
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, REFUSED
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents
from adapter.values import replace

from .memory_topics import MemoryTopics, impatient_harness

PARTITIONS = 199
NUMBER = "CBX20260302153064851"
SECRET = "TICKETNO00000001"


class Desk:
    """One cluster whose topics have many partitions, and the command's parts around it."""

    def __init__(self, harness: Harness | None = None) -> None:
        self.harness = harness or impatient_harness()
        self.topics = MemoryTopics(self.harness)
        self.queries = 0
        self.progress: list[tuple[str, int, int]] = []

    def put(self, *records: Record) -> None:
        """Put records into the partitions of their keys; orders and dead letters stay, because records name them."""
        for record in records:
            is_named = record.topic in (TOPICS.orders_paid, TOPICS.dead_letters)
            partition = record.partition if is_named else crc32(record.key or b"") % PARTITIONS
            self.topics.put(replace(record, partition=partition))

    async def put_all(self, *outcomes: OrderEvents) -> None:
        """Put what the stages have published so far."""
        known = sum(len(log) for each, log in self.topics.cluster.logs.items() if each.topic == TOPICS.issuances)
        self.put(*[record async for record in self.harness.reader.tail({})][known:])
        for outcome in outcomes:
            self.put(*outcome.deferred_records, *outcome.confirmations, *outcome.dead_letters)

    def read_of(self, topic: str) -> set[int]:
        """The partitions of a topic that were read."""
        return {number for each in self.topics.partition_reads for number in each.get(topic, ())}

    async def work(self, record: Record) -> OrderEvents:
        """Process a record once, and put it and what comes of it into the topics."""
        self.put(record)
        outcome = await self.harness.work(record)
        await self.put_all(outcome)
        return outcome

    async def explain(
        self, which: str, *, since: datetime | None = None, ask: bool = False
    ) -> tuple[OrderTimeline, ...]:
        """Run the command once."""
        merchants = self.harness.merchants
        topics = OrderTopics(reader=self.topics, names=TOPICS, merchants=merchants, trade_no_prefix="")
        answers = EcticketAnswers(merchants=merchants, open_ecticket=self._ecticket, now=self.harness.clock)
        return await explain_order(
            which,
            topics,
            since=since,
            progress=self._progress,
            answers=answers if ask else None,
            now=self.harness.clock,
        )

    async def only(self, which: str, *, since: datetime | None = None, ask: bool = False) -> OrderTimeline:
        """The timeline of the only order."""
        (found,) = await self.explain(which, since=since, ask=ask)
        return found

    def _progress(self, what: str, done: int, total: int) -> None:
        self.progress.append((what, done, total))

    @asynccontextmanager
    async def _ecticket(self) -> AsyncIterator[Ecticket]:
        self.queries += 1
        yield self.harness.ecticket


def partition_of(number: str) -> int:
    """Where the records of an issuance are."""
    return crc32(f"{MERCHANT}/{number}".encode()) % PARTITIONS


def kinds(timeline: OrderTimeline) -> list[FactKind]:
    """The kinds of its facts, in order."""
    return [fact.kind for fact in timeline.facts]


async def issued(desk: Desk, *, order_id: str = "A-1", **content: object) -> OrderEvents:
    """An order that is issued."""
    submitted = await desk.work(desk.harness.order(order_id=order_id, **content))
    desk.harness.ecticket.results[str(submitted.event("submitted").data["trade_no"])] = IssueStatus.ISSUED, None
    outcome, _ = await desk.harness.await_result(submitted.confirmations[0])
    await desk.put_all(outcome)
    return submitted


@pytest.mark.parametrize("which", ["A-1", derived()])
async def test_an_issued_order_is_explained_by_its_id_and_its_number(which: str) -> None:
    """From the shop's record to the tickets, with the coordinates of each record."""
    desk = Desk()
    await issued(desk)
    await issued(desk, order_id="B-2")

    found = await desk.only(which)

    assert (found.merchant_id, found.order_id) == (MERCHANT, "A-1")
    assert kinds(found) == [FactKind.RECEIVED, FactKind.SUBMITTED, FactKind.AWAITED, FactKind.ISSUED]
    assert [part.state for part in found.parts] == [ProgressState.ISSUED]
    assert [action.actor for action in found.next] == [Actor.NONE]
    assert {fact.record.split("/")[0] for fact in found.facts if fact.record} == {
        TOPICS.orders_paid,
        TOPICS.issuances,
        TOPICS.confirmations,
    }


@pytest.mark.parametrize("which", ["A-1", NUMBER, NUMBER.lower()])
async def test_an_order_with_a_number_of_its_own_is_found(which: str) -> None:
    """ECTicket does not distinguish upper and lower case."""
    desk = Desk()
    await issued(desk, trade_no=NUMBER)

    assert [part.trade_no and part.trade_no.value for part in (await desk.only(which)).parts] == [NUMBER]


@pytest.mark.parametrize("part", [1, 2, 3])
async def test_every_part_is_found_from_each_number(part: int) -> None:
    """The parts of an order are in different partitions, and no other one is read."""
    desk = Desk()
    await issued(desk, order_id="B-2")
    await desk.work(desk.harness.order(*THREE_PARTS))

    found = await desk.only(derived(part=part))

    assert [each.part for each in found.parts] == [1, 2, 3]
    assert {each.state for each in found.parts} == {ProgressState.SUBMITTED}
    assert desk.read_of(TOPICS.issuances) == {partition_of(derived(part=each)) for each in (1, 2, 3)}


async def test_each_deferral_has_its_cause() -> None:
    """In doubt, with what happened, and when it is queried again; then what the operator runs."""
    desk = Desk(Harness())
    desk.harness.ecticket.silent = True
    desk.harness.ecticket.faults = [LOST_AFTER]
    first = await desk.work(desk.harness.order())
    second = await desk.work(first.deferred_records[0])

    found = await desk.only("A-1")
    deferrals = [fact for fact in found.facts if fact.kind is FactKind.DEFERRED]

    assert len(second.deferred_records) == 1
    assert len(deferrals) == 2
    assert all(fact.details["doubt"] and fact.not_before is not None for fact in deferrals)
    assert [(each.actor, each.not_before) for each in found.next] == [(Actor.ADAPTER, deferrals[-1].not_before)]


async def test_records_that_do_not_have_the_number_are_found_by_it() -> None:
    """A plan leads from the number to the order; an earlier deferral of the order has no plan."""
    desk = Desk(Harness())
    desk.harness.ecticket.silent = True
    desk.harness.ecticket.faults = [LOST_AFTER]
    outcome = await desk.harness.work(desk.harness.order())
    planned = outcome.deferred_record
    headers = tuple(header for header in planned.headers if header[0] != "ecticket-plan")
    desk.put(replace(planned, headers=headers, offset=planned.offset - 1), planned)

    found = await desk.only(derived())

    assert [fact.trade_no and fact.trade_no.value for fact in found.facts] == [None, derived()]


async def test_a_held_order_is_explained_by_its_hold() -> None:
    """It has no plan yet, and the adapter acts next: after the hold."""
    desk = Desk()
    desk.harness.holds.replace({MERCHANT: MerchantHold(held_at=NOON, until=None)})
    await desk.work(desk.harness.order())

    found = await desk.only("A-1")
    (deferral,) = [fact for fact in found.facts if fact.kind is FactKind.DEFERRED]

    assert (deferral.details["held_at"], deferral.trade_no) == (rfc3339(desk.harness.clock()), None)
    assert "hold" in deferral.text
    assert [each.actor for each in found.next] == [Actor.ADAPTER]


async def test_a_refusal_is_explained_by_its_code() -> None:
    """A refused part waits until the refusal is final."""
    desk = Desk()
    desk.harness.ecticket.faults = [REFUSED]
    await desk.work(desk.harness.order())

    (deferral,) = [fact for fact in (await desk.only("A-1")).facts if fact.kind is FactKind.DEFERRED]

    assert deferral.details["rtn_code"] is not None
    assert str(deferral.details["rtn_code"]) in deferral.text


@pytest.mark.parametrize("which", ["A-1", derived()])
async def test_a_dead_letter_names_what_the_operator_runs_and_ends_with_its_replay(which: str) -> None:
    """Unresolved; replayed, it is the adapter's turn again."""
    desk = Desk()
    desk.harness.ecticket.faults = [LOST_AFTER]
    desk.harness.ecticket.silent = True
    order = desk.harness.order()
    desk.put(order)
    parked = await desk.harness.run(order)
    desk.harness.ecticket.silent = False
    await desk.put_all(parked)

    before = await desk.only(which)
    again = replayed(parked.dead_letter, topic=TOPICS.orders_deferred, clock=desk.harness.clock)
    desk.put(again)
    after = await desk.only(which)

    assert kinds(before) == [FactKind.RECEIVED, FactKind.PARKED, FactKind.DEAD_LETTER]
    assert [part.state for part in before.parts] == [ProgressState.PARKED]
    assert before.next[0].commands[0] == f"ecticket-adapter query {derived()} --merchant {MERCHANT}"
    assert before.next[0].commands[1].startswith(f"ecticket-adapter dead-letters replay {TOPICS.dead_letters}/")
    assert FactKind.REPLAYED in kinds(after)
    assert [part.state for part in after.parts] == [ProgressState.DEFERRED]
    assert [action.actor for action in after.next] == [Actor.ADAPTER]


async def test_an_order_that_is_not_settled_waits_for_the_adapter() -> None:
    """Only the shop's record is there, so events of other orders are not read."""
    desk = Desk()
    await issued(desk, order_id="B-2")
    desk.put(desk.harness.order())

    found = await desk.only("A-1")

    assert kinds(found) == [FactKind.RECEIVED]
    assert [part.state for part in found.parts] == [ProgressState.WAITING]
    assert desk.read_of(TOPICS.issuances) == set()


async def test_an_id_that_json_writes_with_escapes_is_found() -> None:
    """Many shops write ASCII JSON."""
    desk = Desk()
    order = desk.harness.order(order_id="訂單-7")
    desk.put(replace(order, value=json.dumps(json.loads(order.value or b"")).encode("ascii")))

    assert kinds(await desk.only("訂單-7")) == [FactKind.RECEIVED]


async def test_a_part_with_the_shops_number_is_found_without_the_shops_record() -> None:
    """The other part, a gift with a derived number, shows how many parts the order has."""
    desk = Desk()
    gift = line("GFT00001", 1, voucher="gift", expire_date="2026-12-31", issue_type="paper")
    submitted = await desk.work(desk.harness.order(line(), gift, trade_no=NUMBER))
    numbers = {str(event.data["trade_no"]) for event in submitted.events}
    desk.topics.delete(TOPICS.orders_paid)

    (other,) = numbers - {NUMBER}
    found = await desk.only(other)

    assert {part.trade_no and part.trade_no.value for part in found.parts} == numbers


async def test_later_events_handle_a_dead_letter() -> None:
    """A person has resolved it; no replay names it."""
    desk = Desk()
    submitted = await desk.work(desk.harness.order())
    delayed, _ = await desk.harness.await_result(submitted.confirmations[0])
    parked, _ = await desk.harness.await_result(delayed.confirmations[0])
    await desk.put_all(delayed, parked)
    before = await desk.only("A-1")
    desk.harness.clock.passes(60)
    desk.put(_later_event(desk, submitted, IssuanceIssued, submitted_at=NOON, queries=1, recovered=False))
    after = await desk.only("A-1")

    assert [part.state for part in before.parts] == [ProgressState.PARKED]
    assert [part.state for part in after.parts] == [ProgressState.ISSUED]
    assert [action.actor for action in after.next] == [Actor.NONE]


async def test_a_reissued_number_follows_from_the_failure() -> None:
    """The deferred topic has lost the record of `reissue`; only the partitions of both numbers are read."""
    desk = Desk()
    await issued(desk, order_id="B-2")
    submitted = await desk.work(desk.harness.order())
    failure = {"stage": "confirm", "rtn_code": None, "rtn_msg": None, "remark": "no stock"}
    second = derive_trade_no(MERCHANT, "A-1", 1, reissue=1)
    desk.harness.clock.passes(60)
    desk.put(_later_event(desk, submitted, IssuanceFailed, **failure))
    desk.harness.clock.passes(60)
    desk.put(_later_event(desk, submitted, IssuanceSubmitted, trade_no=second, recovered=False))

    found = await desk.only("A-1")

    assert {part.trade_no and part.trade_no.value: part.state for part in found.parts} == {
        derived(): ProgressState.REPLACED,
        second: ProgressState.SUBMITTED,
    }
    assert partition_of(derived()) != partition_of(second)
    assert desk.read_of(TOPICS.issuances) == {partition_of(derived()), partition_of(second)}


async def test_only_partitions_that_can_hold_the_order_are_read() -> None:
    """Of a known order one partition of the events; of its confirmations and notifications likewise."""
    desk = Desk()
    for number in range(30):
        await issued(desk, order_id=f"B-{number}")
    await issued(desk)

    await desk.only("A-1")

    assert desk.read_of(TOPICS.issuances) == desk.read_of(TOPICS.confirmations) == {partition_of(derived())}


async def test_an_order_whose_record_is_gone_is_found_by_its_events() -> None:
    """The topic of orders keeps its records for a shorter time; the number is none that can be derived."""
    desk = Desk()
    await issued(desk, trade_no=NUMBER)
    desk.topics.delete(TOPICS.orders_paid)

    found = await desk.only("A-1")

    assert kinds(found) == [FactKind.SUBMITTED, FactKind.AWAITED, FactKind.ISSUED]


async def test_an_order_in_a_format_of_its_own_is_shown_by_its_coordinates() -> None:
    """Its events name its record."""
    desk = Desk()
    await issued(desk)
    ((partition, log),) = [each for each in desk.topics.cluster.logs.items() if each[0].topic == TOPICS.orders_paid]
    log[:] = [replace(record, value=b"<order/>") for record in log]

    found = await desk.only("A-1")

    assert kinds(found)[:2] == [FactKind.RECEIVED, FactKind.SUBMITTED]
    assert found.facts[0].record == f"{partition.topic}/{partition.partition}/{log[0].offset}"
    assert found.facts[0].details == {}


async def test_the_record_of_another_order_is_left_out() -> None:
    """The topic was recreated, and the coordinates name another record now."""
    desk = Desk()
    await issued(desk)
    other = desk.harness.order(order_id="B-2")
    ((_, log),) = [each for each in desk.topics.cluster.logs.items() if each[0].topic == TOPICS.orders_paid]
    log[:] = [replace(record, value=other.value) for record in log]

    assert kinds(await desk.only("A-1")) == [FactKind.SUBMITTED, FactKind.AWAITED, FactKind.ISSUED]


async def test_a_search_can_begin_at_a_time() -> None:
    """Older records are not read."""
    desk = Desk()
    await issued(desk)

    with pytest.raises(OrderNotFound):
        await desk.explain("A-1", since=desk.harness.clock() + timedelta(minutes=1))


@pytest.mark.parametrize("which", ["A-2", "Z3I7FVF5CMM5DFI7RFBK", "訂單-7"])
async def test_an_unknown_order_is_named_in_the_error(which: str) -> None:
    """It holds the text that was searched."""
    desk = Desk()
    await issued(desk)

    with pytest.raises(OrderNotFound, match=which):
        await desk.explain(which)


async def test_an_order_id_of_two_merchants_gives_two_timelines() -> None:
    """Each with its own facts."""
    desk = Desk()
    await desk.work(desk.harness.order())
    await desk.work(desk.harness.order(merchant_id=OTHER_MERCHANT))

    found = await desk.explain("A-1")

    assert {each.merchant_id for each in found} == {MERCHANT, OTHER_MERCHANT}
    assert [kinds(each).count(FactKind.RECEIVED) for each in found] == [1, 1]


async def test_ecticket_is_queried_only_on_request() -> None:
    """Its answer comes last; an order in doubt that it knows is to be replayed."""
    desk = Desk()
    desk.harness.ecticket.faults = [LOST_AFTER]
    desk.harness.ecticket.silent = True
    order = desk.harness.order()
    desk.put(order)
    await desk.put_all(await desk.harness.run(order))
    desk.harness.ecticket.silent = False
    await desk.only("A-1")
    assert desk.queries == 0

    found = await desk.only("A-1", ask=True)

    assert (desk.queries, found.facts[-1].kind) == (1, FactKind.ANSWER)
    assert found.facts[-1].details["known"] is True
    assert [command.split()[1] for command in found.next[0].commands] == ["dead-letters"]


@pytest.mark.parametrize(("known_trade_no", "known"), [(KNOWN_TRADE_NO, False), (None, None)])
async def test_not_known_is_concluded_only_from_complete_evidence(
    known_trade_no: str | None, known: bool | None
) -> None:
    """Without a number that should exist, refused queries prove nothing."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600), known_trade_no=known_trade_no)
    desk = Desk(harness)
    desk.harness.ecticket.faults = [LOST_BEFORE]
    desk.harness.ecticket.silent = True
    order = desk.harness.order()
    desk.put(order)
    await desk.put_all(await desk.harness.run(order))
    desk.harness.ecticket.silent = False

    found = await desk.only("A-1", ask=True)

    assert found.facts[-1].details["known"] is known


async def test_notifications_and_differences_belong_to_the_timeline() -> None:
    """Found by number; raw fields and the ticket's number are not shown."""
    desk = Desk()
    await issued(desk)
    desk.put(_notification(desk, derived()), _difference(desk, derived()))

    found = await desk.only("A-1")
    shown = repr(found)

    assert {FactKind.STATUS_CHANGED, FactKind.DIFFERENCE} < set(kinds(found))
    assert [action.actor for action in found.next] == [Actor.OPERATOR]
    assert SECRET not in shown


async def test_collected_tickets_are_counted_and_never_shown() -> None:
    """Neither their numbers nor their redemption codes."""
    desk = Desk()
    submitted = await issued(desk)
    desk.put(_collected(desk, submitted))

    found = await desk.only("A-1")

    assert found.facts[-1].kind is FactKind.COLLECTED
    assert found.facts[-1].details == {"ticket_count": 2}
    assert [part.state for part in found.parts] == [ProgressState.COLLECTED]
    assert SECRET not in repr(found)


async def test_a_collection_that_waits_is_the_adapters_turn() -> None:
    """Its record has the merchant's key, among those of all its issuances."""
    desk = Desk()
    await issued(desk)
    (event,) = [each async for each in desk.harness.reader.tail({}) if is_issued_event(each)]
    collection = collection_of_event(event, desk.harness.clock())
    desk.put(desk.harness.reader.published(collection_record(collection, topic=TOPICS.confirmations)))

    found = await desk.only(derived())

    assert [part.state for part in found.parts] == [ProgressState.COLLECTING]
    assert [(action.actor, action.not_before) for action in found.next] == [(Actor.ADAPTER, collection.not_before)]


async def test_a_reissued_part_is_found_under_its_new_number() -> None:
    """The deferred record of `reissue` is not due later than it was first seen."""
    desk = Desk(Harness())
    desk.harness.ecticket.silent = True
    desk.harness.ecticket.faults = [LOST_AFTER]
    submitted = await desk.work(desk.harness.order(order_id="B-2"))
    plan = plan_of(submitted.deferred_record)
    number = derive_trade_no(MERCHANT, "B-2", 1, reissue=1)
    part = replace(plan.parts[0].part, reissue=1, trade_no=replace(plan.parts[0].part.trade_no, value=number))
    again = replace(plan, parts=(DeferredPart(part=part, history=PartHistory()),))
    history = read_history(submitted.deferred_record, desk.harness.clock())
    history = replace(history, plan=encode_plan(again), not_before=history.first_seen)
    headers = encode_headers(history_headers(history))
    desk.put(replace(submitted.deferred_record, headers=headers))

    found = await desk.only("B-2")

    assert (found.facts[-1].kind, found.facts[-1].trade_no) == (FactKind.REISSUED, part.trade_no)
    assert found.facts[-1].details["reissue"] == 1


async def test_a_number_that_another_program_issued_is_explained() -> None:
    """Only a difference names it."""
    desk = Desk()
    desk.put(_difference(desk, NUMBER, order_id=None))

    found = await desk.only(NUMBER)

    assert kinds(found) == [FactKind.DIFFERENCE]
    assert [action.actor for action in found.next] == [Actor.OPERATOR]


async def test_two_orders_with_one_number_have_a_timeline_each() -> None:
    """Each names the other; the one that is parked is not to be replayed."""
    desk = Desk()
    await issued(desk, trade_no=NUMBER)
    second = desk.harness.order(order_id="B-2", trade_no=NUMBER)
    desk.put(second)
    await desk.put_all(await desk.harness.run(second))

    found = {each.order_id: each for each in await desk.explain(NUMBER)}
    parked = await desk.only("B-2")

    assert {order_id: each.other_orders for order_id, each in found.items()} == {"A-1": ("B-2",), "B-2": ("A-1",)}
    assert parked == found["B-2"]
    assert [part.state for part in parked.parts] == [ProgressState.PARKED]
    assert {command.split()[1] for action in parked.next for command in action.commands} == {"resolve"}


async def test_a_recovered_and_delayed_issuance_is_explained() -> None:
    """Its Issue call was not answered, and its job takes long."""
    desk = Desk()
    desk.harness.ecticket.faults = [LOST_AFTER]
    submitted = await desk.work(desk.harness.order())
    delayed, _ = await desk.harness.await_result(submitted.confirmations[0])
    await desk.put_all(delayed)

    found = await desk.only("A-1")
    (shown,) = [fact for fact in found.facts if fact.kind is FactKind.SUBMITTED]

    assert shown.details["recovered"] is True
    assert [part.state for part in found.parts] == [ProgressState.DELAYED]


async def test_a_dead_letter_that_names_no_order_belongs_to_none() -> None:
    """A skipped batch has no content; that its bytes hold the order's id by chance is no reason to show it."""
    desk = Desk()
    await issued(desk)
    record = desk.harness.order()
    headers = encode_headers({"ecticket-stage": "parse", "ecticket-reason": "unreadable", "ecticket-offsets": "1-3"})
    desk.put(replace(record, topic=TOPICS.dead_letters, value=b"A-1", headers=headers))

    assert FactKind.DEAD_LETTER not in kinds(await desk.only("A-1"))


async def test_no_customer_data_is_shown() -> None:
    """Not from the order, the plan of a deferral or a dead letter."""
    desk = Desk(Harness())
    desk.harness.ecticket.silent = True
    desk.harness.ecticket.faults = [LOST_AFTER]
    first = await desk.work(desk.harness.order(line()))
    parked = await desk.harness.run(first.deferred_records[0])
    await desk.put_all(parked)

    shown = repr(await desk.only("A-1"))

    assert FactKind.DEAD_LETTER.value in shown
    assert [value for value in CUSTOMER.values() if value in shown] == []


async def test_memory_is_bounded_for_an_order_that_was_deferred_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest deferrals are kept, and the record of the shop."""
    monkeypatch.setattr(found_order, "FACTS_KEPT", 5)
    desk = Desk(Harness())
    desk.harness.ecticket.silent = True
    desk.harness.ecticket.faults = [LOST_AFTER]
    outcome = await desk.work(desk.harness.order())
    (last,) = outcome.deferred_records
    again = [
        replace(last, offset=last.offset + count, timestamp=last.timestamp + timedelta(seconds=count))
        for count in range(1, 20)
    ]
    desk.put(*again)

    found = await desk.only("A-1")

    assert kinds(found) == [FactKind.RECEIVED, *[FactKind.DEFERRED] * 5]
    assert found.facts[-1].at == again[-1].timestamp
    assert found.truncated


async def test_a_batch_that_cannot_be_read_is_left_out_and_named() -> None:
    """An operator sees the rest of the order, and what may be missing."""
    desk = Desk()
    await issued(desk)
    partition = TopicPartition(TOPICS.dead_letters, 2)
    desk.put(replace(desk.harness.order(order_id="B-2"), topic=partition.topic, partition=partition.partition))
    desk.topics.unreadable = [UnreadableBatch(partition, base=7, first=7, last=9, cause="wrong checksum")]

    assert (await desk.only("A-1")).unreadable == (f"{TOPICS.dead_letters}/2/7",)
    with pytest.raises(OrderNotFound, match=f"{TOPICS.dead_letters}/2/7"):
        await desk.explain("C-3")


async def test_progress_names_what_is_read_and_how_much_of_it() -> None:
    """For the command's bar and the console."""
    desk = Desk()
    await issued(desk)

    await desk.explain("A-1")

    assert (TOPICS.orders_paid, 1, 1) in desk.progress
    assert all(0 < done <= total for _, done, total in desk.progress)


async def test_other_tasks_run_while_records_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The console searches in a process that issues tickets."""
    monkeypatch.setattr(topic_search, "BUSY_SECONDS", 0.0)
    desk = Desk()
    for number in range(30):
        desk.put(desk.harness.order(order_id=f"B-{number}"))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    with pytest.raises(OrderNotFound):
        await desk.explain("A-1")
    task.cancel()

    assert turns >= 30


def _later_event(desk: Desk, submitted: OrderEvents, event: type[IssuanceData], **more: object) -> Record:
    """An event about the issuance of another event, published now."""
    before = submitted.event("submitted")
    data = {**before.data, **more}
    origin = read_coordinates(before.attributes["orderref"])
    assert origin is not None
    if "recovered" not in event.model_fields:
        del data["recovered"]
    return desk.harness.reader.published(
        issuance_event(event.model_validate(data), topic=TOPICS.issuances, origin=origin, now=desk.harness.clock())
    )


def _notification(desk: Desk, number: str) -> Record:
    data: Notified = TicketStatusChanged(
        merchant_id=MERCHANT,
        trade_no=number,
        trade_no_kind="merchant",
        ticket_trade_no=None,
        raw={"Note": SECRET},
        withheld=("TicketNo",),
        ticket_ref="0" * 32,
        use_status=1,
        may_mean=(),
    )
    return desk.harness.reader.published(
        notification_event(data, topic=TOPICS.tickets, event_id="1", now=desk.harness.clock())
    )


def _collected(desk: Desk, submitted: OrderEvents) -> Record:
    data = dict(submitted.event("submitted").data)
    del data["recovered"]
    ticket = CollectedTicket(
        ticket_no=SECRET,
        redemption_code=SECRET,
        item_no=None,
        name=None,
        face_value=None,
        start_date=None,
        expire_date=None,
        status="unused",
    )
    event = issuance_event(
        TicketCollected.model_validate({**data, "tickets": (ticket, ticket)}),
        topic=TOPICS.collected,
        origin=Origin(topic=TOPICS.orders_paid, partition=2, offset=1),
        now=desk.harness.clock(),
    )
    return desk.harness.reader.published(event)


def _difference(desk: Desk, number: str, order_id: str | None = "A-1") -> Record:
    data = ReconciliationDifference(
        merchant_id=MERCHANT,
        issue_date=None,
        trade_no=number,
        trade_no_kind="merchant",
        order_id=order_id,
        kind="not-published",
        published=None,
        reported=ReportedSide(state="issued", ticket_count=2),
        message="Ask ECPay.",
    )
    return desk.harness.reader.published(
        reconciliation_event(data, topic=TOPICS.reconciliations, now=desk.harness.clock())
    )
