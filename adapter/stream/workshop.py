"""The workshop: records in hand, from prepared to outcome, all partitions of a stage together.

It exists so that lanes, the waiting room and the bound on what is handled at once have one place, and one small set of
moves between them. It refuses to know Kafka: where records come from and how outcomes are committed is none of its
business; it only says to a record's holding that an outcome is there.

A record goes `admit` -> (its lane) -> (the waiting room) -> (its reservation) -> ready -> a task in `handle`, and from
there to an outcome, back to the waiting room (`Later`, or the lease was lost for a moment), or nowhere: a task whose
partition was let go ends as a leftover.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Hashable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from adapter.errors import LeaseLost, OrderError, OutcomeTooLarge
from adapter.stream.bulkheads import Bulkheads
from adapter.stream.holding import Holding
from adapter.stream.lanes import Lanes
from adapter.stream.leftovers import Leftovers
from adapter.stream.moves import ROUND_SECONDS, Moves
from adapter.stream.observer import StreamObserver
from adapter.stream.phases import CARRIABLE, Phase
from adapter.stream.stage import Later, Outcome, Prepared, Stage
from adapter.stream.waiting import WaitingRoom
from adapter.stream.work import Work

S = TypeVar("S")

log = logging.getLogger(__name__)

LEASE_PAUSE_SECONDS = 0.5
"""How long a record waits whose lease was lost while its partition is still held: a heartbeat or two."""

BROKEN_PAUSE_SECONDS = 60.0
"""How long a record waits that `handle` raised for, and `broken` too: it is not lost, and it does not run hot."""

MOST_CARRIED_LANES = 10_000
"""How many lanes are remembered that a record was carried on from: what follows there counts as possibly sent."""

STARTS_IN_A_TURN = 3
"""How many handlers are started in one turn of the loop.

