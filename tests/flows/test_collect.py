"""The collect story: which tickets are published, when, and how often (docs/collecting.md)."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta

import pytest
from log_lines import capture_logs

from adapter.errors import NotAccepted, OutcomeTooLarge
from adapter.flows.report_rounds import PendingTickets, _copied
from adapter.protocol.order_detail import ReportType
from adapter.testing.clock import NOON
from adapter.testing.fakes import TOPICS, FakeRecordContext
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, has_header, header
from adapter.values import replace
from flows.collecting import SECRET, Collecting, everything_shown, serial_row
from flows.fakes import OTHER_MERCHANT
from flows.harness import replayed, signed


@pytest.fixture
def collecting() -> Collecting:
    """One process."""
    return Collecting()


def numbers(published: OrderEvents) -> list[str]:
    """The ticket numbers of the only event."""
    tickets = published.event("collected").data["tickets"]
    assert isinstance(tickets, list)
    return [each["ticket_no"] for each in tickets]


def both(trade_no: str) -> list[dict[str, str]]:
    """Two rows: all tickets of an issuance."""
    return [serial_row(trade_no, 1), serial_row(trade_no, 2)]


# --- published --------------------------------------------------------------------------------------------------------


async def test_complete_tickets_are_published(collecting: Collecting) -> None:
    """The issuance's data as in `issued`, and every ticket; under the key of the issuance."""
    issued = collecting.issued("T1")
    collecting.reports.rows = [*both("T1"), serial_row("other", 1)]

    collection = await collecting.begun(issued)
    (published,) = await collecting.run(await collecting.prepared(collection))

    event = published.event("collected")
    common = {name: value for name, value in event.data.items() if name != "tickets"}
    first = json.loads(issued.value or b"")
    assert common == {name: first[name] for name in common}
    assert set(first) - set(common) == {"recovered", "submitted_at", "queries"}
    assert event.data["tickets"] == [
        {
            "ticket_no": f"{SECRET}NT1{number}",
            "redemption_code": f"{SECRET}CT1{number}",
            "item_no": None,
            "name": "SPA課程體驗券",
            "face_value": 3200,
            "start_date": "2026-03-01",
            "expire_date": None,
            "status": "unused",
        }
        for number in (1, 2)
    ]
    assert (event.key, event.attributes["type"]) == (f"{MERCHANT}/T1", "ecticket.ticket.collected.v1")
    assert event.attributes["orderref"] == f"{TOPICS.orders_paid}/0/7"
    assert published.types == ["collected"]
    assert collecting.observer.of("tickets_collected") == [(MERCHANT, "2")]


async def test_what_is_not_collected_is_settled_without_anything(collecting: Collecting) -> None:
    """Another issue type, another event, a confirmation: no report is read for them."""
    events = [
        collecting.issued("T1", issue_type="electronic"),
        replace(collecting.issued("T2"), headers=(("ce_type", b"ecticket.issuance.delayed.v1"),)),
        replace(collecting.issued("T3"), headers=()),
        replace(collecting.issued("T4"), topic=TOPICS.confirmations, headers=()),
    ]

    for record in events:
        published = await collecting.outcome(record)
        assert (published.events, published.confirmations, published.dead_letters) == ([], [], [])
    assert collecting.reports.requests == []


async def test_all_of_a_merchant_is_in_one_partition(collecting: Collecting) -> None:
    """The collection's key is the merchant's id, so one process reads its reports."""
    collections = [await collecting.begun(collecting.issued(each)) for each in ("T1", "T2")]

    assert [(each.topic, each.key) for each in collections] == [(TOPICS.confirmations, MERCHANT.encode())] * 2


async def test_incomplete_tickets_wait(collecting: Collecting) -> None:
    """Nothing is published before the report has them all, however long it needs."""
    collecting.reports.rows = [serial_row("T1", 1)]
    (waiting,) = await collecting.waiting("T1")

    due = await collecting.handle(*waiting)
    assert due == NOON + timedelta(seconds=60)
    collecting.clock.passes(30 * 3600)
    assert isinstance(await collecting.handle(*waiting), datetime)
    collecting.reports.rows = both("T1")
    (published,) = await collecting.run(waiting)

    assert len(numbers(published)) == 2


async def test_the_same_fact_has_the_same_id(collecting: Collecting) -> None:
    """A second `issued` event of the issuance publishes the tickets again, under the id of merchant, number, type."""
    collecting.reports.rows = both("T1")
    first, second = await collecting.run(*await collecting.waiting("T1", "T1"))

    ids = {first.event("collected").id, second.event("collected").id}
    assert len(ids) == 1
    assert numbers(first) == numbers(second)
    assert len(collecting.reports.requests) == 1


# --- reports ----------------------------------------------------------------------------------------------------------


