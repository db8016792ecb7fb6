"""Reads the dead letters, knows which of them are open, and lets a command acknowledge them.

The commits of one consumer group say which are handled. If the brokers have forgotten those commits, later events say
it (`handled`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from msgspec import Struct

from adapter.flows.messages.event_reader import read_published_event
from adapter.operations.dead_letter_view import DeadLetter, read_dead_letter
from adapter.operations.handled import handled_dead_letters
from adapter.operations.ports import Counting, Note, TopicReader, no_counting, no_note, read_counted
from adapter.stream.acknowledged_topic import AcknowledgedTopic, PartitionClaim, open_acknowledged_topic
from adapter.stream.port import Kafka
from adapter.stream.records import Record

T = TypeVar("T")

FORGETTABLE_AFTER = timedelta(days=1)
"""Brokers keep commits at least so long (`offsets.retention.minutes`; a week by default)."""


class DeadLetters(Struct, frozen=True, kw_only=True):
    """All dead letters of one command, and the topic in which it acknowledges them."""

    all: tuple[DeadLetter, ...]
    """The oldest first."""
    open: frozenset[str]
    """Names of those that are not handled."""
    handled: frozenset[str]
    """Names of those that only later events show to be handled."""
    topic: AcknowledgedTopic

    @asynccontextmanager
    async def claim(self, partition: int) -> AsyncIterator[PartitionClaim]:
        """Claim a partition, in order to acknowledge its dead letters.

        If its commits are forgotten, the next commit also names those that events show to be handled, because later
        commands believe the commit and read no events.
        """
        async with self.topic.claim(partition) as claim:
            if claim.forgotten:
                claim.mark_acknowledged(
                    dead_letter.offset
                    for dead_letter in self.all
                    if dead_letter.partition == partition
                    and dead_letter.name in self.handled
                    and claim.is_open(dead_letter.offset)
                )
            yield claim


class DeadLetterStore(Struct, frozen=True, kw_only=True):
    """The topic of dead letters, and the group whose commits say which are handled."""

    reader: TopicReader
    kafka: Kafka
    topic: str
    group: str
    events_topic: str
    """Events on this topic stand in for commits that the brokers have forgotten."""
    collected_topic: str
    """So do those on this one for dead letters of stage collect; it is read only if there are any."""
    counting: Counting = no_counting
    note: Note = no_note

    async def read(self) -> tuple[DeadLetter, ...]:
        """All dead letters, the oldest first."""
        found = await self.collect(lambda _record, dead_letter: dead_letter)
        return tuple(
            sorted(found, key=lambda dead_letter: (dead_letter.timestamp, dead_letter.partition, dead_letter.offset))
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[DeadLetters]:
        """Read the dead letters, and connect to acknowledge them."""
        dead_letters = await self.read()
        async with open_acknowledged_topic(
            self.kafka,
            topic=self.topic,
            group=self.group,
            records=[(dead_letter.partition, dead_letter.offset) for dead_letter in dead_letters],
        ) as topic:
            pending_offsets = await topic.pending_offsets()
            handled = await self._handled_by_events(
                dead_letters, {partition for partition, each in pending_offsets.items() if each.forgotten}
            )
            still_open = {
                dead_letter.name
                for dead_letter in dead_letters
                if dead_letter.offset in pending_offsets[dead_letter.partition].open and dead_letter.name not in handled
            }
            yield DeadLetters(all=dead_letters, open=frozenset(still_open), handled=handled, topic=topic)

    async def collect(self, keep: Callable[[Record, DeadLetter], T | None]) -> list[T]:
        """The results of `keep` for each dead letter, without None."""
        kept = []
        async with aclosing(self.each(counting=self.counting)) as dead_letters:
            async for record, dead_letter in dead_letters:
                found = keep(record, dead_letter)
                if found is not None:
                    kept.append(found)
        return kept

    async def each(self, *, counting: Counting = no_counting) -> AsyncGenerator[tuple[Record, DeadLetter], None]:
        """Each dead letter with its record, those of one partition in order. Close it (`contextlib.aclosing`)."""
        read = read_counted(self.reader, [self.topic], counting=counting, what="dead letters")
        async with aclosing(read) as records:
            async for record in records:
                yield record, read_dead_letter(record)

    async def _handled_by_events(
        self, dead_letters: Collection[DeadLetter], partitions: Collection[int]
    ) -> frozenset[str]:
        """Names of dead letters in these partitions that later events show to be handled."""
        unsure = [dead_letter for dead_letter in dead_letters if dead_letter.partition in partitions]
        oldest = min((dead_letter.timestamp for dead_letter in unsure), default=None)
        if oldest is None or datetime.now(UTC) - oldest < FORGETTABLE_AFTER:
            return frozenset()
        self.note("No commit says which dead letters are handled, so the later events are read. This may take a while.")
        orders = {dead_letter.order_record for dead_letter in unsure}
        events = []
        topics = {self.events_topic: None}
        if any(dead_letter.stage == "collect" for dead_letter in unsure):
            topics[self.collected_topic] = None
        read = read_counted(self.reader, list(topics), counting=self.counting, what="events", since=oldest)
        async with aclosing(read) as records:
            async for record in records:
                event = read_published_event(record)
                if event is not None and event.order_record in orders:
                    events.append(event)
        return frozenset(handled_dead_letters(dead_letters, events) & {dead_letter.name for dead_letter in unsure})
