"""No request waits behind a fetch that a broker holds, and a fetch that is held long delays no record."""

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

from adapter.kafka import fetch_connection
from adapter.kafka.client import AioKafka, AioKafkaMember
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.fetch_connection import FETCHES, fetch_apart
from adapter.kafka.producers import exclusive_producer
from adapter.stream.port import TopicPartition
from adapter.stream.records import ProducerRecord
from adapter.values import replace

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


async def _held(member: AioKafkaMember) -> list[int]:
    """Wait until the broker holds a fetch."""
    while not (fetch := _waiting_fetches(member)):  # noqa: ASYNC110  # the client signals nothing
        await asyncio.sleep(0.01)
    return fetch


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
async def test_no_request_waits_behind_a_fetch(
    kafka: KafkaConnection, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed offset, offset range, topic ids and lag are answered while the broker holds a fetch."""
    monkeypatch.setattr(fetch_connection, "LONG_WAIT_MS", _AN_HOUR_MS)
    name = await topic()
    member = await AioKafka(kafka).connect(f"group-{uuid.uuid4().hex[:12]}")
    assigned = asyncio.Event()
    member.join([name], revoked=_nothing, assigned=assigned.set)
    try:
        async with asyncio.timeout(60):
            await assigned.wait()
            partition = next(iter(member.assignment()))
            member.seek(partition, 0)
            polling = asyncio.create_task(member.poll([partition], timeout=60))
            fetch = await _held(member)

            assert await member.committed(partition) is None
            found = await member.offset_range(partition)
            assert (found.start, found.end) == (0, 0)
            assert await member.lag([partition]) == {partition: 0}
            assert _waiting_fetches(member) == fetch
            polling.cancel()
    finally:
        await member.leave()


@pytest.mark.broker
async def test_a_fetch_that_is_held_long_delays_no_record(
    kafka: KafkaConnection, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what a transaction commits, not what is read again after a seek, and not after another member has joined."""
    monkeypatch.setattr(fetch_connection, "LONG_WAIT_MS", _AN_HOUR_MS)
    patient = replace(kafka, session_timeout_seconds=20)  # the client gives up a request after four times as long
    name, group = await topic(partitions=2), f"group-{uuid.uuid4().hex[:12]}"
    async with asyncio.timeout(60), exclusive_producer(kafka, group) as producer:
        first = await _joined(patient, group, name)
        try:
            for key in (b"a", b"d"):  # one in each partition
                await _held(first)
                await producer.write([ProducerRecord(topic=name, key=key, value=b"committed")])
                await _partitions_read(first)
            await _held(first)
            first.seek(TopicPartition(name, 1), 0)
            assert await _partitions_read(first) == {1}

            await _held(first)
            second = await _joined(patient, group, name)
            try:
                by_first, by_second = await asyncio.gather(_partitions_read(first), _partitions_read(second))
                assert by_first | by_second == {0, 1}
            finally:
                await second.leave()
        finally:
            await first.leave()


async def _joined(kafka: KafkaConnection, group: str, topic: str) -> AioKafkaMember:
    """A member that reads whatever partitions it gets, from their beginning."""
    member, assigned = await AioKafka(kafka).connect(group), asyncio.Event()

    def begin() -> None:
        for partition in member.assignment():
            member.seek(partition, 0)
        assigned.set()

    member.join([topic], revoked=_nothing, assigned=begin)
    await assigned.wait()
    return member


async def _partitions_read(member: AioKafkaMember) -> set[int]:
    """Poll until a record comes; return the partitions of what came."""
    while not (batches := await member.poll(list(member.assignment()), timeout=1)):
        pass
    return {partition.partition for partition in batches}


async def _nothing() -> None:
    """Nothing has to be released."""
