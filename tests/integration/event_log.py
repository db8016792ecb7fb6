"""The event log: every committed record of the adapter's topics, and the checks that all of them must pass.

Reads as any subscriber would (`read_committed`, plain aiokafka), and checks each event against the published schemas
and against the sandbox's orders. It does not trust the adapter's own reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from jsonschema import Draft202012Validator, FormatChecker

from adapter.kafka.connection import KafkaConnection

SCHEMAS = Path(__file__).parent.parent.parent / "schemas"
FORMATS = FormatChecker(formats=["date"])
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

SLOW_MACHINE = 4.0
"""How much slower than ours a machine may be before a test gives up on it; what is waited for is a fact, not a time."""


@FORMATS.checks("date-time", raises=ValueError)
def _is_rfc3339(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return _RFC3339.fullmatch(value) is not None and datetime.fromisoformat(value).tzinfo is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of the issuances topic."""

    type: str
    """The type's last word: submitted, issued, failed, delayed, skipped, parked."""
    id: str
    ref: str
    """`topic/partition/offset` of the order record it is about."""
    attributes: Mapping[str, str]
    data: Mapping[str, object]
    record: ConsumerRecord = field(repr=False)

    @property
    def number(self) -> str | None:
        """The trade number, where it is about an issuance."""
        value = self.data.get("trade_no")
        return value if isinstance(value, str) else None

    @property
    def at_submit(self) -> bool:
        """Whether the part ended before ECTicket had it."""
        return self.data.get("stage") == "submit"


@dataclass(slots=True)
class EventLog:
    """Everything read so far."""

    events: list[Event] = field(default_factory=list)
    by_topic: defaultdict[str, list[ConsumerRecord]] = field(default_factory=lambda: defaultdict(list))
    _wrong: list[str] = field(default_factory=list)
    _looked_at: int = 0
    _by_ref: defaultdict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))

    def note(self, record: ConsumerRecord, *, is_event: bool) -> None:
        """Add one record."""
        self.by_topic[record.topic].append(record)
        if not is_event:
            return
        event = _read(record)
        self.events.append(event)
        self._by_ref[event.ref].append(event)

    def of(self, ref: str) -> list[Event]:
        """The events of one order record."""
        return self._by_ref[ref]

    def types(self, ref: str) -> Counter[str]:
        """The number of events of one order record, by type."""
        return Counter(event.type for event in self._by_ref[ref])

    def count(self, kind: str) -> int:
        """How many events of a kind there are."""
        return sum(event.type == kind for event in self.events)

    def ended(self, ref: str) -> bool:
        """Whether the final events of an order record are there."""
        events = self._by_ref[ref]
        if any(event.type in {"skipped", "parked"} for event in events):
            return True
        ended = {event.data["part"] for event in events if event.type in {"issued", "failed"}}
        return bool(events) and len(ended) == events[0].data.get("parts")

    def disagreements(self, refs: Mapping[str, int | None]) -> Iterator[str]:
        """Every disagreement; `refs` are the order records, with their number of parts."""
        yield from self._wrong_events()
        for ref in self._by_ref.keys() - refs.keys():
            yield f"an event about {ref}, which is no order of this test"
        for ref, parts in refs.items():
            yield from self._about(ref, parts)

    def _wrong_events(self) -> list[str]:
        """What is wrong with single events; each is looked at once, since that takes a millisecond."""
        for event in self.events[self._looked_at :]:
            self._wrong += [f"{event.ref} {event.attributes['type']}: {wrong}" for wrong in _wrong(event)]
        self._looked_at = len(self.events)
        return self._wrong

    def _about(self, ref: str, parts: int | None) -> Iterator[str]:
        events = self._by_ref[ref]
        if not self.ended(ref):
            yield f"{ref} has not ended: {sorted((event.type, event.data.get('part')) for event in events)}"
        for event_id, times in Counter(event.id for event in events).items():
            if times > 1:
                yield f"{ref}: event {event_id} was published {times} times"
        began = Counter(e.data["part"] for e in events if e.type == "submitted" or (e.type == "failed" and e.at_submit))
        ended = Counter(e.data["part"] for e in events if e.type in {"issued", "failed"})
        if any(event.type in {"skipped", "parked"} for event in events):
            return
        whole = Counter(range(1, (parts or len(began)) + 1))
        if began != whole:
            yield f"{ref}: parts that began are {dict(began)}, not {sorted(whole)} once each"
        if ended != whole:
            yield f"{ref}: parts that ended are {dict(ended)}, not {sorted(whole)} once each"


