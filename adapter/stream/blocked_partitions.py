"""Pauses partitions at batches that cannot be read, retries them, and applies skip requests.

`blockages` has the rules.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from adapter.stream.blockages import LOOK_FOR_REQUEST_SECONDS, Blockage, SkipRequest, read_request
from adapter.stream.owned_partition import OwnedPartition
from adapter.stream.port import Kafka, Member, TopicPartition, UnreadableBatch
from adapter.stream.records import NotRead, Record

S = TypeVar("S")

log = logging.getLogger(__name__)

AcceptRecord = Callable[[OwnedPartition[S], Record], None]
"""Accepts a record as if it had been read."""


class BlockedPartitions(Generic[S]):
    """Pauses and resumes partitions of one engine.

    `skips_group` is the consumer group whose commits are skip requests; None: nothing is ever skipped.
    """

    def __init__(
        self,
        kafka: Kafka,
        skips_group: str | None,
        *,
        now: Callable[[], datetime],
        take: AcceptRecord[S],
        run: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self._kafka = kafka
        self._skips_group = skips_group
        self._now = now
        self._take = take
        self._run = run

    def block(self, member: Member, owned: OwnedPartition[S], problem: UnreadableBatch) -> None:
        """Pause this partition at `problem`; its position has been reset to that batch."""
        if problem.first < owned.state.next_offset:
            return
        settled_past = owned.state.settled_past(problem.first)
        if settled_past is not None:
            # The beginning was skipped already, or settled when it could be read, while older records are still open.
            # The rest of the batch may hold orders that are not settled, so no more than that is skipped.
            self._continue_behind(member, owned, settled_past - 1)
            return
        earlier = owned.blockage
        now = time.monotonic()
        owned.blockage = Blockage.after(earlier, problem, now=now)
        log.error(
            "batch-unreadable",
            extra={
                **problem.partition._asdict(),
                "offset": problem.first,
                "last_offset": problem.last,
                "retry_seconds": round(owned.blockage.retry_at - now, 1),
                "detail": problem.cause,
                "action": skip_command(problem),
            },
        )
        if earlier is None and self._skips_group is not None:
            self._run(self._await_request(member, owned, self._skips_group))

    def is_paused(self, member: Member, owned: OwnedPartition[S]) -> bool:
        """Whether this partition must not be polled now; a retry starts with a new fetch."""
        blockage = owned.blockage
        if blockage is None or blockage.tried:
            return False
        if time.monotonic() < blockage.retry_at:
            return True
        _reset_position(member, owned)
        blockage.tried = True
        return False

    def passed(self, owned: OwnedPartition[S], position: int) -> None:
        """Record the reader's position; the wait ends when it is past the beginning of the batch."""
        blockage = owned.blockage
        if blockage is not None and position > blockage.problem.first:
            owned.blockage = None
            log.info("batch-passed", extra={**owned.partition._asdict(), "offset": position})

    async def _await_request(self, member: Member, owned: OwnedPartition[S], group: str) -> None:
        while owned.active and owned.working and owned.blockage is not None:
            request = await self._request(group, owned.partition)
            problem = None if request is None else _skippable(owned, request)
            if request is not None and problem is not None:
                self._skip(member, owned, problem, request)
                return
            await asyncio.sleep(LOOK_FOR_REQUEST_SECONDS)

    async def _request(self, group: str, partition: TopicPartition) -> SkipRequest | None:
        try:
            reader = await self._kafka.connect(group)
            try:
                commit = await reader.committed(partition)
            finally:
                await reader.leave()
            return None if commit is None else read_request(commit.metadata)
        except Exception as error:  # noqa: BLE001  # a request that cannot be read must not stop the engine
            # An access rule may be missing; then an operator's request would never arrive.
            log.warning("skip-requests-unreadable", extra={**partition._asdict(), "detail": str(error)})
            return None

    def _skip(self, member: Member, owned: OwnedPartition[S], problem: UnreadableBatch, request: SkipRequest) -> None:
        """Give the batch its outcome, a dead letter. No await from here on, so that nothing is read in between."""
        last = min(problem.last, request.last)
        log.warning(
            "batch-skipped",
            extra={
                **owned.partition._asdict(),
                "offset": problem.first,
                "last_offset": last,
                "detail": request.why,
            },
        )
        record = Record(
            topic=owned.partition.topic,
            partition=owned.partition.partition,
            offset=problem.first,
            timestamp=self._now(),
            key=None,
            value=None,
            not_read=NotRead(first=problem.first, last=last, why=str(problem), skipped=request.why),
        )
        self._take(owned, record)
        self._continue_behind(member, owned, last)

    def _continue_behind(self, member: Member, owned: OwnedPartition[S], last: int) -> None:
        owned.state.skip_to(last + 1)
        owned.request_commit()
        owned.blockage = None
        _reset_position(member, owned)


def _reset_position(member: Member, owned: OwnedPartition[S]) -> None:
    """Seek to the partition's next offset; a seek is not possible while a partition is being revoked."""
    if owned.partition in member.assignment():
        member.seek(owned.partition, owned.state.next_offset)


def skip_command(problem: UnreadableBatch) -> str:
    """Return the command that gives this batch up."""
    return f"ecticket-adapter dead-letters skip {problem.partition}/{problem.first} --why TEXT"


def _skippable(owned: OwnedPartition[S], request: SkipRequest) -> UnreadableBatch | None:
    """Return the requested batch if the partition is still blocked at it and no work on it has begun.

    While the batch is being retried, it may turn out to be readable. While another batch is being prepared, nothing
    else may enter the lanes.
    """
    blockage = owned.blockage
    if blockage is None or blockage.tried or owned.preparing or not (owned.active and owned.working):
        return None
    return blockage.problem if request.covers(blockage.problem, owned.topic_id) else None


def problems_of(owned_partitions: Sequence[OwnedPartition[S]]) -> list[str]:
    """Return one sentence for each partition that cannot be read."""
    blockages = [owned.blockage for owned in owned_partitions]
    return [str(blockage.problem) for blockage in blockages if blockage is not None]
