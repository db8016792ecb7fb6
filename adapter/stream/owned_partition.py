"""Holds one partition that this process owns, and the records that are being processed.

`OwnedPartition` is the only place that authorizes a send. Its `WorkItem`s move through the phases of the table `STEPS`.
Does not start or end anything by itself: `PartitionManager` takes over and releases partitions, and `RecordScheduler`
moves the items.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from datetime import datetime
from enum import IntEnum
from typing import Generic, TypeVar

from adapter.errors import LeaseLost
from adapter.stream.blockages import Blockage
from adapter.stream.commit_linger import CommitDemand, commit_delay
from adapter.stream.partition_state import MAX_TRANSACTION_BYTES, PartitionState
from adapter.stream.port import Lease, TopicPartition, TransactionalProducer
from adapter.stream.records import Record
from adapter.stream.recovery import OwnSends

S = TypeVar("S")


MAX_BYTES = 32 * 1024 * 1024
"""Above this size of keys, values and headers, of a partition's records in memory or of their outcomes, its reading
stops.
"""

MAX_QUEUED = 10_000
"""Above this number of records that queue behind others of their lanes, reading of their partition stops.

These records cannot do anything until their lane is free, so they do not count towards `max_open`: a thousand records
of one order must not keep the orders after them from free slots. Each costs memory (2 to 3 KiB with its parsed subject)
and one open offset in the commit's metadata, so there is a limit.
"""


class WorkPhase(IntEnum):
    """The phase of a record that is being processed."""

    RECEIVED = 0  # read, and being prepared
    QUEUED = 1  # behind another record of its lane
    WAITING = 2  # not due yet, or in the backlog of its bulkhead
    AWAITING_RESERVATION = 3  # waits for a commit that allows its send
    READY = 4  # waits for a free slot
    RUNNING = 5  # in `handle`
    FINISHED = 6  # its outcome waits for the commit
    RELEASED = 7  # committed, or its partition was released


STEPS: dict[WorkPhase, frozenset[WorkPhase]] = {
    WorkPhase.RECEIVED: frozenset(
        {
            WorkPhase.QUEUED,
            WorkPhase.WAITING,
            WorkPhase.AWAITING_RESERVATION,
            WorkPhase.READY,
            WorkPhase.FINISHED,
            WorkPhase.RELEASED,
        }
    ),
    WorkPhase.QUEUED: frozenset(
        {WorkPhase.WAITING, WorkPhase.AWAITING_RESERVATION, WorkPhase.READY, WorkPhase.FINISHED, WorkPhase.RELEASED}
    ),
    WorkPhase.WAITING: frozenset(
        {WorkPhase.AWAITING_RESERVATION, WorkPhase.READY, WorkPhase.FINISHED, WorkPhase.RELEASED}
    ),
    WorkPhase.AWAITING_RESERVATION: frozenset({WorkPhase.READY, WorkPhase.FINISHED, WorkPhase.RELEASED}),
    WorkPhase.READY: frozenset({WorkPhase.WAITING, WorkPhase.RUNNING, WorkPhase.FINISHED, WorkPhase.RELEASED}),
    WorkPhase.RUNNING: frozenset({WorkPhase.WAITING, WorkPhase.FINISHED, WorkPhase.RELEASED}),
    WorkPhase.FINISHED: frozenset({WorkPhase.RELEASED}),
    WorkPhase.RELEASED: frozenset(),
}
"""Which steps lead from which phase."""

CAN_BE_HANDED_OFF = frozenset({WorkPhase.QUEUED, WorkPhase.WAITING, WorkPhase.AWAITING_RESERVATION, WorkPhase.READY})
"""Phases in which no call for the record can be on the wire, and its subject is known."""


class WorkItem(Generic[S]):
    """A record that is being processed; the `RecordContext` of its stage.

    Tens of thousands may exist at once, so it has slots, and few fields that can be looked up elsewhere.
    """

    __slots__ = (
        "awaits_predecessor",
        "bulkhead",
        "lane",
        "may_hand_off",
        "not_before",
        "offset",
        "owned",
        "phase",
        "possibly_sent_since",
        "record",
        "send_began",
        "size",
        "starts_early",
        "subject",
        "successor",
    )

    subject: S
    """What `prepare` or the last `RetryLater` returned; not set before."""

    def __init__(self, record: Record, owned: OwnedPartition[S]) -> None:
        self.record = record
        self.offset = record.offset
        self.size = record.size
        self.owned = owned
        self.possibly_sent_since: datetime | None = owned.possibly_sent_since(record.offset)
        self.phase = WorkPhase.RECEIVED
        self.lane: Hashable | None = None
        self.bulkhead: Hashable | None = None
        self.may_hand_off = False
        self.not_before: float | None = None
        self.starts_early: Callable[[], bool] | None = None
        self.send_began = False
        """Whether a send of this record began in this process since the partition was taken over."""
        self.awaits_predecessor = False
        """Whether another task of this process still processes the same record, from before the partition was taken
        over again.
        """
        self.successor: WorkItem[S] | None = None
        """The item that waits for this one in the same way."""

    @property
    def topic(self) -> str:
        """The topic of the record."""
        return self.record.topic

    @property
    def fingerprint_changed(self) -> bool:
        """Whether the record may have been sent under another fingerprint."""
        return self.owned.state.sent_under_other_fingerprint(self.record.offset)

    def step(self, target: WorkPhase) -> None:
        """Move to the phase `target`. A step that is not in the table is a programming error of the engine."""
        if target not in STEPS[self.phase]:
            raise AssertionError(f"{self} cannot go from {self.phase.name} to {target.name}")
        self.owned.phase_changed(self.phase, target)
        self.phase = target

    def authorize_send(self) -> None:
        """Check that the partition is still ours, and record that a send began. Raises LeaseLost."""
        self.owned.authorize_send(self.record.offset)
        self.send_began = True

    def __str__(self) -> str:
        return f"{self.owned.partition} offset {self.record.offset}"


class OwnedPartition(Generic[S]):
    """A partition that this process owns under `generation` of its group.

    `max_open`: how many records may be open before reading stops, without those that are not due or queue in their
    lane. `linger_seconds`: see `commit_linger`.
    """

    def __init__(
        self,
        partition: TopicPartition,
        state: PartitionState,
        producer: TransactionalProducer,
        lease: Lease,
        *,
        topic_id: str,
        generation: int,
        fenced_at: datetime,
        sends: bool,
        max_open: int,
        linger_seconds: float = 0.0,
    ) -> None:
        self.partition = partition
        self.topic_id = topic_id
        """See `port.OffsetRange`."""
        self.state = state
        self.producer = producer
        self.generation = generation
        self.active = True
        """False once the partition is released."""
        self.working = True
        """Whether handlers may be started."""
        self.closing = False
        """The next commit is the last."""
        self.preparing = False
        """A batch is being prepared."""
        self.out_of_range = False
        """The log has no record at the next offset."""
        self.blockage: Blockage | None = None
        """Set while the next batch cannot be read."""
        self.items: dict[int, WorkItem[S]] = {}
        self.awaiting_reservation: list[WorkItem[S]] = []
        """Records that wait for a reservation."""
        self.has_committed = False
        """Whether a transaction has succeeded."""
        self.commit_due = asyncio.Event()
        """Set while a commit is to start; see `request_commit` and `request_lingering_commit`."""
        self.commits: asyncio.Task[None] | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self._lease = lease
        self._fenced_at = fenced_at
        """When the last other owner that may have sent something was fenced."""
        self._sends = sends
        self._max_open = max_open
        self._linger_seconds = linger_seconds
        self._linger: asyncio.TimerHandle | None = None
        self._sends_allowed = True
        self._bytes = 0
        self._counts = [0] * len(WorkPhase)

    def possibly_sent_since(self, offset: int) -> datetime | None:
        """The last moment at which this record may have been sent before this take-over; None: it was not sent."""
        if not self.state.possibly_sent(offset):
            return None
        return self.state.sent_before(offset) or self._fenced_at

    def own_sends(self, now: datetime) -> OwnSends:
        """Return what this process knows about its sends; call it after `stop_new_work`."""
        return self.state.own_sends(fenced_at=self._fenced_at, until=now)

    def authorize_send(self, offset: int) -> None:
        """Check that a send of this record may begin now, and record that it began.

        Raises LeaseLost if the partition is being released, may have another owner, or does not reserve the offset yet.
        """
        if not self._sends:
            raise AssertionError(f"{self.partition}: a stage without `sends` tried to send")
        if not self._sends_allowed:
            raise LeaseLost(f"{self.partition} is being released; offset {offset} was not sent")
        if not self._lease.holds(self.generation):
            raise LeaseLost(f"{self.partition} may have another owner; offset {offset} was not sent")
        if not self.state.reserved(offset):
            raise LeaseLost(f"no commit of {self.partition} reserves offset {offset} yet; it was not sent")
        self.state.mark_possibly_sent(offset)

    @property
    def may_send(self) -> bool:
        """Whether a send could begin now; always True for a stage that sends nothing."""
        return not self._sends or (self._sends_allowed and self._lease.holds(self.generation))

    def stop_handlers(self) -> None:
        """Start no handler from now on, and commit outcomes at once."""
        self.working = False
        self.request_commit()

    def stop_new_work(self) -> None:
        """Authorize no send and start no handler from now on."""
        self._sends_allowed = False
        self.stop_handlers()

    def release(self) -> None:
        """Mark the partition as no longer owned."""
        self.stop_new_work()
        self.active = False

    def request_commit(self) -> None:
        """Start the next commit as soon as no other is running."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self.commit_due.set()

    def request_lingering_commit(self) -> None:
        """Start the next commit when its linger is over, or at once if something waits for it."""
        if self.commit_due.is_set():
            return
        seconds = commit_delay(self._commit_demand(), self._linger_seconds) if self._linger_seconds else 0.0
        if not seconds:
            self.request_commit()
        elif self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(seconds, self.request_commit)

    def _commit_demand(self) -> CommitDemand:
        return CommitDemand(
            reservation=bool(self.awaiting_reservation) or self.state.reservation_is_short,
            release=not self.working,
            open_records=self._open_records,
            max_open=self._max_open,
            finished_bytes=self.state.finished_bytes,
            max_bytes=MAX_TRANSACTION_BYTES,
        )

    def add_item(self, item: WorkItem[S]) -> None:
        """Add a record that is being processed."""
        self.items[item.offset] = item
        self._counts[item.phase] += 1
        self._bytes += item.size

    def remove_item(self, item: WorkItem[S]) -> None:
        """Remove a record that is being processed."""
        del self.items[item.offset]
        self._bytes -= item.size
        item.step(WorkPhase.RELEASED)

    def phase_changed(self, source: WorkPhase, target: WorkPhase) -> None:
        """Count a step of one of its records."""
        self._counts[source] -= 1
        self._counts[target] += 1
        if target is WorkPhase.RUNNING:
            self.idle.clear()
        elif source is WorkPhase.RUNNING and not self._counts[WorkPhase.RUNNING]:
            self.idle.set()

    def count(self, phase: WorkPhase) -> int:
        """How many of its records are in this phase."""
        return self._counts[phase]

    @property
    def busy(self) -> bool:
        """Whether reading must wait until some of its records have progressed."""
        queued = self._counts[WorkPhase.QUEUED]
        too_many = (
            self._open_records >= self._max_open or queued >= MAX_QUEUED or self.state.finished_bytes >= MAX_BYTES
        )
        return self.preparing or self.out_of_range or too_many

    @property
    def _open_records(self) -> int:
        """How many of its records count towards `max_open`."""
        return len(self.items) - self._counts[WorkPhase.WAITING] - self._counts[WorkPhase.QUEUED]

    @property
    def memory_full(self) -> bool:
        """Whether reading must wait because its records use too much memory."""
        return self._bytes >= MAX_BYTES
