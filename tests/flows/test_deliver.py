"""The deliver story: one sink gets every event at least once, in its key's order, or a person gets a dead letter."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_words import mentions

from adapter import Event
from adapter.errors import OutcomeTooLarge, TooLarge
from adapter.extensions.sink_thread import DeliveryAttempt, DeliveryOutcome
from adapter.flows import deliver
from adapter.flows.deliver import MAX_WAITING, DeliverStage
from adapter.flows.retry_policy import RetryPolicy, RetryState
from adapter.stream.commit_metadata import CommitMetadata, encode
from adapter.stream.committer import HAND_OFF_ABOVE
from adapter.stream.records import NotRead, ProducerRecord, Record, moment_of
from adapter.stream.stage import Outcome, RetryLater
from adapter.testing.clock import NOON, Clock
from adapter.testing.fakes import TOPICS, FakeRecordContext
from adapter.testing.outcome_reader import header
from adapter.values import replace

DELIVERED, UNWANTED = (
    DeliveryAttempt(outcome=DeliveryOutcome.DELIVERED),
    DeliveryAttempt(outcome=DeliveryOutcome.UNWANTED),
)
FAILED = DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason="was answered with HTTP 500")
TIMED_OUT = DeliveryAttempt(outcome=DeliveryOutcome.TIMED_OUT, reason="did not deliver within 30 s")
GONE = DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason="was answered with HTTP 410", permanent=True)
BUSY = DeliveryAttempt(outcome=DeliveryOutcome.FAILED, reason="was busy", pause_seconds=30.0)


class Chat:
    """A sink with given answers, the last one for ever; implements `flows.deliver.SinkCaller`."""

    name = "chat"
    plugin = "ours"

    def __init__(self, *answers: DeliveryAttempt) -> None:
        self._answers = list(answers) or [DELIVERED]
        self.given: list[Event] = []

    async def deliver(self, event: Event) -> DeliveryAttempt:
        self.given.append(event)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class Counted:
    """Records its calls."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.dead_letters: list[tuple[str, str]] = []

    def attempted(self, sink: str, end: str, seconds: float) -> None:
        assert sink == "chat"
        assert seconds >= 0
        self.ends.append(end)

    def parked(self, stage: str, reason: str) -> None:
        self.dead_letters.append((stage, reason))


class Simulator:
    """The stage of one sink, driven as the engine drives it, by a clock that the test moves."""

    def __init__(self, *answers: DeliveryAttempt, **retry_policy: float) -> None:
        self.clock = Clock()
        self.chat = Chat(*answers)
        self.counted = Counted()
        self.stage = DeliverStage(
            self.chat,
            topics=(TOPICS.issuances, "ecticket.tickets"),
            dead_letters=TOPICS.dead_letters,
            group="ecticket-adapter.sink.chat",
            concurrency=4,
            retry_policy=RetryPolicy(**retry_policy),
            observer=self.counted,
            now=self.clock,
            jitter=lambda: 1.0,
        )

    async def once(self, record: Record, retry_state: RetryState | None = None) -> Outcome | RetryLater[RetryState]:
        """One turn, at the time it is now."""
        prepared = await self.stage.prepare(record)
        return await self.stage.handle(retry_state or prepared.subject, FakeRecordContext(record))

    async def to_the_end(self, record: Record) -> tuple[Outcome, list[float]]:
        """All turns, each when it is due; and when they were, in seconds since noon."""
        result, times = await self.once(record), [self._time()]
        while isinstance(result, RetryLater):
            assert result.not_before > self.clock()
            self.clock.time = result.not_before
            times.append(self._time())
            result = await self.once(record, result.subject)
        return result, times

    def _time(self) -> float:
        return (self.clock() - NOON).total_seconds()


def event_record(number: int = 1, *, key: bytes | None = b"3085676/T1", value: bytes | None = None) -> Record:
    """The record of an event."""
    headers: dict[str, str] = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": f"event-{number}",
        "ce_type": "ecticket.issuance.issued.v1",
        "ce_source": "/ecticket-adapter/merchants/3085676",
        "ce_subject": "T1",
        "ce_time": "2026-03-01T04:00:00.000Z",
        "ce_orderid": "A-1",
    }
    return Record(
        topic=TOPICS.issuances,
        partition=3,
        offset=number,
        timestamp=NOON,
        key=key,
        value=value or json.dumps({"order_id": "A-1", "merchant_id": "3085676"}).encode(),
        headers=tuple((name, text.encode()) for name, text in headers.items()),
    )


def dead_letter_of(outcome: Outcome) -> Record:
    """The dead letter, and nothing else: no event is published about it."""
    (producer_record,) = outcome.records
    assert producer_record.topic == TOPICS.dead_letters
    return as_record(producer_record)


def as_record(producer_record: ProducerRecord) -> Record:
    return Record(
        topic=producer_record.topic,
        partition=0,
        offset=9,
        timestamp=NOON,
        key=producer_record.key,
        value=producer_record.value,
        headers=producer_record.headers,
    )


