"""What operations need from outside, as the narrowest interfaces; `cli` hands in the real ones."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from datetime import datetime
from typing import Protocol

from adapter.stream.port import UnreadableBatch
from adapter.stream.records import Record

Note = Callable[[str], None]
"""Shows a sentence to the person who runs the operation."""
Counting = Callable[[str], AbstractContextManager[Callable[[], None]]]
"""Shows the progress of a long read: named by what is counted, and called once for each."""
Progress = Callable[[str, int, int], None]
"""Shows how far a read is: what is read, how many of its offsets are done, and how many it has."""


class TopicReader(Protocol):
    """Reads committed records without a consumer group."""

    def read_to_end(self, topics: Collection[str], *, since: datetime | None = None) -> AsyncGenerator[Record, None]:
        """Every record of these topics up to their ends at the time of the call, those of one partition in order.

        Raises TopicsMissing, BrokerUnavailable and StreamError. Close it (`contextlib.aclosing`).
        """
        ...

    async def read_one(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at these coordinates; None if it, or its topic, does not exist (any more).

        Raises BrokerUnavailable and StreamError.
        """
        ...


class KeyedTopicReader(TopicReader, Protocol):
    """Also reads only the partitions that can hold a key."""

    async def partitions_of(self, keys: Mapping[str, Collection[bytes] | None]) -> Mapping[str, frozenset[int]]:
        """For each topic the partitions into which Kafka's default partitioner puts these keys; all of them for None.

        Raises TopicsMissing and BrokerUnavailable.
        """
        ...

    def read_partitions(
        self,
        partitions: Mapping[str, Collection[int]],
        *,
        since: datetime | None,
        on_progress: Callable[[int, int], None],
        on_unreadable: Callable[[UnreadableBatch], None],
    ) -> AsyncGenerator[Record, None]:
        """As `read_to_end`, of these partitions alone, without batches that cannot be read.

        `on_progress` gets the number of offsets that are done, and that of all; `on_unreadable` each batch left out.
        """
        ...


def no_note(sentence: str) -> None:
    """Ignore it."""


def no_progress(what: str, done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def no_counting(what: str) -> Iterator[Callable[[], None]]:
    """Count nothing."""
    yield lambda: None


async def read_counted(
    reader: TopicReader, topics: Collection[str], *, counting: Counting, what: str, since: datetime | None = None
) -> AsyncGenerator[Record, None]:
    """The records of these topics up to their ends, counted as `what`. Close it (`contextlib.aclosing`)."""
    with counting(what) as count:
        async with aclosing(reader.read_to_end(topics, since=since)) as records:
            async for record in records:
                count()
                yield record
