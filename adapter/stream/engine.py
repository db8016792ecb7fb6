"""Runs one stage and publishes each record's outcome exactly once.

Theory of operation. Every partition assigned to this process is *taken over*, *processed*, and *released*.

Take-over: start the partition's transactional producer, which fences the earlier owner and ends its transaction. Only
after that, read the committed offset and its metadata, build the partition's state from them, and seek, without an
`await` between building and seeking. Every change of the owned partitions raises the *assignment epoch*. A batch whose
poll began in another epoch is discarded, and every owned partition seeks to its next offset. (Measured:
leaving out any of this loses or repeats records.)

Processing: records are opened in the ledger as they are read, prepared, handled in their lanes, and settled when the
transaction with their outcome is committed. Every effect outside Kafka needs `authorize_send` of its owned partition.

Release: refuse further sends, let running handlers end, commit, and commit the exact reservation, all within half of
the rebalance time-out. After a failed transaction or a fence, the partition is dropped instead. It never just gets a
new producer, because that would fence the current owner. It is taken over again only after the group has answered a
request that was sent after the failure, which proves that the partition is ours.

`revoked_work.py` keeps what is left in memory of released partitions. No fence reaches an HTTP request, so the next
owner counts calls that are still on the wire as possibly sent.

Does not know what records mean, nor which Kafka client is used.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Generic, TypedDict, TypeVar

from adapter.errors import BrokerUnavailable
from adapter.stream.blocked_partitions import BlockedPartitions, problems_of
from adapter.stream.commit_metadata import short_fingerprint
from adapter.stream.initial_offsets import commit_latest_offsets
from adapter.stream.intake import Intake
from adapter.stream.observer import Gauges, NullObserver, StreamObserver
from adapter.stream.owned_partition import OwnedPartition, WorkItem, WorkPhase
from adapter.stream.partition_manager import PartitionManager
from adapter.stream.port import Kafka, KafkaClientError, Member, OffsetOutOfRange, TopicPartition, UnreadableBatch
from adapter.stream.records import Record
from adapter.stream.scheduler import RecordScheduler
from adapter.stream.snapshot import EngineSnapshot, OpenRecord, open_records, snapshot_partitions
from adapter.stream.stage import Stage

S = TypeVar("S")
T = TypeVar("T")


class ReleaseTimeouts(TypedDict):
    """How long a release may take, in seconds; see `PartitionManager.release_all`."""

    drain_timeout: float
    commit_seconds: float


log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""How long a poll waits for records if every partition is polled."""

BUSY_POLL_SECONDS = 0.03
"""How long a poll waits if some partitions are left out: they may be read again at any moment."""

HEARTBEAT_SECONDS = 1.0
"""How often the main loop updates its heartbeat, whatever it waits for."""

GAUGES_SECONDS = 1.0
"""How often the observer gets the gauges."""

WATCH_SECONDS = 5.0
"""How often the topic ids are checked, because a topic may have been recreated."""

WORK_SHARE = 0.6
"""The part of a release's time in which running handlers may end ..."""

COMMIT_SHARE = 0.3
"""... and the part for the last commit; the rest is for leaving the group."""

MIN_COMMIT_SECONDS = 2.0
"""How long the last commit may take even without a grace period."""

MAX_BACK_OFF_SECONDS = 2.0
"""The longest pause between attempts to connect."""

STABLE_MEMBERSHIP_SECONDS = 10.0
"""A membership that ended sooner counts as failed, like an attempt to connect: the next one waits longer ..."""

MAX_REJOIN_SECONDS = 30.0
"""... up to this. Each new member fences the producers of the previous member, and frequent joins harm the others."""


_utc_now = partial(datetime.now, UTC)


