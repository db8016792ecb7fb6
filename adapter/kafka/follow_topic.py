"""Follows a small topic that every process reads completely: from its beginning to its end, and then each new record.

Without a consumer group, so nothing is committed and no process takes a record from another. Reads committed records
only. A topic that is recreated or gets more partitions has to be read again from its beginning, so following ends then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping

from aiokafka import TopicPartition as ClientPartition
from aiokafka.client import ConnectionGroup
from msgspec import Struct

from adapter.errors import StreamError, TopicsMissing
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import SILENCE_SECONDS, AssignedReader, ReadProgress, open_reader
from adapter.kafka.topics import existing
from adapter.kafka.wire_requests import TopicIdsRequest, counts_in, ids_in
from adapter.stream.port import FollowedRecords

WATCH_SECONDS = 20.0
"""How often it is checked whether the topic was recreated."""
_BROKER_WAITS_MS = 5_000
"""How long a broker holds a fetch without news, once the topic was read: each fetch costs a millisecond of CPU time."""
_POLL_MS = 1_000


async def follow_topic(connection: KafkaConnection, topic: str) -> AsyncGenerator[FollowedRecords, None]:
    """Yield the records of a topic from the earliest on, at least once in a second, until the topic is another one.

    Raises TopicsMissing if the topic does not exist, or if this user may not even see it; BrokerUnavailable if brokers
    do not answer for 30 s; and StreamError if they reject the read. Close the iterator (`contextlib.aclosing`).
    """
    await _require_visible(connection, topic)
    async with open_reader(connection, [topic]) as reader:
        begins = await reader.consumer.beginning_offsets(reader.partitions)
        followed = _FollowedTopic(reader, begins, await reader.consumer.end_offsets(reader.partitions))
        identity = await _identity(reader, topic)
        for partition, begin in begins.items():
            reader.consumer.seek(partition, begin)
        watched_at = time.monotonic()
        if followed.complete:
            yield FollowedRecords(complete=True, answered=True)
        while True:
            yield await followed.next()
            if time.monotonic() - watched_at >= WATCH_SECONDS:
                watched_at = time.monotonic()
                if await _identity(reader, topic) != identity:
                    return


async def _require_visible(connection: KafkaConnection, topic: str) -> None:
    """Raise TopicsMissing without the right to describe the topic, too: brokers do not tell the two apart."""
    try:
        found = await existing(connection, [topic])
    except StreamError as error:
        raise TopicsMissing(str(error)) from error
    if not found:
        raise TopicsMissing(
            f"There is no topic {topic} at {connection.bootstrap_servers}. Create it with: ecticket-adapter topics "
            "--create"
        )


class _Identity(Struct, frozen=True):
    """What makes the offsets of a topic valid: the log they count in, and the partitions that share the keys."""

    ids: Mapping[str, str]
    counts: tuple[tuple[str, int], ...]


async def _identity(reader: AssignedReader, topic: str) -> _Identity:
    client = reader.consumer._client
    async with asyncio.timeout(SILENCE_SECONDS):
        # On another connection than fetches: it would wait for the end of one.
        answer = await client.send(
            client.get_random_node(), TopicIdsRequest([topic]), group=ConnectionGroup.COORDINATION
        )
    return _Identity(ids_in(answer), tuple(counts_in(answer)))


class _FollowedTopic:
    """The position in a topic, and whether it was read to where it ended at the start."""

    def __init__(
        self, reader: AssignedReader, begins: Mapping[ClientPartition, int], ends: Mapping[ClientPartition, int]
    ) -> None:
        self._reader = reader
        self._remaining = ReadProgress[ClientPartition](begins, ends)
        self._answers: dict[ClientPartition, int | None] = {}
        self._answered_at = dict.fromkeys(reader.partitions, time.monotonic())
        self._hold_fetches_when_complete()

    @property
    def complete(self) -> bool:
        """Whether everything was read that was there at the start."""
        return not self._remaining.partitions

    def _hold_fetches_when_complete(self) -> None:
        if self.complete:
            self._reader.hold_fetches(_BROKER_WAITS_MS)

    async def next(self) -> FollowedRecords:
        """Wait for records, a second at most. Raises TimeoutError after a silence of 30 s."""
        async with asyncio.timeout(SILENCE_SECONDS):
            batches = await self._reader.poll((), timeout_ms=_POLL_MS)
            if self._remaining.partitions:
                self._remaining.update({each: await self._reader.position(each) for each in self._remaining.partitions})
                self._hold_fetches_when_complete()
        now = time.monotonic()
        for partition in self._reader.partitions:
            answer = self._reader.consumer.last_poll_timestamp(partition)
            if answer != self._answers.get(partition):
                self._answers[partition], self._answered_at[partition] = answer, now
        if now - min(self._answered_at.values()) > SILENCE_SECONDS:
            raise TimeoutError
        return FollowedRecords(
            records=tuple(record for batch in batches.values() for record in batch),
            complete=self.complete,
            answered=all(at == now for at in self._answered_at.values()),
        )
