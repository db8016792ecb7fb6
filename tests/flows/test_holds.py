"""Holds: what the control topic means, how a process follows it, and what a held merchant's orders do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_lines import capture_logs

from adapter.errors import BrokerUnavailable, StreamError, TopicsMissing, Unreadable
from adapter.flows.holds import SILENCE_SECONDS, HoldFollower, Holds, HoldTable, Knowledge
from adapter.flows.messages.events import rfc3339
from adapter.flows.messages.hold import MerchantHold, hold_record, read_hold
from adapter.issuance.decide import LONGEST_DEFERRAL_SECONDS
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import IssueReply, IssueRequest
from adapter.stream.port import FollowedRecords
from adapter.stream.records import NotRead, Record
from adapter.testing.clock import NOON, Clock
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, NOT_SENT, FakeEcticket
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import has_header, header
from flows.fakes import OTHER_MERCHANT, Maps
from flows.harness import KNOWN_TRADE_NO, THREE_PARTS, Harness, derived, line, plan_of

HOUR = 3600
CONTROL = "ecticket.control"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def held(until: float | None = None, since: float = 0) -> MerchantHold:
    return MerchantHold(held_at=at(since), until=None if until is None else at(until))


def written(merchant_id: str, hold: MerchantHold | None, offset: int = 0) -> Record:
    """The record of a hold or a release, as it is read."""
    record = hold_record(merchant_id, hold, topic=CONTROL)
    return raw(record.key, record.value, offset)


def raw(key: bytes | None, value: bytes | None, offset: int = 0) -> Record:
    return Record(topic=CONTROL, partition=0, offset=offset, timestamp=NOON, key=key, value=value)


# --- the record -------------------------------------------------------------------------------------------------------


@given(
    merchant_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    hold=st.none()
    | st.builds(
        MerchantHold,
        held_at=st.integers(0, 10**6).map(at),
        until=st.none() | st.integers(0, 10**6).map(at),
        reason=st.none() | st.text(st.characters(codec="utf-8"), max_size=200),
    ),
)
def test_a_hold_is_read_as_it_was_written(merchant_id: str, hold: MerchantHold | None) -> None:
    """Whatever the id and the operator's words are; no value is a release."""
    assert read_hold(written(merchant_id, hold)) == (merchant_id, hold)


VALID: Mapping[str, object] = {"held_at": rfc3339(NOON), "until": None, "reason": None}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, json.dumps(VALID).encode()),
        (b"", json.dumps(VALID).encode()),
        (b"\xff", json.dumps(VALID).encode()),
        (b"1", b""),
        (b"1", b"{}"),
        (b"1", b"null"),
        (b"1", b"\x00"),
        (b"1", json.dumps({**VALID, "until": "15:00"}).encode()),
        (b"1", json.dumps({**VALID, "until": "2026-03-01T15:00:00"}).encode()),
        (b"1", json.dumps({**VALID, "held_at": None}).encode()),
        (b"1", json.dumps({**VALID, "until": "9999-12-31T23:59:59Z"}).encode()),
        (b"1", json.dumps({**VALID, "held_at": "0001-01-01T00:00:00+14:00"}).encode()),
        (b"1", json.dumps({**VALID, "reason": "x" * 201}).encode()),
        (b"1", json.dumps({"held_at": rfc3339(NOON)}).encode()),
        (None, None),
    ],
)
def test_what_is_no_hold_is_unreadable(key: bytes | None, value: bytes | None) -> None:
    """A value without a zone, without an end or null, or of another program."""
    with pytest.raises(Unreadable):
        read_hold(raw(key, value))


def test_a_record_without_content_is_no_release() -> None:
    """A batch that cannot be inflated has no value either."""
    record = raw(b"1", None)
    lost = Record(
        **{name: getattr(record, name) for name in ("topic", "partition", "offset", "timestamp")},
        key=b"1",
        value=None,
        not_read=NotRead(first=0, last=0, why="too large"),
    )

    with pytest.raises(Unreadable):
        read_hold(lost)


def test_a_newer_version_may_add_fields() -> None:
    """During a roll-out its hold must stop an older process, too."""
    assert read_hold(raw(b"1", json.dumps({**VALID, "who": "me"}).encode())) == ("1", held())