class Engine(Generic[S]):
    """Runs `stage` in this process until stopped, as a member of its consumer group.

    `now` is the clock for records that are not due yet. `skips_group`: see `blocked_partitions`.
    """

    def __init__(
        self,
        stage: Stage[S],
        kafka: Kafka,
        *,
        observer: StreamObserver | None = None,
        now: Callable[[], datetime] = _utc_now,
        skips_group: str | None = None,
    ) -> None:
        self._stage = stage
        self._observer: StreamObserver = observer or NullObserver()
        self._kafka = kafka
        self._scheduler = RecordScheduler(stage, self._observer, now, self._fail)
        self._intake = Intake(stage, self._scheduler, self._observer)
        self._partitions = PartitionManager(
            stage, self._scheduler, self._observer, now=now, on_epoch=self._interrupt, on_fatal=self._fail
        )
        self._blocked: BlockedPartitions[S] = BlockedPartitions(
            self._kafka, skips_group, now=now, take=self._accept_record, run=self._spawn
        )
        self._member: Member | None = None
        self._fatal_error: BaseException | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._interrupted = asyncio.Event()
        self._stopping = False
        self._grace = 0.0
        self._ended = asyncio.Event()
        self._ended.set()
        self._last_heartbeat = time.monotonic()
        self._gauges_at = float("-inf")
        self._available_at = self._lease_held_at = time.monotonic()
        self._unreachable = False
        self._lag: Mapping[TopicPartition, int] = {}
        self._problem: str | None = None
        self._membership_began = float("-inf")
        self._left_early = False

    # --- status ------------------------------------------------------------------------------------------------------

    @property
    def last_heartbeat(self) -> float:
        """When the main loop last updated its heartbeat (`time.monotonic`), which it also does while no broker is
        available.
        """
        return self._last_heartbeat

    @property
    def assigned(self) -> frozenset[tuple[str, int]]:
        """Topic and partition of each partition that is taken over."""
        # A list first: another thread may call this, and the dict must not change during the iteration.
        return frozenset((partition.topic, partition.partition) for partition in list(self._partitions.partitions))

    @property
    def connected(self) -> bool:
        """Whether the group answered this process within a session time-out; False while brokers are unavailable."""
        return self._member is not None and self._member.lease.holds(self._member.lease.generation)

    @property
    def standing_by(self) -> bool:
        """Whether this process is a member of the group without any partition."""
        return self.connected and self._member is not None and not self._member.assignment()

    @property
    def problems(self) -> Sequence[str]:
        """Why records are not read: a sentence each, without any content of a record."""
        error = [self._problem] if self._problem is not None and (self._left_early or not self.connected) else []
        owned_partitions = list(self._partitions.partitions.values())
        full = [
            f"{count} records of {topic} are not due yet; reading of this topic continues when some are due"
            for topic, count in self.full_delay_queues.items()
        ]
        return [*error, *list(self._partitions.problems_by_partition.values()), *problems_of(owned_partitions), *full]

    @property
    def full_delay_queues(self) -> Mapping[str, int]:
        """Topics that are not polled because too many of their records are not due yet, with the number of these
        records.
        """
        waiting = {topic: self._scheduler.waiting(topic) for topic in self._stage.topics}
        return {topic: count for topic, count in waiting.items() if count >= self._stage.max_waiting}

    def snapshot(self) -> EngineSnapshot:
        """What this stage holds now; any thread may call it."""
        stage, scheduler = self._stage, self._scheduler
        return EngineSnapshot(
            name=stage.name,
            group=stage.group,
            topics=stage.topics,
            connected=self.connected,
            standing_by=self.standing_by,
            partitions=snapshot_partitions(self._partitions.partitions, self._lag),
            in_flight=scheduler.in_flight,
            slots=stage.max_in_flight,
            waiting=sum(scheduler.waiting(topic) for topic in stage.topics),
            problems=tuple(self.problems),
        )

    def open_records(self) -> Iterator[OpenRecord]:
        """Each record that is read and not settled; any thread may call it."""
        return open_records(self._partitions.partitions)

    # --- running -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Process records until stopped, through any outage of the brokers.

        Raises errors after which the engine or the stage cannot be trusted (an inconsistent ledger, an unknown version
        of the client); nothing is committed after such an error.
        """
        self._ended.clear()
        try:
            back_off = 0.0
            while not self._stopping:
                await self._await_with_heartbeat(asyncio.sleep(back_off))
                self._membership_began = time.monotonic()
                joined = await self._run_as_member()
                if joined and not self._left_early:
                    back_off = 0.0
                else:
                    longest = MAX_REJOIN_SECONDS if joined else MAX_BACK_OFF_SECONDS
                    back_off = min(2 * back_off + 0.5, longest) * random.uniform(0.8, 1.0)
            if self._fatal_error is not None:
                raise self._fatal_error
        finally:
            await self._scheduler.stop()
            self._ended.set()

    def start_early(self) -> None:
        """Start every waiting record whose `starts_early` returns true now; see `stage.PreparedRecord`."""
        for owned in list(self._partitions.partitions.values()):
            self._scheduler.start_early(owned)

    async def stop(self, grace_seconds: float) -> None:
        """Read no more, let running handlers end, commit and leave the group; cancel the rest after `grace_seconds`."""
        self._grace = grace_seconds
        self._stopping = True
        self._interrupt()
        await self._ended.wait()

    async def _run_as_member(self) -> bool:
        """Run one member from joining to leaving; False if it could not even join."""
        if self._stopping:
            return False
        try:
            member = await self._await_with_heartbeat(self._kafka.connect(self._stage.group))
        except (BrokerUnavailable, KafkaClientError) as error:
            self._warn(f"waiting for the broker: {error}")
            return False
        if member is None:
            return False
        if self._stage.starts_at_latest and not await self._commit_latest(member):
            await member.leave()
            return False
        self._member = member
        self._partitions.begin(member)
        member.join(self._stage.topics, revoked=self._revoked, assigned=self._assigned)
        self._spawn(self._watch_logs(member))
        try:
            await self._read(member)
        except KafkaClientError as error:
            self._warn(f"joining the group again: {error}")
        finally:
            self._left_early = time.monotonic() - self._membership_began < STABLE_MEMBERSHIP_SECONDS
            await self._leave_group(member)
        return True

    async def _commit_latest(self, member: Member) -> bool:
        """Commit the latest offsets of a new group; False if that was not possible yet."""
        work = commit_latest_offsets(member, self._stage.topics, fingerprint=short_fingerprint(self._stage.fingerprint))
        try:
            return await self._await_with_heartbeat(work) is not None
        except (BrokerUnavailable, KafkaClientError) as error:
            self._warn(f"waiting for the broker: {error}")
            return False

    async def _read(self, member: Member) -> None:
        while not self._stopping:
            assignment_epoch = self._partitions.assignment_epoch
            owned_partitions = self._partitions.partitions
            paused = {
                partition for partition, owned in owned_partitions.items() if self._blocked.is_paused(member, owned)
            }
            readable = [
                partition
                for partition, owned in owned_partitions.items()
                if partition not in paused and self._may_poll(owned)
            ]
            seconds = POLL_SECONDS if len(readable) + len(paused) == len(owned_partitions) else BUSY_POLL_SECONDS
            batches = await self._await_with_heartbeat(self._poll(member, readable, seconds))
            if self._fatal_error is not None:
                raise self._fatal_error
            if assignment_epoch != self._partitions.assignment_epoch:
                self._seek_back(member)
            elif batches is not None:
                self._accept_batches(batches)
                self._pass_over(member, readable, batches)

    async def _poll(
        self, member: Member, readable: Sequence[TopicPartition], seconds: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        try:
            return await member.poll(readable, timeout=seconds)
        except UnreadableBatch as problem:
            # The same poll may have read other partitions, and what it read is lost with it.
            self._seek_back(member)
            owned = self._partitions.partitions.get(problem.partition)
            if owned is not None and owned.working:
                self._blocked.block(member, owned, problem)
            return {}
        except OffsetOutOfRange as out:
            for partition in out.partitions & self._partitions.partitions.keys():
                owned = self._partitions.partitions[partition]
                owned.out_of_range = True
                self._spawn(self._partitions.handle_out_of_range(owned, **self._release_timeouts()))
            return {}

    async def _watch_logs(self, member: Member) -> None:
        """Check whether a topic was recreated, because the state of a partition would be wrong for the new log.

        Also reads the lag: what a fetch reports is outdated for partitions that are not polled.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                ids = await member.topic_ids(self._stage.topics)
                self._lag = await member.lag(list(self._partitions.partitions))
            except (KafkaClientError, BrokerUnavailable):
                continue  # the poll fails too, and logs it
            for owned in list(self._partitions.partitions.values()):
                if ids.get(owned.partition.topic, owned.topic_id) != owned.topic_id:
                    self._partitions.replace(owned, **self._release_timeouts())

    def _may_poll(self, owned: OwnedPartition[S]) -> bool:
        if not owned.working or owned.busy:
            return False
        if self._scheduler.waiting(owned.partition.topic) < self._stage.max_waiting and not owned.memory_full:
            return True
        self._scheduler.hand_off_blocking(owned, self._lag.get(owned.partition, 0))
        return False

    def _seek_back(self, member: Member) -> None:
        """Seek every partition to its next offset: what was read across a change of assignment is discarded."""
        assignment = member.assignment()
        for partition, owned in self._partitions.partitions.items():
            if partition in assignment:
                member.seek(partition, owned.state.next_offset)

    def _accept_batches(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        for partition, records in batches.items():
            owned = self._partitions.partitions.get(partition)
            if owned is None or not records:
                continue
            if records[0].offset < owned.state.next_offset:
                log.error(
                    "topic-recreated",
                    extra={
                        "stage": self._stage.name,
                        **partition._asdict(),
                        "offset": records[0].offset,
                        "expected_offset": owned.state.next_offset,
                    },
                )
                self._partitions.drop(owned, "topic_recreated")
                continue
            self._open(owned, records)

    def _accept_record(self, owned: OwnedPartition[S], record: Record) -> None:
        """Process a record that stands for offsets which could not be read."""
        self._open(owned, [record])

    def _open(self, owned: OwnedPartition[S], records: Sequence[Record]) -> None:
        items = self._intake.open(owned, records)
        if items:
            owned.preparing = True
            self._spawn(self._admit(owned, items))

    def _pass_over(
        self, member: Member, readable: Sequence[TopicPartition], batches: Collection[TopicPartition]
    ) -> None:
        """Move the ledgers to the reader's position: offsets below it that were not returned are no records.

        No await since the end of the poll. If a partition has nothing left to read, a commit that stops before such
        offsets catches up with them.
        """
        for partition in readable:
            owned = self._partitions.partitions.get(partition)
            position = member.position(partition)
            if owned is not None and position is not None:
                owned.state.pass_over(position)
                self._blocked.passed(owned, position)
                if partition not in batches and owned.state.commit_is_behind:
                    owned.state.catch_up()
                    owned.request_lingering_commit()

    async def _admit(self, owned: OwnedPartition[S], items: Sequence[WorkItem[S]]) -> None:
        try:
            await self._intake.admit(owned, items)
        finally:
            owned.preparing = False

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (fatal_error := task.exception()) is not None:
            self._fail(fatal_error)

    # --- leaving -----------------------------------------------------------------------------------------------------

    async def _leave_group(self, member: Member) -> None:
        """Release everything and leave the group: within the grace period, or quickly after a fatal error."""
        try:
            if self._fatal_error is None:
                await self._drain()
            commit_seconds = max(self._grace * COMMIT_SHARE, MIN_COMMIT_SECONDS)
            await self._partitions.release_all("stopped", drain_timeout=0, commit_seconds=commit_seconds)
        finally:
            for task in self._background:
                task.cancel()
            if self._stopping:
                await self._scheduler.stop()
            await member.leave()
            self._member = None

    async def _drain(self) -> None:
        """Start nothing more, and wait for running handlers: they may still send, as long as the grace period lasts."""
        self._partitions.stop_accepting()
        ending = asyncio.ensure_future(self._partitions.all_idle())
        until = time.monotonic() + self._grace * WORK_SHARE
        while not ending.done() and (left := until - time.monotonic()) > 0:
            await asyncio.wait({ending}, timeout=min(HEARTBEAT_SECONDS, left))
            self._heartbeat()
        ending.cancel()

    # --- the group's decisions ---------------------------------------------------------------------------------------

    async def _revoked(self) -> None:
        """The client swallows exceptions of this callback, so none may escape."""
        try:
            await self._partitions.release_all("revoked", **self._release_timeouts())
        except Exception as fatal_error:  # noqa: BLE001  # passed to the main loop, which raises it
            self._fail(fatal_error)

    def _release_timeouts(self) -> ReleaseTimeouts:
        """How long a release may take in a rebalance: half of the rebalance time-out."""
        half = self._kafka.rebalance_timeout / 2
        return {"drain_timeout": half * WORK_SHARE, "commit_seconds": half * COMMIT_SHARE}

    def _assigned(self) -> None:
        """The client swallows exceptions of this callback, so none may escape."""
        try:
            self._partitions.assigned()
        except Exception as fatal_error:  # noqa: BLE001  # passed to the main loop, which raises it
            self._fail(fatal_error)

    def _fail(self, fatal_error: BaseException) -> None:
        if self._fatal_error is None:
            self._fatal_error = fatal_error
            self._partitions.drop_all()
        self._interrupt()

    # --- the heartbeat of the main loop ------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        self._interrupted.set()

    async def _await_with_heartbeat(self, work: Coroutine[object, object, T]) -> T | None:
        """Wait for `work` and update the heartbeat; None if an event occurred that the main loop must handle first."""
        self._interrupted.clear()
        task = asyncio.ensure_future(work)
        interruption = asyncio.ensure_future(self._interrupted.wait())
        try:
            while not task.done() and not interruption.done():
                self._heartbeat()
                await asyncio.wait({task, interruption}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            interruption.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        return None if task.cancelled() else task.result()

    def _heartbeat(self) -> None:
        now = self._last_heartbeat = time.monotonic()
        if now - self._gauges_at >= GAUGES_SECONDS:
            self._gauges_at = now
            self._observer.gauges(self._stage.name, self._gauges())
        if self.connected:
            self._note_lease(now)
        elif self._member is None:
            self._lease_held_at = now
        elif not self._member.lease.answered():
            self._warn("no broker answers; records wait, and nothing is sent until one answers")
        elif now - self._lease_held_at > self._kafka.rebalance_timeout:
            self._warn("the group has been rebalancing for long; nothing is sent until it is stable")

    def _note_lease(self, now: float) -> None:
        if self._left_early and now - self._membership_began >= STABLE_MEMBERSHIP_SECONDS:
            self._left_early = False
        if not self._left_early:
            self._problem = None
        if self._unreachable:
            self._unreachable = False
            seconds = round(now - self._available_at)
            log.info("stage-connected", extra={"stage": self._stage.name, "seconds": seconds})
        self._available_at = self._lease_held_at = now

    def _warn(self, what: str) -> None:
        self._unreachable = True
        self._problem = what
        log.warning("stage-disconnected", extra={"stage": self._stage.name, "detail": what})

    def _gauges(self) -> Gauges:
        owned_partitions = list(self._partitions.partitions.values())
        return Gauges(
            open=sum(owned.state.open_count for owned in owned_partitions),
            in_flight=self._scheduler.in_flight,
            waiting={topic: self._scheduler.waiting(topic) for topic in self._stage.topics},
            full=frozenset(self.full_delay_queues),
            finished=sum(owned.count(WorkPhase.FINISHED) for owned in owned_partitions),
            lag={
                owned.partition: owned.state.open_count + self._lag.get(owned.partition, 0)
                for owned in owned_partitions
            },
            partitions=len(owned_partitions),
            unreadable=sum(owned.blockage is not None for owned in owned_partitions),
        )
