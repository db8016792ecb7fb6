"""A replayed dead letter: which record is published, with which history, and what a corrected mapping makes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flows.harness import SERIAL, Harness, derived, line, plan_of, replayed

from adapter import Line, Order, TicketItem, hookimpl
from adapter.errors import InvalidOrder
from adapter.flows.messages.dead_letters import RECORD_MAX_BYTES, DeadLetterCause, dead_letter_record
from adapter.flows.messages.events import Origin
from adapter.flows.messages.record_history import RecordHistory, read_history
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.plan_codec import DeferredPlan, encode_plan
from adapter.operations.replay import NotReplayed, ReplayRecord, SinkDelivery, needs_origin, replay
from adapter.protocol.issue import IssueType
from adapter.stream.records import NotRead, ProducerRecord, Record
from adapter.testing.ecticket import LOST_BEFORE, NOT_SENT, REFUSED
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, has_header, header
from adapter.values import replace

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
EARLIER = datetime(2026, 3, 1, 8, 30, 15, 250_000, tzinfo=UTC)
HISTORY = RecordHistory(
    origin=Origin(topic="orders.paid", partition=3, offset=41),
    origin_timestamp=EARLIER,
    first_seen=EARLIER,
    attempts=5,
    replays=1,
)
RECORD = Record(
    topic="orders.paid",
    partition=3,
    offset=41,
    timestamp=EARLIER,
    key=b"shop-key",
    value=b'{"order_id": "A-1"}',
    headers=(("x-shop", b"1"), ("x-shop", b"2")),
)


def _dead_letter(
    reason: str = "unmapped-item", stage: str = "map", history: RecordHistory = HISTORY, record: Record = RECORD
) -> Record:
    cause = DeadLetterCause(reason=reason, stage=stage, message="What happened. What to do.", plugin="shop")  # type: ignore[arg-type]
    return _published(dead_letter_record(record, cause, history, topic=TOPICS.dead_letters, now=EARLIER))


def _published(dead_letter: ProducerRecord) -> Record:
    return replace(
        RECORD, topic=dead_letter.topic, key=dead_letter.key, value=dead_letter.value, headers=dead_letter.headers
    )


def _replayed(dead_letter: Record, origin: Record | None = None) -> ReplayRecord:
    again = replay(dead_letter, topics=TOPICS, now=NOW, origin=origin)
    assert isinstance(again, ReplayRecord), again
    return again


def _ours(producer_record: ProducerRecord) -> dict[str, str]:
    return {
        name: (value or b"").decode()
        for name, value in producer_record.headers
        if name.startswith(("ecticket-", "kafka_"))
    }


# --- the record that goes back ----------------------------------------------------------------------------------------


def test_an_order_goes_back_as_it_came_with_its_clocks_reset() -> None:
    """Key, value and the shop's headers; the parking's own are gone; once more replayed, and possibly sent now."""
    again = _replayed(_dead_letter())

    assert (again.producer_record.topic, again.replays, again.mapped_again) == (TOPICS.orders_deferred, 2, True)
    assert (again.producer_record.key, again.producer_record.value) == (RECORD.key, RECORD.value)
    assert again.producer_record.headers[:2] == RECORD.headers
    assert _ours(again.producer_record) == {
        "ecticket-topic": "orders.paid",
        "ecticket-partition": "3",
        "ecticket-offset": "41",
        "ecticket-timestamp": "2026-03-01T08:30:15.250Z",
        "ecticket-first-seen": "2026-03-02T12:00:00.000Z",
        "ecticket-attempts": "0",
        "ecticket-replays": "2",
        "ecticket-possibly-sent-at": "2026-03-02T12:00:00.000Z",
        "ecticket-possibly-sent-by": "replay",
        "ecticket-dead-letter": f"{TOPICS.dead_letters}/3/41",
        "ecticket-not-before": "2026-03-02T12:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("stage", "topic"),
    [
        ("parse", TOPICS.orders_deferred),
        ("map", TOPICS.orders_deferred),
        ("submit", TOPICS.orders_deferred),
        ("confirm", TOPICS.confirmations),
        ("collect", TOPICS.confirmations),
    ],
)
def test_the_stage_decides_where_it_goes(stage: str, topic: str) -> None:
    """Never to the shop's topic, where others listen."""
    assert _replayed(_dead_letter("internal-error", stage)).producer_record.topic == topic


