"""One partition in the hands of this process, from its take-over until it is let go.

It exists so that "ours" has one place: the gate through which every send must go, the books, the writer, and the
records in hand. It refuses to start or end anything by itself; the engine takes over and lets go.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from adapter.errors import LeaseLost
from adapter.stream.blockages import Blockage
from adapter.stream.partition_state import PartitionState
from adapter.stream.phases import Phase
from adapter.stream.port import Lease, TopicPartition, TransactionalProducer
from adapter.stream.recovery import OwnSends

if TYPE_CHECKING:
    from adapter.stream.work_item import WorkItem

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
        self._counts = [0] * len(Phase)

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
        item.step(Phase.RELEASED)

    def moved(self, source: Phase, target: Phase) -> None:
        """Count a step of one of its records."""
        self._counts[source] -= 1
        self._counts[target] += 1
        if target is Phase.RUNNING:
            self.idle.clear()
        elif source is Phase.RUNNING and not self._counts[Phase.RUNNING]:
            self.idle.set()

    def count(self, phase: Phase) -> int:
        """How many of its records stand there."""
        return self._counts[phase]

    @property
    def busy(self) -> bool:
        """Whether reading on has to wait until some of its records have gone on."""
        queued = self._counts[Phase.QUEUED]
        at_work = len(self.items) - self._counts[Phase.WAITING] - queued
        too_many = at_work >= self._max_open or queued >= MOST_QUEUED or self.state.finished_bytes >= MOST_BYTES
        return self.preparing or self.out_of_range or too_many

    @property
    def heavy(self) -> bool:
        """Whether reading on has to wait until less is kept of its records."""
        return self._bytes >= MOST_BYTES