async def test_one_report_serves_everything_that_waits(collecting: Collecting) -> None:
    """Two hundred issuances of three days: one download, of the days of all."""
    waiting = []
    for number in range(200):
        collecting.clock.time = NOON + timedelta(days=number // 70)
        waiting += await collecting.waiting(f"T{number}")
    collecting.reports.rows = [row for number in range(200) for row in both(f"T{number}")]

    published = await collecting.run(*waiting)

    assert [each.types for each in published] == [["collected"]] * 200
    (request,) = collecting.reports.requests
    assert (request.report_type, request.merchant_id) == (ReportType.TICKETS, MERCHANT)
    assert (request.begin_date, request.end_date) == (date(2026, 2, 28), date(2026, 3, 3))


async def test_the_number_of_downloads_does_not_grow_with_what_waits() -> None:
    """The same for one and for fifty that wait a day in vain."""
    counts = []
    for size in (1, 50):
        collecting = Collecting()
        waiting = await collecting.waiting(*(f"T{number}" for number in range(size)))
        while collecting.clock() < NOON + timedelta(days=1):
            due = [await collecting.handle(*each) for each in waiting]
            collecting.clock.time = min(each for each in due if isinstance(each, datetime))
        counts.append(len(collecting.reports.requests))

    assert counts[0] == counts[1] < 130


async def test_merchants_have_reports_of_their_own() -> None:
    """Each with its own minute; a number of one is not looked for in the other's report."""
    collecting = Collecting(MERCHANT, OTHER_MERCHANT)
    collecting.reports.rows = both("T1")
    waiting = [
        *await collecting.waiting("T1"),
        *await collecting.waiting("T1", merchant_id=OTHER_MERCHANT),
    ]
    published = await collecting.run(*waiting)

    assert sorted(each.merchant_id for each in collecting.reports.requests) == sorted((MERCHANT, OTHER_MERCHANT))
    assert {each.event("collected").data["merchant_id"] for each in published} == {MERCHANT, OTHER_MERCHANT}


async def test_a_recovered_issuance_is_looked_for_further_back(collecting: Collecting) -> None:
    """It was sent earlier than it was known; each report without its tickets doubles the days."""
    (waiting,) = await collecting.waiting("T1", recovered=True)
    for _ in range(4):
        due = await collecting.handle(*waiting)
        assert isinstance(due, datetime)
        collecting.clock.time = due

    begins = [(date(2026, 3, 1) - each.begin_date).days for each in collecting.reports.requests]
    assert begins == [1, 2, 4, 8]


async def test_a_report_that_cannot_have_an_issuance_does_not_count_for_it(collecting: Collecting) -> None:
    """A report has 60 days: one that was issued later is looked for in the next one, and is not given up before."""
    collecting.policy = replace(collecting.policy, give_up_after_seconds=0)
    collecting.restart()
    early = await collecting.waiting("T1")
    collecting.clock.passes(70 * 86_400)
    late = await collecting.waiting("T2")
    collecting.reports.rows = both("T2")

    parked, published = await collecting.run(*early, *late)

    assert (parked.types, published.types) == (["parked"], ["collected"])
    assert [each.begin_date for each in collecting.reports.requests] == [date(2026, 2, 28), date(2026, 5, 9)]


@pytest.mark.parametrize("kind", ["refused", "unknown merchant"])
async def test_a_report_that_does_not_come_is_read_again(collecting: Collecting, kind: str) -> None:
    """A line says so once, and what waits is collected from a later one."""
    collecting.reports.rows = both("T1")
    waiting = await collecting.waiting("T1", "T2")
    if kind == "refused":
        collecting.reports.error = NotAccepted("once per minute")
    merchant = collecting.merchants.find(MERCHANT)
    assert merchant is not None
    if kind == "unknown merchant":
        collecting.merchants.remove(MERCHANT)

    with capture_logs() as lines:
        for _ in range(3):
            due = [await collecting.handle(*each) for each in waiting]
            assert all(isinstance(each, datetime) for each in due)
            collecting.clock.passes(60)
    collecting.reports.error = None
    collecting.merchants.add(merchant)
    (published,) = await collecting.run(waiting[0])

    assert published.types == ["collected"]
    assert len([each for each in lines if each["log_level"] == "warning"]) == 1
    outcomes = [outcome for _, outcome in collecting.observer.of("report_for_collecting")]
    assert outcomes == ["failed", "failed", "failed", "read"]


# --- parked -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [*both("T1"), serial_row("T1", 3)],
        [serial_row("T1", 1), serial_row("T1", 1)],
        [serial_row("T1", 1), serial_row("T1", 2, 出券類型="電子票券")],
    ],
    ids=["too many", "one number twice", "another issue type"],
)
async def test_a_contradiction_is_parked(collecting: Collecting, rows: list[dict[str, str]]) -> None:
    """No number is published: `unresolved`, stage `collect`, with an event; others of the report are published."""
    collecting.reports.rows = [*rows, *both("T2")]
    parked, published = await collecting.run(*await collecting.waiting("T1", "T2"))

    dead_letter = parked.dead_letter
    assert (parked.reason, header(dead_letter, "ecticket-stage")) == ("unresolved", "collect")
    assert parked.types == ["parked"]
    assert (parked.event("parked").data["stage"], parked.event("parked").data["order_id"]) == ("collect", "order-T1")
    assert published.types == ["collected"]
    assert collecting.observer.of("parked") == [("collect", "unresolved")]


