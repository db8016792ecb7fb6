"""Finds batches that a group cannot read, and writes skip requests (see `stream/blockages.py`), for commands."""

from __future__ import annotations

from collections.abc import Collection

from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import first_unreadable
from adapter.stream.blockages import SkipRequest, write_request
from adapter.stream.port import Commit, KafkaClientError, UnreadableBatch


async def find_unreadable(
    connection: KafkaConnection, group: str, topics: Collection[str], *, seconds: float
) -> list[UnreadableBatch]:
    """Return the batches that stop this group, as far as reading from its committed offsets gets in time.

    Raises StreamError.
    """
    member = await AioKafka(connection).connect(group)
    try:
        commits = {partition: await member.committed(partition) for partition in await member.partitions_of(topics)}
    finally:
        await member.leave()
    starts = {partition: commit.offset if commit else 0 for partition, commit in commits.items()}
    found = await first_unreadable(connection, starts, seconds=seconds)
    return [found[partition] for partition in sorted(found)]


async def request_skip(connection: KafkaConnection, group: str, problem: UnreadableBatch, why: str) -> SkipRequest:
    """Ask every engine that is blocked at this batch to give it up; repeating a request changes nothing.

    Raises BrokerUnavailable, KafkaClientError.
    """
    member = await AioKafka(connection).connect(group)
    try:
        offset_range = await member.offset_range(problem.partition)
        last = min(problem.last, offset_range.end - 1)
        request = SkipRequest(first=problem.base, last=last, why=why, topic_id=offset_range.topic_id)
        commit = Commit(offset=problem.base, metadata=write_request(request))
        if not await member.commit_before_join({problem.partition: commit}):
            raise KafkaClientError(f"a consumer has joined the group {group}, which only commands may use; stop it")
    finally:
        await member.leave()
    return request
