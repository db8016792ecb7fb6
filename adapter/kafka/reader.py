"""Reads topics without a consumer group: from their beginning to their present end, or continuously.

For commands and tests. Reads committed records only. Does not commit, own partitions or create topics.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Hashable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Generic, TypeVar

from aiokafka import AIOKafkaConsumer, errors
from aiokafka import TopicPartition as ClientPartition
from aiokafka.partitioner import DefaultPartitioner
from msgspec import Struct

from adapter.errors import BrokerUnavailable, StreamError, TopicsMissing
from adapter.kafka.admin import UNAVAILABLE, admin_session
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.fetch_connection import LOOK_MS
from adapter.kafka.fetched_records import FETCH_AT_ONCE, decode_safely
from adapter.stream.port import TopicPartition, UnreadableBatch
from adapter.stream.records import Record

P = TypeVar("P", bound=Hashable)

QUIET_LOOKS = 3
"""After so many empty answers, what is left is a hole; one may be empty only because another partition filled it."""

SILENCE_SECONDS = 30.0
"""How long brokers may be silent at each step of a read; on a busy machine an answer takes many seconds."""

_LOOK_MS = 50
_BROKER_WAITS_MS = 25


async def read_to_end(
    connection: KafkaConnection, topics: Collection[str], *, since: datetime | None = None
) -> AsyncGenerator[Record, None]:
    """Yield every committed record of `topics`, from the earliest to where each partition ends at the time of the call.

    With `since` (aware), each partition starts at its first record that is not older. An open transaction ends its
    partition, because the records after its first one are not committed yet. Records of one partition come in order,
    those of different partitions mixed. Raises TopicsMissing, BrokerUnavailable if brokers do not answer for 30 s, and
    StreamError if they reject the read. Close the iterator (`contextlib.aclosing`) when leaving it early.
    """
    async with open_reader(connection, topics) as reader:
        ends = await reader.consumer.end_offsets(reader.partitions)
        begins = await _begins(reader.consumer, reader.partitions, ends, since)
        async with aclosing(_between(reader, begins, ends)) as records:
            async for record in records:
                yield record


async def partitions_of(
    connection: KafkaConnection, keys: Mapping[str, Collection[bytes] | None]
) -> dict[str, frozenset[int]]:
    """Return for each topic the partitions into which Kafka's default partitioner puts these keys; all for None.

    A topic whose number of partitions was raised can hold older records of a key elsewhere. Raises TopicsMissing and
    BrokerUnavailable.
    """
    found = await _partitions(connection, list(keys))
    numbers: dict[str, list[int]] = {}
    for partition in sorted(found):
        numbers.setdefault(partition.topic, []).append(partition.partition)
    partitioner = DefaultPartitioner()
    return {
        topic: frozenset(numbers[topic] if wanted is None else (partitioner(key, numbers[topic], []) for key in wanted))
        for topic, wanted in keys.items()
    }


async def read_partitions(
    connection: KafkaConnection,
    partitions: Mapping[str, Collection[int]],
    *,
    since: datetime | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_unreadable: Callable[[UnreadableBatch], None] | None = None,
) -> AsyncGenerator[Record, None]:
    """Yield the committed records of these partitions alone; otherwise as `read_to_end`.

    After each poll `on_progress` gets the number of offsets that are done, and that of all. With `on_unreadable`, a
    batch that cannot be read is passed to it and left out, in place of a StreamError.
    """
    wanted = {topic: numbers for topic, numbers in partitions.items() if numbers}
    if not wanted:
        return
    async with open_reader(connection, list(wanted), wanted) as reader:
        ends = await reader.consumer.end_offsets(reader.partitions)
        begins = await _begins(reader.consumer, reader.partitions, ends, since)
        between = _between(reader, begins, ends, on_progress=on_progress, on_unreadable=on_unreadable)
        async with aclosing(between) as records:
            async for record in records:
                yield record


async def read_tail(
    connection: KafkaConnection, topic: str, offsets: Mapping[int, int], *, newest: int
) -> AsyncGenerator[Record, None]:
    """Yield the committed records among the `newest` offsets of a topic, up to where each partition ends at the call.

    The partitions share that number evenly. `offsets` names a later start for some of them; an offset beyond the end
    belongs to a deleted topic and is ignored. Order, errors and closing are as for `read_to_end`.
    """
    async with open_reader(connection, [topic]) as reader:
        ends = await reader.consumer.end_offsets(reader.partitions)
        first_offsets = await reader.consumer.beginning_offsets(reader.partitions)
        each = max(1, newest // max(1, len(reader.partitions)))
        begins = {
            partition: max(
                first_offsets[partition],
                end - each,
                known if (known := offsets.get(partition.partition, 0)) <= end else 0,
            )
            for partition, end in ends.items()
        }
        async with aclosing(_between(reader, begins, ends)) as records:
            async for record in records:
                yield record


async def follow(connection: KafkaConnection, topics: Collection[str]) -> AsyncGenerator[Record, None]:
    """Yield every committed record of `topics` from the earliest on, and then each new one, without end.

    Raises TopicsMissing and StreamError; waits for brokers that become unavailable later. Bound it (`asyncio.timeout`),
    and close the iterator (`contextlib.aclosing`) when leaving it.
    """
    async with open_reader(connection, topics) as reader:
        while True:
            for batch in (await reader.poll((), timeout_ms=1000)).values():
                for record in batch:
                    yield record


async def read_one(connection: KafkaConnection, topic: str, partition: int, offset: int) -> Record | None:
    """Return the committed record at these coordinates; None if there is none, or if it cannot be read.

    Raises as `read_to_end` does.
    """
    wanted = ClientPartition(topic, partition)
    async with open_reader(connection, [topic]) as reader:
        consumer = reader.consumer
        if wanted not in reader.partitions:
            return None
        begins, ends = await consumer.beginning_offsets([wanted]), await consumer.end_offsets([wanted])
        if not begins[wanted] <= offset < ends[wanted]:
            return None
        try:
            async with aclosing(_between(reader, {wanted: offset}, {wanted: offset + 1})) as records:
                async for record in records:
                    return record
        except UnreadableBatch:
            return None
    return None


async def first_records(
    connection: KafkaConnection, topic: str, offsets: Mapping[int, int], accepts: Callable[[int, int], bool]
) -> dict[int, Record]:
    """Return the first committed record of each partition, from its offset on, whose partition and offset are accepted.

    Partitions without one are left out. Raises as `read_to_end` does.
    """
    found: dict[int, Record] = {}
    async with open_reader(connection, [topic], {topic: tuple(offsets)}) as reader:
        ends = await reader.consumer.end_offsets(reader.partitions)
        first_offsets = await reader.consumer.beginning_offsets(reader.partitions)
        begins = {each: max(first_offsets[each], offsets[each.partition]) for each in reader.partitions}
        _seek(reader, begins)
        for partition, begin in begins.items():
            async with aclosing(_between(reader, {partition: begin}, {partition: ends[partition]})) as records:
                async for record in records:
                    if accepts(record.partition, record.offset):
                        found[record.partition] = record
                        break
    return found


async def first_unreadable(
    connection: KafkaConnection, starts: Mapping[TopicPartition, int], *, seconds: float
) -> Mapping[TopicPartition, UnreadableBatch]:
    """Find the first batch of each partition that cannot be read, from these offsets on, as far as reading gets in
    time.

    Raises as `read_to_end` does.
    """
    found: dict[TopicPartition, UnreadableBatch] = {}
    if not starts:
        return found
    async with open_reader(connection, sorted({partition.topic for partition in starts})) as reader:
        wanted = [partition for partition in reader.partitions if TopicPartition(*partition) in starts]
        begins, ends = await reader.consumer.beginning_offsets(wanted), await reader.consumer.end_offsets(wanted)
        positions = {partition: max(begins[partition], starts[TopicPartition(*partition)]) for partition in wanted}
        _seek(reader, positions)
        until = time.monotonic() + seconds
        while (ahead := {each: at for each, at in positions.items() if at < ends[each]}) and time.monotonic() < until:
            try:
                await reader.poll(ahead, timeout_ms=_LOOK_MS)
                positions = {partition: await reader.consumer.position(partition) for partition in ahead}
            except UnreadableBatch as problem:
                found[problem.partition] = problem
                positions = {each: at for each, at in ahead.items() if TopicPartition(*each) != problem.partition}
                _seek(reader, positions)  # what this poll had read of the others is lost
    return found


def _seek(reader: AssignedReader, positions: Mapping[ClientPartition, int]) -> None:
    for partition, offset in positions.items():
        reader.consumer.seek(partition, offset)


async def _between(
    reader: AssignedReader,
    begins: Mapping[ClientPartition, int],
    ends: Mapping[ClientPartition, int],
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_unreadable: Callable[[UnreadableBatch], None] | None = None,
) -> AsyncGenerator[Record, None]:
    """Yield every committed record of each partition from one offset up to, and without, another.

    Other tasks run between two polls, also when the client has the next records at hand.
    """
    _seek(reader, begins)
    remaining = ReadProgress[ClientPartition](begins, ends)
    positions = {partition: PartitionPosition(position=begin) for partition, begin in begins.items()}
    total = sum(ends[partition] - begin for partition, begin in begins.items())
    answered_at = time.monotonic()
    while remaining.partitions:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                batches = await reader.poll(remaining.partitions, timeout_ms=_LOOK_MS)
                positions = {partition: await reader.position(partition) for partition in remaining.partitions}
        except UnreadableBatch as problem:
            if on_unreadable is None:
                raise
            on_unreadable(problem)
            # What this poll had read of the other partitions is lost, so they are read from their last positions.
            again = {partition: positions[partition].position for partition in remaining.partitions}
            bad = ClientPartition(*problem.partition)
            _seek(reader, {**again, bad: min(problem.last + 1, ends[bad])})
            positions[bad] = PartitionPosition(position=min(problem.last + 1, ends[bad]))
            continue
        for partition, batch in batches.items():
            for record in batch:
                if remaining.includes(partition, record.offset):
                    yield record
        now = time.monotonic()
        answered_at = now if remaining.update(positions) else answered_at
        if now - answered_at > SILENCE_SECONDS:
            raise TimeoutError
        if on_progress is not None:
            left = sum(ends[partition] - positions[partition].position for partition in remaining.partitions)
            on_progress(total - left, total)
        await asyncio.sleep(0)


async def _begins(
    consumer: AIOKafkaConsumer,
    partitions: Collection[ClientPartition],
    ends: Mapping[ClientPartition, int],
    since: datetime | None,
) -> dict[ClientPartition, int]:
    """Return where each partition's reading begins: at its end if no record is as young as `since`."""
    if since is None:
        return dict(await consumer.beginning_offsets(partitions))
    milliseconds = int(since.timestamp() * 1000)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
    return {
        partition: ends[partition] if found[partition] is None else min(found[partition].offset, ends[partition])
        for partition in partitions
    }