def test_a_confirmation_goes_back_without_being_due_or_sent_again() -> None:
    """Its value says how far it came; only the clock that gives it up begins again."""
    again = _replayed(_dead_letter("unresolved", "confirm", HISTORY.possibly_sent(EARLIER)))

    assert _ours(again.producer_record).keys().isdisjoint({"ecticket-not-before", "ecticket-possibly-sent-by"})
    assert _ours(again.producer_record)["ecticket-possibly-sent-at"] == "2026-03-01T08:30:15.250Z"
    assert _ours(again.producer_record)["ecticket-first-seen"] == "2026-03-02T12:00:00.000Z"
    assert not again.mapped_again


@pytest.mark.parametrize(
    ("stage", "expected"), [("deliver", "ecticket-sink"), ("later", "'later'"), (None, "ecticket-stage")]
)
def test_what_has_no_way_back_is_refused(stage: str | None, expected: str) -> None:
    """With a sentence, and nothing goes anywhere."""
    dead_letter = _dead_letter("sink-failed", "deliver")
    headers = [(name, value) for name, value in dead_letter.headers if name != "ecticket-stage"]
    headers += [("ecticket-stage", stage.encode())] if stage else []

    refused = replay(replace(dead_letter, headers=tuple(headers)), topics=TOPICS, now=NOW)

    assert isinstance(refused, NotReplayed)
    assert expected in refused.reason


EVENT = replace(
    RECORD,
    topic=TOPICS.issuances,
    value=b'{"order_id": "A-1"}',
    headers=tuple(
        (f"ce_{name}", text.encode())
        for name, text in {
            "specversion": "1.0",
            "id": "event-1",
            "type": "ecticket.issuance.issued.v1",
            "source": "/ecticket-adapter/merchants/3085676",
            "time": "2026-03-01T04:00:00.000Z",
            "orderid": "A-1",
        }.items()
    ),
)
SINK_FAILED = DeadLetterCause(
    reason="sink-failed", stage="deliver", message="What happened. What to do.", plugin="shop", sink="chat"
)


def _sink_dead_letter() -> Record:
    return _published(dead_letter_record(EVENT, SINK_FAILED, HISTORY, topic=TOPICS.dead_letters, now=EARLIER))


def test_what_a_sink_did_not_take_goes_to_that_sink_and_to_no_topic() -> None:
    """Every topic that it reads is read by others too; the event is the one that was published."""
    again = replay(_sink_dead_letter(), topics=TOPICS, now=NOW)

    assert isinstance(again, SinkDelivery)
    assert (again.sink, again.target, again.replays, again.records) == ("chat", "sink chat", 2, ())
    assert (again.event.id, again.event.data) == ("event-1", {"order_id": "A-1"})
    assert again.event.extensions == {"orderid": "A-1"}


def test_an_event_that_the_dead_letter_lost_is_fetched_or_given_up() -> None:
    """As an order's value is."""
    dead_letter = replace(
        _sink_dead_letter(), value=None, headers=(*_sink_dead_letter().headers, ("ecticket-value-omitted", b"true"))
    )

    gone = replay(dead_letter, topics=TOPICS, now=NOW)
    found = replay(dead_letter, topics=TOPICS, now=NOW, origin=EVENT)

    assert isinstance(gone, NotReplayed)
    assert "orders.paid/3/41" in gone.reason
    assert isinstance(found, SinkDelivery)
    assert found.event.id == "event-1"


def test_a_header_that_cannot_be_read_is_refused() -> None:
    """Its author may have known that tickets exist."""
    dead_letter = replace(
        _dead_letter(), headers=(*_dead_letter().headers, ("ecticket-possibly-sent-at", b"yesterday"))
    )

    refused = replay(dead_letter, topics=TOPICS, now=NOW)

    assert isinstance(refused, NotReplayed)
    assert "ecticket-possibly-sent-at" in refused.reason


# --- the value that was left out --------------------------------------------------------------------------------------

HUGE = replace(RECORD, value=b"x" * RECORD_MAX_BYTES)