async def test_what_stays_incomplete_is_parked_after_two_days(collecting: Collecting) -> None:
    """Since it was first awaited, on a last report; a replay collects for two more days."""
    collecting.reports.rows = [serial_row("T1", 1)]
    (parked,) = await collecting.run(*await collecting.waiting("T1"))
    assert collecting.clock() == NOON + timedelta(hours=48)
    assert header(parked.dead_letter, "ecticket-reason") == "unresolved"

    collecting.restart()
    again = replayed(parked.dead_letter, topic=TOPICS.confirmations, clock=collecting.clock)
    waiting = await collecting.prepared(again)
    assert isinstance(await collecting.handle(*waiting), datetime)
    collecting.reports.rows = both("T1")
    (published,) = await collecting.run(waiting)

    assert numbers(published) == [f"{SECRET}NT11", f"{SECRET}NT12"]
    assert again.key == MERCHANT.encode()


async def test_a_replay_that_fails_is_parked_under_another_id(collecting: Collecting) -> None:
    """Its event is a new fact: it names the dead letter that it was before."""
    (first,) = await collecting.run(*await collecting.waiting("T1"))
    again = replayed(first.dead_letter, topic=TOPICS.confirmations, clock=collecting.clock)
    replayed_at = collecting.clock()
    (second,) = await collecting.run(await collecting.prepared(again))

    assert collecting.clock() == replayed_at + timedelta(hours=48)
    assert first.event("parked").id != second.event("parked").id
    assert header(second.dead_letter, "ecticket-replays") == "1"


async def test_an_event_that_cannot_be_read_is_parked_and_replayed(collecting: Collecting) -> None:
    """Its own record is in the dead letter; after the defect is fixed, a replay begins to collect."""
    issued = collecting.issued("T1", issue_type="electronic")
    parked = await collecting.outcome(replace(issued, value=b'{"merchant_id": 7}'))
    assert (parked.reason, header(parked.dead_letter, "ecticket-topic")) == ("unreadable", TOPICS.issuances)

    fixed = signed(replace(parked.dead_letter, value=issued.value))
    again = replayed(fixed, topic=TOPICS.confirmations, clock=collecting.clock, signer=collecting.signer)
    published = await collecting.outcome(again)

    assert len(published.confirmations) == 1


@pytest.mark.parametrize("value", [b'{"collection":1,"issuance":{}}', b'{"collection":2}', b'{"collection":'])
async def test_a_collection_that_cannot_be_read_is_parked(collecting: Collecting, value: bytes) -> None:
    """`unreadable`, with the fields that are wrong."""
    parked = await collecting.outcome(replace(collecting.issued(), topic=TOPICS.confirmations, value=value))

    assert (parked.reason, header(parked.dead_letter, "ecticket-stage")) == ("unreadable", "collect")


async def test_an_event_that_is_too_large_is_parked_without_its_tickets(collecting: Collecting) -> None:
    """The dead letter holds the collection, from which a replay collects again."""
    ((record, _),) = await collecting.waiting("T1")
    error = OutcomeTooLarge("too large")

    parked = collecting.reader.read(collecting.stage.on_error(record, error, FakeRecordContext(record)))

    assert parked.reason == "too-large"
    assert parked.dead_letter.value == record.value


# --- waiting ----------------------------------------------------------------------------------------------------------


async def test_handing_off_keeps_the_progress(collecting: Collecting) -> None:
    """Age, number of reports and the next due time go with the new record, whose signature is valid."""
    (waiting,) = await collecting.waiting("T1", recovered=True)
    due = await collecting.handle(*waiting)
    collecting.clock.passes(30)
    (rewritten,) = collecting.reader.read(
        collecting.stage.hand_off(waiting[0], waiting[1], FakeRecordContext(waiting[0]))
    ).confirmations

    collecting.restart()
    _, pending = await collecting.prepared(rewritten)

    assert pending.progress == waiting[1].progress
    assert (pending.due, rewritten.key) == (due, MERCHANT.encode())
    assert collecting.observer.of("untrusted_headers") == []


