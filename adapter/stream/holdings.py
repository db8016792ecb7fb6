"""Which partitions this process holds: taking them over, letting them go, dropping them.

It exists so that the order of a take-over and the end of a holding each have one place. It refuses to know what is done
with records; what a group decides comes in as `assigned` and `revoked`, what fails comes in from the flushing tasks.

The steps, and why in this order, are told at the top of `engine.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Generic, TypeVar

from adapter.errors import BrokerAway
from adapter.stream.books import PartitionBooks
from adapter.stream.flushing import Flusher
from adapter.stream.holding import Holding
from adapter.stream.inheritance import Inheritance, OwnSends, inherit
from adapter.stream.metadata import new_owner, short_fingerprint
from adapter.stream.observer import StreamObserver
from adapter.stream.port import Commit, KafkaTrouble, LogRange, Member, Place, Writer
from adapter.stream.stage import Stage
from adapter.stream.workshop import Workshop

S = TypeVar("S")

log = logging.getLogger(__name__)

_FIRST_BACK_OFF_SECONDS = 0.1
_MOST_BACK_OFF_SECONDS = 5.0
_SURE_AFTER = 3  # attempts

TAKING_SECONDS = 1.0
"""How long a take-over that has begun may still take when everything is to be let go."""


def room_for(max_in_flight: int) -> int:
    """How many records of one partition may be in hand, those not counted that wait for their time or their lane."""
    return 2 * max_in_flight + 100


class Holdings(Generic[S]):
    """The partitions that a stage holds in this process.

    `on_turn` is called whenever what is held has changed; `on_mistake` with what must never happen.
    """

    def __init__(
        self,
        stage: Stage[S],
        workshop: Workshop[S],
        observer: StreamObserver,
        *,
        now: Callable[[], datetime],
        on_turn: Callable[[], None],
        on_mistake: Callable[[BaseException], None],
    ) -> None:
        self._stage = stage
        self._workshop = workshop
        self._flusher = Flusher(stage, workshop, observer)
        self._observer = observer
        self._now = now
        self._on_turn = on_turn
        self._on_mistake = on_mistake
        self._member: Member | None = None
        self._accepting = False
        self._taking: dict[Place, asyncio.Task[None]] = {}
        self._releasing: dict[Place, asyncio.Task[None]] = {}
        self._begun: set[Place] = set()
        self._failures: Counter[Place] = Counter()
        self._owner = new_owner()
        self._own_sends: dict[Place, OwnSends] = {}
        self.troubles: dict[Place, str] = {}
        self.held: dict[Place, Holding[S]] = {}
        self.turn = 0

    def begin(self, member: Member) -> None:
        """Hold partitions for this member from now on."""
        self._member = member
        self._accepting = True

    # --- what the group decides --------------------------------------------------------------------------------------

    def assigned(self) -> None:
        """Partitions were assigned: take each of them over."""
        member = self._its_member()
        self._turned()
        member.lease.check_proven()
        places = member.assignment()
        self._workshop.leftovers.keep_only(places)
        self.troubles.clear()
        self._failures.clear()
        for place in places:
            if self._accepting:
                self._begin_to_take(place)

    async def let_all_go(self, reason: str, *, patience: float, flush_seconds: float) -> None:
        """Let every partition go in good order: what is being handled has `patience` seconds to end, the last flush
        `flush_seconds`. What is not ours any more is not waited for.
        """
        self._turned()
        # A group's first owner commits at once, so that its successor knows that nothing was lost; it shall come to it.
        begun = {self._taking[place] for place in self._begun if place in self._taking}
        if begun:
            await asyncio.wait(begun, timeout=min(TAKING_SECONDS, flush_seconds))
        ending = list(self._taking.values())
        for task in ending:
            task.cancel()
        for place, holding in self.held.items():
            if place not in self._releasing:
                self._releasing[place] = asyncio.create_task(self._release(holding, reason, patience, flush_seconds))
        ending.extend(self._releasing.values())
        if ending:
            await asyncio.wait(ending)
        for task in ending:
            if not task.cancelled() and (mistake := task.exception()) is not None:
                self._on_mistake(mistake)

    def take_no_more(self) -> None:
        """Start no handler and take no partition any more; what is being handled goes on, and may send."""
        self._accepting = False
        for task in self._taking.values():
            task.cancel()
        for holding in self.held.values():
            holding.working = False

    async def all_idle(self) -> None:
        """Wait until nothing is being handled."""
        for holding in list(self.held.values()):
            await holding.idle.wait()

    # --- taking over -------------------------------------------------------------------------------------------------

    def _begin_to_take(self, place: Place, *, proven_after: float | None = None) -> None:
        self._start_taking(place, self._take_over(self._its_member(), place, proven_after))

    def _start_taking(self, place: Place, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._taking[place] = task
        task.add_done_callback(lambda ended: self._take_over_ended(place, ended))

    def _take_over_ended(self, place: Place, task: asyncio.Task[None]) -> None:
        if self._taking.get(place) is task:
            del self._taking[place]
        if not task.cancelled() and (mistake := task.exception()) is not None:
            self._on_mistake(mistake)

    async def _take_over(self, member: Member, place: Place, proven_after: float | None) -> None:
        """Try until the partition is taken over; whoever revokes it cancels this."""
        while True:
            try:
                await asyncio.sleep(self._back_off(place))
                # Starting a writer fences whoever owns the partition, so it must be known to be ours: by the answer to
                # a request that was sent after whatever went wrong.
                if proven_after is not None:
                    await member.lease.proven_after(proven_after)
                self._begun.add(place)
                await self._try_to_take(member, place)
            except (KafkaTrouble, BrokerAway) as trouble:
                proven_after = member.lease.clock()
                self._failures[place] += 1
                self.troubles[place] = f"{place} could not be taken over yet: {trouble}"
                log.warning("%s", self.troubles[place])
            else:
                return
            finally:
                self._begun.discard(place)

    async def _try_to_take(self, member: Member, place: Place) -> None:
        generation = member.lease.generation
        _be_sure(member, generation)
        writer = await member.start_writer(place)
        try:
            fenced_at = self._now()
            commit = await member.committed(place)
            log_range = await member.log_range(place)
            _be_sure(member, generation)
            inheritance = self._inherit(member, place, commit, log_range, written_before=not writer.first)
            # No await from here to the seek: nothing may be read in between.
            holding = self._open(member, place, writer, inheritance, log_range.log_id, generation, fenced_at)
            member.seek(place, holding.books.next_offset)
        except BaseException:
            writer.abandon()
            raise
        self.troubles.pop(place, None)
        self.held[place] = holding
        self._turned()
        holding.flusher = asyncio.create_task(self._flusher.keep_flushing(holding))
        holding.flusher.add_done_callback(lambda task: self._flusher_ended(holding, task))
        holding.flush_due.set()
        self._observer.partition_taken_over(self._stage.name, place.topic, place.partition)

    def _inherit(
        self, member: Member, place: Place, commit: Commit | None, log_range: LogRange, *, written_before: bool
    ) -> Inheritance:
        inheritance = inherit(
            commit,
            log_range,
            cluster_id=member.cluster_id,
            fingerprint=short_fingerprint(self._stage.fingerprint),
            written_before=written_before,
            owner=self._owner,
            own=self._own_sends.get(place),
        )
        if inheritance.unsure and self._failures[place] < _SURE_AFTER:
            # Reading everything again must not be the mistake of a moment.
            raise KafkaTrouble(f"{inheritance.remark}; asking again to be sure")
        if inheritance.remark:
            log.warning("%s: %s", place, inheritance.remark)
        if inheritance.lost:
            self._lost(place, inheritance.lost, log_range.start)
        return inheritance

    def _lost(self, place: Place, count: int, start: int) -> None:
        log.error(
            "%s: %s offsets before %s were deleted from the log and nobody had settled them: what was ordered there "
            "gets no tickets from here. Retention was shorter than the time they waited",
            place,
            count,
            start,
        )
        self._observer.records_lost(self._stage.name, place.topic, count)

    def _open(
        self,
        member: Member,
        place: Place,
        writer: Writer,
        inheritance: Inheritance,
        log_id: str,
        generation: int,
        fenced_at: datetime,
    ) -> Holding[S]:
        leftovers = self._workshop.leftovers
        leftovers.forget_below(place, inheritance.offset)
        leftovers.taken_over(place, generation, proven=inheritance.proven)
        books = PartitionBooks(
            str(place),
            inheritance,
            cluster_id=member.cluster_id,
            log_id=log_id,
            fingerprint=short_fingerprint(self._stage.fingerprint),
            ahead=2 * self._stage.max_in_flight if self._stage.sends else 0,
            owner=self._owner,
        )
        log.info("%s taken over at offset %s", place, books.next_offset)
        return Holding(
            place,
            books,
            writer,
            member.lease,
            log_id=log_id,
            generation=generation,
            fenced_at=inheritance.fenced_at or fenced_at,
            sends=self._stage.sends,
            room=room_for(self._stage.max_in_flight),
        )

    def _back_off(self, place: Place) -> float:
        failures = self._failures[place]
        return min(_FIRST_BACK_OFF_SECONDS * 2.0 ** min(failures, 10), _MOST_BACK_OFF_SECONDS) if failures else 0.0

    # --- a log that is not what it was -------------------------------------------------------------------------------

    async def look_after(self, holding: Holding[S], *, patience: float, flush_seconds: float) -> None:
        """See why the log has nothing where reading should go on, and go on where it can."""
        member = self._its_member()
        try:
            log_range = await member.log_range(holding.place)
            if not holding.working:
                return
            if log_range.log_id != holding.log_id or holding.books.next_offset > log_range.end:
                self.replace(holding, patience=patience, flush_seconds=flush_seconds)
                return
            if lost := holding.books.skip_to(log_range.start):
                self._lost(holding.place, lost, log_range.start)
                holding.flush_due.set()
            member.seek(holding.place, holding.books.next_offset)
            holding.astray = False
        except (KafkaTrouble, BrokerAway) as trouble:
            log.warning("%s: %s; dropped, to be taken over anew", holding.place, trouble)
            self.drop(holding, "trouble")

    def replace(self, holding: Holding[S], *, patience: float, flush_seconds: float) -> None:
        """Let a partition go in good order, because its log is another one by now, and take it over anew."""
        place = holding.place
        if holding.live and self._accepting and place not in self._releasing and place not in self._taking:
            log.warning("%s: its topic was made anew, or lost records; to be taken over anew", place)
            self._start_taking(place, self._replace(holding, patience, flush_seconds))

    async def _replace(self, holding: Holding[S], patience: float, flush_seconds: float) -> None:
        await self._end_well(holding, patience, flush_seconds)
        self._forget(holding, "rewound")
        member = self._its_member()
        await self._take_over(member, holding.place, member.lease.clock())

    # --- letting go --------------------------------------------------------------------------------------------------

    async def _release(self, holding: Holding[S], reason: str, patience: float, flush_seconds: float) -> None:
        try:
            await self._end_well(holding, patience, flush_seconds)
            self._forget(holding, reason)
        finally:
            del self._releasing[holding.place]

    async def _end_well(self, holding: Holding[S], patience: float, flush_seconds: float) -> None:
        holding.close_gate()
        if self._its_member().lease.holds(holding.generation):
            await _until(holding.idle.wait(), patience)
        holding.closing = True
        holding.flush_due.set()
        if holding.flusher is not None:
            await asyncio.wait({holding.flusher}, timeout=flush_seconds)

    def drop(self, holding: Holding[S], reason: str) -> None:
        """Give up a partition at once, because its transactions or its offsets went wrong; it is taken over anew."""
        place = holding.place
        if not holding.live:
            return
        self._forget(holding, reason)
        self._failures[place] = 1 if holding.flushed else self._failures[place] + 1
        if self._accepting and place not in self._releasing and place not in self._taking:
            self._begin_to_take(place, proven_after=self._its_member().lease.clock())

    def drop_all(self) -> None:
        """Give up everything at once, committing nothing: the books cannot be believed, or nobody listens."""
        self._accepting = False
        for task in self._taking.values():
            task.cancel()
        for holding in list(self.held.values()):
            self.drop(holding, "trouble")

    def _forget(self, holding: Holding[S], reason: str) -> None:
        if not holding.live:
            return
        flusher = holding.flusher
        if flusher is not None and flusher.done() and not flusher.cancelled() and flusher.exception() is None:
            holding.writer.retire()
        else:
            holding.writer.abandon()
        if flusher is not None:
            flusher.cancel()
        del self.held[holding.place]
        self._workshop.let_go(holding)
        self._own_sends[holding.place] = holding.own_sends(self._now())
        self._turned()
        log.info("%s let go (%s)", holding.place, reason)
        self._observer.partition_dropped(self._stage.name, holding.place.topic, holding.place.partition, reason)

    def _flusher_ended(self, holding: Holding[S], task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, KafkaTrouble | BrokerAway):
            log.warning("%s: %s; dropped, to be taken over anew", holding.place, error)
            self.drop(holding, "trouble")
        elif error is not None:
            self._on_mistake(error)

    def _turned(self) -> None:
        self.turn += 1
        self._on_turn()

    def _its_member(self) -> Member:
        if self._member is None:
            raise AssertionError("partitions were handed out before there was a member")
        return self._member


def _be_sure(member: Member, generation: int) -> None:
    """Raises KafkaTrouble when the partition may have another owner."""
    if not member.lease.holds(generation):
        raise KafkaTrouble("the group has not answered lately, so the partition may have another owner")


async def _until(condition: Coroutine[object, object, object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await condition
    except TimeoutError:
        pass
