"""Schedules the records of a stage: lanes, delays, reservations, bulkheads and handler tasks, all partitions together.

A record goes `admit` -> (its lane) -> (the delay queue) -> (its bulkhead) -> (its reservation) -> ready -> a task in
`handle`. From there it goes to an outcome, or back to the delay queue (`RetryLater`, or the lease was lost for a
moment). If its partition has been released, its task ends as revoked work.

Does not read or commit: the caller passes records in, and each outcome goes to the `PartitionState` of its partition.
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
from adapter.stream.delay_queue import DelayQueue
from adapter.stream.hand_off_quota import REWRITE_SECONDS, HandOffQuota
from adapter.stream.lanes import Lanes
from adapter.stream.observer import FailedIn, StreamObserver
from adapter.stream.owned_partition import CAN_BE_HANDED_OFF, OwnedPartition, WorkItem, WorkPhase
from adapter.stream.revoked_work import RevokedWork
from adapter.stream.stage import Outcome, PreparedRecord, RetryLater, Stage

S = TypeVar("S")

log = logging.getLogger(__name__)

LEASE_PAUSE_SECONDS = 0.5
"""How long a record waits whose lease was lost while its partition is still owned: a heartbeat or two."""

BROKEN_PAUSE_SECONDS = 60.0
"""How long a record waits after both `handle` and `on_error` raised: it is not lost, and is not retried in a busy loop.
"""

MAX_HANDED_OFF_LANES = 10_000
"""How many lanes are remembered from which a record was handed off: what follows there counts as possibly sent."""

STARTS_PER_ITERATION = 8
"""How many handlers are started in one iteration of the event loop.

