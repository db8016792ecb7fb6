"""One record in hand: where it stands, and the grant under which it is handled.

It refuses to decide anything: the workshop steps it along, and its holding says whether a send may begin. Tens of
thousands may exist at once, so it has slots, and nothing in them that could be looked up instead.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from adapter.stream.phases import STEPS, Phase

if TYPE_CHECKING:
    from datetime import datetime

    from adapter.stream.holding import Holding
    from adapter.stream.records import Record

S = TypeVar("S")


class Work(Generic[S]):
    """A record in hand; the `Grant` of its stage.

    `blocked`: another task of this process is still at the same record, from before the partition was taken over again;
    that one's `heir` is this. `send_began`: whether a send of this record began in this process, in this holding.
    """

    __slots__ = (
        "blocked",
        "bulkhead",
        "heir",
        "holding",
        "lane",
        "may_move",
        "not_before",
        "phase",
        "possibly_sent_since",
        "record",
        "send_began",
        "subject",
    )

    subject: S
    """What `prepare` or the last `Later` said; not there before."""

    def __init__(self, record: Record, holding: Holding[S]) -> None:
        self.record = record
        self.holding = holding
        self.possibly_sent_since: datetime | None = holding.possibly_sent_since(record.offset)
        self.phase = Phase.FRESH
        self.lane: Hashable | None = None
        self.bulkhead: Hashable | None = None
        self.may_move = False
        self.not_before: float | None = None
        self.send_began = False
        self.blocked = False
        self.heir: Work[S] | None = None

    @property
    def topic(self) -> str:
        """The topic it came from."""
        return self.record.topic

    @property
    def offset(self) -> int:
        """Its offset."""
        return self.record.offset

    @property
    def fingerprint_changed(self) -> bool:
        """Whether it may have been sent under another fingerprint."""
        return self.holding.books.mixed(self.record.offset)

    def step(self, target: Phase) -> None:
        """Go on to `target`; a step that is not in the table is a mistake of the engine's."""
        if target not in STEPS[self.phase]:
            raise AssertionError(f"{self} cannot go from {self.phase.name} to {target.name}")
        self.holding.moved(self.phase, target)
        self.phase = target

    def clear_to_send(self) -> None:
        """Promise that the partition is still ours, and note that a send began. Raises LeaseLost."""
        self.holding.clear_to_send(self.record.offset)
        self.send_began = True

    def __str__(self) -> str:
        return f"{self.holding.place} offset {self.record.offset}"
