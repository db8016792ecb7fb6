"""The waiting room: records whose time has not come, without a task of their own.

It exists because tens of thousands can wait at once. It is pure, and it refuses to know a clock: who asks says what
time it is. Whoever leaves before the time is only forgotten; its place in the heap is freed later.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Delayed(Protocol):
    """What can wait: it belongs to a topic, whose bound it counts against."""

    @property
    def topic(self) -> str: ...


W = TypeVar("W", bound=Delayed)


class DelayQueue(Generic[W]):
    """Who waits until when (seconds since the epoch), counted by topic."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, W]] = []
        self._positions: dict[int, int] = {}
        self._entered = 0
        self._by_topic: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._positions)

    def count(self, topic: str) -> int:
        """How many of this topic wait."""
        return self._by_topic[topic]

    def put(self, item: W, until: float) -> None:
        """Wait until that time."""
        self._entered += 1
        self._positions[id(item)] = self._entered
        self._by_topic[item.topic] += 1
        heapq.heappush(self._heap, (until, self._entered, item))

    def discard(self, item: W) -> None:
        """Wait no longer; nothing happens when `work` does not wait."""
        if self._positions.pop(id(item), None) is not None:
            self._by_topic[item.topic] -= 1
            self._sweep()

    def due(self, now: float) -> Iterator[W]:
        """Those whose time has come, the longest due first; they wait no longer."""
        while self._heap and self._heap[0][0] <= now:
            _, entered, item = heapq.heappop(self._heap)
            if self._positions.get(id(item)) == entered:
                self.discard(item)
                yield item

    def _sweep(self) -> None:
        """Free the places of those who left, when they are the greater part."""
        if len(self._heap) > 2 * len(self._positions) + 100:
            self._heap = [
                partition for partition in self._heap if self._positions.get(id(partition[2])) == partition[1]
            ]
            heapq.heapify(self._heap)

    def next_due(self) -> float | None:
        """When somebody may be due next."""
        return self._heap[0][0] if self._heap else None