If all admitted records were started at once, a busy loop would form convoys: hundreds of answers are ready at once, are
handled in one iteration, and hundreds of new calls leave in the next. Such iterations took half a second each, and a
transaction, a heartbeat and the lease wait for a dozen of them. Fewer starts mean more iterations and smaller
transactions: with three instead of eight, an order costs 9 % more CPU time.
"""

UNTIL_ADMITTED = float("inf")
"""The due time of a record in the backlog of its bulkhead: no time ends the wait."""

HANDED_OFF_AT_ONCE = 64
"""How many waiting records are handed off in one step: the loop has other work."""

FAR_SECONDS = 120.0
"""A due time is far ahead if it is later than this; records that are due sooner end by themselves."""

_CANCEL_SECONDS = 1.0

_LONGEST_ALARM_SECONDS = 1.0
"""The longest time between checks of the delay queue, so that a clock that is set forward is noticed."""


class RecordScheduler(Generic[S]):
    """Processes the records of one stage.

    `on_fatal` is called with an exception from the scheduler's own code, which is a programming error.
    """

    def __init__(
        self,
        stage: Stage[S],
        observer: StreamObserver,
        now: Callable[[], datetime],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._stage = stage
        self._observer = observer
        self._now = now
        self._on_fatal = on_fatal
        self._stopped = False
        self._lanes: Lanes[WorkItem[S]] = Lanes()
        self._waiting: DelayQueue[WorkItem[S]] = DelayQueue()
        self._bulkheads: Bulkheads[WorkItem[S]] = Bulkheads(stage.max_in_flight)
        self._hand_off_quota = HandOffQuota(stage.max_waiting)
        self._handed_off_lanes: dict[Hashable, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._starting: asyncio.Handle | None = None
        self.revoked_work: RevokedWork[S] = RevokedWork()

    @property
    def in_flight(self) -> int:
        """How many records are being handled."""
        return len(self._tasks)

    def waiting(self, topic: str) -> int:
        """How many records of this topic are not due yet."""
        return self._waiting.count(topic)

    # --- admission ---------------------------------------------------------------------------------------------------

    def admit(self, item: WorkItem[S], prepared: PreparedRecord[S]) -> None:
        """Admit a prepared record; calls come in the order of the offsets.

        If a comparison of its lane, bulkhead or time raises, the stage's `on_error` gives its outcome, and no other
        record is affected.
        """
        if self.finish_known(item):
            return
        try:
            is_current, follows_handed_off = self._enter(item, prepared)
        except Exception as error:  # noqa: BLE001  # the stage's own values are compared here
            outcome = self.on_error(item, error, "prepare")
            if outcome is not None:
                self.finish(item, outcome)
            return
        if follows_handed_off:
            self._mark_possibly_sent(item)
        if is_current and not item.awaits_predecessor:
            self._advance(item)
        else:
            item.step(WorkPhase.QUEUED)

    def _enter(self, item: WorkItem[S], prepared: PreparedRecord[S]) -> tuple[bool, bool]:
        """Enter the lane; return whether the record is the current one there, and whether it follows one that was
        handed off.

        Looks up everything before it changes anything: if it raises, the record is in no lane.
        """
        not_before = float(prepared.not_before.timestamp()) if prepared.not_before else None
        may_hand_off, resumes = bool(prepared.may_hand_off), bool(prepared.resumes)
        self._bulkheads.may_admit(prepared.bulkhead)
        follows_handed_off = prepared.lane in self._handed_off_lanes and not resumes
        is_current = self._lanes.enter(prepared.lane, item)
        item.lane = prepared.lane
        item.subject = prepared.subject
        item.not_before = not_before
        item.starts_early = prepared.starts_early
        item.bulkhead = prepared.bulkhead
        item.may_hand_off = may_hand_off
        return is_current, follows_handed_off

    def finish(self, item: WorkItem[S], outcome: Outcome) -> None:
        """Keep a record's outcome, which the next commit of its partition publishes."""
        entered_its_lane = item.phase is not WorkPhase.RECEIVED
        if item.phase is WorkPhase.RUNNING:  # it left when it was started; since then, others may have made room
            self._admit_from_backlog(item.bulkhead)
        else:
            self._leave_bulkhead(item)
        item.step(WorkPhase.FINISHED)
        item.owned.state.finish(item.offset, outcome)
        item.owned.request_lingering_commit()
        if entered_its_lane:
            self._leave_lane(item)

    def _advance(self, item: WorkItem[S]) -> None:
        """Move the current record of a lane as far as possible: to its delay, its reservation, or a handler."""
        if item.not_before is not None and item.not_before > self._now().timestamp() and not _may_start_early(item):
            self._wait(item, item.not_before)
        elif not self._bulkheads.may_admit(item.bulkhead):
            self._bulkheads.add_to_backlog(item.bulkhead, item, self._now().timestamp())
            self._wait(item, UNTIL_ADMITTED)
        else:
            self._bulkheads.admit(item.bulkhead, item, self._now().timestamp())
            if item.owned.state.request_send(item.offset):
                self._make_ready(item)
            else:
                item.step(WorkPhase.AWAITING_RESERVATION)
                item.owned.awaiting_reservation.append(item)
                item.owned.request_commit()

    def _make_ready(self, item: WorkItem[S]) -> None:
        item.step(WorkPhase.READY)
        self._bulkheads.make_ready(item.bulkhead, item)
        self._start_soon()

    def _leave_bulkhead(self, item: WorkItem[S]) -> None:
        """Stop waiting for a due time or a slot; then another record of the bulkhead may be admitted."""
        self._waiting.discard(item)
        self._bulkheads.remove(item.bulkhead, item)
        self._admit_from_backlog(item.bulkhead)

    def _admit_from_backlog(self, bulkhead: Hashable | None) -> None:
        while (item := self._bulkheads.pop_backlog(bulkhead)) is not None:
            self._waiting.discard(item)
            item.not_before = None
            self._advance(item)

    def _leave_lane(self, item: WorkItem[S]) -> None:
        following = self._lanes.leave(item.lane, item)
        if following is not None and following.phase is WorkPhase.QUEUED and not following.awaits_predecessor:
            self._advance(following)

    # --- handling ----------------------------------------------------------------------------------------------------

    def _start_soon(self) -> None:
        """Start ready records from the next iteration of the loop on, a few in each."""
        if self._starting is None and not self._stopped:
            self._starting = asyncio.get_running_loop().call_soon(self._start_some)

    def _start_some(self) -> None:
        self._starting = None
        for _ in range(STARTS_PER_ITERATION):
            item = None if self._stopped else self._bulkheads.next()
            if item is None:
                return
            self._start(item)
            self._admit_from_backlog(item.bulkhead)
        self._start_soon()

    def _start(self, item: WorkItem[S]) -> None:
        if item.phase is not WorkPhase.READY or not item.owned.working:
            return
        if not item.owned.may_send:
            self._wait(item, self._now().timestamp() + LEASE_PAUSE_SECONDS)
        else:
            item.step(WorkPhase.RUNNING)
            self._bulkheads.started(item.bulkhead)
            task = asyncio.create_task(self._handle(item))
            self._tasks.add(task)
            task.add_done_callback(partial(self._task_ended, item.bulkhead))

    async def _handle(self, item: WorkItem[S]) -> None:
        result: Outcome | RetryLater[S] | None = None
        pause = LEASE_PAUSE_SECONDS
        try:
            answer = await self._stage.handle(item.subject, item)
            result = answer if isinstance(answer, RetryLater) else _outcome(answer)
        except LeaseLost as lost:
            self._observer.lease_lost(self._stage.name, item.topic)
            log.info("lease-lost", extra={**self._place(item), "detail": str(lost)})
        except Exception as error:  # noqa: BLE001  # the engine's top: whatever a stage raises becomes an outcome
            result = self.on_error(item, error, "handle")
            pause = BROKEN_PAUSE_SECONDS
        finally:
            self._handled(item, result, pause)

    def _handled(self, item: WorkItem[S], result: Outcome | RetryLater[S] | None, pause: float) -> None:
        if not item.owned.active:
            self._end_revoked(item, result)
        elif isinstance(result, Outcome):
            self.finish(item, result)
        elif isinstance(result, RetryLater):
            item.subject = result.subject
            self._wait(item, result.not_before.timestamp())
        else:
            if item.send_began:
                item.possibly_sent_since = self._now()
            self._wait(item, self._now().timestamp() + pause)

    def _task_ended(self, bulkhead: Hashable | None, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._bulkheads.ended(bulkhead)
        if not task.cancelled() and (fatal_error := task.exception()) is not None:
            self._on_fatal(fatal_error)
        self._start_soon()

    def on_error(self, item: WorkItem[S], error: Exception, where: FailedIn) -> Outcome | None:
        """Return the stage's outcome for its own error; None if `on_error` raises too: then the record stays open."""
        if not isinstance(error, OrderError):  # an ordinary outcome: the record is parked with a reason
            self._report(item, error, where)
        try:
            return _outcome(self._stage.on_error(item.record, error, item))
        except Exception as worse:  # noqa: BLE001  # the engine's top: the record stays open, and that is reported
            self._report(item, worse, "on_error")
            return None

    def _report(self, item: WorkItem[S], error: Exception, where: FailedIn) -> None:
        """Count and log an error of the stage: its type and location, never its text, which may quote the record."""
        self._observer.failed(self._stage.name, item.topic, where)
        if isinstance(error, OutcomeTooLarge):  # never raised: the committer makes it from the topic's error
            log.warning("outcome-too-large", extra=self._place(item))
            return
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        locations = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames))
        log.error(
            "stage-error",
            extra={**self._place(item), "method": where, "error": type(error).__name__, "location": locations},
        )

    def _place(self, item: WorkItem[S]) -> dict[str, object]:
        """Where the record is, as fields of a log line."""
        return {"stage": self._stage.name, **item.owned.partition._asdict(), "offset": item.record.offset}

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _wait(self, item: WorkItem[S], until: float) -> None:
        item.not_before = until
        if item.phase is not WorkPhase.WAITING:
            item.step(WorkPhase.WAITING)
        self._waiting.put(item, until)
        self._set_alarm()

    def _set_alarm(self) -> None:
        due = self._waiting.next_due()
        if self._stopped or due is None or (self._alarm is not None and self._alarm_at <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        delay = min(max(due - self._now().timestamp(), 0.0), _LONGEST_ALARM_SECONDS)
        self._alarm_at = due
        self._alarm = asyncio.get_running_loop().call_later(delay, self._start_due)

    def _start_due(self) -> None:
        self._alarm = None
        for item in self._waiting.due(self._now().timestamp()):
            item.not_before = None
            self._advance(item)
        self._set_alarm()

    def start_early(self, owned: OwnedPartition[S]) -> None:
        """Start the partition's waiting records that need not wait for their time any longer."""
        for item in list(owned.items.values()):
            in_backlog = item.not_before == UNTIL_ADMITTED
            if item.phase is WorkPhase.WAITING and not in_backlog and _may_start_early(item):
                self._waiting.discard(item)
                item.not_before = None
                self._advance(item)

    # --- partitions --------------------------------------------------------------------------------------------------

    def reserved(self, owned: OwnedPartition[S]) -> None:
        """Continue with records that waited for a reservation, after a commit of this partition."""
        held_back, owned.awaiting_reservation = owned.awaiting_reservation, []
        for item in held_back:
            if item.phase is WorkPhase.AWAITING_RESERVATION:
                if owned.state.reserved(item.offset):
                    self._make_ready(item)
                else:
                    owned.awaiting_reservation.append(item)

    def hand_off_oldest(self, owned: OwnedPartition[S], count: int) -> int:
        """Hand off up to `count` of the partition's oldest open records that cannot have a call on the wire."""
        handed_off = 0
        marked_lanes: set[Hashable] = set()
        for offset in list(owned.state.unfinished()):
            item = owned.items[offset]
            # Each is checked on its own: handing off one can start the next of its lane.
            if handed_off < count and item.phase in CAN_BE_HANDED_OFF and self._hand_off_one(item, marked_lanes):
                handed_off += 1
        if handed_off:
            self._observer.records_handed_off(self._stage.name, owned.partition.topic, handed_off)
        return handed_off

    def hand_off_blocking(self, owned: OwnedPartition[S], lag: int) -> None:
        """Hand off waiting records so that this partition can be read again; `lag` records are not read yet.

        First, records in the backlog of their bulkhead. Then those that are due far ahead, which come back at the log's
        end with the same due time: each record once in `REWRITE_SECONDS`, and some more often as `HandOffQuota` allows.
        """
        items = list(islice(self._in_backlog(owned), HANDED_OFF_AT_ONCE))
        now = self._now().timestamp()
        if not items and self._hand_off_quota.may_search(now):
            items = list(
                islice(self._waiting_for_long(owned, written_before=now - REWRITE_SECONDS), HANDED_OFF_AT_ONCE)
            )
            if not items:
                allowed = min(self._hand_off_quota.allowed(now, lag), HANDED_OFF_AT_ONCE)
                items = list(islice(self._waiting_for_long(owned), allowed))
                self._hand_off_quota.made(len(items))
            if not items:
                self._hand_off_quota.found_nothing(now)
        marked_lanes: set[Hashable] = set()
        moved = sum(self._hand_off_one(item, marked_lanes) for item in items)
        if moved:
            self._observer.records_handed_off(self._stage.name, owned.partition.topic, moved)

    def _in_backlog(self, owned: OwnedPartition[S]) -> Iterator[WorkItem[S]]:
        candidates = self._bulkheads.hand_off_candidates(self._now().timestamp())
        return (item for item in candidates if item.may_hand_off and item.owned is owned)

    def _waiting_for_long(
        self, owned: OwnedPartition[S], *, written_before: float = UNTIL_ADMITTED
    ) -> Iterator[WorkItem[S]]:
        far = self._now().timestamp() + FAR_SECONDS
        for item in owned.items.values():
            waits = item.phase is WorkPhase.WAITING and far < (item.not_before or 0.0) < UNTIL_ADMITTED
            if waits and item.may_hand_off and item.record.timestamp.timestamp() < written_before:
                yield item

    def _hand_off_one(self, item: WorkItem[S], marked_lanes: set[Hashable]) -> bool:
        """Hand off one record if its stage can; `marked_lanes` are the lanes whose followers are marked already."""
        try:
            outcome: Outcome | None = _outcome(self._stage.hand_off(item.record, item.subject, item))
        except Exception as error:  # noqa: BLE001  # the engine's top: whatever a stage raises becomes an outcome
            outcome = self.on_error(item, error, "hand_off")
        if outcome is None:
            return False
        # The record continues elsewhere from now on, so what follows in its lane may meet its effects.
        if item.lane is not None and item.lane not in marked_lanes:
            # Once in a call for each lane: ten thousand records may queue in one.
            marked_lanes.add(item.lane)
            for follower in self._lanes.behind(item.lane, item):
                self._mark_possibly_sent(follower)
        if item.lane is not None:
            self._handed_off_lanes[item.lane] = None
            if len(self._handed_off_lanes) > MAX_HANDED_OFF_LANES:
                del self._handed_off_lanes[next(iter(self._handed_off_lanes))]
        self.finish(item, outcome)
        item.owned.request_commit()  # its memory is needed
        return True

    def _mark_possibly_sent(self, item: WorkItem[S]) -> None:
        item.possibly_sent_since = self._now()
        item.owned.state.mark_possibly_sent(item.offset)

    def release(self, owned: OwnedPartition[S]) -> None:
        """Forget everything of this partition, except tasks and outcomes, which become revoked work."""
        owned.release()
        bulkheads = set()
        for item in list(owned.items.values()):
            if item.phase is WorkPhase.RUNNING:
                self.revoked_work.still_running(item)
                continue
            if item.phase is WorkPhase.FINISHED and item.offset in owned.state.finished():
                self.revoked_work.keep(item, owned.state.finished()[item.offset])
            in_lane = item.phase not in (WorkPhase.RECEIVED, WorkPhase.FINISHED)
            self._waiting.discard(item)
            self._bulkheads.remove(item.bulkhead, item)
            bulkheads.add(item.bulkhead)
            owned.remove_item(item)
            if in_lane:
                self._leave_lane(item)
        for bulkhead in bulkheads:
            self._admit_from_backlog(bulkhead)

    # --- revoked work ------------------------------------------------------------------------------------------------

    def finish_known(self, item: WorkItem[S]) -> bool:
        """Finish a record that was read again with its known outcome; nothing is sent again."""
        outcome = self.revoked_work.outcome(item)
        if outcome is None:
            return False
        self.finish(item, outcome)
        item.owned.request_commit()  # it has waited for a take-over
        return True

    def wait_for_predecessor(self, item: WorkItem[S]) -> None:
        """Hold a record that was read again as long as another task of this process still processes it."""
        earlier = self.revoked_work.running(item.owned.partition, item.record)
        if earlier is not None:
            earlier.successor = item
            item.awaits_predecessor = True

    def _end_revoked(self, item: WorkItem[S], result: Outcome | RetryLater[S] | None) -> None:
        """Handle the end of a task whose partition was released: only its outcome is kept."""
        self.revoked_work.ended(item)
        item.step(WorkPhase.RELEASED)
        successor = item.successor if item.successor is not None and item.successor.owned.active else None
        if isinstance(result, Outcome):
            self.revoked_work.keep(item, result)
        if successor is not None:
            self._unblock(successor, sent=item.send_began)
        self._leave_lane(item)

    def _unblock(self, successor: WorkItem[S], *, sent: bool) -> None:
        successor.awaits_predecessor = False
        if sent:
            successor.possibly_sent_since = self._now()
        if (
            successor.phase is WorkPhase.QUEUED
            and not self.finish_known(successor)
            and self._lanes.is_current(successor.lane, successor)
        ):
            self._advance(successor)

    # --- the end -----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Cancel the running handlers, and wait until they have ended."""
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CANCEL_SECONDS)


def _may_start_early(item: WorkItem[S]) -> bool:
    return item.starts_early is not None and item.starts_early()


def _outcome(result: Outcome) -> Outcome:
    """Check an outcome of the stage.

    Raises TypeError for anything else: the record must not be left without an outcome.
    """
    if not isinstance(result, Outcome):
        raise TypeError(f"a stage returned {type(result).__name__} instead of an Outcome")
    return result
