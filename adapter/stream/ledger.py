"""The ledger of one partition: which offsets are open, and what may be committed without passing one of them.

It exists because records are settled out of order and a committed offset says only one number. It is pure: no Kafka,
no clock, no asyncio. It refuses to know what a record is; it knows that offsets have holes (transaction markers,
compaction, retention), so nothing here ever assumes that the next offset is this one plus one.

Theory of operation. Reading goes up from `committed`. Everything below `next_offset` that is not open is settled or
was never a record; both are the same to whoever reads on. So the settled runs are what lies between the open offsets.
Runs that an earlier owner settled beyond its commit are handed over and skipped when reading comes by.
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
class Standing:
    """What can be committed: the offset, and the settled runs beyond it in ascending order, none touching another."""

    committable: int
    settled: tuple[Run, ...]


class OffsetLedger:
    """Open and settled offsets of the partition called `name`, taken over at `committed` with the `settled` runs."""

    def __init__(self, name: str, *, committed: int, settled: Iterable[Run] = ()) -> None:
        self._name = name
        self._next = committed
        self._inherited: deque[Run] = deque(run for run in settled if run[1] > committed)
        # Beyond it lie only open offsets and holes.  Holes cost room in a commit, and nobody needs to know of them.
        self._settled_until = self._inherited[-1][1] if self._inherited else committed
        # A dict keeps the order of insertion, and offsets are opened in ascending order: this is a sorted set.
        self._open: dict[int, None] = {}

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
        settled = bool(self._inherited) and self._inherited[0][0] <= offset
        self._next = offset + 1
        self._leave_behind(self._next)
        if not settled:
            self._open[offset] = None
        return not settled

    def pass_over(self, offset: int) -> None:
        """Note that what was not opened below `offset` is no record: a marker, a compacted or an aborted one."""
        self._next = max(offset, self._next)
        self._leave_behind(self._next)

    def is_settled(self, offset: int) -> bool:
        """Whether an earlier owner settled this offset, at which reading has not arrived yet."""
        return any(first <= offset < past for first, past in self._inherited)

    def skip_to(self, offset: int) -> int:
        """Note that the log has nothing below `offset` any more, so that reading goes on there at the earliest.

        Returns how many of the offsets passed over were neither read before nor settled by an earlier owner.
        """
        passed = max(offset - self._next, 0)
        settled = sum(max(0, min(offset, past) - max(self._next, first)) for first, past in self._inherited)
        self.pass_over(offset)
        return passed - settled

    def settle(self, offset: int) -> None:
        """Note that the outcome of the record at `offset` is published.

        Raises OffsetNotOpen: two tasks own this record, and carrying on would hide it.
        """
        self.check_open(offset)
        del self._open[offset]
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

    def standing(self, settling: AbstractSet[int] = frozenset()) -> Standing:
        """What can be committed once the open offsets in `settling` are settled too."""
        still_open = [offset for offset in self._open if offset not in settling] if settling else list(self._open)
        committable = still_open[0] if still_open else self._frontier()
        settled_until = max(self._settled_until, max(settling, default=-1) + 1)
        runs = self._runs(still_open, committable, min(self._frontier(), settled_until))
        return Standing(committable=committable, settled=tuple(runs))

    def _runs(self, still_open: list[int], committable: int, until: int) -> Iterator[Run]:
        """The settled runs beyond `committable`: up to `until` what was read here, then what was inherited."""
        reached = committable
        for offset in still_open:
            if offset >= until:
                break
            if offset > reached:
                yield reached, offset
            reached = offset + 1
        if reached < until:
            yield reached, until
        yield from (run for run in self._inherited if run[0] > self._frontier())

    def _frontier(self) -> int:
        """`next_offset`, or the end of the inherited run that it lies in."""
        if self._inherited and self._inherited[0][0] <= self._next:
            return self._inherited[0][1]
        return self._next

    def _leave_behind(self, offset: int) -> None:
        """Forget the inherited runs that end at or before `offset`."""
        while self._inherited and self._inherited[0][1] <= offset:
            self._inherited.popleft()

    def _some_open(self) -> str:
        shown = [str(offset) for offset, _ in zip(self._open, range(10), strict=False)]
        return ", ".join(shown) + (f" and {len(self._open) - 10} more" if len(self._open) > 10 else "") or "none"
