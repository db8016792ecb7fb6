"""Dead letters replayed without a broker: each goes back to its stage, once, in a transaction with its commit."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from flows.harness import KNOWN_TRADE_NO, derived, line
from key_words import mentions

from adapter import Event, Line, NotDelivered, Order, TicketItem, hookimpl
from adapter.errors import OutcomeTooLarge
from adapter.extensions.provided_sinks import ProvidedSink
from adapter.flows.messages.dead_letters import RECORD_MAX_BYTES, DeadLetterCause, dead_letter_record
from adapter.flows.messages.events import record_origin
from adapter.flows.messages.record_history import RecordHistory
from adapter.flows.number_history import NumberHistory
from adapter.operations.dead_letter_filters import Filters, parse_filters
from adapter.operations.dead_letter_view import DeadLetter, read_dead_letter
from adapter.operations.replay import ReplayRecord, SinkDelivery
from adapter.operations.replay_dead_letters import ReplayOperation, ReplayOptions, ReplayResult
from adapter.operations.sink_redelivery import SinkRedelivery
from adapter.protocol.issue import IssueType
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.port import TopicPartition
from adapter.stream.records import Record
from adapter.testing.ecticket import LOST_AFTER
from adapter.testing.fakes import TOPICS, FakeRecordContext
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, header
from adapter.values import replace

from .memory_topics import MemoryTopics, impatient_harness, park_confirmation, park_unresolved

DEAD_LETTERS = TopicPartition(TOPICS.dead_letters, 2)


class Results:
    """The results of a replay by the names of the dead letters."""

    def __init__(self) -> None:
        self.targets: dict[str, str] = {}
        self.would: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.lacking: dict[str, str] = {}

    def lack_known_number(self, merchant_ids: Mapping[str, str]) -> None:
        self.lacking = dict(merchant_ids)

    def replayed(self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None:
        self.targets[dead_letter.name] = replayed_record.target

    def would_replay(self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None:
        self.would[dead_letter.name] = replayed_record.target

    def left_out(self, dead_letter: DeadLetter, why: str) -> None:
        self.reasons[dead_letter.name] = why


class ChatSink:
    """A sink that accepts events unless it is broken."""

    name = "chat"

    def __init__(self) -> None:
        self.broken = False
        self.events: list[Event] = []

    async def deliver(self, event: Event) -> None:
        if self.broken:
            raise NotDelivered("HTTP 500")
        self.events.append(event)


class ToOneProduct:
    """Maps every sku to one product."""

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem]:
        return [TicketItem(item_no="BR103218", quantity=line.quantity, issue_type=IssueType.ELECTRONIC)]


class Desk:
    """The command's parts around one cluster in memory."""

    def __init__(self, *, known_trade_no: str | None = KNOWN_TRADE_NO) -> None:
        self.harness = impatient_harness(known_trade_no=known_trade_no)
        self.topics = MemoryTopics(self.harness)
        self.chat = ChatSink()

    async def replay(
        self,
        *which: str,
        filters: Filters | None = None,
        limit: int | None = None,
        max_replays: int = 5,
        dry_run: bool = False,
        unsigned: bool = False,
    ) -> tuple[Results, ReplayResult]:
        """Run the command once."""
        results = Results()
        operation = ReplayOperation(
            store=self.topics.store,
            topics=TOPICS,
            merchants=self.harness.merchants,
            number_history=NumberHistory(self.harness.reader.tail, self.harness.merchants),
            make_signer=lambda: self.harness.signer,
            sinks=SinkRedelivery(
                lambda: [ProvidedSink(name="chat", plugin="shop", sink=self.chat)], timeout_seconds=5, concurrency=1
            ),
            observer=results,
        )
        options = ReplayOptions(
            which=which,
            filters=filters or Filters(),
            limit=limit,
            per_second=None,
            max_replays=max_replays,
            unsigned=unsigned,
            dry_run=dry_run,
        )
        return results, await operation.run(options)

    async def park_unmapped(self, order_id: str) -> str:
        """Park an order at stage map; returns the name of its dead letter."""
        parked = await self.harness.work(self.harness.order(line("tea for two"), order_id=order_id))
        return self.put(parked.dead_letter)

    def put(self, dead_letter: Record) -> str:
        """Put a dead letter into its topic; returns its name."""
        self.topics.put(dead_letter)
        return read_dead_letter(dead_letter).name

    def put_for_sink(self, event_id: str, subject: str, *, is_signed: bool = True) -> str:
        """Put an event that the sink did not accept; returns the name of its dead letter."""
        attributes = {
            "specversion": "1.0",
            "id": event_id,
            "type": "ecticket.issuance.issued.v1",
            "source": "/ecticket-adapter/merchants/3085676",
            "subject": subject,
            "time": "2026-03-01T04:00:00.000Z",
        }
        event = self.harness.record(b'{"order_id": "A-1"}', key=b"k", topic=TOPICS.issuances)
        event = replace(event, headers=tuple((f"ce_{name}", text.encode()) for name, text in attributes.items()))
        cause = DeadLetterCause(reason="sink-failed", stage="deliver", message="HTTP 500", plugin="shop", sink="chat")
        history = RecordHistory(
            origin=record_origin(event), origin_timestamp=event.timestamp, first_seen=event.timestamp
        )
        return self.put(
            self.harness.reader.published(
                dead_letter_record(
                    event,
                    cause,
                    history,
                    topic=TOPICS.dead_letters,
                    now=event.timestamp,
                    signer=self.harness.signer if is_signed else None,
                )
            )
        )


