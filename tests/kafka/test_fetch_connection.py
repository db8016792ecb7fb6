"""No request waits behind a fetch that a broker holds, and a fetch that is held long delays no record."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition as ClientPartition
from aiokafka.client import ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import CloseReason
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.fetch import FetchRequest
from conftest import TopicFactory

from adapter.kafka import fetch_connection
from adapter.kafka.client import AioKafka, AioKafkaMember
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.fetch_connection import FETCHES, LONG_WAIT_MS, SHORT_WAIT_MS, WAIT_MS, Fetches, fetch_apart
from adapter.kafka.producers import exclusive_producer
from adapter.stream.port import TopicPartition
from adapter.stream.records import ProducerRecord
from adapter.values import replace

_AN_HOUR_MS = 3_600_000
_ZERO, _ONE = ClientPartition("orders", 0), ClientPartition("orders", 1)


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
    """An aiokafka client of brokers that answer no request, but open connections as soon as `logged_in`."""

    def __init__(self, *, request_timeout_ms: int = 40_000) -> None:
        self._conns = {
            (node_id, group): _Connection()
            for node_id in (1, 2)
            for group in (ConnectionGroup.DEFAULT, ConnectionGroup.COORDINATION, FETCHES)
        }
        self._request_timeout_ms = request_timeout_ms
        self.cluster = ClusterMetadata()
        self.logged_in = asyncio.Event()
        self.logged_in.set()
        self.sent: asyncio.Queue[Any] = asyncio.Queue()

    async def ready(self, node_id: object, *, group: object) -> bool:
        await self.logged_in.wait()
        return (node_id, group) in self._conns

    async def send(self, node_id: object, request: object, *, group: object) -> object:
        self.sent.put_nowait(request)
        await asyncio.Event().wait()
        raise AssertionError((node_id, request, group))

    def lead(self, *leaders: int) -> None:
        """An update of the metadata: which broker leads each partition of `orders`, -1 for none."""
        partitions: list[object] = [(0, number, leader, [], []) for number, leader in enumerate(leaders)]
        brokers = [(1, "a", 9092, None), (2, "b", 9092, None)]
        topics = [(0, "orders", False, partitions)]
        self.cluster.update_metadata(SimpleNamespace(API_VERSION=5, brokers=brokers, controller_id=1, topics=topics))

    def closed(self) -> set[tuple[int, object]]:
        """The connections that were closed."""
        return {name for name, connection in self._conns.items() if connection.closed}


class _Consumer:
    """A consumer of `orders` at the beginning of partitions 0 and 1, which fetches from broker 1."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._subscription = SubscriptionState()
        self._subscription.subscribe({"orders"})
        self._subscription.assign_from_subscribed({_ZERO, _ONE})
        for partition in (_ZERO, _ONE):
            self._subscription.seek(partition, 0)

    @asynccontextmanager
    async def fetching(self, *numbers: int) -> AsyncIterator[Fetches]:
        """While a fetch of these partitions, from their beginning, goes to broker 1."""
        fetches = Fetches(self, self._client.send)
        request = FetchRequest(0, 1, 1, 1, [("orders", [(number, 0, 1) for number in numbers])])
        fetch = asyncio.create_task(fetches.send(1, request))
        try:
            yield fetches
        finally:
            fetch.cancel()
            await asyncio.wait([fetch])

    async def wait_ms(self) -> int:
        """How long the broker holds the fetch, as soon as it is sent."""
        return int((await self._client.sent.get())._max_wait_ms)


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
    assert client.closed() == {(1, ConnectionGroup.DEFAULT)}
    assert client._conns[1, ConnectionGroup.DEFAULT].closed == [CloseReason.CONNECTION_TIMEOUT]


async def test_a_fetch_is_held_long_if_nothing_is_left_out() -> None:
    """Only a seek of one of its partitions ends it."""
    client = _Client()
    client.lead(1, 2)
    consumer = _Consumer(client)
    async with consumer.fetching(0) as fetches:
        assert await consumer.wait_ms() == LONG_WAIT_MS
        fetches.moved(_ONE)
        client.lead(1, 2)
        assert client.closed() == set()

        fetches.moved(_ZERO)
        assert client.closed() == {(1, FETCHES)}


@pytest.mark.parametrize("leaders", [(1,), (1, -1)], ids=["unknown partition", "no leader"])
async def test_a_fetch_is_not_held_long_while_a_partition_has_no_leader(leaders: tuple[int, ...]) -> None:
    """Its leader may turn out to be this broker."""
    client = _Client()
    client.lead(*leaders)
    consumer = _Consumer(client)
    async with consumer.fetching(0):
        assert await consumer.wait_ms() == WAIT_MS


async def test_a_broker_that_becomes_a_leader_holds_no_fetch() -> None:
    """The fetch that it holds does not ask for the partition that it now leads."""
    client = _Client()
    client.lead(1, 2)
    consumer = _Consumer(client)
    async with consumer.fetching(0):
        await consumer.wait_ms()
        client.lead(1, 1)
        assert client.closed() == {(1, FETCHES)}


async def test_a_seek_during_the_login_leaves_no_old_fetch_held_long() -> None:
    """The seek finds no connection to close, and the fetch asks for the old position."""
    client = _Client()
    client.lead(1, 2)
    consumer = _Consumer(client)
    client.logged_in.clear()
    async with consumer.fetching(0) as fetches:
        await asyncio.sleep(0)
        consumer._subscription.seek(_ZERO, 7)
        fetches.moved(_ZERO)
        client.logged_in.set()
        assert await consumer.wait_ms() == SHORT_WAIT_MS


async def test_a_broker_without_a_connection_is_sent_nothing() -> None:
    """The client has tried to connect once; a second try would cost the same time again."""
    client = _Client()
    del client._conns[1, FETCHES]
    fetches = Fetches(_Consumer(client), client.send)
    fetch = asyncio.create_task(fetches.send(1, FetchRequest(0, 1, 1, 1, [("orders", [(0, 0, 1)])])))
    sent = asyncio.create_task(client.sent.get())
    done, _ = await asyncio.wait([fetch, sent], return_when=asyncio.FIRST_COMPLETED)
    sent.cancel()

    assert done == {fetch}
    assert isinstance(fetch.exception(), NodeNotReadyError)


async def test_no_fetch_is_held_until_its_request_times_out() -> None:
    """A short session makes the client's request time-out shorter than the long wait."""
    client = _Client(request_timeout_ms=4_000)
    client.lead(1, 2)
    consumer = _Consumer(client)
    async with consumer.fetching(0):
        assert await consumer.wait_ms() == 2_000


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
    patient = replace(kafka, session_timeout_seconds=40)  # a fetch may be held twice as long
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