async def test_handing_off_publishes_what_was_found(collecting: Collecting) -> None:
    """A round has found the tickets of one that is not due yet; to write it again would lose them."""
    first, second = await collecting.waiting("T1", "T2")
    await collecting.handle(*first)
    collecting.clock.passes(60)
    collecting.reports.rows = [*both("T1"), *both("T2")]
    await collecting.handle(*first)

    published = collecting.reader.read(collecting.stage.hand_off(*second, FakeRecordContext(second[0])))

    assert published.types == ["collected"]


async def test_a_collection_without_a_valid_signature_publishes_no_tickets(collecting: Collecting) -> None:
    """Its writer chose the order that would get another order's codes. A replay makes no signed record of it."""
    (waiting,) = await collecting.waiting("T1")
    content = json.loads(waiting[0].value or b"")
    content["issuance"]["order_id"] = "FORGED"
    forged = replace(waiting[0], value=json.dumps(content, separators=(",", ":")).encode())
    collecting.reports.rows = both("T1")

    parked = await collecting.outcome(forged)

    assert (parked.types, parked.reason) == (["parked"], "unresolved")
    assert not has_header(parked.dead_letter, "ecticket-signature")
    assert collecting.observer.of("untrusted_headers") == [("collect", "invalid")]


async def test_an_issued_event_among_the_confirmations_needs_a_signature(collecting: Collecting) -> None:
    """A replay puts it there; on its own topic nothing signs it."""
    event = collecting.issued("T1")

    parked = await collecting.outcome(replace(event, topic=TOPICS.confirmations))

    assert parked.reason == "unresolved"
    assert len((await collecting.outcome(event)).confirmations) == 1


async def test_what_the_engine_drops_is_forgotten(collecting: Collecting) -> None:
    """A partition that has another owner leaves nothing behind: neither memory nor days of a report."""
    waiting = await collecting.waiting("T1", "T2")
    assert collecting.stage.waiting()[MERCHANT].count == 2
    assert collecting.stage.waiting()[MERCHANT].oldest == NOON

    waiting.clear()
    gc.collect()

    assert collecting.stage.waiting()[MERCHANT].count == 0
    assert collecting.stage.waiting()[MERCHANT].oldest is None


async def test_a_restart_reads_one_report(collecting: Collecting) -> None:
    """Everything that waited is overdue, and is looked for together."""
    collections = [await collecting.begun(collecting.issued(f"T{number}")) for number in range(20)]
    collecting.clock.passes(3600)
    collecting.restart()
    collecting.reports.rows = [row for number in range(20) for row in both(f"T{number}")]

    published = await collecting.run(*[await collecting.prepared(each) for each in collections])

    assert sum(each.types == ["collected"] for each in published) == 20
    assert len(collecting.reports.requests) == 1


async def test_the_confirm_stage_passes_over_what_is_to_be_collected(collecting: Collecting) -> None:
    """It reads the same topic; neither a collection nor a replayed event is one of its records."""
    from flows.harness import Harness

    harness = Harness()
    collection = await collecting.begun(collecting.issued())
    for record in (collection, replace(collecting.issued(), topic=TOPICS.confirmations)):
        prepared = await harness.confirm.prepare(record)
        assert prepared.subject is None
        assert await harness.confirm.handle(prepared.subject, FakeRecordContext(record)) == harness.confirm.hand_off(
            record, prepared.subject, FakeRecordContext(record)
        )


# --- secrets ----------------------------------------------------------------------------------------------------------


async def test_no_number_is_shown_anywhere(collecting: Collecting) -> None:
    """Only the value of the published event has them: not a log line, a header, a message, a metric or a `repr`."""
    collecting.reports.rows = [*both("T1"), serial_row("T2", 1), serial_row("T2", 1), serial_row("T3", 1)]
    shown: list[str] = []
    with capture_logs() as lines:
        waiting = await collecting.waiting("T1", "T2", "T3")
        for record, pending in waiting:
            await collecting.handle(record, pending)
            shown += everything_shown(record, pending, pending.step)
        outcomes = [
            collecting.stage.hand_off(record, pending, FakeRecordContext(record)) for record, pending in waiting
        ]
    records = [each for outcome in outcomes for each in outcome.records]
    shown += everything_shown(*outcomes, *records, *lines, *collecting.observer.all)
    shown += [repr(each.headers) + repr(each.key) for each in records]

    assert [each.topic for each in records if SECRET.encode() in (each.value or b"")] == [TOPICS.collected]
    assert not [each for each in shown if SECRET in each]


def test_what_waits_can_be_counted_while_it_changes() -> None:
    """A scrape reads on another thread than the stage's, and a set that changes cannot be iterated."""
    changes = iter((True, True, False))

    class Changing(set[PendingTickets]):
        def __iter__(self) -> Iterator[PendingTickets]:
            if next(changes):
                raise RuntimeError("Set changed size during iteration")
            return super().__iter__()

    assert _copied(Changing()) == []
    assert next(changes, None) is None