# --- the table --------------------------------------------------------------------------------------------------------

_RECORDS = st.lists(
    st.tuples(st.sampled_from("AB"), st.none() | st.integers(1, 9).map(float) | st.just("odd")), max_size=12
)


@given(records=_RECORDS)
def test_the_newest_readable_record_of_each_merchant_counts(records: list[tuple[str, float | str | None]]) -> None:
    """So compaction changes nothing; a record that is no hold changes nothing and is counted."""
    ignored: list[Unreadable] = []
    table = HoldTable(ignored.append)
    for offset, (merchant_id, until) in enumerate(records):
        is_odd = isinstance(until, str)
        table.take(
            raw(merchant_id.encode(), b"odd", offset)
            if is_odd
            else written(merchant_id, None if until is None else held(until), offset)  # type: ignore[arg-type]
        )

    newest = {merchant_id: until for merchant_id, until in records if not isinstance(until, str)}
    assert table.holds == {each: held(until) for each, until in newest.items() if until is not None}
    assert len(ignored) == sum(isinstance(until, str) for _, until in records)


# --- what is in force -------------------------------------------------------------------------------------------------


@dataclass
class Released:
    """Counts how often orders were started."""

    times: int = 0

    def __call__(self) -> None:
        self.times += 1


def test_a_hold_stops_one_merchant_until_its_end() -> None:
    """Without an end it is looked at again after the longest deferral, so that its orders are rewritten rarely."""
    clock = Clock()
    holds = Holds(clock)
    holds.replace({"A": held(HOUR), "B": held()})

    assert (holds.until("A"), holds.until("B"), holds.until("C")) == (at(HOUR), at(LONGEST_DEFERRAL_SECONDS), None)
    clock.passes(HOUR)
    assert (holds.until("A"), holds.until("B")) == (None, at(HOUR + LONGEST_DEFERRAL_SECONDS))
    assert list(holds.active()) == ["B"]


def test_the_end_of_a_hold_starts_waiting_orders() -> None:
    """A release and the end of the time do; a hold that is replaced by a longer one does not."""
    clock, released = Clock(), Released()
    holds = Holds(clock)
    holds.on_release(released)
    holds.replace({"A": held(HOUR), "B": held()})
    holds.replace({"A": held(2 * HOUR), "B": held()})
    holds.end_expired()
    assert released.times == 0

    holds.replace({"A": held(2 * HOUR)})
    assert released.times == 1
    clock.passes(2 * HOUR)
    holds.end_expired()
    holds.end_expired()
    assert released.times == 2
    assert holds.is_free("A")


def test_a_hold_that_was_over_when_it_was_read_is_none() -> None:
    """An old record stays on the compacted topic."""
    clock, released = Clock(at(HOUR)), Released()
    holds = Holds(clock)
    holds.on_release(released)
    holds.replace({"A": held(HOUR)})

    assert (dict(holds.active()), released.times) == ({}, 0)


# --- following --------------------------------------------------------------------------------------------------------

Batch = FollowedRecords | Exception


@dataclass
class Script:
    """A control topic that returns these batches, one list for each opening; then it stays silent."""

    openings: list[list[Batch]]
    opened: int = 0
    invalid: int = 0
    time: float = 0.0
    pauses: list[float] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> AsyncGenerator[FollowedRecords, None]:
        self.opened += 1
        batches = self.openings[self.opened - 1] if self.opened <= len(self.openings) else []
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch
        if self.opened >= len(self.openings):
            self.done.set()
            await asyncio.Event().wait()

    def invalid_control_record(self) -> None:
        self.invalid += 1

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def play(self, holds: Holds) -> HoldFollower:
        """Follow until everything was returned."""
        follower = HoldFollower(self.follow, holds, self, monotonic=lambda: self.time, sleep=self.sleep)
        task = asyncio.create_task(follower.run())
        await asyncio.wait_for(self.done.wait(), 10)
        await asyncio.wait_for(follower.first_attempt(), 10)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return follower


def batch(*records: Record, complete: bool = True, answered: bool = True) -> FollowedRecords:
    return FollowedRecords(records=records, complete=complete, answered=answered)


