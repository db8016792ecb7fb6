"""One partition in the hands of this process, from its take-over until it is let go.

It exists so that "ours" has one place: the gate through which every send must go, the books, the writer, and the
records in hand. It refuses to start or end anything by itself; the engine takes over and lets go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from datetime import datetime
from enum import IntEnum
from typing import Generic, TypeVar

from adapter.errors import LeaseLost
from adapter.stream.blockages import Blockage
from adapter.stream.partition_state import PartitionState
from adapter.stream.port import Lease, TopicPartition, TransactionalProducer
from adapter.stream.records import Record
from adapter.stream.recovery import OwnSends

S = TypeVar("S")


MOST_BYTES = 32 * 1024 * 1024
"""Keys, values and headers of one partition's records in hand, or of what is to be published of them; above it, its
reading stops."""

MOST_QUEUED = 10_000
"""Records of one partition that queue behind others of their lanes; above it, its reading stops.

They can do nothing until their lane is free, so they take no part of `room`: a thousand records of one order must not
keep the orders behind them from free slots. Each costs memory (2 to 3 KiB with its parsed subject) and one open offset
in the commit's metadata, so there is a bound.
"""


class WorkPhase(IntEnum):
    """Where a record in hand stands."""

    RECEIVED = 0  # read, and being prepared
    QUEUED = 1  # behind another one in its lane
    WAITING = 2  # for its time
    AWAITING_RESERVATION = 3  # for a commit that lets it be sent
    READY = 4  # for a free place
    RUNNING = 5  # in `handle`
    FINISHED = 6  # its outcome waits for the commit
    RELEASED = 7  # committed, or its partition was let go


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

CAN_BE_HANDED_OFF = frozenset({WorkPhase.QUEUED, WorkPhase.WAITING, WorkPhase.AWAITING_RESERVATION, WorkPhase.READY})
"""Where no call about a record can be on the wire, and its subject is known."""


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
        self.phase = WorkPhase.RECEIVED
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

    def step(self, target: WorkPhase) -> None:
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


class OwnedPartition(Generic[S]):
    """A partition held under `generation` of its group, the last other owner that sent anything fenced at `fenced_at`.

    `topic_id`: see `port.OffsetRange`. `live`: not let go. `working`: handlers may be started. `preparing`: a batch is
    being prepared. `out_of_range`: where reading should go on, the log has nothing. `blockage`: what comes next cannot
    be read. `has_committed`: a transaction succeeded. `closing`: the next flush is the last. `unreserved`: records that
    wait for a reservation. `room`: how many records may be in hand before reading stops, those not counted that wait
    for their time or for others of their lane.
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
    ) -> None:
        self.partition = partition
        self.topic_id = topic_id
        self.state = state
        self.producer = producer
        self.generation = generation
        self.active = True
        self.working = True
        self.closing = False
        self.preparing = False
        self.out_of_range = False
        self.blockage: Blockage | None = None
        self.items: dict[int, WorkItem[S]] = {}
        self.awaiting_reservation: list[WorkItem[S]] = []
        self.has_committed = False
        self.commit_due = asyncio.Event()
        self.commits: asyncio.Task[None] | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self._lease = lease
        self._fenced_at = fenced_at
        self._sends = sends
        self._max_open = max_open
        self._gate_open = True
        self._bytes = 0
        self._counts = [0] * len(WorkPhase)

    def possibly_sent_since(self, offset: int) -> datetime | None:
        """When this record can have been sent at the latest, before this holding; None: it was not sent."""
        if not self.state.possibly_sent(offset):
            return None
        return self.state.sent_before(offset) or self._fenced_at

    def own_sends(self, now: datetime) -> OwnSends:
        """What this process knows of what was sent; once the gate is closed."""
        return self.state.own_sends(fenced_at=self._fenced_at, until=now)

    def authorize_send(self, offset: int) -> None:
        """Let a send of this record begin now.

        Raises LeaseLost: the partition is being given up, may have another owner, or the send is not reserved.
        """
        if not self._sends:
            raise AssertionError(f"{self.partition}: this stage said that it sends nothing")
        if not self._gate_open:
            raise LeaseLost(f"{self.partition} is being given up; offset {offset} was not sent")
        if not self._lease.holds(self.generation):
            raise LeaseLost(f"{self.partition} may have another owner by now; offset {offset} was not sent")
        if not self.state.reserved(offset):
            raise LeaseLost(f"no commit of {self.partition} reserves offset {offset} yet; it was not sent")
        self.state.begin_send(offset)

    @property
    def may_send(self) -> bool:
        """Whether a send could begin now, as far as anybody can tell; always, when nothing is ever sent."""
        return not self._sends or (self._gate_open and self._lease.holds(self.generation))

    def close_gate(self) -> None:
        """No send begins from now on, and no handler is started."""
        self._gate_open = False
        self.working = False

    def release(self) -> None:
        """It is not ours any more."""
        self.close_gate()
        self.active = False

    def hold(self, item: WorkItem[S]) -> None:
        """Take a record in hand."""
        self.items[item.offset] = item
        self._counts[item.phase] += 1
        self._bytes += item.record.size

    def drop(self, item: WorkItem[S]) -> None:
        """Have a record in hand no longer."""
        del self.items[item.offset]
        self._bytes -= item.record.size
        item.step(WorkPhase.RELEASED)

    def moved(self, source: WorkPhase, target: WorkPhase) -> None:
        """Count a step of one of its records."""
        self._counts[source] -= 1
        self._counts[target] += 1
        if target is WorkPhase.RUNNING:
            self.idle.clear()
        elif source is WorkPhase.RUNNING and not self._counts[WorkPhase.RUNNING]:
            self.idle.set()

    def count(self, phase: WorkPhase) -> int:
        """How many of its records stand there."""
        return self._counts[phase]

    @property
    def busy(self) -> bool:
        """Whether reading on has to wait until some of its records have gone on."""
        queued = self._counts[WorkPhase.QUEUED]
        at_work = len(self.items) - self._counts[WorkPhase.WAITING] - queued
        too_many = at_work >= self._max_open or queued >= MOST_QUEUED or self.state.finished_bytes >= MOST_BYTES
        return self.preparing or self.out_of_range or too_many

    @property
    def heavy(self) -> bool:
        """Whether reading on has to wait until less is kept of its records."""
        return self._bytes >= MOST_BYTES