async def test_each_stage_goes_back_to_its_topic_in_one_transaction() -> None:
    """Orders go to the deferred topic and confirmations to theirs; none is open afterwards."""
    desk = Desk()
    harness = desk.harness
    parse = desk.put((await harness.work(harness.record(b"{", key=b"k"))).dead_letter)
    map_ = await desk.park_unmapped("M-1")
    harness.ecticket.faults = [LOST_AFTER]
    submit = desk.put(await park_unresolved(harness, order_id="S-1"))
    confirm = desk.put(await park_confirmation(harness, order_id="C-1"))

    results, result = await desk.replay()

    written = desk.topics.take_written()
    deferred, confirmations = TOPICS.orders_deferred, TOPICS.confirmations
    assert results.targets == {parse: deferred, map_: deferred, submit: deferred, confirm: confirmations}
    assert desk.topics.cluster.transactions == [(DEAD_LETTERS, 4)]
    assert (result.unknown, result.unsigned) == ((), 0)
    assert await desk.topics.open_names() == set()

    harness.use(shop=ToOneProduct())
    ended = [(await harness.run(record)).types for record in written.deferred_records]
    confirmed, _ = await harness.await_result(written.confirmations[0])
    assert ended == [["parked"], ["submitted"], ["submitted"]]
    assert confirmed.events or confirmed.confirmations
    assert harness.ecticket.tickets == {derived("M-1"): 1, derived("S-1"): 1, derived("C-1"): 1}


async def test_a_filter_selects_and_the_others_stay_open() -> None:
    """By reason; and of those, the oldest up to the limit."""
    desk = Desk()
    first, second = await desk.park_unmapped("M-1"), await desk.park_unmapped("M-2")
    unreadable = desk.put((await desk.harness.work(desk.harness.record(b"{", key=b"k"))).dead_letter)

    results, _ = await desk.replay(filters=parse_filters(reason="unmapped-item"), limit=1)

    assert results.targets == {first: TOPICS.orders_deferred}
    assert results.reasons == {}
    assert await desk.topics.open_names() == {second, unreadable}


async def test_names_select_by_order_and_an_unknown_one_is_returned() -> None:
    """A misspelt name must not look like success."""
    desk = Desk()
    first, second = await desk.park_unmapped("M-1"), await desk.park_unmapped("M-2")

    results, result = await desk.replay("M-2", "M-3")

    assert results.targets == {second: TOPICS.orders_deferred}
    assert result.unknown == ("M-3",)
    assert await desk.topics.open_names() == {first}


async def test_a_second_replay_is_refused() -> None:
    """The commit says that it is handled: nothing is written, and the name is answered."""
    desk = Desk()
    name = await desk.park_unmapped("M-1")
    await desk.replay()

    again, _ = await desk.replay("M-1")
    all_again, _ = await desk.replay()

    assert again.targets == all_again.targets == all_again.reasons == {}
    assert mentions(again.reasons[name], "handled")
    assert len(desk.topics.take_written().deferred_records) == 1


async def test_a_dead_letter_that_another_command_replays_in_the_meantime_is_left_out() -> None:
    """The other one has selected it too and was faster; the claim reads its commit."""
    desk = Desk()
    name = await desk.park_unmapped("M-1")
    desk.topics.before_read[2] = desk.replay

    results, _ = await desk.replay()

    assert results.targets == {}
    assert mentions(results.reasons[name], "Another")
    assert len(desk.topics.take_written().deferred_records) == 1


async def test_a_dry_run_writes_nothing() -> None:
    """It names the target."""
    desk = Desk()
    name = await desk.park_unmapped("M-1")

    results, _ = await desk.replay(dry_run=True)

    assert (results.would, results.targets) == ({name: TOPICS.orders_deferred}, {})
    assert desk.topics.cluster.transactions == []
    assert await desk.topics.open_names() == {name}


async def test_what_came_back_too_often_is_left_out() -> None:
    """A second dead letter of the order has `ecticket-replays` 1."""
    desk = Desk()
    await desk.park_unmapped("M-1")
    await desk.replay()
    parked = await desk.harness.run(desk.topics.take_written().deferred_records[0])
    name = desk.put(parked.dead_letter)

    results, _ = await desk.replay(max_replays=1)
    allowed, _ = await desk.replay(max_replays=2)

    assert header(parked.dead_letter, "ecticket-replays") == "1"
    assert mentions(results.reasons[name], "1 times --max-replays")
    assert allowed.targets == {name: TOPICS.orders_deferred}