def test_a_value_that_was_left_out_comes_from_the_record_itself() -> None:
    """Key, value and headers are those of the origin."""
    dead_letter = _dead_letter("too-large", "parse", record=HUGE)

    again = _replayed(dead_letter, origin=HUGE)

    assert dead_letter.value is None
    assert needs_origin(dead_letter) == HISTORY.origin
    assert (again.producer_record.key, again.producer_record.value) == (HUGE.key, HUGE.value)
    assert again.producer_record.headers[:2] == HUGE.headers
    assert "ecticket-value-omitted" not in _ours(again.producer_record)


UNREAD = replace(HUGE, key=None, value=None, not_read=NotRead(first=41, last=41, why="it is too large"))


@pytest.mark.parametrize("origin", [None, replace(HUGE, timestamp=NOW), replace(HUGE, raw_timestamp_ms=-1), UNREAD])
def test_without_the_record_a_dead_letter_without_value_is_rejected(origin: Record | None) -> None:
    """It is gone, or its topic was recreated and holds another one there."""
    refused = replay(_dead_letter("too-large", "parse", record=HUGE), topics=TOPICS, now=NOW, origin=origin)

    assert isinstance(refused, NotReplayed)
    assert "orders.paid/3/41" in refused.reason


def test_a_plan_is_enough_without_a_value() -> None:
    """All that is needed stands in it."""
    dead_letter = _dead_letter("gave-up", "submit", replace(HISTORY, plan=b'{"v":1}'), record=HUGE)

    assert _replayed(dead_letter).producer_record.value is None


def test_a_dead_letter_with_its_value_needs_nothing_more() -> None:
    """The record that it came from is not read."""
    assert needs_origin(_dead_letter()) is None


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "sent_at", "faults", "kept"),
    [
        ("unknown-merchant", None, (NOT_SENT, NOT_SENT), False),
        ("invalid-order", None, (NOT_SENT, NOT_SENT), False),
        ("gave-up", None, (NOT_SENT, NOT_SENT), True),
        ("unknown-merchant", EARLIER, (NOT_SENT, NOT_SENT), True),
        ("unknown-merchant", None, (LOST_BEFORE, NOT_SENT), True),
        ("unknown-merchant", None, (None, NOT_SENT), True),
    ],
    ids=["unused", "invalid", "sound", "header says sent", "plan says sent", "another part is done"],
)
async def test_a_plan_stays_behind_only_where_it_was_never_used(
    reason: str, sent_at: datetime | None, faults: tuple[object, ...], kept: bool
) -> None:
    """Nothing of the order was ever sent, and the correction decides what is in the plan."""
    harness = Harness()
    harness.ecticket.always = NOT_SENT
    plan = encode_plan(await _plan_after(harness, faults))
    dead_letter = _dead_letter(reason, "map", replace(HISTORY, plan=plan, possibly_sent_at=sent_at))

    again = _replayed(dead_letter)

    assert ("ecticket-plan" in _ours(again.producer_record)) is kept
    assert again.mapped_again is not kept


async def _plan_after(harness: Harness, faults: tuple[object, ...]) -> DeferredPlan:
    harness.ecticket.faults = list(faults)  # type: ignore[arg-type]
    published = await harness.work(harness.order(line(), line("SPA", 1, **SERIAL)))
    return plan_of(published.deferred_record)


def test_a_plan_that_cannot_be_read_is_kept() -> None:
    """It may say that tickets exist."""
    dead_letter = _dead_letter("unreadable", "parse", replace(HISTORY, plan=b"{}"))

    assert _ours(_replayed(dead_letter).producer_record)["ecticket-plan"] == "{}"


# --- stories ----------------------------------------------------------------------------------------------------------


class FixableMapping:
    """A mapping that knows the shop's product."""

    def __init__(self, item_no: str = "VQT04959") -> None:
        self._item_no = item_no

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem]:
        return [TicketItem(item_no=self._item_no, quantity=line.quantity, issue_type=IssueType.ELECTRONIC)]


def _back(harness: Harness, published: OrderEvents) -> Record:
    return replayed(published.dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock)