class AssignedReader:
    """A started consumer without a group, and its partitions."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: list[ClientPartition]) -> None:
        self.consumer = consumer
        self.partitions = partitions
        self._budget = decode_safely(consumer)

    async def poll(
        self, partitions: Collection[ClientPartition], *, timeout_ms: int
    ) -> Mapping[ClientPartition, list[Record]]:
        """Return some records of these partitions, or of all if none are named. Raises UnreadableBatch."""
        self._budget.renew()
        batches: Mapping[ClientPartition, list[Record]] = await self.consumer.getmany(
            *partitions, timeout_ms=timeout_ms, max_records=FETCH_AT_ONCE
        )
        return batches

    def hold_fetches(self, milliseconds: int) -> None:
        """Let brokers hold each further fetch for so long if they have no records for it."""
        self.consumer._fetcher._fetch_max_wait_ms = milliseconds

    async def position(self, partition: ClientPartition) -> PartitionPosition:
        """Return what is known about a partition after a poll."""
        return PartitionPosition(
            position=await self.consumer.position(partition),
            answered_ms=self.consumer.last_poll_timestamp(partition),
            stable_end=self.consumer.last_stable_offset(partition),
        )


@asynccontextmanager
async def open_reader(
    connection: KafkaConnection,
    topics: Collection[str],
    wanted: Mapping[str, Collection[int]] | None = None,
) -> AsyncIterator[AssignedReader]:
    """Open a reader of all partitions of these topics, or of the `wanted` ones; the client's errors become ours.

    Raises as `read_to_end` does.
    """
    partitions = await _partitions(connection, topics)
    if wanted is not None:
        partitions = [each for each in partitions if each.partition in wanted[each.topic]]
    consumer = AIOKafkaConsumer(
        **connection.client_options(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=_BROKER_WAITS_MS,
        consumer_timeout_ms=LOOK_MS,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        await asyncio.sleep(0)  # a task that is cancelled before it ran at all makes the client's `stop` raise
        yield AssignedReader(consumer, partitions)
    except UnreadableBatch as error:
        raise StreamError(
            f"{error}. Its records are unknown, so no result is derived from this topic. Repair the batch, delete the "
            "records up to it (kafka-delete-records), or wait until retention deletes them."
        ) from error
    except UNAVAILABLE as error:
        raise BrokerUnavailable(
            f"No Kafka broker at {connection.bootstrap_servers} answered while {', '.join(topics)} was being read: "
            f"{str(error) or 'time-out'}. Check that the brokers run, and read again."
        ) from error
    except errors.KafkaError as error:
        raise StreamError(
            f"The brokers reject reading {', '.join(topics)}: {error}. Allow this user to Read it (ACL)."
        ) from error
    finally:
        await consumer.stop()


async def _partitions(connection: KafkaConnection, topics: Collection[str]) -> list[ClientPartition]:
    async with admin_session(connection, within_seconds=SILENCE_SECONDS) as cluster:
        found = await cluster.topics(topics)
    absent = [name for name in topics if name not in found]
    if absent:
        raise TopicsMissing(
            f"There is no topic {', '.join(absent)} at {connection.bootstrap_servers}. "
            "Check its name, or create it with: ecticket-adapter topics --create"
        )
    return [ClientPartition(facts.name, number) for facts in found.values() for number in facts.partitions]


class PartitionPosition(Struct, frozen=True, kw_only=True):
    """A partition as the reader sees it after a poll.

    `position` is the next offset to read, `answered_ms` when a broker last answered it (ms, any clock that never goes
    back), `stable_end` the end that this answer knew.
    """

    position: int
    answered_ms: int | None = None
    stable_end: int | None = None


class ReadProgress(Generic[P]):
    """The partitions of a bounded read that have not been read to their ends yet.

    Transaction markers, aborted records and compaction leave offsets that never have a record, even as the very last
    ones. So a partition is done when the reader's *position* has reached the end, or when brokers that know that end
    answered repeatedly from the position without a record.
    """

    def __init__(self, begins: Mapping[P, int], ends: Mapping[P, int]) -> None:
        self._ends = dict(ends)
        self._seen = {partition: PartitionPosition(position=begins[partition]) for partition in ends}
        self._quiet = dict.fromkeys(ends, 0)
        self._drop_those_at_their_end()

    @property
    def partitions(self) -> tuple[P, ...]:
        """The partitions that are still to be read."""
        return tuple(self._seen)

    def includes(self, partition: P, offset: int) -> bool:
        """Whether a record belongs to this read: records written after its start do not."""
        return offset < self._ends[partition]

    def update(self, positions: Mapping[P, PartitionPosition]) -> bool:
        """Update the position of each remaining partition; True if a broker has answered since the last call."""
        before, self._seen = self._seen, {partition: positions[partition] for partition in self._seen}
        moved = any(position.position != before[partition].position for partition, position in self._seen.items())
        answered = [
            partition
            for partition, position in self._seen.items()
            if position.answered_ms != before[partition].answered_ms
        ]
        for partition in self._quiet:
            self._quiet[partition] = 0 if moved else self._quiet[partition]
        if not moved:
            self._count_quiet(answered)
        self._drop_those_at_their_end()
        return moved or bool(answered)

    def _count_quiet(self, answered: list[P]) -> None:
        for partition in answered:
            if (self._seen[partition].stable_end or 0) >= self._ends[partition]:
                self._quiet[partition] += 1

    def _drop_those_at_their_end(self) -> None:
        self._seen = {
            partition: position
            for partition, position in self._seen.items()
            if position.position < self._ends[partition] and self._quiet[partition] < QUIET_LOOKS
        }
