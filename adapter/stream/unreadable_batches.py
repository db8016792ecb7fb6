"""Finds batches that a group cannot read, and writes the skip requests that `blockages` explains: for commands."""

from __future__ import annotations

from collections.abc import Collection

from adapter.stream.blockages import SkipRequest, write_request
from adapter.stream.connection import KafkaConnection
from adapter.stream.kafka_client import AioKafka
from adapter.stream.port import Commit, KafkaTrouble, UnreadableBatch
from adapter.stream.reading import first_unreadable


async def find_unreadable(
    connection: KafkaConnection, group: str, topics: Collection[str], *, seconds: float
) -> list[UnreadableBatch]:
    """The batches that stop this group, as far as reading from its committed offsets comes in time.

    Raises StreamError.
    """
    member = await AioKafka(connection).connect(group)
    try:
        commits = {place: await member.committed(place) for place in await member.places(topics)}
    finally:
        await member.leave()
    starts = {place: commit.offset if commit else 0 for place, commit in commits.items()}
    found = await first_unreadable(connection, starts, seconds=seconds)
    return [found[place] for place in sorted(found)]


async def request_skip(connection: KafkaConnection, group: str, problem: UnreadableBatch, why: str) -> SkipRequest:
    """Ask every engine that stands in front of this batch to give it up; asking twice changes nothing.

    Raises BrokerAway, KafkaTrouble.
    """
    member = await AioKafka(connection).connect(group)
    try:
        log_range = await member.log_range(problem.place)
        last = min(problem.last, log_range.end - 1)
        request = SkipRequest(first=problem.base, last=last, why=why, log_id=log_range.log_id)
        commit = Commit(offset=problem.base, metadata=write_request(request))
        if not await member.commit_unjoined({problem.place: commit}):
            raise KafkaTrouble(f"a consumer has joined the group {group}, which only commands may write to; end it")
    finally:
        await member.leave()
    return request