async def test_a_fixed_mapping_takes_effect() -> None:
    """Parked before it had a plan: mapped again, queried, and issued once."""
    harness = Harness()
    first = await harness.work(harness.order(line("tea for two")))
    harness.use(shop=FixableMapping("BR103218"))

    published = await harness.run(_back(harness, first))

    assert first.event("parked").data["reason"] == "unmapped-item"
    assert published.types == ["submitted"]
    assert harness.ecticket.requests[0].ticket_info[0].item_no == "BR103218"
    assert harness.ecticket.tickets == {derived(): 1}


async def test_an_order_that_is_parked_again_unsent_is_as_certain_as_before() -> None:
    """The mapping was not corrected: the same reason, and no warning of tickets that may exist."""
    harness = Harness()
    first = await harness.work(harness.order(line("tea for two")))

    second = await harness.work(_back(harness, first))

    assert second.event("parked").data["reason"] == header(second.dead_letter, "ecticket-reason") == "unmapped-item"
    assert "tickets may exist" not in header(second.dead_letter, "ecticket-message")
    assert not has_header(second.dead_letter, "ecticket-possibly-sent-at")
    assert not has_header(second.dead_letter, "ecticket-possibly-sent-by")
    assert header(second.dead_letter, "ecticket-replays") == "1"
    assert harness.ecticket.calls == []


async def test_a_record_that_stays_unreadable_is_as_certain_as_before() -> None:
    """A record that cannot be read was never sent."""
    harness = Harness()
    first = await harness.work(harness.record(b"{", key=b"k"))

    second = await harness.work(_back(harness, first))

    assert second.event("parked").data["reason"] == "unreadable"
    assert not has_header(second.dead_letter, "ecticket-possibly-sent-at")


async def test_what_was_doubtful_before_the_replay_stays_so() -> None:
    """Replayed without a correction: the warning that tickets may exist stays."""
    harness = Harness()
    first = await harness.work(
        harness.order(line("tea for two")), possibly_sent_since=EARLIER, fingerprint_changed=True
    )

    second = await harness.work(_back(harness, first))

    assert first.event("parked").data["reason"] == second.event("parked").data["reason"] == "unresolved"
    assert has_header(second.dead_letter, "ecticket-possibly-sent-at")


async def test_an_order_verified_as_unknown_is_free_to_be_mapped_again() -> None:
    """It was possibly sent, is proven not to be, and breaks a rule: no plan binds it, so that the mending counts."""
    harness = Harness(policy=SubmitPolicy())
    harness.use(shop=FixableMapping("too-long-for-ecticket"))
    wrong = await harness.run(harness.order(line("tea for two")), possibly_sent_since=EARLIER)
    harness.use(shop=FixableMapping("BR103218"))

    published = await harness.run(_back(harness, wrong))

    assert wrong.event("parked").data["reason"] == InvalidOrder.reason
    assert not has_header(wrong.dead_letter, "ecticket-plan")
    assert not has_header(wrong.dead_letter, "ecticket-possibly-sent-at")
    assert published.types == ["submitted"]
    assert harness.ecticket.requests[0].ticket_info[0].item_no == "BR103218"


async def test_an_order_replayed_twice_without_effect_is_still_mapped_again() -> None:
    """Invalid, replayed unmended, deferred with its plan, proven unsent, parked again: the third time counts."""
    harness = Harness()
    harness.use(shop=FixableMapping("too-long-for-ecticket"))
    first = await harness.work(harness.order(line("tea for two")))
    second = await harness.run(_back(harness, first))
    harness.use(shop=FixableMapping("BR103218"))

    third = await harness.run(_back(harness, second))

    assert [published.event("parked").data["reason"] for published in (first, second)] == ["invalid-order"] * 2
    assert third.types == ["submitted"]
    assert third.event("submitted").attributes["orderid"] == "A-1"
    assert harness.ecticket.issues == {derived(): 1}


async def test_an_order_issued_by_hand_meanwhile_is_recognised() -> None:
    """`issue` sent it while its dead letter was open: found by a query, and nothing is sent again."""
    harness = Harness()
    first = await harness.work(harness.order(line("tea for two")))
    harness.use(shop=FixableMapping())
    harness.ecticket.has(derived())

    published = await harness.run(_back(harness, first))

    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.issues == {}


