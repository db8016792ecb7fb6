"""What is left in this process of partitions that were let go: calls still on the wire, and outcomes not committed.

It exists because a partition often comes back to the process that lost it, and what was sent once must not be sent
again: an outcome that is known is published if its record is still open, and a record whose old task is still on the
wire waits for that task. It refuses to believe that an offset is a name: a topic can be made anew, so the records must
be equal too. And it refuses to believe an outcome once others may have owned the partition: although its record is
still open, "deferred, last sent then" or "failed" may not be true any more. Handling the record anew is always safe.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, NamedTuple, TypeVar

from adapter.stream.owned_partition import WorkItem
from adapter.stream.port import TopicPartition
from adapter.stream.records import Record
from adapter.stream.stage import Outcome

S = TypeVar("S")

MOST_REFUSALS = 2
"""After so many, there is nothing smaller to publish: the stage was asked for less, and then for the least."""


class _Kept(NamedTuple):
    """An outcome that was not committed, and the group's generation in which it came about."""

    record: Record
    generation: int
    outcome: Outcome


class RevokedWork(Generic[S]):
    """Tasks and outcomes that outlived their holding."""

    def __init__(self) -> None:
        self._running: dict[TopicPartition, dict[int, WorkItem[S]]] = {}
        self._outcomes: dict[TopicPartition, dict[int, _Kept]] = {}
        self._refusals: dict[tuple[TopicPartition, int], int] = {}

    def __len__(self) -> int:
        """How many records something is left of."""
        return sum(map(len, self._running.values())) + sum(map(len, self._outcomes.values()))

    def still_running(self, item: WorkItem[S]) -> None:
        """Note that `work`'s partition was let go while its task goes on."""
        self._running.setdefault(item.owned.partition, {})[item.offset] = item

    def ended(self, item: WorkItem[S]) -> None:
        """Note that this task ended."""
        running = self._running.get(item.owned.partition, {})
        if running.get(item.offset) is item:
            del running[item.offset]

    def keep(self, item: WorkItem[S], outcome: Outcome) -> None:
        """Keep an outcome that was not committed."""
        self._outcomes.setdefault(item.owned.partition, {})[item.offset] = _Kept(
            item.record, item.owned.generation, outcome
        )

    def running(self, partition: TopicPartition, record: Record) -> WorkItem[S] | None:
        """The task that is still at this very record."""
        item = self._running.get(partition, {}).get(record.offset)
        return item if item is not None and item.record == record else None

    def outcome(self, item: WorkItem[S]) -> Outcome | None:
        """Hand out the outcome that is known of this very record, unless others may have been at it meanwhile."""
        kept = self._outcomes.get(item.owned.partition, {}).pop(item.offset, None)
        if kept is None or kept.record != item.record:
            return None
        return kept.outcome if _no_owner_between(kept.generation, item.owned.generation) else None

    def refused(self, item: WorkItem[S]) -> int:
        """Note that a topic refused this record's outcome; how often it has."""
        key = (item.owned.partition, item.offset)
        self._refusals[key] = self._refusals.get(key, 0) + 1
        return self._refusals[key]

    def hopeless(self, item: WorkItem[S]) -> bool:
        """Whether a topic refused this record's outcome, and everything that was to be published instead."""
        return self._refusals.get((item.owned.partition, item.offset), 0) > MOST_REFUSALS

    def settled(self, item: WorkItem[S]) -> None:
        """Note that this record is committed."""
        self._refusals.pop((item.owned.partition, item.offset), None)

    def keep_only(self, partitions: Collection[TopicPartition]) -> None:
        """Forget outcomes of partitions that others own now: theirs count."""
        for partition in self._outcomes.keys() - set(partitions):
            del self._outcomes[partition]

    def taken_over(self, partition: TopicPartition, generation: int, *, proven: bool) -> None:
        """Forget the outcomes that do not count any more, now that the partition was taken over again.

        `proven`: no other process has sent anything of it since this one gave it up, see `recovered`.
        """
        self._outcomes[partition] = {
            at: each._replace(generation=generation)
            for at, each in self._outcomes.get(partition, {}).items()
            if proven or _no_owner_between(each.generation, generation)
        }

    def forget_below(self, partition: TopicPartition, offset: int) -> None:
        """Forget outcomes of records that are committed."""
        kept = self._outcomes.get(partition)
        if kept:
            self._outcomes[partition] = {at: each for at, each in kept.items() if at >= offset}


def _no_owner_between(earlier: int, later: int) -> bool:
    """Whether a partition owned in both generations can have had no other owner: the same one, or the very next."""
    return later - earlier in (0, 1)
