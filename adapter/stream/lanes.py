"""Keeps one queue for each lane: records of a lane are handled one after another, in the order of entry.

Two records about the same order must never be handled at once. Pure: the current item of a lane stays current until it
leaves.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

W = TypeVar("W")


class Lanes(Generic[W]):
    """Queues by lane; a queue exists only while it has items. The lane None has no queue."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, list[W]] = {}

    def __len__(self) -> int:
        """How many lanes are in use."""
        return len(self._queues)

    def enter(self, lane: Hashable | None, item: W) -> bool:
        """Enter the lane; True if the item is its current one."""
        if lane is None:
            return True
        queue = self._queues.get(lane)
        if queue is None:
            self._queues[lane] = [item]
            return True
        queue.append(item)
        return False

    def leave(self, lane: Hashable | None, item: W) -> W | None:
        """Leave the lane from any position; return the item that becomes current by that, if any."""
        if lane is None:
            return None
        queue = self._queues[lane]
        if queue[0] is not item:
            queue.remove(item)
            return None
        del queue[0]
        if queue:
            return queue[0]
        del self._queues[lane]
        return None

    def is_current(self, lane: Hashable | None, item: W) -> bool:
        """Whether this item is the current one of its lane."""
        return lane is None or self._queues[lane][0] is item

    def behind(self, lane: Hashable | None, item: W) -> Iterator[W]:
        """The items that entered the lane after `item`."""
        passed = False
        for other in self._queues.get(lane, ()) if lane is not None else ():
            if passed:
                yield other
            passed = passed or other is item