async def test_holds_are_in_force_only_once_the_topic_was_read_completely() -> None:
    """An old hold that a later record ends must not stop anything in between."""
    holds = Holds(Clock())
    seen = []
    holds.on_release(lambda: seen.append("released"))
    script = Script([[batch(written("A", held()), written("B", held()), complete=False), batch(written("A", None))]])

    follower = await script.play(holds)

    assert (list(holds.active()), seen, follower.knowledge) == (["B"], [], Knowledge.KNOWN)
    assert follower.up_to_date


async def test_a_later_record_counts_at_once() -> None:
    """Held, then released."""
    holds, released = Holds(Clock()), Released()
    holds.on_release(released)
    await Script([[batch(), batch(written("A", held())), batch(written("A", None))]]).play(holds)

    assert (dict(holds.active()), released.times) == ({}, 1)


async def test_reading_again_misses_no_release() -> None:
    """A tombstone may be gone by then, so what is not on the topic any more is released."""
    holds, released = Holds(Clock()), Released()
    holds.on_release(released)
    both, only_b = batch(written("A", held()), written("B", held())), batch(written("B", held()))
    script = Script([[both, BrokerUnavailable("gone")], [only_b]])

    follower = await script.play(holds)

    assert (list(holds.active()), released.times) == (["B"], 1)
    assert (follower.problem, script.opened) == (None, 2)


@pytest.mark.parametrize("error", [BrokerUnavailable("x"), StreamError("x"), TopicsMissing("x"), RuntimeError("x")])
async def test_known_holds_stay_in_force_while_the_topic_cannot_be_read(error: Exception) -> None:
    """A release that is not known holds orders up; a hold that is forgotten would issue tickets."""
    holds = Holds(Clock())
    script = Script([[batch(written("A", held())), error], []])

    follower = await script.play(holds)

    assert list(holds.active()) == ["A"]
    assert (follower.knowledge, follower.up_to_date) == (Knowledge.KNOWN, False)
    assert follower.problem is not None


@pytest.mark.parametrize(
    ("error", "knowledge"),
    [
        (TopicsMissing("x"), Knowledge.UNAVAILABLE),
        (BrokerUnavailable("x"), Knowledge.UNREAD),
        (StreamError("no right to Read"), Knowledge.UNREAD),
        (RuntimeError("x"), Knowledge.UNREAD),
    ],
)
async def test_only_a_missing_topic_lets_a_start_continue_without_holds(error: Exception, knowledge: Knowledge) -> None:
    """If the topic is there, a merchant may be held, so nothing is submitted before it was read."""
    follower = await Script([[error], []]).play(Holds(Clock()))

    assert (follower.knowledge, follower.up_to_date) == (knowledge, False)


async def test_a_missing_topic_that_appears_is_noticed() -> None:
    """`topics --create` needs no restart."""
    holds = Holds(Clock())
    script = Script([[TopicsMissing("x")], [TopicsMissing("x")], [batch(written("A", held()))]])

    follower = await script.play(holds)

    assert (list(holds.active()), follower.knowledge, follower.up_to_date) == (["A"], Knowledge.KNOWN, True)


async def test_a_silent_broker_makes_the_knowledge_old() -> None:
    """A newer hold may be there."""
    script = Script([[batch(), batch(answered=False)]])
    follower = await script.play(Holds(Clock()))
    script.time = SILENCE_SECONDS
    assert follower.up_to_date

    script.time = SILENCE_SECONDS + 1
    assert not follower.up_to_date


async def test_records_that_are_no_holds_are_counted_and_change_nothing() -> None:
    """Another program wrote to the topic; each is a warning without a traceback."""
    holds = Holds(Clock())
    script = Script([[batch(written("A", held()), raw(b"A", b"odd"), raw(None, b"odd"))]])
    with capture_logs() as lines:
        await script.play(holds)

    assert (list(holds.active()), script.invalid) == (["A"], 2)
    ignored = [line for line in lines if line["event"] == "control-record-ignored"]
    assert [line["log_level"] for line in ignored] == ["warning"] * 2
    assert not [line for line in lines if "exc_info" in line]


# --- orders -----------------------------------------------------------------------------------------------------------


