"""Lanes: what shares a lane is worked on one after another, in the order in which it came.

They exist because two records about the same order must never be in work at once. They are pure, and they refuse to
know what work is, when it is done, and why something waits: whoever is current stays it until it leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

W = TypeVar("W")


class Lanes(Generic[W]):
    """Queues by lane, existing only as long as somebody is in them; the lane None is always one's own."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[W]] = {}

    def __len__(self) -> int:
        """How many lanes are in use."""
        return len(self._queues)

    def enter(self, lane: Hashable | None, item: W) -> bool:
        """Queue up; True when nobody is before, so that `work` is the lane's current one."""
        if lane is None:
            return True
        queue = self._queues.get(lane)
        if queue is None:
            self._queues[lane] = deque((item,))
            return True
        queue.append(item)
        return False

    def leave(self, lane: Hashable | None, item: W) -> W | None:
        """Leave, from whichever place; the answer is the one who becomes current by that, if anybody does."""
        if lane is None:
            return None
        queue = self._queues[lane]
        if queue[0] is not item:
            queue.remove(item)
            return None
        queue.popleft()
        if queue:
            return queue[0]
        del self._queues[lane]
        return None

    def is_current(self, lane: Hashable | None, item: W) -> bool:
        """Whether it is this one's turn."""
        return lane is None or self._queues[lane][0] is item

    def behind(self, lane: Hashable | None, item: W) -> Iterator[W]:
        """Those who came into the lane after `work`."""
        passed = False
        for other in self._queues.get(lane, ()) if lane is not None else ():
            if passed:
                yield other
            passed = passed or other is item
