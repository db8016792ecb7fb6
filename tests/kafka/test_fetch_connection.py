"""Requests of a take-over do not wait behind a fetch that waits for records, on a real broker."""

from __future__ import annotations

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import RequestTimedOutError
from conftest import TopicFactory

from adapter.kafka.client import AioKafka, AioKafkaMember
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.fetch_connection import FETCHES, fetch_apart

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


class _Connection:
    """A connection on which no answer comes."""

    def __init__(self) -> None:
        self.closed: list[CloseReason] = []

    def close(self, *, reason: CloseReason) -> None:
        self.closed.append(reason)


class _Client:
    """An aiokafka client of a broker that is gone without a word."""

    def __init__(self) -> None:
        self._conns = {(1, group): _Connection() for group in (ConnectionGroup.DEFAULT, ConnectionGroup.COORDINATION)}

    async def send(self, node_id: object, request: object, *, group: object) -> object:
        await asyncio.Event().wait()
        raise AssertionError((node_id, request, group))


async def test_a_silent_connection_is_renewed() -> None:
    """aiokafka's own time-out is longer than ours and would never end; the coordinator's requests keep theirs."""
    client = _Client()
    fetch_apart(SimpleNamespace(_client=client), silent_seconds=0.01)

    with pytest.raises(RequestTimedOutError):
        await client.send(1, "a request for offsets", group=ConnectionGroup.DEFAULT)
    join = asyncio.create_task(client.send(1, "a join", group=ConnectionGroup.COORDINATION))
    done, _ = await asyncio.wait([join], timeout=0.1)
    join.cancel()

    assert not done
    closed = {group: connection.closed for (_, group), connection in client._conns.items()}
    assert closed == {ConnectionGroup.DEFAULT: [CloseReason.CONNECTION_TIMEOUT], ConnectionGroup.COORDINATION: []}


@pytest.mark.broker
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