async def test_a_held_merchants_order_waits_as_it_is(harness: Harness) -> None:
    """No call, no plan, no attempt: it is mapped after the hold, perhaps with a corrected catalogue."""
    harness.holds.replace({MERCHANT: held(HOUR)})

    published = await harness.work(harness.order())

    waiting = published.deferred_record
    assert harness.ecticket.calls == []
    assert not has_header(waiting, "ecticket-plan")
    assert not has_header(waiting, "ecticket-possibly-sent-at")
    assert header(waiting, "ecticket-not-before") == rfc3339(at(HOUR))
    assert header(waiting, "ecticket-held-at") == rfc3339(NOON)
    assert header(waiting, "ecticket-attempts") == "0"
    assert (published.events, published.dead_letters) == ([], [])
    assert harness.observer.all == [("deferred", "held"), ("order_settled", "deferred")]


async def test_the_mapping_after_the_hold_counts(harness: Harness) -> None:
    """A wrong mapping may be why the merchant was held."""
    maps = Maps("OLD00001")
    harness.use(maps=maps)
    harness.holds.replace({MERCHANT: held()})
    waiting = (await harness.work(harness.order(line("MINE")))).deferred_record
    assert maps.asked == 0
    harness.use(maps=Maps("NEW00001"))
    harness.holds.replace({})

    published = await harness.work(waiting)

    assert published.event("submitted").data["items"] == [{"item_no": "NEW00001", "name": None, "quantity": 2}]


async def test_another_merchants_order_is_not_held(harness: Harness) -> None:
    """A hold is for one merchant."""
    harness.holds.replace({MERCHANT: held()})

    published = await harness.work(harness.order(merchant_id=OTHER_MERCHANT))

    assert published.types == ["submitted"]


async def test_a_release_starts_an_order_before_its_time(harness: Harness) -> None:
    """The record says that it waits for a release, so it need not wait for its due time."""
    harness.holds.replace({MERCHANT: held()})
    waiting = (await harness.work(harness.order())).deferred_record
    prepared = await harness.submit.prepare(waiting)
    assert prepared.starts_early is not None
    assert (prepared.starts_early(), prepared.not_before) == (False, at(LONGEST_DEFERRAL_SECONDS))

    harness.clock.passes(10)
    harness.holds.replace({})
    assert prepared.starts_early()
    published = await harness.work(waiting)

    assert published.types == ["submitted"]
    assert harness.clock() < at(60)


async def test_only_held_orders_start_early(harness: Harness) -> None:
    """What waits for another reason keeps its time."""
    harness.ecticket.always = NOT_SENT
    waiting = (await harness.work(harness.order())).deferred_record

    prepared = await harness.submit.prepare(waiting)

    assert prepared.starts_early is None


@pytest.mark.parametrize("hold_hours", [1, 30, 24 * 14])
async def test_a_hold_of_any_length_costs_no_order_and_no_attempt(harness: Harness, hold_hours: int) -> None:
    """Rewritten once in an hour, never given up, and sent once at the end."""
    harness.holds.replace({MERCHANT: held(hold_hours * HOUR)})

    result, waiting = await harness.work(harness.order()), []
    while result.deferred_records:
        waiting.append(result.deferred_record)
        result = await harness.work(result.deferred_record)

    assert result.types == ["submitted"]
    assert list(harness.ecticket.tickets.values()) == [1]
    assert len(waiting) == hold_hours
    assert {header(each, "ecticket-attempts") for each in waiting} == {"0"}


async def test_the_give_up_clock_stands_still_while_an_order_is_held(harness: Harness) -> None:
    """Twenty hours of trying, two days held: four hours are left, and then it is given up."""
    harness.ecticket.always = NOT_SENT
    waiting = (await harness.work(harness.order())).deferred_record
    harness.clock.passes(20 * HOUR)
    harness.holds.replace({MERCHANT: held(68 * HOUR)})
    while harness.clock() < at(68 * HOUR):
        waiting = (await harness.work(waiting)).deferred_record

    harness.clock.passes(3 * HOUR)
    waiting = (await harness.work(waiting)).deferred_record
    assert not has_header(waiting, "ecticket-held-at")
    harness.clock.passes(HOUR)
    result = await harness.work(waiting)

    assert [header(each, "ecticket-reason") for each in result.dead_letters] == ["gave-up"]


