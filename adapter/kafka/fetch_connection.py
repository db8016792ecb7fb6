"""Gives the fetches of an aiokafka consumer a connection of their own to each broker.

A broker answers the requests of one connection one after another, and a fetch waits there for up to half a second
until there are new records. aiokafka sends fetches on the same connection as requests for offsets, topic ids and
metadata, so each of these waited as long; a take-over sends three of them, one after another. Requests to the group
coordinator have a connection of their own already.

Without fetches, nothing notices soon that the other connection is dead (a firewall that forgot it, a broker's machine
that is gone). aiokafka renews a connection only after its own request time-out, which is longer than ours. So a request
on it has `SILENT_SECONDS`; then the connection is closed, and the next request opens another one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.fetch import FetchRequest

FETCHES: Final = "fetches"
"""The connection group of fetches: aiokafka keeps connections by broker and group."""
SILENT_SECONDS: Final = 10.0
"""After so long without an answer, the connection of requests that are no fetches counts as dead. Time is left for a
second try before `client.ANSWER_SECONDS` are over.
"""


def fetch_apart(consumer: AIOKafkaConsumer, *, silent_seconds: float = SILENT_SECONDS) -> None:
    """Let this started consumer send its fetches on connections of their own; call it before it has partitions."""
    client = consumer._client
    send = client.send

    async def send_apart(node_id: object, request: object, *, group: object = ConnectionGroup.DEFAULT) -> object:
        if isinstance(request, FetchRequest):
            return await send(node_id, request, group=FETCHES)
        if group != ConnectionGroup.DEFAULT:
            return await send(node_id, request, group=group)
        try:
            async with asyncio.timeout(silent_seconds):
                return await send(node_id, request, group=group)
        except TimeoutError as silence:
            connection = client._conns.get((node_id, group))
            if connection is not None:
                connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            raise RequestTimedOutError from silence

    client.send = send_apart
