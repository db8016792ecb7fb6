"""The ledger of one partition: which offsets are open, and what may be committed without passing one of them.

It exists because records are settled out of order and a committed offset says only one number. It is pure: no Kafka,
no clock, no asyncio. It refuses to know what a record is; it knows that offsets have holes (transaction markers,
compaction, retention), so nothing here ever assumes that the next offset is this one plus one.

Theory of operation. Reading goes up from `committed`. Everything below `next_offset` that is not open is settled or
was never a record; both are the same to whoever reads on. So the settled runs are what lies between the open offsets.
They are kept by their two ends, so that a commit costs as much as there are runs, and not as there are open offsets:
fifty thousand confirmations may wait. Runs that an earlier owner settled beyond its commit are handed over and skipped
when reading comes by.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from adapter.errors import OffsetNotOpen

Run = tuple[int, int]
"""Offsets from the first number up to, and without, the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittableOffsets:
    """What can be committed: the offset, and the settled runs beyond it in ascending order, none touching another."""

    committable: int
    settled: tuple[Run, ...]


class _Runs:
    """Runs of offsets, of which none touches another; each is known by its first offset and by its end."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self._firsts: dict[int, int] = {}

    def __iter__(self) -> Iterator[Run]:
        """All of them in ascending order."""
        return iter(sorted(self._ends.items()))

    def copy(self) -> _Runs:
        copied = _Runs()
        copied._ends, copied._firsts = self._ends.copy(), self._firsts.copy()
        return copied

    def add(self, first: int, past: int) -> None:
        """Add offsets that are in none of the runs yet."""
        if first in self._firsts:
            first = self._firsts.pop(first)
        if past in self._ends:
            past = self._ends.pop(past)
        self._ends[first] = past
        self._firsts[past] = first


class OffsetLedger:
    """Open and settled offsets of the partition called `name`, taken over at `committed` with the `settled` runs."""

    def __init__(self, name: str, *, committed: int, settled: Iterable[Run] = ()) -> None:
        self._name = name
        self._next = committed
        self._recovered: deque[Run] = deque(run for run in settled if run[1] > committed)
        # Beyond it lie only open offsets and holes.  Holes cost room in a commit, and nobody needs to know of them.
        self._settled_until = self._recovered[-1][1] if self._recovered else committed
        # A dict keeps the order of insertion, and offsets are opened in ascending order: this is a sorted set.
        self._open: dict[int, None] = {}
        self._runs = _Runs()

    @property
    def next_offset(self) -> int:
        """Where reading goes on: every record below has been opened or skipped."""
        return self._next

    def __len__(self) -> int:
        """How many offsets are open."""
        return len(self._open)

    def __contains__(self, offset: int) -> bool:
        """Whether `offset` is open."""
        return offset in self._open

    def __iter__(self) -> Iterator[int]:
        """The open offsets, the oldest first."""
        return iter(self._open)

    def open(self, offset: int) -> bool:
        """Note that the record at `offset` was read; False when an earlier owner settled it, and it is to be skipped.

        Raises OffsetNotOpen when reading went backwards: the record may be in the hands of another task.
        """
        if offset < self._next:
            raise OffsetNotOpen(
                f"offset {offset} of {self._name} was read, but everything below {self._next} was read before. "
                f"Was the partition sought back without taking it over again?"
            )
        self._leave_behind(offset)
        settled = bool(self._recovered) and self._recovered[0][0] <= offset
        if settled:
            self.pass_over(offset + 1)
            return False
        self.pass_over(offset)
        self._next = offset + 1
        self._leave_behind(self._next)
        self._open[offset] = None
        return True

    def pass_over(self, offset: int) -> None:
        """Note that what was not opened below `offset` is no record: a marker, a compacted or an aborted one."""
        if offset > self._next:
            self._runs.add(self._next, offset)
            self._next = offset
            self._leave_behind(offset)

    def settled_past(self, offset: int) -> int | None:
        """Where the run ends in which an earlier owner settled this offset, not read yet; None: it did not."""
        return next((past for first, past in self._recovered if first <= offset < past), None)

    def skip_to(self, offset: int) -> int:
        """Note that the log has nothing below `offset` any more, so that reading goes on there at the earliest.

        Returns how many of the offsets passed over were neither read before nor settled by an earlier owner.
        """
        passed = max(offset - self._next, 0)
        settled = sum(max(0, min(offset, past) - max(self._next, first)) for first, past in self._recovered)
        self.pass_over(offset)
        # What was given up stays so for the next owner, also while nothing behind it is settled.
        self._settled_until = max(self._settled_until, offset)
        return passed - settled

    def settle(self, offset: int) -> None:
        """Note that the outcome of the record at `offset` is published.

        Raises OffsetNotOpen: two tasks own this record, and carrying on would hide it.
        """
        self.check_open(offset)
        del self._open[offset]
        self._runs.add(offset, offset + 1)
        self._settled_until = max(self._settled_until, offset + 1)

    def check_open(self, offset: int) -> None:
        """Raises OffsetNotOpen when the offset is settled, or was never opened."""
        if offset not in self._open:
            raise OffsetNotOpen(
                f"offset {offset} of {self._name} was settled but is not open; open now: {self._some_open()}. "
                f"Was one record given to two tasks?"
            )

    def committable(self) -> int:
        """The offset below which everything is settled."""
        return next(iter(self._open), self._frontier())

    def committable_offsets(self, settling: AbstractSet[int] = frozenset()) -> CommittableOffsets:
        """What can be committed once the open offsets in `settling` are settled too."""
        runs = self._runs.copy() if settling else self._runs
        for offset in settling:
            runs.add(offset, offset + 1)
        frontier = self._frontier()
        committable = next((offset for offset in self._open if offset not in settling), frontier)
        until = min(frontier, max(self._settled_until, max(settling, default=-1) + 1))
        read = ((first, past) for first, past in runs if committable < first < until)
        beyond = [(first, min(past, until)) for first, past in read]
        if self._next < until:  # reading stands in an inherited run, whose end is `until`
            first = beyond.pop()[0] if beyond and beyond[-1][1] == self._next else self._next
            beyond += [(first, until)] if first > committable else []
        beyond += [run for run in self._recovered if run[0] > frontier]
        return CommittableOffsets(committable=committable, settled=tuple(beyond))

    def _frontier(self) -> int:
        """`next_offset`, or the end of the inherited run that it lies in."""
        if self._recovered and self._recovered[0][0] <= self._next:
            return self._recovered[0][1]
        return self._next

    def _leave_behind(self, offset: int) -> None:
        """Forget the inherited runs that end at or before `offset`."""
        while self._recovered and self._recovered[0][1] <= offset:
            self._recovered.popleft()

    def _some_open(self) -> str:
        shown = [str(offset) for offset, _ in zip(self._open, range(10), strict=False)]
        return ", ".join(shown) + (f" and {len(self._open) - 10} more" if len(self._open) > 10 else "") or "none"