Were all started that there is room for, a busy loop would form convoys: hundreds of answers lie ready when it comes
round, are handled in one turn, and hundreds of new calls leave in the next. Such turns took half a second each, and a
transaction, a heartbeat and the lease wait for a dozen of them.
"""

FOR_ROOM = float("inf")
"""Until when a record waits for room in its bulkhead: no time ends it."""

MOVED_AT_ONCE = 64
"""How many waiting records are handed on in one go to make room: the loop has other work."""

FAR_SECONDS = 120.0
"""A time is far ahead beyond this: what is due sooner makes room by itself."""

_CANCEL_SECONDS = 1.0

_LONGEST_NAP_SECONDS = 1.0
"""The waiting room is looked at this often, so that a clock that is set forward is noticed."""


class Workshop(Generic[S]):
    """Works on the records of one stage.

    `on_mistake` is told of what must never happen: an exception out of the workshop's own moves.
    """

    def __init__(
        self,
        stage: Stage[S],
        observer: StreamObserver,
        now: Callable[[], datetime],
        on_mistake: Callable[[BaseException], None],
    ) -> None:
        self._stage = stage
        self._observer = observer
        self._now = now
        self._on_mistake = on_mistake
        self._stopped = False
        self._lanes: Lanes[Work[S]] = Lanes()
        self._waiting: WaitingRoom[Work[S]] = WaitingRoom()
        self._bulkheads: Bulkheads[Work[S]] = Bulkheads(stage.max_in_flight)
        self._moves = Moves(stage.max_waiting)
        self._carried_lanes: dict[Hashable, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._starting: asyncio.Handle | None = None
        self.leftovers: Leftovers[S] = Leftovers()

    @property
    def in_flight(self) -> int:
        """How many records are being handled."""
        return len(self._tasks)

    def waiting(self, topic: str) -> int:
        """How many records of this topic wait for their time."""
        return self._waiting.count(topic)

    # --- a record comes in -------------------------------------------------------------------------------------------

    def admit(self, work: Work[S], prepared: Prepared[S]) -> None:
        """Let a prepared record in; calls come in the order of the offsets.

        A record whose lane, bulkhead or time raises is finished by the stage's `broken`, and no other is concerned.
        """
        if self.finish_known(work):
            return
        try:
            is_current, follows_carried = self._enter(work, prepared)
        except Exception as error:  # noqa: BLE001  # the stage's own values take part, and an order is in them
            outcome = self.broken(work, error, "prepare")
            if outcome is not None:
                self.finish(work, outcome)
            return
        if follows_carried:
            self._suspect(work)
        if is_current and not work.blocked:
            self._go_on(work)
        else:
            work.step(Phase.QUEUED)

    def _enter(self, work: Work[S], prepared: Prepared[S]) -> tuple[bool, bool]:
        """Let the record into its lane: whether it is the current one there, and follows one that was carried on.

        Looks up everything before it changes anything: when it raises, the record is in no lane.
        """
        not_before = float(prepared.not_before.timestamp()) if prepared.not_before else None
        may_move, resumes = bool(prepared.may_move), bool(prepared.resumes)
        self._bulkheads.has_room(prepared.bulkhead)
        follows_carried = prepared.lane in self._carried_lanes and not resumes
        is_current = self._lanes.enter(prepared.lane, work)
        work.lane = prepared.lane
        work.subject = prepared.subject
        work.not_before = not_before
        work.bulkhead = prepared.bulkhead
        work.may_move = may_move
        return is_current, follows_carried

    def finish(self, work: Work[S], outcome: Outcome) -> None:
        """Note a record's outcome; it is published with the next flush of its partition."""
        entered_its_lane = work.phase is not Phase.FRESH
        self._leave_bulkhead(work)
        work.step(Phase.FINISHED)
        work.holding.books.finish(work.offset, outcome)
        work.holding.flush_due.set()
        if entered_its_lane:
            self._leave_lane(work)

    def _go_on(self, work: Work[S]) -> None:
        """The lane's current record goes as far as it can: to wait, to be reserved, or to be handled."""
        if work.not_before is not None and work.not_before > self._now().timestamp():
            self._wait(work, work.not_before)
        elif not self._bulkheads.has_room(work.bulkhead):
            self._bulkheads.wait_outside(work.bulkhead, work, self._now().timestamp())
            self._wait(work, FOR_ROOM)
        else:
            self._bulkheads.enter(work.bulkhead, work, self._now().timestamp())
            if work.holding.books.want(work.offset):
                self._make_ready(work)
            else:
                work.step(Phase.UNRESERVED)
                work.holding.unreserved.append(work)
                work.holding.flush_due.set()

    def _make_ready(self, work: Work[S]) -> None:
        work.step(Phase.READY)
        self._bulkheads.make_ready(work.bulkhead, work)
        self._start_soon()

    def _leave_bulkhead(self, work: Work[S]) -> None:
        """The record waits no longer, for its time or for its turn; others of its bulkhead may have room by that."""
        self._waiting.leave(work)
        self._bulkheads.leave(work.bulkhead, work)
        self._let_in(work.bulkhead)

    def _let_in(self, bulkhead: Hashable | None) -> None:
        while (work := self._bulkheads.let_in(bulkhead)) is not None:
            self._waiting.leave(work)
            work.not_before = None
            self._go_on(work)

    def _leave_lane(self, work: Work[S]) -> None:
        following = self._lanes.leave(work.lane, work)
        if following is not None and following.phase is Phase.QUEUED and not following.blocked:
            self._go_on(following)

    # --- handling ----------------------------------------------------------------------------------------------------

    def _start_soon(self) -> None:
        """Start what is ready from the loop's next turn on, a few in each."""
        if self._starting is None and not self._stopped:
            self._starting = asyncio.get_running_loop().call_soon(self._start_some)

    def _start_some(self) -> None:
        self._starting = None
        for _ in range(STARTS_IN_A_TURN):
            work = None if self._stopped else self._bulkheads.next()
            if work is None:
                return
            self._start(work)
            self._let_in(work.bulkhead)
        self._start_soon()

    def _start(self, work: Work[S]) -> None:
        if work.phase is not Phase.READY or not work.holding.working:
            return
        if not work.holding.may_send:
            self._wait(work, self._now().timestamp() + LEASE_PAUSE_SECONDS)
        else:
            work.step(Phase.RUNNING)
            self._bulkheads.started(work.bulkhead)
            task = asyncio.create_task(self._handle(work))
            self._tasks.add(task)
            task.add_done_callback(partial(self._task_ended, work.bulkhead))

    async def _handle(self, work: Work[S]) -> None:
        result: Outcome | Later[S] | None = None
        pause = LEASE_PAUSE_SECONDS
        try:
            answer = await self._stage.handle(work.subject, work)
            result = answer if isinstance(answer, Later) else _outcome(answer)
        except LeaseLost as lost:
            self._observer.lease_lost(self._stage.name, work.topic)
            log.info("%s: %s", work, lost)
        except Exception as error:  # noqa: BLE001  # the engine's top: whatever a stage raises becomes an outcome
            result = self.broken(work, error, "handle")
            pause = BROKEN_PAUSE_SECONDS
        finally:
            self._handled(work, result, pause)

    def _handled(self, work: Work[S], result: Outcome | Later[S] | None, pause: float) -> None:
        if not work.holding.live:
            self._end_leftover(work, result)
        elif isinstance(result, Outcome):
            self.finish(work, result)
        elif isinstance(result, Later):
            work.subject = result.subject
            self._wait(work, result.not_before.timestamp())
        else:
            if work.send_began:
                work.possibly_sent_since = self._now()
            self._wait(work, self._now().timestamp() + pause)

    def _task_ended(self, bulkhead: Hashable | None, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._bulkheads.ended(bulkhead)
        if not task.cancelled() and (mistake := task.exception()) is not None:
            self._on_mistake(mistake)
        self._start_soon()

    def broken(self, work: Work[S], error: Exception, where: str) -> Outcome | None:
        """The stage's outcome for what it raised itself; None when it raises even then: the record stays open."""
        if not isinstance(error, OrderError):  # which is an ordinary outcome: the record is parked for a reason
            self._report(work, error, where)
        try:
            return _outcome(self._stage.broken(work.record, error, work))
        except Exception as worse:  # noqa: BLE001  # the engine's top: the record stays open, and that is reported
            self._report(work, worse, "broken")
            return None

    def _report(self, work: Work[S], error: Exception, where: str) -> None:
        """Count and log what a stage raised: its type and place, never its text, which may quote the record."""
        self._observer.failed(self._stage.name, work.topic, where)
        if isinstance(error, OutcomeTooLarge):  # never raised: the engine makes it of the topic's refusal
            log.warning("%s. A smaller outcome is published instead.", error)
            return
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames))
        log.error("%s: %s raised %s in %s", work, where, type(error).__name__, places)

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _wait(self, work: Work[S], until: float) -> None:
        work.not_before = until
        if work.phase is not Phase.WAITING:
            work.step(Phase.WAITING)
        self._waiting.enter(work, until)
        self._set_alarm()

    def _set_alarm(self) -> None:
        due = self._waiting.next_due()
        if self._stopped or due is None or (self._alarm is not None and self._alarm_at <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        nap = min(max(due - self._now().timestamp(), 0.0), _LONGEST_NAP_SECONDS)
        self._alarm_at = due
        self._alarm = asyncio.get_running_loop().call_later(nap, self._call_due)

    def _call_due(self) -> None:
        self._alarm = None
        for work in self._waiting.due(self._now().timestamp()):
            work.not_before = None
            self._go_on(work)
        self._set_alarm()

    # --- what partitions do ------------------------------------------------------------------------------------------

    def reserved(self, holding: Holding[S]) -> None:
        """A commit of this partition succeeded: those who waited for their reservation go on."""
        held_back, holding.unreserved = holding.unreserved, []
        for work in held_back:
            if work.phase is Phase.UNRESERVED:
                if holding.books.reserved(work.offset):
                    self._make_ready(work)
                else:
                    holding.unreserved.append(work)

    def carry_oldest(self, holding: Holding[S], count: int) -> int:
        """Carry on up to `count` of the partition's oldest open records that no call can be on the wire for."""
        carried = 0
        suspected: set[Hashable] = set()
        for offset in list(holding.books.unfinished()):
            work = holding.works[offset]
            # Looked at one by one: carrying one on can bring the next of its lane into work.
            if carried < count and work.phase in CARRIABLE and self._carry(work, suspected):
                carried += 1
        if carried:
            self._observer.carried(self._stage.name, holding.place.topic, carried)
        return carried

    def make_room(self, holding: Holding[S], unread: int) -> None:
        """Hand on what waits, so that this partition can be read on: `unread` records are behind it.

        First what waits for room in its bulkhead. Then what waits for a time that is far ahead, which comes back at the
        log's end with the same time: each record once in a round, and some more often as `Moves` lets them.
        """
        works = list(islice(self._waiting_for_room(holding), MOVED_AT_ONCE))
        now = self._now().timestamp()
        if not works and self._moves.may_look(now):
            works = list(islice(self._waiting_for_long(holding, written_before=now - ROUND_SECONDS), MOVED_AT_ONCE))
            if not works:
                allowed = min(self._moves.allowed(now, unread), MOVED_AT_ONCE)
                works = list(islice(self._waiting_for_long(holding), allowed))
                self._moves.made(len(works))
            if not works:
                self._moves.found_nothing(now)
        suspected: set[Hashable] = set()
        moved = sum(self._carry(work, suspected) for work in works)
        if moved:
            self._observer.carried(self._stage.name, holding.place.topic, moved)

    def _waiting_for_room(self, holding: Holding[S]) -> Iterator[Work[S]]:
        outside = self._bulkheads.movable(self._now().timestamp())
        return (work for work in outside if work.may_move and work.holding is holding)

    def _waiting_for_long(self, holding: Holding[S], *, written_before: float = FOR_ROOM) -> Iterator[Work[S]]:
        far = self._now().timestamp() + FAR_SECONDS
        for work in holding.works.values():
            waits = work.phase is Phase.WAITING and far < (work.not_before or 0.0) < FOR_ROOM
            if waits and work.may_move and work.record.timestamp.timestamp() < written_before:
                yield work

    def _carry(self, work: Work[S], suspected: set[Hashable]) -> bool:
        """Carry one record on, if its stage can; `suspected` are the lanes whose followers know it already."""
        try:
            outcome: Outcome | None = _outcome(self._stage.carry(work.record, work.subject, work))
        except Exception as error:  # noqa: BLE001  # the engine's top: whatever a stage raises becomes an outcome
            outcome = self.broken(work, error, "carry")
        if outcome is None:
            return False
        # The record goes on elsewhere from now on, so what follows in its lane is not alone any more.
        if work.lane is not None and work.lane not in suspected:
            # Once in a round for each lane: ten thousand may queue in one.
            suspected.add(work.lane)
            for follower in self._lanes.behind(work.lane, work):
                self._suspect(follower)
        if work.lane is not None:
            self._carried_lanes[work.lane] = None
            if len(self._carried_lanes) > MOST_CARRIED_LANES:
                del self._carried_lanes[next(iter(self._carried_lanes))]
        self.finish(work, outcome)
        return True

    def _suspect(self, work: Work[S]) -> None:
        work.possibly_sent_since = self._now()
        work.holding.books.suspect(work.offset)

    def let_go(self, holding: Holding[S]) -> None:
        """Forget everything of this partition, except tasks and outcomes, which stay as leftovers."""
        holding.let_go()
        bulkheads = set()
        for work in list(holding.works.values()):
            if work.phase is Phase.RUNNING:
                self.leftovers.still_running(work)
                continue
            if work.phase is Phase.FINISHED and work.offset in holding.books.finished():
                self.leftovers.keep(work, holding.books.finished()[work.offset])
            in_lane = work.phase not in (Phase.FRESH, Phase.FINISHED)
            self._waiting.leave(work)
            self._bulkheads.leave(work.bulkhead, work)
            bulkheads.add(work.bulkhead)
            holding.drop(work)
            if in_lane:
                self._leave_lane(work)
        for bulkhead in bulkheads:
            self._let_in(bulkhead)

    # --- leftovers ---------------------------------------------------------------------------------------------------

    def finish_known(self, work: Work[S]) -> bool:
        """Finish a record read again whose outcome is known already; it is published, and nothing is sent again."""
        outcome = self.leftovers.outcome(work)
        if outcome is None:
            return False
        self.finish(work, outcome)
        return True

    def wait_for_leftover(self, work: Work[S]) -> None:
        """Hold a record read again as long as another task of this process is still at it."""
        earlier = self.leftovers.running(work.holding.place, work.record)
        if earlier is not None:
            earlier.heir = work
            work.blocked = True

    def _end_leftover(self, work: Work[S], result: Outcome | Later[S] | None) -> None:
        """A task ended whose partition was let go: its outcome counts if the record is still open, nothing else."""
        self.leftovers.ended(work)
        work.step(Phase.GONE)
        heir = work.heir if work.heir is not None and work.heir.holding.live else None
        if isinstance(result, Outcome):
            self.leftovers.keep(work, result)
        if heir is not None:
            self._unblock(heir, sent=work.send_began)
        self._leave_lane(work)

    def _unblock(self, heir: Work[S], *, sent: bool) -> None:
        heir.blocked = False
        if sent:
            heir.possibly_sent_since = self._now()
        if heir.phase is Phase.QUEUED and not self.finish_known(heir) and self._lanes.is_current(heir.lane, heir):
            self._go_on(heir)

    # --- the end -----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Cancel what is still being handled, and wait until it has ended."""
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CANCEL_SECONDS)


def _outcome(result: Outcome) -> Outcome:
    """Raises TypeError when a stage returned something else: its record must not be left without an outcome."""
    if not isinstance(result, Outcome):
        raise TypeError(f"a stage returned {type(result).__name__}, which is no Outcome")
    return result
