"""Takes over, releases and drops the partitions of a stage in this process.

The group's decisions arrive as `assigned` and `release_all`; failures arrive from the commit tasks. The docstring of
`engine.py` explains the steps and their order.
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
from adapter.stream.observer import DropReason, StreamObserver
from adapter.stream.owned_partition import OwnedPartition
from adapter.stream.partition_state import PartitionState
from adapter.stream.port import Commit, KafkaClientError, Member, OffsetRange, TopicPartition, TransactionalProducer
from adapter.stream.recovery import OwnSends, RecoveredState, recover
from adapter.stream.scheduler import RecordScheduler
from adapter.stream.stage import Stage

S = TypeVar("S")

log = logging.getLogger(__name__)

_FIRST_BACK_OFF_SECONDS = 0.2
_MAX_BACK_OFF_SECONDS = 5.0
_BELIEVED_AFTER_FAILURES = 3

TAKE_OVER_SECONDS = 1.0
"""How long a take-over that has begun may still take when all partitions are released."""


def max_open_for(max_in_flight: int) -> int:
    """Return how many records of one partition may be open, without those that are not due or queue in their lane."""
    return 2 * max_in_flight + 100


class PartitionManager(Generic[S]):
    """The partitions that a stage owns in this process.

    `on_epoch` is called whenever the owned partitions have changed; `on_fatal` with a programming error.
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
        """Own partitions for this member from now on."""
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

    async def release_all(self, reason: DropReason, *, drain_timeout: float, commit_seconds: float) -> None:
        """Release every partition: running handlers get `drain_timeout` seconds, and the last commit `commit_seconds`.

        Handlers of a partition that has another owner by now are not waited for.
        """
        self._bump_epoch()
        # A group's first owner commits at once, so that the next owner knows that nothing was lost. Let it do so.
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
        """Start no handler and take over no partition any more; running handlers continue, and may send."""
        self._accepting = False
        for task in self._take_overs.values():
            task.cancel()
        for owned in self.partitions.values():
            owned.stop_handlers()

    async def all_idle(self) -> None:
        """Wait until no handler is running."""
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
        """Try until the partition is taken over; a revocation cancels this."""
        while True:
            try:
                await asyncio.sleep(self._back_off(partition))
                # Starting a producer fences the current owner, so the partition must be known to be ours: by the answer
                # to a request that was sent after the failure.
                if proven_after is not None:
                    await member.lease.proven_after(proven_after)
                self._begun.add(partition)
                await self._try_take_over(member, partition)
            except (KafkaClientError, BrokerUnavailable) as error:
                proven_after = member.lease.clock()
                self._failures[partition] += 1
                self.problems_by_partition[partition] = f"{partition} is not taken over yet: {error}"
                log.warning("take-over-failed", extra={**self._place(partition), "detail": str(error)})
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
            recovered = self._recover(member, partition, commit, offset_range, had_producer=not producer.first)
            # No await from here to the seek, so that nothing is read in between.
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
        owned.request_commit()
        self._observer.partition_taken_over(self._stage.name, partition.topic, partition.partition)

    def _recover(
        self,
        member: Member,
        partition: TopicPartition,
        commit: Commit | None,
        offset_range: OffsetRange,
        *,
        had_producer: bool,
    ) -> RecoveredState:
        recovered = recover(
            commit,
            offset_range,
            cluster_id=member.cluster_id,
            fingerprint=short_fingerprint(self._stage.fingerprint),
            had_producer=had_producer,
            owner=self._owner,
            own=self._own_sends.get(partition),
        )
        if recovered.retry_read and self._failures[partition] < _BELIEVED_AFTER_FAILURES:
            # One wrong answer must not cause everything to be read again, so it is believed only after a few attempts.
            raise KafkaClientError(f"{recovered.warning}; reading it again to be sure")
        if recovered.warning:
            log.warning("take-over-doubtful", extra={**self._place(partition), "detail": recovered.warning})
        if recovered.lost_count:
            self._lost(partition, recovered.lost_count, offset_range.start)
        return recovered

    def _lost(self, partition: TopicPartition, count: int, start: int) -> None:
        log.error("records-lost", extra={**self._place(partition), "count": count, "offset": start})
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
        log.info("partition-taken-over", extra={**self._place(partition), "offset": state.next_offset})
        return OwnedPartition(
            partition,
            state,
            producer,
            member.lease,
            topic_id=topic_id,
            generation=generation,
            fenced_at=recovered.fenced_at or fenced_at,
            sends=self._stage.sends,
            max_open=max_open_for(self._stage.max_in_flight),
            linger_seconds=self._stage.linger_seconds,
        )

    def _back_off(self, partition: TopicPartition) -> float:
        return backoff_seconds(self._failures[partition], first=_FIRST_BACK_OFF_SECONDS, longest=_MAX_BACK_OFF_SECONDS)

    # --- a recreated or truncated log ---------------------------------------------------------------------------------

    async def handle_out_of_range(
        self, owned: OwnedPartition[S], *, drain_timeout: float, commit_seconds: float
    ) -> None:
        """Find out why the log has no record at the next offset, and continue where possible."""
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
                owned.request_commit()
            member.seek(owned.partition, owned.state.next_offset)
            owned.out_of_range = False
        except (KafkaClientError, BrokerUnavailable) as error:
            log.warning("partition-dropped", extra={**self._place(owned.partition), "detail": str(error)})
            self.drop(owned, "kafka_error")

    def replace(self, owned: OwnedPartition[S], *, drain_timeout: float, commit_seconds: float) -> None:
        """Release a partition whose topic was recreated, and take it over again."""
        partition = owned.partition
        if owned.active and self._accepting and partition not in self._releasing and partition not in self._take_overs:
            log.warning("topic-changed", extra=self._place(partition))
            self._start_take_over(partition, self._replace(owned, drain_timeout, commit_seconds))

    async def _replace(self, owned: OwnedPartition[S], drain_timeout: float, commit_seconds: float) -> None:
        await self._drain_and_commit(owned, drain_timeout, commit_seconds)
        self._remove(owned, "topic_recreated")
        member = self._require_member()
        await self._take_over(member, owned.partition, member.lease.clock())

    # --- releasing ---------------------------------------------------------------------------------------------------

    async def _release(
        self, owned: OwnedPartition[S], reason: DropReason, drain_timeout: float, commit_seconds: float
    ) -> None:
        try:
            await self._drain_and_commit(owned, drain_timeout, commit_seconds)
            self._remove(owned, reason)
        finally:
            del self._releasing[owned.partition]

    async def _drain_and_commit(self, owned: OwnedPartition[S], drain_timeout: float, commit_seconds: float) -> None:
        owned.stop_new_work()
        if self._require_member().lease.holds(owned.generation):
            await _until(owned.idle.wait(), drain_timeout)
        owned.closing = True
        owned.request_commit()
        if owned.commits is not None:
            await asyncio.wait({owned.commits}, timeout=commit_seconds)

    def drop(self, owned: OwnedPartition[S], reason: DropReason) -> None:
        """Drop a partition at once after a failed transaction or a wrong offset, and take it over again."""
        partition = owned.partition
        if not owned.active:
            return
        self._remove(owned, reason)
        self._failures[partition] = 1 if owned.has_committed else self._failures[partition] + 1
        if self._accepting and partition not in self._releasing and partition not in self._take_overs:
            self._begin_take_over(partition, proven_after=self._require_member().lease.clock())

    def drop_all(self) -> None:
        """Drop all partitions at once without a commit, because the state is wrong or the member has failed."""
        self._accepting = False
        for task in self._take_overs.values():
            task.cancel()
        for owned in list(self.partitions.values()):
            self.drop(owned, "kafka_error")

    def _remove(self, owned: OwnedPartition[S], reason: DropReason) -> None:
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
        log.info("partition-released", extra={**self._place(owned.partition), "reason": reason})
        self._observer.partition_dropped(self._stage.name, owned.partition.topic, owned.partition.partition, reason)

    def _commits_ended(self, owned: OwnedPartition[S], task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, KafkaClientError | BrokerUnavailable):
            log.warning("partition-dropped", extra={**self._place(owned.partition), "detail": str(error)})
            self.drop(owned, "kafka_error")
        elif error is not None:
            self._on_fatal(error)

    def _place(self, partition: TopicPartition) -> dict[str, object]:
        """Stage and partition, as fields of a log line."""
        return {"stage": self._stage.name, **partition._asdict()}

    def _bump_epoch(self) -> None:
        self.assignment_epoch += 1
        self._on_epoch()

    def _require_member(self) -> Member:
        if self._member is None:
            raise AssertionError("partitions were assigned before there was a member")
        return self._member


def _require_lease(member: Member, generation: int) -> None:
    """Raise KafkaClientError if the partition may have another owner."""
    if not member.lease.holds(generation):
        raise KafkaClientError("the group has not answered lately, so the partition may have another owner")


async def _until(condition: Coroutine[object, object, object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await condition
    except TimeoutError:
        pass
