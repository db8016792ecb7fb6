"""Holds the records that are not due yet, without a task for each: tens of thousands may wait at once.

Pure: the caller passes the time. A record that leaves early is only marked; its heap entry is removed later.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Delayed(Protocol):
    """An item that can wait; it counts towards the limit of its topic."""

    @property
    def topic(self) -> str: ...


W = TypeVar("W", bound=Delayed)


class DelayQueue(Generic[W]):
    """Items and the time at which each is due (seconds since the epoch), counted by topic."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, W]] = []
        self._positions: dict[int, int] = {}
        self._entered = 0
        self._by_topic: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._positions)

    def count(self, topic: str) -> int:
        """How many items of this topic wait."""
        return self._by_topic[topic]

    def put(self, item: W, until: float) -> None:
        """Add an item that is due at `until`."""
        self._entered += 1
        self._positions[id(item)] = self._entered
        self._by_topic[item.topic] += 1
        heapq.heappush(self._heap, (until, self._entered, item))

    def discard(self, item: W) -> None:
        """Remove an item; does nothing if it does not wait."""
        if self._positions.pop(id(item), None) is not None:
            self._by_topic[item.topic] -= 1
            self._sweep()

    def due(self, now: float) -> Iterator[W]:
        """Remove and yield the items that are due, in the order of their times."""
        while self._heap and self._heap[0][0] <= now:
            _, entered, item = heapq.heappop(self._heap)
            if self._positions.get(id(item)) == entered:
                self.discard(item)
                yield item

    def _sweep(self) -> None:
        """Rebuild the heap when most of its entries are of items that left."""
        if len(self._heap) > 2 * len(self._positions) + 100:
            self._heap = [entry for entry in self._heap if self._positions.get(id(entry[2])) == entry[1]]
            heapq.heapify(self._heap)

    def next_due(self) -> float | None:
        """When the next item may be due."""
        return self._heap[0][0] if self._heap else None
