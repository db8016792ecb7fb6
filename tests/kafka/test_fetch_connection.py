"""Requests of a take-over do not wait behind a fetch that waits for records, on a real broker."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from conftest import TopicFactory

from adapter.kafka.client import AioKafka, AioKafkaMember
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.fetch_connection import FETCHES

pytestmark = pytest.mark.broker

_AN_HOUR_MS = 3_600_000


def _waiting_fetches(member: AioKafkaMember) -> list[int]:
    """The correlation ids of the fetches that no broker has answered yet."""
    connections: dict[tuple[int, object], Any] = member._consumer._client._conns
    return [
        request[0]
        for (_, group), connection in connections.items()
        if group == FETCHES
        for request in connection._requests
    ]


async def test_no_request_waits_behind_a_fetch(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """Committed offset, offset range, topic ids and lag are answered while the broker holds a fetch."""
    name = await topic()
    member = await AioKafka(kafka).connect(f"group-{uuid.uuid4().hex[:12]}")
    member._consumer._fetcher._fetch_max_wait_ms = _AN_HOUR_MS
    assigned = asyncio.Event()
    member.join([name], revoked=_nothing, assigned=assigned.set)
    try:
        async with asyncio.timeout(60):
            await assigned.wait()
            partition = next(iter(member.assignment()))
            member.seek(partition, 0)
            polling = asyncio.create_task(member.poll([partition], timeout=60))
            while not (fetch := _waiting_fetches(member)):  # noqa: ASYNC110  # the client signals nothing
                await asyncio.sleep(0.01)

            assert await member.committed(partition) is None
            found = await member.offset_range(partition)
            assert (found.start, found.end) == (0, 0)
            assert await member.lag([partition]) == {partition: 0}
            assert _waiting_fetches(member) == fetch
            polling.cancel()
    finally:
        await member.leave()


async def _nothing() -> None:
    """Nothing has to be released."""