async def test_a_planned_order_that_was_never_sent_is_held_without_a_call(harness: Harness) -> None:
    """Not even the query that comes before an order of several parts."""
    harness.ecticket.always = NOT_SENT
    waiting = (await harness.work(harness.order(*THREE_PARTS))).deferred_record
    calls = len(harness.ecticket.calls)
    harness.holds.replace({MERCHANT: held(5 * HOUR)})

    again = (await harness.work(waiting)).deferred_record

    assert len(harness.ecticket.calls) == calls
    assert len(plan_of(again).parts) == 3
    assert header(again, "ecticket-attempts") == header(waiting, "ecticket-attempts")


@pytest.mark.parametrize("fault", [LOST_AFTER, LOST_BEFORE], ids=["lost after", "lost before"])
async def test_a_doubt_is_queried_during_a_hold_and_never_sent(fault: object) -> None:
    """What may be at ECTicket is found; what is provably not there is sent after the hold."""
    harness = Harness(known_trade_no=KNOWN_TRADE_NO)
    harness.ecticket.faults = [fault]  # type: ignore[list-item]  # one of the two above
    harness.ecticket.silent = True
    waiting = (await harness.work(harness.order())).deferred_record
    harness.ecticket.silent = False
    harness.holds.replace({MERCHANT: held(5 * HOUR)})

    result = await harness.run(waiting)

    assert result.types == ["submitted"]
    assert result.event("submitted").data["recovered"] is (fault is LOST_AFTER)
    assert (harness.clock() >= at(5 * HOUR)) is (fault is LOST_BEFORE)
    assert sum(harness.ecticket.tickets.values()) == 1


async def test_an_order_of_an_earlier_owner_is_queried_during_a_hold(harness: Harness) -> None:
    """It may have been sent before the hold."""
    harness.ecticket.has(derived())
    harness.holds.replace({MERCHANT: held()})

    published = await harness.work(harness.order(), possibly_sent_since=NOON)

    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.calls_of("issue") == []


class HeldMeanwhile(FakeEcticket):
    """The operator holds the merchant while an Issue call waits for its turn."""

    hold: Callable[[], None]

    async def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, authorize_send: Callable[[], None]
    ) -> IssueReply:
        self.hold()
        return await super().issue(merchant, request, subject=subject, authorize_send=authorize_send)


async def test_a_hold_stops_a_call_that_waits_and_none_on_the_wire() -> None:
    """The last look is in the same step as the write; after it the call ends as always."""
    endpoints: list[HeldMeanwhile] = []

    def make(clock: Clock) -> HeldMeanwhile:
        endpoints.append(HeldMeanwhile(clock))
        return endpoints[0]

    harness = Harness(make_ecticket=make)
    endpoints[0].hold = lambda: harness.holds.replace({MERCHANT: held()})

    published = await harness.work(harness.order())

    assert sum(endpoints[0].tickets.values()) == 0
    assert not has_header(published.deferred_record, "ecticket-possibly-sent-at")
    assert header(published.deferred_record, "ecticket-held-at") == rfc3339(harness.clock())


async def test_parts_that_were_sent_before_the_hold_keep_their_events(harness: Harness) -> None:
    """The hold comes between two parts of an order."""
    first = harness.ecticket.issue
    calls = 0

    async def issue(*args: object, **options: object) -> IssueReply:
        nonlocal calls
        calls += 1
        reply = await first(*args, **options)  # type: ignore[arg-type]  # passed on as they came
        harness.holds.replace({MERCHANT: held(HOUR)})
        return reply

    harness.ecticket.issue = issue  # type: ignore[method-assign]  # the operator's moment
    published = await harness.work(harness.order(*THREE_PARTS))

    assert (published.types, calls) == (["submitted"], 1)
    assert [each.part.number for each in plan_of(published.deferred_record).parts] == [2, 3]
    harness.holds.replace({})
    harness.ecticket.issue = first  # type: ignore[method-assign]  # as it was
    rest = await harness.run(published.deferred_record)
    assert [event.data["part"] for event in rest.events] == [2, 3]
    assert set(harness.ecticket.tickets.values()) == {1}