async def test_an_event_that_is_delivered_is_settled_without_a_log_line() -> None:
    """The sink is handed it once, and its offset is all that is committed."""
    desk = Simulator()

    assert await desk.to_the_end(event_record()) == (Outcome(), [0.0])
    assert [event.id for event in desk.chat.given] == ["event-1"]
    assert desk.counted.ends == ["delivered"]


async def test_an_event_that_is_not_wanted_is_settled_too() -> None:
    """And counted apart."""
    desk = Simulator(UNWANTED)

    assert (await desk.to_the_end(event_record()))[0] == Outcome()
    assert desk.counted.ends == ["unwanted"]


async def test_events_of_one_key_go_one_after_another() -> None:
    """The lane is the record's key, on both topics; those without one go as they like."""
    stage = Simulator().stage

    lanes = [
        (await stage.prepare(record)).lane for record in (event_record(1), event_record(2), event_record(3, key=None))
    ]

    assert lanes == [b"3085676/T1", b"3085676/T1", None]
    assert stage.starts_at_latest
    assert not stage.sends


async def test_a_delivery_that_fails_is_retried_later_and_later() -> None:
    """Until the sink has it; it is handed the same event under the same id each time."""
    desk = Simulator(FAILED, TIMED_OUT, FAILED, FAILED, DELIVERED)

    outcome, times = await desk.to_the_end(event_record())

    assert outcome == Outcome()
    assert times == [0, 1, 3, 7, 15]
    assert {event.id for event in desk.chat.given} == {"event-1"}
    assert desk.counted.ends == ["failed", "timed_out", "failed", "failed", "delivered"]


async def test_an_event_that_is_never_accepted_is_a_dead_letter_after_a_day() -> None:
    """With the sink's name, so that it is delivered to that sink again; no order is published as parked."""
    desk = Simulator(FAILED)

    outcome, times = await desk.to_the_end(event_record())

    assert times[-1] == 24 * 3600
    dead_letter = dead_letter_of(outcome)
    assert (dead_letter.key, dead_letter.value) == (event_record().key, event_record().value)
    headers_shown = {
        name: header(dead_letter, f"ecticket-{name}") for name in ("stage", "reason", "plugin", "sink", "attempts")
    }
    assert headers_shown == {
        "stage": "deliver",
        "reason": "sink-failed",
        "plugin": "ours",
        "sink": "chat",
        "attempts": str(len(times)),
    }
    message = header(dead_letter, "ecticket-message")
    assert mentions(message, f"500 attempt {len(times)} replay --stage deliver --sink chat")
    origin = [header(dead_letter, f"ecticket-{name}") for name in ("topic", "partition", "offset", "first-seen")]
    assert origin == [TOPICS.issuances, "3", "1", "2026-03-01T04:00:00.000Z"]
    assert header(dead_letter, "ce_id") == "event-1"
    assert desk.counted.dead_letters == [("deliver", "sink-failed")]


async def test_what_is_in_vain_is_given_up_at_once() -> None:
    """Only the sink can say that."""
    desk = Simulator(GONE)

    outcome, times = await desk.to_the_end(event_record())

    assert times == [0.0]
    assert mentions(header(dead_letter_of(outcome), "ecticket-message"), "410 attempt 1")


async def test_a_sink_that_asks_for_it_is_left_alone() -> None:
    """Not only with the event that it did not take: nothing is tried before the time it said."""
    desk = Simulator(BUSY, DELIVERED)
    first = await desk.once(event_record(1))
    assert isinstance(first, RetryLater)
    assert first.not_before == NOON + timedelta(seconds=30)
    desk.clock.passes(5)

    second = await desk.once(event_record(2, key=b"3085676/T2"))

    assert second == RetryLater(not_before=first.not_before, subject=RetryState())
    assert len(desk.chat.given) == 1
    desk.clock.time = first.not_before
    assert [await desk.once(event_record(2, key=b"3085676/T2")), await desk.once(event_record(1), first.subject)] == [
        Outcome()
    ] * 2


async def test_a_sink_that_asks_for_no_pause_is_not_asked_without_one() -> None:
    """`Retry-After: 0` is what some servers say to everything."""
    again = await Simulator(replace(BUSY, pause_seconds=0.0)).once(event_record())

    assert isinstance(again, RetryLater)
    assert again.not_before == NOON + timedelta(seconds=1)


async def test_what_is_no_event_is_passed_over_and_counted() -> None:
    """The sink never sees it."""
    desk = Simulator()

    assert await desk.once(event_record(value=b"not JSON")) == Outcome()
    assert desk.chat.given == []
    assert desk.counted.ends == ["not_an_event"]


async def test_what_cannot_wait_on_is_a_dead_letter_before_its_time() -> None:
    """A commit names only so many open records; the event is kept."""
    desk = Simulator(FAILED)
    later = await desk.once(event_record())
    assert isinstance(later, RetryLater)

    dead_letter = dead_letter_of(desk.stage.hand_off(event_record(), later.subject, FakeRecordContext(event_record())))
    never_tried = dead_letter_of(desk.stage.hand_off(event_record(), RetryState(), FakeRecordContext(event_record())))

    assert header(dead_letter, "ecticket-reason") == "sink-failed"
    assert mentions(header(dead_letter, "ecticket-message"), "attempt 1 500 other wait")
    assert mentions(header(never_tried, "ecticket-message"), "not tried other wait")


