"""Bulkheads: records of one kind of trouble take only a share of the places, and the others' records go on.

A stage names a record's bulkhead (in the adapter: its merchant). A bulkhead whose records are slow fills its share and
then waits; the others do not wait with it. Pure: no clock, no task, no Kafka. Does not know what a bulkhead stands for.

Theory of operation. There are `places` to be handled in, and `room` to be ready in. Both are shared by dynamic
thresholds, as buffers are in a switch: a bulkhead may take up to `SLOTS_PER_FREE` times as many places as are free.
One busy bulkhead alone takes seven eighths, two take seven fifteenths each, and some places stay free for a newcomer.
The last free place goes only to a bulkhead that has none. Room to be ready in is shared likewise: one alone takes half.

Of the bulkheads that may start a record the one that started its last one longest ago is next. Within a bulkhead the
order of entering is kept. Records without a bulkhead (None) have no limit but the places.

What finds no room stays outside: it *waits*, costs memory only, and is let in as soon as there is room, first come
first served. When memory is used up, it may be moved elsewhere, if that helps anyone: when records of another bulkhead
came lately and are likely to come again, or when its own bulkhead hardly moves.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

W = TypeVar("W", bound=Hashable)

SLOTS_PER_FREE: Final = 7
"""How many places a bulkhead may hold for each one that is free."""

OTHERS_SECONDS: Final = 600.0
"""For how long a bulkhead is expected to have more records."""

STUCK_SECONDS: Final = 60.0
"""A bulkhead of which something has waited for room for so long hardly moves."""

SPARE_ROOM: Final = 50
"""Records that may be ready beyond as many as there are places, of all bulkheads together."""


@dataclass(slots=True)
class _Bulkhead(Generic[W]):
    """One bulkhead; the dicts keep the order of entering, and `outside` also the time."""

    running: int = 0
    inside: dict[W, None] = field(default_factory=dict)
    ready: dict[W, None] = field(default_factory=dict)
    outside: dict[W, float] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        return not (self.running or self.inside or self.outside)


class Bulkheads(Generic[W]):
    """All records of a stage that are about to be handled, or are being handled, in `places` places."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._room = slots + SPARE_ROOM
        self._of: dict[Hashable | None, _Bulkhead[W]] = {}
        self._turns: dict[Hashable | None, None] = {}
        self._running = 0
        self._inside = 0
        self._latest: tuple[Hashable | None, float] | None = None
        self._another: tuple[Hashable | None, float] | None = None

    def __len__(self) -> int:
        """How many bulkheads are in use."""
        return len(self._of)

    @property
    def running(self) -> int:
        """How many records are being handled."""
        return self._running

    # --- before handling ---------------------------------------------------------------------------------------------

    def has_room(self, key: Hashable | None) -> bool:
        """Whether a record of this bulkhead may come inside."""
        bulkhead = self._of.get(key)
        if key is None or bulkhead is None or not bulkhead.inside:
            return True
        return len(bulkhead.inside) < self._room - self._inside

    def enter(self, key: Hashable | None, item: W, now: float) -> None:
        """Come inside, not ready yet."""
        self._note(key, now)
        self._bulkhead(key).inside[item] = None
        self._inside += 1

    def make_ready(self, key: Hashable | None, item: W) -> None:
        """Be ready to be handled, from inside."""
        self._of[key].ready[item] = None
        self._turns.setdefault(key)

    def wait_outside(self, key: Hashable | None, item: W, now: float) -> None:
        """Wait for room inside."""
        self._note(key, now)
        self._bulkhead(key).outside[item] = now

    def let_in(self, key: Hashable | None) -> W | None:
        """Name the record that has waited for room longest, if there is room by now; it waits no longer."""
        bulkhead = self._of.get(key)
        if bulkhead is None or not bulkhead.outside or not self.has_room(key):
            return None
        item = next(iter(bulkhead.outside))
        del bulkhead.outside[item]
        return item

    def leave(self, key: Hashable | None, item: W) -> None:
        """Leave without being handled; nothing happens when the record is neither inside nor waits."""
        bulkhead = self._of.get(key)
        if bulkhead is None:
            return
        bulkhead.outside.pop(item, None)
        if item in bulkhead.inside:
            self._take_out(key, bulkhead, item)
        self._forget(key, bulkhead)

    def hand_off_candidates(self, now: float) -> Iterator[W]:
        """Those that wait for room and are in the way of others, of each bulkhead the one that came last first."""
        for key, bulkhead in list(self._of.items()):
            if bulkhead.outside and self._in_the_way(key, bulkhead, now):
                yield from reversed(list(bulkhead.outside))

    def _in_the_way(self, key: Hashable | None, bulkhead: _Bulkhead[W], now: float) -> bool:
        others = (seen for seen in (self._latest, self._another) if seen is not None and seen[0] != key)
        if any(at >= now - OTHERS_SECONDS for _, at in others):
            return True
        return next(iter(bulkhead.outside.values())) <= now - STUCK_SECONDS

    def _note(self, key: Hashable | None, now: float) -> None:
        """Keep whose records came last, and whose before: one of the two is another bulkhead than any that asks."""
        if self._latest is not None and self._latest[0] != key:
            self._another = self._latest
        self._latest = key, now

    # --- handling ----------------------------------------------------------------------------------------------------

    def next(self) -> W | None:
        """The record that is handled next; it is not inside any more, and counts once `started` says so."""
        for key in self._turns:
            bulkhead = self._of[key]
            if self._may_start(key, bulkhead):
                item = next(iter(bulkhead.ready))
                del self._turns[key]
                self._take_out(key, bulkhead, item)
                if bulkhead.ready:
                    self._turns[key] = None
                self._forget(key, bulkhead)
                return item
        return None

    def started(self, key: Hashable | None) -> None:
        """A record of this bulkhead takes a place."""
        self._bulkhead(key).running += 1
        self._running += 1

    def ended(self, key: Hashable | None) -> None:
        """It has left its place."""
        bulkhead = self._of[key]
        bulkhead.running -= 1
        self._running -= 1
        self._forget(key, bulkhead)

    def _may_start(self, key: Hashable | None, bulkhead: _Bulkhead[W]) -> bool:
        free = self._slots - self._running
        if free <= 0 or key is None or not bulkhead.running:
            return free > 0
        return free > 1 and bulkhead.running < SLOTS_PER_FREE * free

    def _bulkhead(self, key: Hashable | None) -> _Bulkhead[W]:
        bulkhead = self._of.get(key)
        if bulkhead is None:
            bulkhead = self._of[key] = _Bulkhead()
        return bulkhead

    def _take_out(self, key: Hashable | None, bulkhead: _Bulkhead[W], item: W) -> None:
        del bulkhead.inside[item]
        self._inside -= 1
        bulkhead.ready.pop(item, None)
        if not bulkhead.ready:
            self._turns.pop(key, None)

    def _forget(self, key: Hashable | None, bulkhead: _Bulkhead[W]) -> None:
        if bulkhead.idle:
            self._of.pop(key, None)
