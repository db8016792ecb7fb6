"""Limits each bulkhead to a share of the slots, so that slow records of one do not stop the others.

A stage names a record's bulkhead (in the adapter: its merchant). A bulkhead whose records are slow fills its share and
then waits. Pure: no clock, no task, no Kafka.

Theory of operation. Records are handled in `slots`. A record is *admitted* before it becomes ready and waits for a
slot; the number of admitted records is limited too. Both limits are shared by dynamic thresholds, as switches share
their buffers: a bulkhead may use up to `SLOTS_PER_FREE` times as many slots as are free. One busy bulkhead alone uses
seven eighths, two use seven fifteenths each, and some slots stay free for another one. The last free slot goes only to
a bulkhead that has none. The capacity for admitted records is shared in the same way: one bulkhead alone uses half.

Of the bulkheads that may start a record, the one that started its last record longest ago is next. Within a bulkhead
the order of arrival is kept. Records without a bulkhead (None) are limited only by the slots.

A record that cannot be admitted waits in the *backlog* of its bulkhead, which costs memory only. The backlog is first
in, first out. When memory is used up, records of a backlog may be handed off if that helps: when records of another
bulkhead arrived recently and more are likely, or when the bulkhead itself makes almost no progress.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

W = TypeVar("W", bound=Hashable)

SLOTS_PER_FREE: Final = 7
"""How many slots a bulkhead may use for each free one."""

OTHERS_SECONDS: Final = 600.0
"""For so long after a record of a bulkhead, more of its records are expected."""

STUCK_SECONDS: Final = 60.0
"""A bulkhead whose oldest record in the backlog has waited this long makes almost no progress."""

SPARE_CAPACITY: Final = 50
"""How many more records than slots may be admitted, in all bulkheads together."""


@dataclass(slots=True)
class _Bulkhead(Generic[W]):
    """One bulkhead. The dicts keep the order of arrival; the values of `backlog` are the times of arrival."""

    running: int = 0
    admitted: dict[W, None] = field(default_factory=dict)
    ready: dict[W, None] = field(default_factory=dict)
    backlog: dict[W, float] = field(default_factory=dict)


class Bulkheads(Generic[W]):
    """All records of a stage that are ready or are being handled, in `slots` slots."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._capacity = slots + SPARE_CAPACITY
        self._of: dict[Hashable | None, _Bulkhead[W]] = {}
        self._start_order: dict[Hashable | None, None] = {}
        self._running = 0
        self._admitted = 0
        self._last_arrival: tuple[Hashable | None, float] | None = None
        self._last_other_arrival: tuple[Hashable | None, float] | None = None

    def __len__(self) -> int:
        """How many bulkheads are in use."""
        return len(self._of)

    @property
    def running(self) -> int:
        """How many records are being handled."""
        return self._running

    # --- before handling ---------------------------------------------------------------------------------------------

    def may_admit(self, key: Hashable | None) -> bool:
        """Whether one more record of this bulkhead may be admitted."""
        bulkhead = self._of.get(key)
        if key is None or bulkhead is None or not bulkhead.admitted:
            return True
        return len(bulkhead.admitted) < self._capacity - self._admitted

    def admit(self, key: Hashable | None, item: W, now: float) -> None:
        """Admit a record, which is not ready yet."""
        self._note_arrival(key, now)
        self._bulkhead(key).admitted[item] = None
        self._admitted += 1

    def make_ready(self, key: Hashable | None, item: W) -> None:
        """Mark an admitted record as ready to be handled."""
        self._of[key].ready[item] = None
        self._start_order.setdefault(key)

    def add_to_backlog(self, key: Hashable | None, item: W, now: float) -> None:
        """Add a record that cannot be admitted yet."""
        self._note_arrival(key, now)
        self._bulkhead(key).backlog[item] = now

    def pop_backlog(self, key: Hashable | None) -> W | None:
        """Remove and return the oldest record of the backlog, if it may be admitted now."""
        bulkhead = self._of.get(key)
        if bulkhead is None or not bulkhead.backlog or not self.may_admit(key):
            return None
        item = next(iter(bulkhead.backlog))
        del bulkhead.backlog[item]
        return item

    def remove(self, key: Hashable | None, item: W) -> None:
        """Remove a record that will not be handled. Does nothing if it is neither admitted nor in the backlog."""
        bulkhead = self._of.get(key)
        if bulkhead is None:
            return
        bulkhead.backlog.pop(item, None)
        if item in bulkhead.admitted:
            self._remove_admitted(key, bulkhead, item)
        self._delete_if_idle(key, bulkhead)

    def hand_off_candidates(self, now: float) -> Iterator[W]:
        """Yield the records of backlogs that block other bulkheads, the newest of each bulkhead first."""
        for key, bulkhead in list(self._of.items()):
            if bulkhead.backlog and self._blocks_others(key, bulkhead, now):
                yield from reversed(list(bulkhead.backlog))

    def _blocks_others(self, key: Hashable | None, bulkhead: _Bulkhead[W], now: float) -> bool:
        others = (
            seen for seen in (self._last_arrival, self._last_other_arrival) if seen is not None and seen[0] != key
        )
        if any(at >= now - OTHERS_SECONDS for _, at in others):
            return True
        return next(iter(bulkhead.backlog.values())) <= now - STUCK_SECONDS

    def _note_arrival(self, key: Hashable | None, now: float) -> None:
        """Keep the last arrivals of two different bulkheads: for any bulkhead, one of the two is another one."""
        if self._last_arrival is not None and self._last_arrival[0] != key:
            self._last_other_arrival = self._last_arrival
        self._last_arrival = key, now

    # --- handling ----------------------------------------------------------------------------------------------------

    def next(self) -> W | None:
        """Remove and return the record to handle next; it counts as running once `started` is called."""
        for key in self._start_order:
            bulkhead = self._of[key]
            if self._may_start(key, bulkhead):
                item = next(iter(bulkhead.ready))
                del self._start_order[key]
                self._remove_admitted(key, bulkhead, item)
                if bulkhead.ready:
                    self._start_order[key] = None
                self._delete_if_idle(key, bulkhead)
                return item
        return None

    def started(self, key: Hashable | None) -> None:
        """A record of this bulkhead uses a slot."""
        self._bulkhead(key).running += 1
        self._running += 1

    def ended(self, key: Hashable | None) -> None:
        """A record of this bulkhead has freed its slot."""
        bulkhead = self._of[key]
        bulkhead.running -= 1
        self._running -= 1
        self._delete_if_idle(key, bulkhead)

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

    def _remove_admitted(self, key: Hashable | None, bulkhead: _Bulkhead[W], item: W) -> None:
        del bulkhead.admitted[item]
        self._admitted -= 1
        bulkhead.ready.pop(item, None)
        if not bulkhead.ready:
            self._start_order.pop(key, None)

    def _delete_if_idle(self, key: Hashable | None, bulkhead: _Bulkhead[W]) -> None:
        if not (bulkhead.running or bulkhead.admitted or bulkhead.backlog):
            self._of.pop(key, None)