@pytest.mark.parametrize("offsets", [1_000, 1_000_000, 50_000_000])
def test_what_may_wait_fits_into_a_commit(offsets: int) -> None:
    """However far apart the events are that wait: none has to be given up for others."""
    waiting = sorted(random.Random(offsets).sample(range(offsets), MAX_WAITING))
    runs = ((first + 1, past) for first, past in pairwise((*waiting, offsets)) if past > first + 1)
    note = CommitMetadata(
        cluster_id="c" * 22,
        topic_id="t" * 22,
        committed=waiting[0],
        reserved_until=0,
        other_fingerprint_until=0,
        fingerprint="f" * 12,
        settled=tuple(runs),
    )

    assert len(encode(note)) < HAND_OFF_ABOVE


async def test_an_event_that_breaks_the_adapter_is_kept_for_the_sink() -> None:
    """It can be delivered after all, when the adapter is fixed."""
    desk = Simulator()
    for error, reason in ((RuntimeError("王小明"), "internal-error"), (OutcomeTooLarge("too large"), "too-large")):
        dead_letter = dead_letter_of(desk.stage.on_error(event_record(), error, FakeRecordContext(event_record())))

        assert (header(dead_letter, "ecticket-reason"), header(dead_letter, "ecticket-sink")) == (reason, "chat")
        assert "王小明" not in header(dead_letter, "ecticket-message")
    assert desk.chat.given == []


async def test_an_event_that_was_not_read_is_a_dead_letter_of_its_coordinates() -> None:
    """Its batch inflates too far, say; the sink is not called, and the events behind it are delivered."""
    desk = Simulator()
    bomb = replace(event_record(), value=None, headers=(), not_read=NotRead(first=3, last=9, why="too large"))

    dead_letter = dead_letter_of(
        desk.stage.on_error(bomb, TooLarge("Not read. Send it again."), FakeRecordContext(bomb))
    )

    assert header(dead_letter, "ecticket-reason") == "too-large"
    assert (header(dead_letter, "ecticket-sink"), header(dead_letter, "ecticket-offsets")) == ("chat", "3-9")


async def test_a_dead_letter_that_cannot_be_built_is_the_coordinates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink stays named, so that the event can still be delivered from where it came from."""

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError

    desk = Simulator()
    monkeypatch.setattr(deliver, "dead_letter_record", breaks)

    dead_letter = dead_letter_of(
        desk.stage.on_error(event_record(), RuntimeError("x"), FakeRecordContext(event_record()))
    )

    assert (dead_letter.key, dead_letter.value) == (None, None)
    assert (header(dead_letter, "ecticket-sink"), header(dead_letter, "ecticket-stage")) == ("chat", "deliver")


@pytest.mark.parametrize("published_at", [datetime(1970, 1, 1, tzinfo=UTC), datetime(8999, 12, 31, tzinfo=UTC)])
async def test_an_event_with_an_odd_timestamp_is_given_up_in_time(published_at: datetime) -> None:
    """Neither at its first failure nor never."""
    desk = Simulator(FAILED)

    outcome, pauses = await desk.to_the_end(replace(event_record(), timestamp=published_at))

    assert header(dead_letter_of(outcome), "ecticket-reason") == "sink-failed"
    assert len(pauses) > 3


@given(
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=40) | st.just(event_record().value),
    headers=st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=20)), max_size=4),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
)
def test_no_record_ends_a_delivery(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp_ms: int
) -> None:
    """Whatever stands on an event topic: it is delivered, passed over, or a dead letter."""
    timestamp, odd = moment_of(timestamp_ms)
    all_headers = (*event_record().headers, *headers)
    record = replace(
        event_record(), key=key, value=value, headers=all_headers, timestamp=timestamp, raw_timestamp_ms=odd
    )
    for attempt in (DELIVERED, GONE):
        assert isinstance(asyncio.run(Simulator(attempt).once(record)), Outcome)
    dead_letter = dead_letter_of(Simulator().stage.on_error(record, RuntimeError("x"), FakeRecordContext(record)))
    assert header(dead_letter, "ecticket-reason") == "internal-error"


async def test_a_dead_letter_of_redemption_codes_has_no_value() -> None:
    """The person who reads dead letters need not be allowed to read the codes; a replay reads the event itself."""
    event = event_record()
    headers = dict(event.headers) | {"ce_type": b"ecticket.ticket.collected.v1"}
    record = replace(event, headers=tuple(headers.items()))

    for each, value in ((record, None), (event, event.value)):
        result = await Simulator(GONE).once(each)
        assert isinstance(result, Outcome)
        (dead_letter,) = result.records
        assert dead_letter.value == value
        omitted = ("ecticket-value-omitted", b"true") in dead_letter.headers
        assert omitted is (value is None)
