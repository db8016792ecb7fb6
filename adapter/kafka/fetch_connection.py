"""Gives the fetches of an aiokafka consumer a connection of their own to each broker, and decides how long each waits.

A broker answers the requests of one connection one after another, and a fetch waits there until there are new records.
aiokafka sends fetches on the same connection as requests for offsets, topic ids and metadata, so each of these waited
as long; a take-over sends three of them, one after another. Requests to the group coordinator have a connection of
their own already.

Without fetches, nothing notices soon that the other connection is dead (a firewall that forgot it, a broker's machine
that is gone). aiokafka renews a connection only after its own request time-out, which is longer than ours. So a request
on it has `SILENT_SECONDS`; then the connection is closed, and the next request opens another one.

A fetch of all partitions ends with the first record of any of them. So the broker may hold it for long, and an idle
adapter needs few: each costs half a millisecond of CPU time. aiokafka sends no other fetch to that broker meanwhile. So
a fetch that leaves out a partition is held for a short time only. A long one is ended when one of its partitions gets
another position, or when the broker becomes the leader of another partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import CloseReason
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.fetch import FetchRequest

FETCHES: Final = "fetches"
"""The connection group of fetches: aiokafka keeps connections by broker and group."""
SILENT_SECONDS: Final = 10.0
"""After so long without an answer, the connection of requests that are no fetches counts as dead. Time is left for a
second try before `client.ANSWER_SECONDS` are over.
"""
LOOK_MS: Final = 1_000
"""How often aiokafka looks for what to fetch even if nothing has happened; assignments, seeks and answers wake it."""
LONG_WAIT_MS: Final = 5_000
"""How long a broker holds a fetch of all partitions that it leads, at most half of the client's request time-out ..."""
WAIT_MS: Final = 500
"""... one without those whose records this process has not taken yet, or while a partition has no known leader ..."""
SHORT_WAIT_MS: Final = 50
"""... and one while partitions are taken over one after another, or whose partitions have got another position."""


def fetch_apart(consumer: AIOKafkaConsumer, *, silent_seconds: float = SILENT_SECONDS) -> Fetches:
    """Let this started consumer send its fetches on connections of their own; call it before it has partitions."""
    client = consumer._client
    send = client.send
    fetches = Fetches(consumer, send)

    async def send_apart(node_id: object, request: object, *, group: object = ConnectionGroup.DEFAULT) -> object:
        if isinstance(request, FetchRequest):
            return await fetches.send(node_id, request)
        if group != ConnectionGroup.DEFAULT:
            return await send(node_id, request, group=group)
        try:
            async with asyncio.timeout(silent_seconds):
                return await send(node_id, request, group=group)
        except TimeoutError as silence:
            _close(client, node_id, group)
            raise RequestTimedOutError from silence

    client.send = send_apart
    return fetches


class Fetches:
    """The fetches of one consumer; decides how long the broker holds each one if there are no records."""

    def __init__(self, consumer: AIOKafkaConsumer, send: Callable[..., Awaitable[object]]) -> None:
        self._consumer = consumer
        self._client = consumer._client
        self._send = send
        self._long_wait_ms: int = min(LONG_WAIT_MS, self._client._request_timeout_ms // 2)
        self._held_long: dict[object, Collection[ClientPartition]] = {}
        self._client.cluster.add_listener(self._leaders_changed)

    async def send(self, node_id: object, request: FetchRequest) -> object:
        """Send one fetch; if it is cancelled, close its connection, because the next fetch would wait behind it.

        The connection is opened first: meanwhile partitions may get another position.
        """
        if not await self._client.ready(node_id, group=FETCHES):
            raise NodeNotReadyError(f"no connection to broker {node_id}")
        offsets = {ClientPartition(topic, each[0]): each[1] for topic, rows in request.topics for each in rows}
        request._max_wait_ms = self._wait_ms(node_id, offsets)
        if request._max_wait_ms == self._long_wait_ms:
            self._held_long[node_id] = offsets.keys()
        try:
            return await self._send(node_id, request, group=FETCHES)
        except asyncio.CancelledError:
            _close(self._client, node_id, FETCHES)
            raise
        finally:
            self._held_long.pop(node_id, None)

    def moved(self, partition: ClientPartition) -> None:
        """End a fetch that the broker may hold long for another position of this partition."""
        for node_id, partitions in list(self._held_long.items()):
            if partition in partitions:
                _close(self._client, node_id, FETCHES)

    def _leaders_changed(self, _: ClusterMetadata) -> None:
        """End each fetch that a broker may hold long although it now leads a partition that is not in it."""
        assignment = self._assignment()
        for node_id, partitions in list(self._held_long.items()):
            if assignment is not None and self._leaves_out(assignment, node_id, partitions):
                _close(self._client, node_id, FETCHES)

    def _wait_ms(self, node_id: object, offsets: Mapping[ClientPartition, int]) -> int:
        assignment = self._assignment()
        if assignment is None:
            return WAIT_MS
        states = {each: assignment.state_value(each) for each in assignment.tps}
        if not all(state.has_valid_position for state in states.values()):
            return SHORT_WAIT_MS
        if any(each not in states or states[each].position != offset for each, offset in offsets.items()):
            return SHORT_WAIT_MS
        leader = self._client.cluster.leader_for_partition
        if any(leader(each) in (None, -1) for each in states) or self._leaves_out(assignment, node_id, offsets):
            return WAIT_MS
        return self._long_wait_ms

    def _assignment(self) -> Assignment | None:
        subscription = self._consumer._subscription.subscription
        return subscription and subscription.assignment

    def _leaves_out(self, assignment: Assignment, node_id: object, partitions: Collection[ClientPartition]) -> bool:
        """Whether this broker leads an assigned partition that is not among these."""
        leader = self._client.cluster.leader_for_partition
        return any(each not in partitions and leader(each) == node_id for each in assignment.tps)


def _close(client: AIOKafkaClient, node_id: object, group: object) -> None:
    connection = client._conns.get((node_id, group))
    if connection is not None:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