def test_a_replay_by_a_clock_that_is_behind_counts_all_the_same() -> None:
    """Later than all that the plan knows: it is by that moment that every part counts as possibly sent."""
    ahead = HISTORY.possibly_sent(NOW + timedelta(minutes=5))

    again = _replayed(_dead_letter("unresolved", "submit", ahead)).producer_record

    assert _ours(again)["ecticket-possibly-sent-at"] == "2026-03-02T12:05:00.001Z"


async def test_a_refused_order_issued_by_hand_a_minute_ago_is_not_published_as_failed() -> None:
    """Its refusal would be final by now, but not since the replay: ECTicket may still be about to show it."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600))
    harness.ecticket.faults = [REFUSED]
    later = (await harness.work(harness.order())).deferred_record
    harness.ecticket.silent = True
    parked = await harness.run(later)
    harness.ecticket.silent = False
    harness.ecticket.visible_after = 300
    harness.ecticket.has(derived())

    published = await harness.run(_back(harness, parked))

    assert parked.event("parked").data["reason"] == "unresolved"
    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.tickets == {derived(): 1}


async def test_a_dead_letter_replayed_twice_issues_once_and_publishes_the_same_event() -> None:
    """The replay of a handled dead letter changes nothing."""
    harness = Harness()
    first = await harness.work(harness.order(line("tea for two")))
    harness.use(shop=FixableMapping())

    once = await harness.run(_back(harness, first))
    twice = await harness.run(_back(harness, first))

    assert once.event("submitted").id == twice.event("submitted").id
    assert harness.ecticket.issues == {derived(): 1}


async def test_a_handed_off_order_of_an_unknown_merchant_is_mapped_again_once_it_is_known() -> None:
    """Deferred, never sent, its merchant gone: the plan of then stays behind."""
    harness = Harness()
    harness.use(shop=FixableMapping("VNS21400"))
    harness.ecticket.always = NOT_SENT
    later = (await harness.work(harness.order(line("tea for two")))).deferred_record
    merchant = harness.merchants.find(MERCHANT)
    assert merchant is not None
    harness.merchants.remove(MERCHANT)
    parked = await harness.work(later)
    harness.merchants.add(merchant)
    harness.ecticket.always = None
    harness.use(shop=FixableMapping("BR103218"))

    published = await harness.run(_back(harness, parked))

    assert parked.event("parked").data["reason"] == "unknown-merchant"
    assert published.types == ["submitted"]
    assert harness.ecticket.requests[-1].ticket_info[0].item_no == "BR103218"


def test_the_doubt_of_a_replay_alone_is_a_doubt_of_its_own() -> None:
    """It is read and written, and ends with the first real one."""
    history = read_history(_published(_replayed(_dead_letter()).producer_record), NOW)

    assert history.only_by_replay
    assert history.before_sending().possibly_sent_at is None
    assert not history.possibly_sent(NOW).only_by_replay
    assert history.possibly_sent(NOW).before_sending().possibly_sent_at == NOW


async def test_a_replayed_order_is_issued_when_the_command_announces_it(harness: Harness) -> None:
    """`possibly_sent_at` and the waiting time of the settings are the moment that `dead-letters replay` prints."""
    harness.merchants.remove(MERCHANT)
    dead_letter = (await harness.work(harness.order())).dead_letter
    again = replay(dead_letter, topics=TOPICS, now=harness.clock())
    assert isinstance(again, ReplayRecord)
    assert again.possibly_sent_at is not None
    fresh = Harness(MERCHANT)
    fresh.clock.time = harness.clock()

    published = await fresh.run(replayed(dead_letter, topic=TOPICS.orders_deferred, clock=fresh.clock))

    waited = (fresh.clock() - again.possibly_sent_at).total_seconds()
    assert published.types == ["submitted"]
    assert SubmitPolicy().reissue_after_seconds <= waited < SubmitPolicy().reissue_after_seconds + 120


def test_a_confirmation_and_a_sinks_event_are_not_issued() -> None:
    """So no time is said for them."""
    confirmation = replay(_dead_letter("unresolved", "confirm"), topics=TOPICS, now=NOW)
    event = replay(_sink_dead_letter(), topics=TOPICS, now=NOW, origin=EVENT)

    assert isinstance(confirmation, ReplayRecord)
    assert isinstance(event, SinkDelivery)
    assert confirmation.possibly_sent_at is event.possibly_sent_at is None
