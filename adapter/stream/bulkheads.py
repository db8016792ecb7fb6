"""Limits each bulkhead to a share of the slots, so that slow records of one do not stop the others.

A stage names a record's bulkhead (in the adapter: its merchant). A bulkhead whose records are slow fills its share and
then waits. Pure: no clock, no task, no Kafka.

Theory of operation. There are `slots` in which records are handled, and `room` for records that are ready. Both are
shared by dynamic thresholds, as switches share their buffers: a bulkhead may use up to `SLOTS_PER_FREE` times as many
slots as are free. One busy bulkhead alone uses seven eighths, two use seven fifteenths each, and some slots stay free
for a newcomer. The last free slot goes only to a bulkhead that has none. The room is shared likewise: one bulkhead
alone uses half of it.

Of the bulkheads that may start a record, the one that started its last record longest ago is next. Within a bulkhead
the order of entry is kept. Records without a bulkhead (None) are limited only by the slots.

A record that finds no room *waits outside*. It costs memory only, and enters when there is room, first come first
served. When memory is used up, waiting records may be handed off if that helps: when records of another bulkhead came
recently and are likely to come again, or when its own bulkhead hardly moves.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

W = TypeVar("W", bound=Hashable)

SLOTS_PER_FREE: Final = 7
"""How many slots a bulkhead may use for each free one."""

OTHERS_SECONDS: Final = 600.0
"""For how long after a record of a bulkhead more of them are expected."""

STUCK_SECONDS: Final = 60.0
"""A bulkhead whose oldest waiting record has waited this long hardly moves."""

SPARE_ROOM: Final = 50
"""How many more records than slots may be ready, in all bulkheads together."""


@dataclass(slots=True)
class _Bulkhead(Generic[W]):
    """One bulkhead; the dicts keep the order of entry, and `outside` also the time."""

    running: int = 0
    inside: dict[W, None] = field(default_factory=dict)
    ready: dict[W, None] = field(default_factory=dict)
    outside: dict[W, float] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        return not (self.running or self.inside or self.outside)


class Bulkheads(Generic[W]):
    """All records of a stage that are ready or are being handled, in `slots` slots."""

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
        """Whether a record of this bulkhead may enter."""
        bulkhead = self._of.get(key)
        if key is None or bulkhead is None or not bulkhead.inside:
            return True
        return len(bulkhead.inside) < self._room - self._inside

    def enter(self, key: Hashable | None, item: W, now: float) -> None:
        """Enter; the record is not ready yet."""
        self._record_arrival(key, now)
        self._bulkhead(key).inside[item] = None
        self._inside += 1

    def make_ready(self, key: Hashable | None, item: W) -> None:
        """Mark a record inside as ready to be handled."""
        self._of[key].ready[item] = None
        self._turns.setdefault(key)

    def wait_outside(self, key: Hashable | None, item: W, now: float) -> None:
        """Wait for room inside."""
        self._record_arrival(key, now)
        self._bulkhead(key).outside[item] = now

    def let_in(self, key: Hashable | None) -> W | None:
        """Remove and return the record that has waited outside longest, if there is room now."""
        bulkhead = self._of.get(key)
        if bulkhead is None or not bulkhead.outside or not self.has_room(key):
            return None
        item = next(iter(bulkhead.outside))
        del bulkhead.outside[item]
        return item

    def leave(self, key: Hashable | None, item: W) -> None:
        """Leave without being handled. Does nothing if the record is neither inside nor waiting outside."""
        bulkhead = self._of.get(key)
        if bulkhead is None:
            return
        bulkhead.outside.pop(item, None)
        if item in bulkhead.inside:
            self._take_out(key, bulkhead, item)
        self._forget(key, bulkhead)

    def hand_off_candidates(self, now: float) -> Iterator[W]:
        """Yield the records that wait outside and block others, the newest of each bulkhead first."""
        for key, bulkhead in list(self._of.items()):
            if bulkhead.outside and self._in_the_way(key, bulkhead, now):
                yield from reversed(list(bulkhead.outside))

    def _in_the_way(self, key: Hashable | None, bulkhead: _Bulkhead[W], now: float) -> bool:
        others = (seen for seen in (self._latest, self._another) if seen is not None and seen[0] != key)
        if any(at >= now - OTHERS_SECONDS for _, at in others):
            return True
        return next(iter(bulkhead.outside.values())) <= now - STUCK_SECONDS

    def _record_arrival(self, key: Hashable | None, now: float) -> None:
        """Keep the last two bulkheads that had an arrival: for any bulkhead, one of the two is another one."""
        if self._latest is not None and self._latest[0] != key:
            self._another = self._latest
        self._latest = key, now

    # --- handling ----------------------------------------------------------------------------------------------------

    def next(self) -> W | None:
        """Remove and return the record to handle next; it counts as running once `started` is called."""
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
        """A record of this bulkhead uses a slot."""
        self._bulkhead(key).running += 1
        self._running += 1

    def ended(self, key: Hashable | None) -> None:
        """It has freed its slot."""
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
