"""What the topics show about all processes together: the open dead letters, and what each group has not settled.

Read only while it is looked at: `TopicWatch` begins to read at a look, reads again every few seconds, and stops and
forgets everything some time after the last look. The dead letters are read once, then only the new ones.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct, field

from adapter.errors import AdapterError
from adapter.operations.dead_letter_store import FORGETTABLE_AFTER
from adapter.operations.dead_letter_tally import DeadLetterGroup, DeadLetterTally
from adapter.operations.dead_letter_view import read_dead_letter
from adapter.operations.group_lag import TopicLag, topic_lags
from adapter.stream.acknowledged_topic import AcknowledgedTopic, PendingOffsets
from adapter.stream.port import Kafka, Member
from adapter.stream.records import Record

LOOKED_AT_SECONDS: Final = 30.0
"""How long reading continues after the last look."""
REFRESH_SECONDS: Final = 5.0
"""The pause between two reads."""

log = logging.getLogger(__name__)

ReadFrom = Callable[[Mapping[int, int]], AsyncGenerator[Record, None]]
"""Yields the committed records of the dead letters from these offsets (by partition, else the earliest) to their ends.

It raises TopicsMissing, BrokerUnavailable and StreamError.
"""


class DeadLetterOverview(Struct, frozen=True, kw_only=True):
    """The open dead letters that are read so far."""

    groups: tuple[DeadLetterGroup, ...] = ()
    read: int = 0
    left_out: int = 0
    """Records read that are in no group, because too many are open."""
    complete: bool = False
    """Whether all dead letters and the commits about them were read at least once."""
    forgotten: bool = False
    """Whether brokers have forgotten commits, so that dead letters that are handled may count as open."""
    problem: str | None = None
    """Why the last read failed; what was read before is still shown."""


class TopicOverview(Struct, frozen=True, kw_only=True):
    """What is known at a look."""

    dead_letters: DeadLetterOverview = field(default_factory=DeadLetterOverview)
    lags: tuple[TopicLag, ...] = ()
    lag_problem: str | None = None


class TopicWatch:
    """Reads while it is looked at. Belongs to one event loop.

    `topic` holds the dead letters, and the commits of `group` say which are handled. `groups` are the consumer groups
    of the stages and the topics that each reads.
    """

    def __init__(
        self,
        kafka: Kafka,
        *,
        read_from: ReadFrom,
        topic: str,
        group: str,
        groups: Mapping[str, tuple[str, ...]],
        refresh_seconds: float = REFRESH_SECONDS,
        looked_at_seconds: float = LOOKED_AT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kafka = kafka
        self._read_from = read_from
        self._topic = topic
        self._group = group
        self._groups = groups
        self._refresh_seconds = refresh_seconds
        self._looked_at_seconds = looked_at_seconds
        self._clock = clock
        self._now = now
        self._looked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._found = _Found()

    @property
    def reading(self) -> bool:
        """Whether it reads at present."""
        return self._task is not None and not self._task.done()

    def look(self) -> TopicOverview:
        """What is known now; reading continues, or begins."""
        self._looked_at = self._clock()
        if not self.reading:
            self._task = asyncio.create_task(self._read_while_looked_at())
            self._task.add_done_callback(_report)
        return self._found.overview(tuple(self._groups))

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _read_while_looked_at(self) -> None:
        members = _Members(self._kafka)
        found = self._found = _Found()
        try:
            while self._clock() - self._looked_at < self._looked_at_seconds:
                found.problem = await _problem_of(self._read_dead_letters(found, members))
                for group, topics in self._groups.items():
                    found.lag_problems[group] = await _problem_of(self._read_lags(found, members, group, topics))
                await asyncio.sleep(self._refresh_seconds)
        finally:
            self._found = _Found()
            await members.leave()

    async def _read_dead_letters(self, found: _Found, members: _Members) -> None:
        async with aclosing(self._read_from(found.next_offsets)) as records:
            async for record in records:
                found.add(record)
        if found.tally.offsets:
            asked = found.tally.offsets
            try:
                member = await members.of(self._group)
                pending = await AcknowledgedTopic(member, self._topic, asked).pending_offsets()
            except AdapterError:
                await members.drop(self._group)
                raise
            found.tally.acknowledge(asked, pending)
            found.forgotten = self._is_forgotten(found.tally, pending)
        found.complete = True

    def _is_forgotten(self, tally: DeadLetterTally, pending: Mapping[int, PendingOffsets]) -> bool:
        """Whether brokers may have forgotten commits about dead letters that count as open."""
        forgotten = {partition for partition, each in pending.items() if each.forgotten}
        oldest = tally.oldest(forgotten)
        return oldest is not None and self._now() - oldest >= FORGETTABLE_AFTER

    async def _read_lags(self, found: _Found, members: _Members, group: str, topics: tuple[str, ...]) -> None:
        try:
            found.lags[group] = await topic_lags(await members.of(group), group, topics)
        except AdapterError:
            await members.drop(group)
            raise


def _report(task: asyncio.Task[None]) -> None:
    """Log a programming error; the next look begins again."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("console-read-error", exc_info=error)


async def _problem_of(work: Coroutine[object, object, None]) -> str | None:
    """The sentence of an error of the brokers; what was known before stays known."""
    try:
        await work
    except AdapterError as error:
        return str(error)
    return None


class _Members:
    """One member of each group that is read; none of them joins."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._members: dict[str, Member] = {}

    async def of(self, group: str) -> Member:
        """Raises BrokerUnavailable, KafkaClientError."""
        if group not in self._members:
            self._members[group] = await self._kafka.connect(group)
        return self._members[group]

    async def drop(self, group: str) -> None:
        """The next use connects again."""
        member = self._members.pop(group, None)
        if member is not None:
            await member.leave()

    async def leave(self) -> None:
        for group in tuple(self._members):
            await self.drop(group)


class _Found(Struct):
    """What was read since the first look."""

    tally: DeadLetterTally = field(default_factory=DeadLetterTally)
    next_offsets: dict[int, int] = field(default_factory=dict)
    complete: bool = False
    forgotten: bool = False
    problem: str | None = None
    lags: dict[str, tuple[TopicLag, ...]] = field(default_factory=dict)
    lag_problems: dict[str, str | None] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        if record.offset < self.next_offsets.get(record.partition, 0):
            # The topic was recreated; what is known is about the old one.
            self.tally, self.next_offsets = DeadLetterTally(), {}
        self.next_offsets[record.partition] = record.offset + 1
        self.tally.add(read_dead_letter(record))

    def overview(self, groups: tuple[str, ...]) -> TopicOverview:
        problems = (f"{group}: {why}" for group, why in self.lag_problems.items() if why is not None)
        return TopicOverview(
            dead_letters=DeadLetterOverview(
                groups=self.tally.groups(),
                read=self.tally.read,
                left_out=self.tally.left_out,
                complete=self.complete,
                forgotten=self.forgotten,
                problem=self.problem,
            ),
            lags=tuple(lag for group in groups for lag in self.lags.get(group, ())),
            lag_problem=next(problems, None),
        )
