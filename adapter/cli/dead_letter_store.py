"""The dead letters of one command: read once, with what is known of which were dealt with.

That is the commits of the group `{group_prefix}.dead-letters`; where brokers have forgotten them, it is what was told
since (`flows.handled_dead_letters`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from adapter.cli.output import counting, note

if TYPE_CHECKING:
    from adapter.operations.dead_letter_view import DeadLetter
    from adapter.settings import Settings
    from adapter.stream.acknowledged_topic import AcknowledgedTopic, PartitionClaim
    from adapter.stream.records import Record

T = TypeVar("T")

FORGETTABLE_AFTER = timedelta(days=1)
"""No broker in its senses forgets a commit sooner (`offsets.retention.minutes`; a week by default)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """All letters, the oldest first.

    `open` and `told` are names: of those that nobody dealt with, and of those that only later events show to be dealt
    with.
    """

    all: tuple[DeadLetter, ...]
    open: frozenset[str]
    handled: frozenset[str]
    topic: AcknowledgedTopic

    @asynccontextmanager
    async def claim(self, partition: int) -> AsyncIterator[PartitionClaim]:
        """Take letters of this partition off the pile.

        Where the commits are forgotten, the next one says again which letters events show to be dealt with: from then
        on nobody reads the events any more.
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


async def read_dead_letters(settings: Settings) -> tuple[DeadLetter, ...]:
    """All letters, the oldest first."""
    found = await collect(settings, lambda _record, dead_letter: dead_letter)
    return tuple(
        sorted(found, key=lambda dead_letter: (dead_letter.timestamp, dead_letter.partition, dead_letter.offset))
    )


@asynccontextmanager
async def open_dead_letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    """The letters, and the pile that they are taken from."""
    from adapter.kafka.client import AioKafka
    from adapter.stream.acknowledged_topic import open_acknowledged_topic
    from adapter.wiring import kafka_connection

    dead_letters = await read_dead_letters(settings)
    async with open_acknowledged_topic(
        AioKafka(kafka_connection(settings)),
        topic=settings.topics.dead_letters,
        group=f"{settings.kafka.group_prefix}.dead-letters",
        records=[(dead_letter.partition, dead_letter.offset) for dead_letter in dead_letters],
    ) as topic:
        pending_offsets = await topic.pending_offsets()
        handled = await _handled_by_events(
            settings, dead_letters, {partition for partition, each in pending_offsets.items() if each.forgotten}
        )
        still_open = {
            dead_letter.name
            for dead_letter in dead_letters
            if dead_letter.offset in pending_offsets[dead_letter.partition].open and dead_letter.name not in handled
        }
        yield DeadLetters(all=dead_letters, open=frozenset(still_open), handled=handled, topic=topic)


async def collect(settings: Settings, keep: Callable[[Record, DeadLetter], T | None]) -> list[T]:
    """What `keep` makes of each letter."""
    kept = []
    with counting("dead letters") as count:
        async with aclosing(each_dead_letter(settings)) as dead_letters:
            async for record, dead_letter in dead_letters:
                count()
                found = keep(record, dead_letter)
                if found is not None:
                    kept.append(found)
    return kept


async def each_dead_letter(settings: Settings) -> AsyncGenerator[tuple[Record, DeadLetter], None]:
    """Each letter with its record, those of one partition in order."""
    from adapter.kafka.reader import read_to_end
    from adapter.operations.dead_letter_view import read_dead_letter
    from adapter.wiring import kafka_connection

    async with aclosing(read_to_end(kafka_connection(settings), [settings.topics.dead_letters])) as records:
        async for record in records:
            yield record, read_dead_letter(record)


async def _handled_by_events(
    settings: Settings, dead_letters: Collection[DeadLetter], partitions: Collection[int]
) -> frozenset[str]:
    """The names of those letters that later events show to be dealt with, in partitions whose commits are forgotten."""
    from adapter.flows.messages.published_events import read_published_event
    from adapter.kafka.reader import read_to_end
    from adapter.operations.handled import handled_dead_letters
    from adapter.wiring import kafka_connection

    unsure = [dead_letter for dead_letter in dead_letters if dead_letter.partition in partitions]
    oldest = min((dead_letter.timestamp for dead_letter in unsure), default=None)
    if oldest is None or datetime.now(UTC) - oldest < FORGETTABLE_AFTER:
        return frozenset()
    note("No commit says which letters were dealt with, so what was told since is read; that may take a while.")
    orders = {dead_letter.order_record for dead_letter in unsure}
    events = []
    with counting("events") as count:
        topics = [settings.topics.issuances]
        async with aclosing(read_to_end(kafka_connection(settings), topics, since=oldest)) as records:
            async for record in records:
                count()
                event = read_published_event(record)
                if event is not None and event.order_record in orders:
                    events.append(event)
    return frozenset(handled_dead_letters(dead_letters, events) & {dead_letter.name for dead_letter in unsure})
