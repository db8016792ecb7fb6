"""Has a bounded read come to its end: pure bookkeeping, because offsets have holes.

Transaction markers, aborted records and compaction leave offsets for which no record will ever come, also as the very
last ones. So a partition is done when the reader's *position* has reached the end, or when brokers that know that end
answered from the position, repeatedly, and had nothing. It refuses to know how answers are got.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)

QUIET_LOOKS = 3
"""Empty answers after which what is left is a hole; one may be empty only because another partition filled it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPosition:
    """A partition as the reader sees it after a look.

    `position` is the offset it asks for next, `answered_ms` when a broker last answered it (ms, any clock that does
    not go back), `stable_end` the end that this answer knew of.
    """

    position: int
    answered_ms: int | None = None
    stable_end: int | None = None


class ReadProgress(Generic[P]):
    """The partitions that have not been read to their ends yet."""

    def __init__(self, begins: Mapping[P, int], ends: Mapping[P, int]) -> None:
        self._ends = dict(ends)
        self._seen = {partition: PartitionPosition(position=begins[partition]) for partition in ends}
        self._quiet = dict.fromkeys(ends, 0)
        self._drop_those_at_their_end()

    @property
    def partitions(self) -> tuple[P, ...]:
        """What is still to be read."""
        return tuple(self._seen)

    def includes(self, partition: P, offset: int) -> bool:
        """Whether a record belongs to this read: what came after its beginning does not."""
        return offset < self._ends[partition]

    def update(self, positions: Mapping[P, PartitionPosition]) -> bool:
        """Take in what the reader sees of each remaining partition; True when a broker has answered since last time."""
        before, self._seen = self._seen, {partition: positions[partition] for partition in self._seen}
        moved = any(position.position != before[partition].position for partition, position in self._seen.items())
        answered = [
            partition
            for partition, position in self._seen.items()
            if position.answered_ms != before[partition].answered_ms
        ]
        for partition in self._quiet:
            self._quiet[partition] = 0 if moved else self._quiet[partition]
        if not moved:
            self._count_quiet(answered)
        self._drop_those_at_their_end()
        return moved or bool(answered)

    def _count_quiet(self, answered: list[P]) -> None:
        for partition in answered:
            if (self._seen[partition].stable_end or 0) >= self._ends[partition]:
                self._quiet[partition] += 1

    def _drop_those_at_their_end(self) -> None:
        self._seen = {
            partition: position
            for partition, position in self._seen.items()
            if position.position < self._ends[partition] and self._quiet[partition] < QUIET_LOOKS
        }
