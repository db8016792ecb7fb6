"""Tracks which offsets of one partition are open, and what may be committed without passing one of them.

Records are settled out of order, but a committed offset is a single number. Pure: no Kafka, no clock, no asyncio.
Offsets have holes (transaction markers, compaction, retention), so no code here assumes that the next offset is this
one plus one.

Theory of operation. Reading goes up from `committed`. Every offset below `next_offset` that is not open is settled or
was never a record; the next owner treats both the same. So the settled runs are what lies between the open offsets.
Each run is kept by its two ends, so a commit costs as much as there are runs, not as there are open offsets: fifty
thousand confirmations may wait. Runs that an earlier owner settled beyond its commit are recovered and skipped when
reading reaches them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from msgspec import Struct

from adapter.errors import OffsetNotOpen

Run = tuple[int, int]
"""Offsets from the first number up to, and without, the second."""


class CommittableOffsets(Struct, frozen=True, kw_only=True):
    """The offset that can be committed, and the settled runs beyond it in ascending order, none touching another."""

    committable: int
    settled: tuple[Run, ...]


class _Runs:
    """Runs of offsets that do not touch each other; each is found by its first offset and by its end."""

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
    """Open and settled offsets of partition `name`, from `committed` on, with the recovered `settled` runs."""

    def __init__(self, name: str, *, committed: int, settled: Iterable[Run] = ()) -> None:
        self._name = name
        self._next = committed
        self._recovered: deque[Run] = deque(run for run in settled if run[1] > committed)
        # Beyond it lie only open offsets and holes. Holes cost room in a commit, and no owner needs them.
        self._settled_until = self._recovered[-1][1] if self._recovered else committed
        # A dict keeps the order of insertion, and offsets are opened in ascending order: this is a sorted set.
        self._open: dict[int, None] = {}
        self._runs = _Runs()

    @property
    def next_offset(self) -> int:
        """The next offset to read: every record below has been opened or skipped."""
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
        """Mark the record at `offset` as read; False if an earlier owner settled it, so that it is skipped.

        Raises OffsetNotOpen if reading went backwards: another task may be processing the record.
        """
        if offset < self._next:
            raise OffsetNotOpen(
                f"offset {offset} of {self._name} was read, but everything below {self._next} was read before. "
                f"Was the position reset without taking the partition over again?"
            )
        if self._recovered:
            self._leave_behind(offset)
        if self._recovered and self._recovered[0][0] <= offset:
            self.pass_over(offset + 1)
            return False
        self.pass_over(offset)
        self._next = offset + 1
        if self._recovered:
            self._leave_behind(self._next)
        self._open[offset] = None
        return True

    def pass_over(self, offset: int) -> None:
        """Mark what was not opened below `offset` as no record: a marker, or a compacted or aborted record."""
        if offset > self._next:
            self._runs.add(self._next, offset)
            self._next = offset
            self._leave_behind(offset)

    def settled_past(self, offset: int) -> int | None:
        """Return the end of the run in which an earlier owner settled this offset, which is not read yet; None: it did
        not.
        """
        return next((past for first, past in self._recovered if first <= offset < past), None)

    def skip_to(self, offset: int) -> int:
        """Continue at `offset` at the earliest, because the log has nothing below it any more.

        Returns how many of the skipped offsets were neither read before nor settled by an earlier owner.
        """
        passed = max(offset - self._next, 0)
        settled = sum(max(0, min(offset, past) - max(self._next, first)) for first, past in self._recovered)
        self.pass_over(offset)
        # Skipped offsets stay skipped for the next owner, even while no later offset is settled.
        self._settled_until = max(self._settled_until, offset)
        return passed - settled

    def settle(self, offset: int) -> None:
        """Mark the record at `offset` as settled, after its outcome is committed.

        Raises OffsetNotOpen: two tasks may be processing this record, and continuing would hide it.
        """
        self.check_open(offset)
        del self._open[offset]
        self._runs.add(offset, offset + 1)
        self._settled_until = max(self._settled_until, offset + 1)

    def check_open(self, offset: int) -> None:
        """Raise OffsetNotOpen if the offset is settled, or was never opened."""
        if offset not in self._open:
            raise OffsetNotOpen(
                f"offset {offset} of {self._name} was settled but is not open; open now: {self._some_open()}. "
                f"Did two tasks get the same record?"
            )

    def committable(self) -> int:
        """The offset below which everything is settled."""
        return next(iter(self._open), self._frontier())

    def committable_offsets(self, settling: AbstractSet[int] = frozenset()) -> CommittableOffsets:
        """Return what can be committed once the open offsets in `settling` are settled too."""
        runs = self._runs.copy() if settling else self._runs
        for offset in settling:
            runs.add(offset, offset + 1)
        frontier = self._frontier()
        committable = next((offset for offset in self._open if offset not in settling), frontier)
        until = min(frontier, max(self._settled_until, max(settling, default=-1) + 1))
        read = ((first, past) for first, past in runs if committable < first < until)
        beyond = [(first, min(past, until)) for first, past in read]
        if self._next < until:  # the position is inside a recovered run, whose end is `until`
            first = beyond.pop()[0] if beyond and beyond[-1][1] == self._next else self._next
            beyond += [(first, until)] if first > committable else []
        beyond += [run for run in self._recovered if run[0] > frontier]
        return CommittableOffsets(committable=committable, settled=tuple(beyond))

    def _frontier(self) -> int:
        """Return `next_offset`, or the end of the recovered run that it lies in."""
        if self._recovered and self._recovered[0][0] <= self._next:
            return self._recovered[0][1]
        return self._next

    def _leave_behind(self, offset: int) -> None:
        """Forget the recovered runs that end at or before `offset`."""
        while self._recovered and self._recovered[0][1] <= offset:
            self._recovered.popleft()

    def _some_open(self) -> str:
        shown = [str(offset) for offset, _ in zip(self._open, range(10), strict=False)]
        return ", ".join(shown) + (f" and {len(self._open) - 10} more" if len(self._open) > 10 else "") or "none"
