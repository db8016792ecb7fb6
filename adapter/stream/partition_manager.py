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

from adapter.backoff import backoff_seconds
from adapter.errors import BrokerUnavailable
from adapter.stream.commit_metadata import new_owner, short_fingerprint
from adapter.stream.committer import Committer
from adapter.stream.observer import StreamObserver
from adapter.stream.owned_partition import OwnedPartition
from adapter.stream.partition_state import PartitionState
from adapter.stream.port import Commit, KafkaClientError, Member, OffsetRange, TopicPartition, TransactionalProducer
from adapter.stream.recovery import OwnSends, RecoveredState, recover
from adapter.stream.scheduler import RecordScheduler
from adapter.stream.stage import Stage

S = TypeVar("S")

log = logging.getLogger(__name__)

_FIRST_BACK_OFF_SECONDS = 0.2
_MOST_BACK_OFF_SECONDS = 5.0
_SURE_AFTER = 3  # attempts

TAKE_OVER_SECONDS = 1.0
"""How long a take-over that has begun may still take when everything is to be let go."""


def room_for(max_in_flight: int) -> int:
    """How many records of one partition may be in hand, those not counted that wait for their time or their lane."""
    return 2 * max_in_flight + 100


class PartitionManager(Generic[S]):
    """The partitions that a stage holds in this process.

    `on_epoch` is called whenever what is held has changed; `on_fatal` with what must never happen.
    """

    def __init__(
        self,
        stage: Stage[S],
        scheduler: RecordScheduler[S],
        observer: StreamObserver,
        *,
        now: Callable[[], datetime],
        on_epoch: Callable[[], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._stage = stage
        self._scheduler = scheduler
        self._committer = Committer(stage, scheduler, observer)
        self._observer = observer
        self._now = now
        self._on_epoch = on_epoch
        self._on_fatal = on_fatal
        self._member: Member | None = None
        self._accepting = False
        self._take_overs: dict[TopicPartition, asyncio.Task[None]] = {}
        self._releasing: dict[TopicPartition, asyncio.Task[None]] = {}
        self._begun: set[TopicPartition] = set()
        self._failures: Counter[TopicPartition] = Counter()
        self._owner = new_owner()
        self._own_sends: dict[TopicPartition, OwnSends] = {}
        self.problems_by_partition: dict[TopicPartition, str] = {}
        self.partitions: dict[TopicPartition, OwnedPartition[S]] = {}
        self.assignment_epoch = 0

    def begin(self, member: Member) -> None:
        """Hold partitions for this member from now on."""
        self._member = member
        self._accepting = True

    # --- what the group decides --------------------------------------------------------------------------------------

    def assigned(self) -> None:
        """Partitions were assigned: take each of them over."""
        member = self._require_member()
        self._bump_epoch()
        member.lease.check_proven()
        partitions = member.assignment()
        self._scheduler.revoked_work.keep_only(partitions)
        self.problems_by_partition.clear()
        self._failures.clear()
        for partition in partitions:
            if self._accepting:
                self._begin_take_over(partition)

    async def release_all(self, reason: str, *, drain_timeout: float, commit_seconds: float) -> None:
        """Let every partition go in good order: what is being handled has `drain_timeout` seconds to end, the last
        flush `commit_seconds`. What is not ours any more is not waited for.
        """
        self._bump_epoch()
        # A group's first owner commits at once, so that its successor knows that nothing was lost; it shall come to it.
        begun = {self._take_overs[partition] for partition in self._begun if partition in self._take_overs}
        if begun:
            await asyncio.wait(begun, timeout=min(TAKE_OVER_SECONDS, commit_seconds))
        ending = list(self._take_overs.values())
        for task in ending:
            task.cancel()
        for partition, owned in self.partitions.items():
            if partition not in self._releasing:
                self._releasing[partition] = asyncio.create_task(
                    self._release(owned, reason, drain_timeout, commit_seconds)
                )
        ending.extend(self._releasing.values())
        if ending:
            await asyncio.wait(ending)
        for task in ending:
            if not task.cancelled() and (fatal_error := task.exception()) is not None:
                self._on_fatal(fatal_error)

    def stop_accepting(self) -> None:
        """Start no handler and take no partition any more; what is being handled goes on, and may send."""
        self._accepting = False
        for task in self._take_overs.values():
            task.cancel()
        for owned in self.partitions.values():
            owned.working = False

    async def all_idle(self) -> None:
        """Wait until nothing is being handled."""
        for owned in list(self.partitions.values()):
            await owned.idle.wait()

    # --- taking over -------------------------------------------------------------------------------------------------

    def _begin_take_over(self, partition: TopicPartition, *, proven_after: float | None = None) -> None:
        self._start_take_over(partition, self._take_over(self._require_member(), partition, proven_after))

    def _start_take_over(self, partition: TopicPartition, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._take_overs[partition] = task
        task.add_done_callback(lambda ended: self._take_over_ended(partition, ended))

    def _take_over_ended(self, partition: TopicPartition, task: asyncio.Task[None]) -> None:
        if self._take_overs.get(partition) is task:
            del self._take_overs[partition]
        if not task.cancelled() and (fatal_error := task.exception()) is not None:
            self._on_fatal(fatal_error)

    async def _take_over(self, member: Member, partition: TopicPartition, proven_after: float | None) -> None:
        """Try until the partition is taken over; whoever revokes it cancels this."""
        while True:
            try:
                await asyncio.sleep(self._back_off(partition))
                # Starting a writer fences whoever owns the partition, so it must be known to be ours: by the answer to
                # a request that was sent after whatever went wrong.
                if proven_after is not None:
                    await member.lease.proven_after(proven_after)
                self._begun.add(partition)
                await self._try_take_over(member, partition)
            except (KafkaClientError, BrokerUnavailable) as trouble:
                proven_after = member.lease.clock()
                self._failures[partition] += 1
                self.problems_by_partition[partition] = f"{partition} could not be taken over yet: {trouble}"
                log.warning("%s", self.problems_by_partition[partition])
            else:
                return
            finally:
                self._begun.discard(partition)

    async def _try_take_over(self, member: Member, partition: TopicPartition) -> None:
        generation = member.lease.generation
        _require_lease(member, generation)
        producer = await member.start_producer(partition)
        try:
            fenced_at = self._now()
            commit = await member.committed(partition)
            offset_range = await member.offset_range(partition)
            _require_lease(member, generation)
            recovered = self._recover(member, partition, commit, offset_range, written_before=not producer.first)
            # No await from here to the seek: nothing may be read in between.
            owned = self._open(member, partition, producer, recovered, offset_range.topic_id, generation, fenced_at)
            member.seek(partition, owned.state.next_offset)
        except BaseException:
            producer.abort()
            raise
        self.problems_by_partition.pop(partition, None)
        self.partitions[partition] = owned
        self._bump_epoch()
        owned.commits = asyncio.create_task(self._committer.keep_committing(owned))
        owned.commits.add_done_callback(lambda task: self._commits_ended(owned, task))
        owned.commit_due.set()
        self._observer.partition_taken_over(self._stage.name, partition.topic, partition.partition)

    def _recover(
        self,
        member: Member,
        partition: TopicPartition,
        commit: Commit | None,
        offset_range: OffsetRange,
        *,
        written_before: bool,
    ) -> RecoveredState:
        recovered = recover(
            commit,
            offset_range,
            cluster_id=member.cluster_id,
            fingerprint=short_fingerprint(self._stage.fingerprint),
            written_before=written_before,
            owner=self._owner,
            own=self._own_sends.get(partition),
        )
        if recovered.retry_read and self._failures[partition] < _SURE_AFTER:
            # Reading everything again must not be the mistake of a moment.
            raise KafkaClientError(f"{recovered.warning}; asking again to be sure")
        if recovered.warning:
            log.warning("%s: %s", partition, recovered.warning)
        if recovered.lost_count:
            self._lost(partition, recovered.lost_count, offset_range.start)
        return recovered

    def _lost(self, partition: TopicPartition, count: int, start: int) -> None:
        log.error(
            "%s: %s offsets before %s were deleted from the log and nobody had settled them: what was ordered there "
            "gets no tickets from here. Retention was shorter than the time they waited",
            partition,
            count,
            start,
        )
        self._observer.records_lost(self._stage.name, partition.topic, count)

    def _open(
        self,
        member: Member,
        partition: TopicPartition,
        producer: TransactionalProducer,
        recovered: RecoveredState,
        topic_id: str,
        generation: int,
        fenced_at: datetime,
    ) -> OwnedPartition[S]:
        revoked_work = self._scheduler.revoked_work
        revoked_work.forget_below(partition, recovered.offset)
        revoked_work.taken_over(partition, generation, proven=recovered.proven)
        state = PartitionState(
            str(partition),
            recovered,
            cluster_id=member.cluster_id,
            topic_id=topic_id,
            fingerprint=short_fingerprint(self._stage.fingerprint),
            ahead=2 * self._stage.max_in_flight if self._stage.sends else 0,
            owner=self._owner,
        )
        log.info("%s taken over at offset %s", partition, state.next_offset)
        return OwnedPartition(
            partition,
            state,
            producer,
            member.lease,
            topic_id=topic_id,
            generation=generation,
            fenced_at=recovered.fenced_at or fenced_at,
            sends=self._stage.sends,
            max_open=room_for(self._stage.max_in_flight),
        )

    def _back_off(self, partition: TopicPartition) -> float:
        return backoff_seconds(self._failures[partition], first=_FIRST_BACK_OFF_SECONDS, longest=_MOST_BACK_OFF_SECONDS)

    # --- a log that is not what it was -------------------------------------------------------------------------------

    async def handle_out_of_range(
        self, owned: OwnedPartition[S], *, drain_timeout: float, commit_seconds: float
    ) -> None:
        """See why the log has nothing where reading should go on, and go on where it can."""
        member = self._require_member()
        try:
            offset_range = await member.offset_range(owned.partition)
            if not owned.working:
                return
            if offset_range.topic_id != owned.topic_id or owned.state.next_offset > offset_range.end:
                self.replace(owned, drain_timeout=drain_timeout, commit_seconds=commit_seconds)
                return
            if lost := owned.state.skip_to(offset_range.start):
                self._lost(owned.partition, lost, offset_range.start)
                owned.commit_due.set()
            member.seek(owned.partition, owned.state.next_offset)
            owned.out_of_range = False
        except (KafkaClientError, BrokerUnavailable) as trouble:
            log.warning("%s: %s; dropped, to be taken over anew", owned.partition, trouble)
            self.drop(owned, "trouble")

    def replace(self, owned: OwnedPartition[S], *, drain_timeout: float, commit_seconds: float) -> None:
        """Let a partition go in good order, because its log is another one by now, and take it over anew."""
        partition = owned.partition
        if owned.active and self._accepting and partition not in self._releasing and partition not in self._take_overs:
            log.warning("%s: its topic was made anew, or lost records; to be taken over anew", partition)
            self._start_take_over(partition, self._replace(owned, drain_timeout, commit_seconds))

    async def _replace(self, owned: OwnedPartition[S], drain_timeout: float, commit_seconds: float) -> None:
        await self._drain_and_commit(owned, drain_timeout, commit_seconds)
        self._remove(owned, "rewound")
        member = self._require_member()
        await self._take_over(member, owned.partition, member.lease.clock())

    # --- letting go --------------------------------------------------------------------------------------------------

    async def _release(
        self, owned: OwnedPartition[S], reason: str, drain_timeout: float, commit_seconds: float
    ) -> None:
        try:
            await self._drain_and_commit(owned, drain_timeout, commit_seconds)
            self._remove(owned, reason)
        finally:
            del self._releasing[owned.partition]

    async def _drain_and_commit(self, owned: OwnedPartition[S], drain_timeout: float, commit_seconds: float) -> None:
        owned.close_gate()
        if self._require_member().lease.holds(owned.generation):
            await _until(owned.idle.wait(), drain_timeout)
        owned.closing = True
        owned.commit_due.set()
        if owned.commits is not None:
            await asyncio.wait({owned.commits}, timeout=commit_seconds)

    def drop(self, owned: OwnedPartition[S], reason: str) -> None:
        """Give up a partition at once, because its transactions or its offsets went wrong; it is taken over anew."""
        partition = owned.partition
        if not owned.active:
            return
        self._remove(owned, reason)
        self._failures[partition] = 1 if owned.has_committed else self._failures[partition] + 1
        if self._accepting and partition not in self._releasing and partition not in self._take_overs:
            self._begin_take_over(partition, proven_after=self._require_member().lease.clock())

    def drop_all(self) -> None:
        """Give up everything at once, committing nothing: the books cannot be believed, or nobody listens."""
        self._accepting = False
        for task in self._take_overs.values():
            task.cancel()
        for owned in list(self.partitions.values()):
            self.drop(owned, "trouble")

    def _remove(self, owned: OwnedPartition[S], reason: str) -> None:
        if not owned.active:
            return
        commits = owned.commits
        if commits is not None and commits.done() and not commits.cancelled() and commits.exception() is None:
            owned.producer.close()
        else:
            owned.producer.abort()
        if commits is not None:
            commits.cancel()
        del self.partitions[owned.partition]
        self._scheduler.release(owned)
        self._own_sends[owned.partition] = owned.own_sends(self._now())
        self._bump_epoch()
        log.info("%s let go (%s)", owned.partition, reason)
        self._observer.partition_dropped(self._stage.name, owned.partition.topic, owned.partition.partition, reason)

    def _commits_ended(self, owned: OwnedPartition[S], task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, KafkaClientError | BrokerUnavailable):
            log.warning("%s: %s; dropped, to be taken over anew", owned.partition, error)
            self.drop(owned, "trouble")
        elif error is not None:
            self._on_fatal(error)

    def _bump_epoch(self) -> None:
        self.assignment_epoch += 1
        self._on_epoch()

    def _require_member(self) -> Member:
        if self._member is None:
            raise AssertionError("partitions were handed out before there was a member")
        return self._member


def _require_lease(member: Member, generation: int) -> None:
    """Raises KafkaTrouble when the partition may have another owner."""
    if not member.lease.holds(generation):
        raise KafkaClientError("the group has not answered lately, so the partition may have another owner")


async def _until(condition: Coroutine[object, object, object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await condition
    except TimeoutError:
        pass