def _read(record: ConsumerRecord) -> Event:
    attributes = {name.removeprefix("ce_"): value.decode() for name, value in record.headers}
    return Event(
        type=attributes["type"].split(".")[-2],
        id=attributes["id"],
        ref=attributes["orderref"],
        attributes=attributes,
        data=json.loads(record.value),
        record=record,
    )


@cache
def _schema(urn: str) -> Draft202012Validator:
    document = json.loads((SCHEMAS / f"{urn.rpartition(':')[2]}.json").read_text(encoding="utf-8"))
    return Draft202012Validator(document, format_checker=FORMATS)


def _wrong(event: Event) -> Iterator[str]:
    """The violations of docs/events.md in one event."""
    attributes, record = event.attributes, event.record
    yield from (error.message for error in _schema(attributes["dataschema"]).iter_errors(event.data))
    if len(attributes) != len(record.headers):
        yield "a header is there twice"
    if attributes["specversion"] != "1.0" or not _UUID.fullmatch(attributes["id"]):
        yield "specversion or id is wrong"
    if not _is_rfc3339(attributes["time"]) or attributes["content-type"] != "application/json":
        yield "time or content-type is wrong"
    number, merchant = event.number, event.data.get("merchant_id")
    key = f"{merchant}/{number}" if number else event.data.get("order_id") or event.ref
    subject = number or key
    if record.key.decode() != key or attributes["partitionkey"] != key or attributes["subject"] != subject:
        yield f"key {record.key!r}, partitionkey or subject is not {key} and {subject}"
    if number and attributes["source"] != f"/ecticket-adapter/merchants/{merchant}":
        yield f"source is {attributes['source']}"
    if event.data.get("order_id") is not None and attributes.get("orderid") != event.data["order_id"]:
        yield "orderid is wrong"


class EventReader:
    """Reads topics continuously from their beginning, as a subscriber without a group."""

    def __init__(self, kafka: KafkaConnection, log: EventLog, *, events: str, topics: tuple[str, ...]) -> None:
        self._log = log
        self._events = events
        self._news = asyncio.Event()
        self._topics = (events, *topics)
        self._consumer = AIOKafkaConsumer(
            *self._topics,
            **kafka.client_options(),
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
            metadata_max_age_ms=2000,
        )

    async def __aenter__(self) -> EventReader:
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._consumer.stop()

    async def until(self, enough: Callable[[], bool], *, seconds: float) -> bool:
        """Wait until the events are enough; False if they are not after `seconds`, times `SLOW_MACHINE`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SLOW_MACHINE * seconds):
                while not enough():
                    await self._next()
        return enough()

    async def quiet(self, seconds: float) -> None:
        """Wait until no event has come for `seconds`: a wrong event would come now."""
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(seconds):
                    await self._next()

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    self._log.note(record, is_event=record.topic == self._events)
                self._news.set()


async def all_there(kafka: KafkaConnection, topic: str) -> list[ConsumerRecord]:
    """Every record of a topic that a committed reader finds now."""
    options = kafka.client_options()
    consumer = AIOKafkaConsumer(topic, **options, auto_offset_reset="earliest", isolation_level="read_committed")
    found: list[ConsumerRecord] = []
    try:
        await consumer.start()
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while sum([await consumer.position(place) for place in ends]) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
    finally:
        await consumer.stop()
    return found
