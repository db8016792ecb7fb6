"""Keeps what is left in this process of released partitions: running tasks, and outcomes that are not committed.

A partition often comes back to the process that lost it, and a record that was sent must not be sent again. So a known
outcome is published if its record is still open, and a record whose old task is still running waits for that task. An
offset alone does not identify a record, because a topic can be recreated, so the records must be equal too. An outcome
counts no longer once other processes may have owned the partition: although its record is still open, "deferred, last
sent then" or "failed" may no longer be true. Processing the record again is always safe.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, NamedTuple, TypeVar

from adapter.stream.owned_partition import WorkItem
from adapter.stream.port import TopicPartition
from adapter.stream.records import Record
from adapter.stream.stage import Outcome

S = TypeVar("S")

MAX_REFUSALS = 2
"""After so many rejections there is no smaller outcome: the stage was asked for a smaller one, and then for the
smallest.
"""


class _Kept(NamedTuple):
    """An uncommitted outcome, and the group generation in which it was made."""

    record: Record
    generation: int
    outcome: Outcome


class RevokedWork(Generic[S]):
    """Tasks and outcomes of partitions that this process has released."""

    def __init__(self) -> None:
        self._running: dict[TopicPartition, dict[int, WorkItem[S]]] = {}
        self._outcomes: dict[TopicPartition, dict[int, _Kept]] = {}
        self._refusals: dict[tuple[TopicPartition, int], int] = {}

    def __len__(self) -> int:
        """How many tasks and outcomes are kept."""
        return sum(map(len, self._running.values())) + sum(map(len, self._outcomes.values()))

    def concerns(self, partition: TopicPartition) -> bool:
        """Whether anything of this partition is kept, or was rejected by a topic."""
        return bool(self._running.get(partition) or self._outcomes.get(partition) or self._refusals)

    def still_running(self, item: WorkItem[S]) -> None:
        """Keep an item whose task is running while its partition is released."""
        self._running.setdefault(item.owned.partition, {})[item.offset] = item

    def ended(self, item: WorkItem[S]) -> None:
        """Forget an item whose task has ended."""
        running = self._running.get(item.owned.partition, {})
        if running.get(item.offset) is item:
            del running[item.offset]

    def keep(self, item: WorkItem[S], outcome: Outcome) -> None:
        """Keep an outcome that was not committed."""
        self._outcomes.setdefault(item.owned.partition, {})[item.offset] = _Kept(
            item.record, item.owned.generation, outcome
        )

    def running(self, partition: TopicPartition, record: Record) -> WorkItem[S] | None:
        """Return the item whose task still processes this record."""
        item = self._running.get(partition, {}).get(record.offset)
        return item if item is not None and item.record == record else None

    def outcome(self, item: WorkItem[S]) -> Outcome | None:
        """Remove and return the known outcome of this record, unless other processes may have owned the partition
        since.
        """
        of_partition = self._outcomes.get(item.owned.partition)
        kept = of_partition.pop(item.offset, None) if of_partition else None
        if kept is None or kept.record != item.record:
            return None
        return kept.outcome if _no_owner_between(kept.generation, item.owned.generation) else None

    def refused(self, item: WorkItem[S]) -> int:
        """Count a rejection of this record's outcome by a topic; return how many there were."""
        key = (item.owned.partition, item.offset)
        self._refusals[key] = self._refusals.get(key, 0) + 1
        return self._refusals[key]

    def rejected_for_good(self, item: WorkItem[S]) -> bool:
        """Whether topics rejected this record's outcome and every smaller one."""
        return self._refusals.get((item.owned.partition, item.offset), 0) > MAX_REFUSALS

    def settled(self, item: WorkItem[S]) -> None:
        """Forget the rejections of a committed record."""
        if self._refusals:
            self._refusals.pop((item.owned.partition, item.offset), None)

    def keep_only(self, partitions: Collection[TopicPartition]) -> None:
        """Forget the outcomes of partitions that other processes own now."""
        for partition in self._outcomes.keys() - set(partitions):
            del self._outcomes[partition]

    def taken_over(self, partition: TopicPartition, generation: int, *, proven: bool) -> None:
        """Forget the outcomes that count no longer after a partition was taken over again.

        `proven`: no other process has sent anything of it since this one released it, see `recovery`.
        """
        self._outcomes[partition] = {
            at: each._replace(generation=generation)
            for at, each in self._outcomes.get(partition, {}).items()
            if proven or _no_owner_between(each.generation, generation)
        }

    def forget_below(self, partition: TopicPartition, offset: int) -> None:
        """Forget the outcomes of committed records."""
        kept = self._outcomes.get(partition)
        if kept:
            self._outcomes[partition] = {at: each for at, each in kept.items() if at >= offset}


def _no_owner_between(earlier: int, later: int) -> bool:
    """Whether a partition owned in both generations had no other owner: the same generation, or the very next."""
    return later - earlier in (0, 1)