async def test_a_value_that_the_dead_letter_lacks_is_read_from_its_origin() -> None:
    """By the coordinates in its signed headers; if the origin is gone, it stays open."""
    desk = Desk()
    harness = desk.harness
    found, gone = (harness.record(b"x" * RECORD_MAX_BYTES, key=b"k") for _ in range(2))
    names = [desk.put((await harness.work(record)).dead_letter) for record in (found, gone)]
    desk.topics.put(found)

    results, _ = await desk.replay()

    (record,) = desk.topics.take_written().deferred_records
    assert record.value == found.value
    assert results.targets == {names[0]: TOPICS.orders_deferred}
    assert mentions(results.reasons[names[1]], f"{TOPICS.orders_paid}/2/{gone.offset}")
    assert await desk.topics.open_names() == {names[1]}


async def test_an_event_without_a_signature_is_delivered_only_on_demand() -> None:
    """A webhook sink would sign it for its receiver."""
    desk = Desk()
    name = desk.put_for_sink("forged", "T-1", is_signed=False)

    results, result = await desk.replay()
    demanded, _ = await desk.replay(unsigned=True)

    assert mentions(results.reasons[name], "unsigned --unsigned")
    assert (results.targets, result.unsigned) == ({}, 1)
    assert demanded.targets == {name: "sink chat"}


async def test_a_forged_confirmation_stays_unsigned() -> None:
    """Parked by the confirm stage, replayed by an operator: it waits for a person until that is demanded."""
    desk = Desk()
    harness = desk.harness
    (confirmation,) = (await harness.work(harness.order())).confirmations
    forged = replace(confirmation, headers=())
    parked, _ = await harness.await_result(forged)
    assert isinstance(parked, OrderEvents)
    name = desk.put(parked.dead_letter)

    results, _ = await desk.replay()
    demanded, _ = await desk.replay(unsigned=True)
    harness.ecticket.results[derived()] = IssueStatus.ISSUED, None
    published, _ = await harness.await_result(desk.topics.take_written().confirmations[0])

    assert mentions(results.reasons[name], "signature --unsigned")
    assert demanded.targets == {name: TOPICS.confirmations}
    assert isinstance(published, OrderEvents)
    assert published.types == ["issued"]


async def test_the_value_of_a_confirmation_is_not_read_from_an_unsigned_record() -> None:
    """The adapter has signed a dead letter with coordinates alone; the record there is a forgery."""
    desk = Desk()
    harness = desk.harness
    (confirmation,) = (await harness.work(harness.order())).confirmations
    forged = replace(confirmation, headers=(), offset=77)
    desk.topics.put(forged)
    error = OutcomeTooLarge("too large", again=True)
    bare = harness.reader.read(harness.confirm.on_error(forged, error, FakeRecordContext(forged)))
    name = desk.put(bare.dead_letter)

    for unsigned in (False, True):
        results, _ = await desk.replay(unsigned=unsigned)
        assert "no valid signature" in results.reasons[name]


async def test_an_event_is_delivered_to_its_sink_and_to_no_topic() -> None:
    """Acknowledged after the sink has accepted it."""
    desk = Desk()
    name = desk.put_for_sink("event-1", "T-1")

    results, result = await desk.replay(filters=Filters(sink="chat"))

    assert results.targets == {name: "sink chat"}
    assert result.unsigned == 0
    assert [event.id for event in desk.chat.events] == ["event-1"]
    assert desk.topics.cluster.transactions == [(DEAD_LETTERS, 0)]
    assert await desk.topics.open_names() == set()


async def test_an_event_that_its_sink_does_not_accept_stays_open() -> None:
    """So do later events about the same issuance; the next command delivers them in their order."""
    desk = Desk()
    names = [desk.put_for_sink("event-1", "T-1"), desk.put_for_sink("event-2", "T-1")]
    desk.chat.broken = True

    failed, _ = await desk.replay()
    desk.chat.broken = False
    delivered, _ = await desk.replay()

    assert failed.targets == {}
    assert mentions(failed.reasons[names[0]], "chat 500")
    assert mentions(failed.reasons[names[1]], "chat earlier")
    assert list(delivered.targets) == names
    assert [event.id for event in desk.chat.events] == ["event-1", "event-2"]


@pytest.mark.parametrize(
    ("known_trade_no", "issued", "lacking"), [(None, False, True), (None, True, False), (KNOWN_TRADE_NO, False, False)]
)
async def test_a_merchant_without_a_known_number_is_reported(
    known_trade_no: str | None, issued: bool, lacking: bool
) -> None:
    """ "Not known" cannot be proven for it: neither the settings nor a published event has a number."""
    desk = Desk(known_trade_no=known_trade_no)
    if issued:
        await desk.harness.work(desk.harness.order(order_id="B-1"))
    desk.harness.ecticket.faults = [LOST_AFTER]
    name = desk.put(await park_unresolved(desk.harness))

    results, _ = await desk.replay(dry_run=True)

    assert results.lacking == ({name: MERCHANT} if lacking else {})
