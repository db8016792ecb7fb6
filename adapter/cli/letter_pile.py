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
    from adapter.flows.dead_letter_view import DeadLetter
    from adapter.settings import Settings
    from adapter.stream.acknowledged_topic import AcknowledgedTopic, PartitionClaim
    from adapter.stream.records import Record

T = TypeVar("T")

FORGETTABLE_AFTER = timedelta(days=1)
"""No broker in its senses forgets a commit sooner (`offsets.retention.minutes`; a week by default)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """All letters, the oldest first.

    `open` and `told` are names: of those that nobody dealt with, and of those that only later events show to be dealt
    with.
    """

    all: tuple[DeadLetter, ...]
    open: frozenset[str]
    told: frozenset[str]
    pile: AcknowledgedTopic

    @asynccontextmanager
    async def claim(self, partition: int) -> AsyncIterator[PartitionClaim]:
        """Take letters of this partition off the pile.

        Where the commits are forgotten, the next one says again which letters events show to be dealt with: from then
        on nobody reads the events any more.
        """
        async with self.pile.claim(partition) as claim:
            if claim.forgotten:
                claim.mark_acknowledged(
                    letter.offset
                    for letter in self.all
                    if letter.partition == partition and letter.name in self.told and claim.is_open(letter.offset)
                )
            yield claim


async def read_letters(settings: Settings) -> tuple[DeadLetter, ...]:
    """All letters, the oldest first."""
    found = await collect(settings, lambda _record, letter: letter)
    return tuple(sorted(found, key=lambda letter: (letter.timestamp, letter.partition, letter.offset)))


@asynccontextmanager
async def letters_of(settings: Settings) -> AsyncIterator[Letters]:
    """The letters, and the pile that they are taken from."""
    from adapter.stream.acknowledged_topic import open_acknowledged_topic
    from adapter.wiring import kafka_connection

    letters = await read_letters(settings)
    async with open_acknowledged_topic(
        kafka_connection(settings),
        topic=settings.topics.dead_letters,
        group=f"{settings.kafka.group_prefix}.dead-letters",
        records=[(letter.partition, letter.offset) for letter in letters],
    ) as pile:
        pending_offsets = await pile.pending_offsets()
        told = await _told(settings, letters, {place for place, each in pending_offsets.items() if each.forgotten})
        still_open = {
            letter.name
            for letter in letters
            if letter.offset in pending_offsets[letter.partition].open and letter.name not in told
        }
        yield Letters(all=letters, open=frozenset(still_open), told=told, pile=pile)


async def collect(settings: Settings, keep: Callable[[Record, DeadLetter], T | None]) -> list[T]:
    """What `keep` makes of each letter."""
    kept = []
    with counting("dead letters") as count:
        async with aclosing(each_letter(settings)) as letters:
            async for record, letter in letters:
                count()
                found = keep(record, letter)
                if found is not None:
                    kept.append(found)
    return kept


async def each_letter(settings: Settings) -> AsyncGenerator[tuple[Record, DeadLetter], None]:
    """Each letter with its record, those of one partition in order."""
    from adapter.flows.dead_letter_view import read_dead_letter
    from adapter.stream.reading import read_to_end
    from adapter.wiring import kafka_connection

    async with aclosing(read_to_end(kafka_connection(settings), [settings.topics.dead_letters])) as records:
        async for record in records:
            yield record, read_dead_letter(record)


async def _told(settings: Settings, letters: Collection[DeadLetter], partitions: Collection[int]) -> frozenset[str]:
    """The names of those letters that later events show to be dealt with, in partitions whose commits are forgotten."""
    from adapter.flows.handled import handled_dead_letters
    from adapter.flows.published_events import read_published_event
    from adapter.stream.reading import read_to_end
    from adapter.wiring import kafka_connection

    unsure = [letter for letter in letters if letter.partition in partitions]
    oldest = min((letter.timestamp for letter in unsure), default=None)
    if oldest is None or datetime.now(UTC) - oldest < FORGETTABLE_AFTER:
        return frozenset()
    note("No commit says which letters were dealt with, so what was told since is read; that may take a while.")
    orders = {letter.order_record for letter in unsure}
    events = []
    with counting("events") as count:
        topics = [settings.topics.issuances]
        async with aclosing(read_to_end(kafka_connection(settings), topics, since=oldest)) as records:
            async for record in records:
                count()
                event = read_published_event(record)
                if event is not None and event.order_record in orders:
                    events.append(event)
    return frozenset(handled_dead_letters(letters, events) & {letter.name for letter in unsure})
