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
a fetch that leaves out a partition is held for a short time only, and a long one is ended when one of its partitions
gets another position.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import RequestTimedOutError
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
"""How long a broker holds a fetch of all partitions that it leads ..."""
WAIT_MS: Final = 500
"""... one without those whose records this process has not taken yet ..."""
SHORT_WAIT_MS: Final = 50
"""... and one while partitions are taken over one after another."""


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
        self._send = send
        self._held_long: dict[object, frozenset[ClientPartition]] = {}

    async def send(self, node_id: object, request: FetchRequest) -> object:
        """Send one fetch; if it is cancelled, close its connection, because the next fetch would wait behind it."""
        partitions = frozenset(ClientPartition(topic, each[0]) for topic, rows in request.topics for each in rows)
        request._max_wait_ms = self._wait_ms(node_id, partitions)
        if request._max_wait_ms == LONG_WAIT_MS:
            self._held_long[node_id] = partitions
        try:
            return await self._send(node_id, request, group=FETCHES)
        except asyncio.CancelledError:
            _close(self._consumer._client, node_id, FETCHES)
            raise
        finally:
            self._held_long.pop(node_id, None)

    def moved(self, partition: ClientPartition) -> None:
        """End a fetch that the broker may hold long for another position of this partition."""
        for node_id, partitions in list(self._held_long.items()):
            if partition in partitions:
                _close(self._consumer._client, node_id, FETCHES)

    def _wait_ms(self, node_id: object, partitions: Collection[ClientPartition]) -> int:
        subscription = self._consumer._subscription.subscription
        assignment = subscription and subscription.assignment
        if assignment is None:
            return WAIT_MS
        if not all(assignment.state_value(each).has_valid_position for each in assignment.tps):
            return SHORT_WAIT_MS
        leader = self._consumer._client.cluster.leader_for_partition
        left_out = (each for each in assignment.tps if each not in partitions and leader(each) == node_id)
        return LONG_WAIT_MS if next(left_out, None) is None else WAIT_MS


def _close(client: AIOKafkaClient, node_id: object, group: object) -> None:
    connection = client._conns.get((node_id, group))
    if connection is not None:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
