"""Finds numbers that stand in a report twice, in 12 bytes a line: 12 MB for a million tickets.

A set of the numbers themselves would need ten times as much. Kept are 64 bits of each number's hash, so two different
numbers of a million are taken for one with a probability below one in ten million.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

_BUCKETS: Final = 256
_BITS: Final = (1 << 64) - 1


class RepeatedNumbers:
    """The lines of the numbers seen so far."""

    def __init__(self) -> None:
        self._hashes = tuple(array("Q") for _ in range(_BUCKETS))
        self._lines = tuple(array("I") for _ in range(_BUCKETS))

    def add(self, number: object, line: int) -> None:
        """Note that a number stands in this line."""
        digest = hash(number) & _BITS
        self._hashes[digest % _BUCKETS].append(digest)
        self._lines[digest % _BUCKETS].append(line)

    def repeated(self) -> Iterator[tuple[int, int]]:
        """Yield the first line of a number and each further line, in no particular order."""
        for hashes, lines in zip(self._hashes, self._lines, strict=True):
            first: tuple[int, int] | None = None
            for digest, line in sorted(zip(hashes, lines, strict=True)):
                if first is not None and first[0] == digest:
                    yield first[1], line
                else:
                    first = digest, line
