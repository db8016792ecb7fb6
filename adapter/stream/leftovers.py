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

from adapter.stream.port import Place
from adapter.stream.records import Record
from adapter.stream.stage import Outcome
from adapter.stream.work import Work

S = TypeVar("S")

MOST_REFUSALS = 2
"""After so many, there is nothing smaller to publish: the stage was asked for less, and then for the least."""


class _Kept(NamedTuple):
    """An outcome that was not committed, and the group's generation in which it came about."""

    record: Record
    generation: int
    outcome: Outcome


class Leftovers(Generic[S]):
    """Tasks and outcomes that outlived their holding."""

    def __init__(self) -> None:
        self._running: dict[Place, dict[int, Work[S]]] = {}
        self._outcomes: dict[Place, dict[int, _Kept]] = {}
        self._refusals: dict[tuple[Place, int], int] = {}

    def __len__(self) -> int:
        """How many records something is left of."""
        return sum(map(len, self._running.values())) + sum(map(len, self._outcomes.values()))

    def still_running(self, work: Work[S]) -> None:
        """Note that `work`'s partition was let go while its task goes on."""
        self._running.setdefault(work.holding.place, {})[work.offset] = work

    def ended(self, work: Work[S]) -> None:
        """Note that this task ended."""
        running = self._running.get(work.holding.place, {})
        if running.get(work.offset) is work:
            del running[work.offset]

    def keep(self, work: Work[S], outcome: Outcome) -> None:
        """Keep an outcome that was not committed."""
        self._outcomes.setdefault(work.holding.place, {})[work.offset] = _Kept(
            work.record, work.holding.generation, outcome
        )

    def running(self, place: Place, record: Record) -> Work[S] | None:
        """The task that is still at this very record."""
        work = self._running.get(place, {}).get(record.offset)
        return work if work is not None and work.record == record else None

    def outcome(self, work: Work[S]) -> Outcome | None:
        """Hand out the outcome that is known of this very record, unless others may have been at it meanwhile."""
        kept = self._outcomes.get(work.holding.place, {}).pop(work.offset, None)
        if kept is None or kept.record != work.record:
            return None
        return kept.outcome if _nobody_between(kept.generation, work.holding.generation) else None

    def refused(self, work: Work[S]) -> int:
        """Note that a topic refused this record's outcome; how often it has."""
        key = (work.holding.place, work.offset)
        self._refusals[key] = self._refusals.get(key, 0) + 1
        return self._refusals[key]

    def hopeless(self, work: Work[S]) -> bool:
        """Whether a topic refused this record's outcome, and everything that was to be published instead."""
        return self._refusals.get((work.holding.place, work.offset), 0) > MOST_REFUSALS

    def settled(self, work: Work[S]) -> None:
        """Note that this record is committed."""
        self._refusals.pop((work.holding.place, work.offset), None)

    def keep_only(self, places: Collection[Place]) -> None:
        """Forget outcomes of partitions that others own now: theirs count."""
        for place in self._outcomes.keys() - set(places):
            del self._outcomes[place]

    def taken_over(self, place: Place, generation: int, *, proven: bool) -> None:
        """Forget the outcomes that do not count any more, now that the partition was taken over again.

        `proven`: no other process has sent anything of it since this one gave it up, see `inheritance`.
        """
        self._outcomes[place] = {
            at: each._replace(generation=generation)
            for at, each in self._outcomes.get(place, {}).items()
            if proven or _nobody_between(each.generation, generation)
        }

    def forget_below(self, place: Place, offset: int) -> None:
        """Forget outcomes of records that are committed."""
        kept = self._outcomes.get(place)
        if kept:
            self._outcomes[place] = {at: each for at, each in kept.items() if at >= offset}


def _nobody_between(earlier: int, later: int) -> bool:
    """Whether a partition owned in both generations can have had no other owner: the same one, or the very next."""
    return later - earlier in (0, 1)
