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

    from adapter.stream.owned_partition import OwnedPartition
    from adapter.stream.records import Record

S = TypeVar("S")


class WorkItem(Generic[S]):
    """A record in hand; the `RecordContext` of its stage.

    `blocked`: another task of this process is still at the same record, from before the partition was taken over again;
    that one's `successor` is this. `send_began`: whether a send of this record began in this process, in this holding.
    """

    __slots__ = (
        "awaits_predecessor",
        "bulkhead",
        "lane",
        "may_hand_off",
        "not_before",
        "owned",
        "phase",
        "possibly_sent_since",
        "record",
        "send_began",
        "subject",
        "successor",
    )

    subject: S
    """What `prepare` or the last `RetryLater` said; not there before."""

    def __init__(self, record: Record, owned: OwnedPartition[S]) -> None:
        self.record = record
        self.owned = owned
        self.possibly_sent_since: datetime | None = owned.possibly_sent_since(record.offset)
        self.phase = Phase.RECEIVED
        self.lane: Hashable | None = None
        self.bulkhead: Hashable | None = None
        self.may_hand_off = False
        self.not_before: float | None = None
        self.send_began = False
        self.awaits_predecessor = False
        self.successor: WorkItem[S] | None = None

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
        return self.owned.state.sent_under_other_fingerprint(self.record.offset)

    def step(self, target: Phase) -> None:
        """Go on to `target`; a step that is not in the table is a mistake of the engine's."""
        if target not in STEPS[self.phase]:
            raise AssertionError(f"{self} cannot go from {self.phase.name} to {target.name}")
        self.owned.moved(self.phase, target)
        self.phase = target

    def authorize_send(self) -> None:
        """Promise that the partition is still ours, and note that a send began. Raises LeaseLost."""
        self.owned.authorize_send(self.record.offset)
        self.send_began = True

    def __str__(self) -> str:
        return f"{self.owned.partition} offset {self.record.offset}"
