"""Reads an outcome's records as readers of the topics read them.

Does not judge them: what should have been published is for a test to assert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from adapter.flows.messages.event_reader import cloud_event
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome
from adapter.testing.clock import Clock
from adapter.testing.fakes import TOPICS

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeEvent:
    """One event: `type` is the type's last word but one, `attributes` are those of CloudEvents."""

    type: str
    key: str
    attributes: Mapping[str, str]
    data: Mapping[str, object]

    @property
    def id(self) -> str:
        """The id by which readers drop events they have seen."""
        return self.attributes["id"]


@dataclass(slots=True, repr=False)
class OrderEvents:
    """The records of an outcome. Its `repr`, which pytest shows, says why an order was parked or deferred."""

    events: list[OutcomeEvent] = field(default_factory=list)
    deferred_records: list[Record] = field(default_factory=list)
    confirmations: list[Record] = field(default_factory=list)
    dead_letters: list[Record] = field(default_factory=list)
    ignored: str | None = None
    """The reason of the Ignore that a plugin's parse_order answered with."""

    @property
    def types(self) -> list[str]:
        """The types of the events, in order."""
        return [event.type for event in self.events]

    @property
    def why_parked(self) -> list[str]:
        """What each dead letter holds: reason, stage, plugin, message."""
        return [_why(dead_letter) for dead_letter in self.dead_letters]

    def __repr__(self) -> str:
        """Short, the causes first, because pytest truncates it."""
        parts = [f"parked {why}" for why in self.why_parked]
        parts += [f"ignored: {self.ignored}"] if self.ignored else []
        parts += [f"deferred: {len(self.deferred_records)}"] if self.deferred_records else []
        return (
            f"<OrderEvents {', '.join(self.types) or 'no event'}; {'; '.join(parts)}>"
            if parts
            else f"<OrderEvents {self.types}>"
        )

    def event(self, type_name: str) -> OutcomeEvent:
        """The only event of a type. Raises AssertionError if there is none, or more than one."""
        return self._only(f"{type_name!r} event", [event for event in self.events if event.type == type_name])

    @property
    def deferred_record(self) -> Record:
        """The only deferred record. Raises AssertionError if there is none, or more than one."""
        return self._only("deferred record", self.deferred_records)

    @property
    def dead_letter(self) -> Record:
        """The only dead letter. Raises AssertionError if there is none, or more than one."""
        return self._only("dead letter", self.dead_letters)

    def _only(self, what: str, found: list[_T]) -> _T:
        if len(found) != 1:
            raise AssertionError(f"expected one {what}, not {len(found)}: {self!r}")
        return found[0]

    @property
    def reason(self) -> str:
        """The reason of the only dead letter: `unmapped-item`, `plugin-error` and so on."""
        return header(self.dead_letter, "ecticket-reason")

    @property
    def only_deferred(self) -> bool:
        """Whether the order was deferred and nothing else was published."""
        return len(self.deferred_records) == 1 and not (self.events or self.dead_letters or self.confirmations)

    def add(self, other: OrderEvents) -> None:
        """Read on."""
        self.events += other.events
        self.confirmations += other.confirmations
        self.dead_letters += other.dead_letters
        self.ignored = self.ignored or other.ignored
        self.deferred_records = other.deferred_records


class OutcomeReader:
    """Gives each published record its partition and offset, and reads it as a reader of the topic does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: Counter[str] = Counter()
        self._issuances: list[Record] = []

    def read(self, outcome: Outcome) -> OrderEvents:
        """The records of the outcome, by topic."""
        result = OrderEvents()
        for producer_record in outcome.records:
            if producer_record.topic == TOPICS.collected:
                result.events.append(read_event(producer_record))
            elif producer_record.topic == TOPICS.issuances:
                result.events.append(read_event(producer_record))
                self._issuances.append(self.published(producer_record))
            else:
                kept = {
                    TOPICS.orders_deferred: result.deferred_records,
                    TOPICS.confirmations: result.confirmations,
                    TOPICS.dead_letters: result.dead_letters,
                }
                kept[producer_record.topic].append(self.published(producer_record))
        return result

    async def tail(self, offsets: Mapping[int, int]) -> AsyncGenerator[Record, None]:
        """The events on the issuances topic, for each partition from the given offset on."""
        for record in list(self._issuances):
            if record.offset >= offsets.get(record.partition, 0):
                yield record

    def published(self, producer_record: ProducerRecord, topic: str | None = None) -> Record:
        """The record as the next reader gets it; `topic` if it is copied to another one, as a replay does."""
        topic = topic or producer_record.topic
        self._ends[topic] += 1
        return Record(
            topic=topic,
            partition=2,
            offset=self._ends[topic],
            timestamp=self._clock(),
            key=producer_record.key,
            value=producer_record.value,
            headers=producer_record.headers,
        )


def _why(dead_letter: Record) -> str:
    texts = {name: (value or b"").decode("utf-8", "replace") for name, value in dead_letter.headers}
    plugin = f", plugin {texts['ecticket-plugin']}" if "ecticket-plugin" in texts else ""
    where = f"{texts.get('ecticket-stage')}{plugin}"
    return f"as {texts.get('ecticket-reason')} ({where}): {texts.get('ecticket-message')}"


def read_event(producer_record: ProducerRecord) -> OutcomeEvent:
    """Decode a published event."""
    attributes, data = cloud_event(producer_record)
    return OutcomeEvent(
        type=attributes["type"].split(".")[-2],
        key=(producer_record.key or b"").decode(),
        attributes=attributes,
        data=data or {},
    )


def header(record: Record, name: str) -> str:
    """The text of the only header of this name."""
    (value,) = (value for each, value in record.headers if each == name)
    return (value or b"").decode()


def has_header(record: Record, name: str) -> bool:
    """Whether the record has a header of this name."""
    return any(each == name for each, _ in record.headers)
