"""Gives the fetches of an aiokafka consumer a connection of their own to each broker.

A broker answers the requests of one connection one after another, and a fetch waits there for up to half a second
until there are new records. aiokafka sends fetches on the same connection as requests for offsets, topic ids and
metadata, so each of these waited as long; a take-over sends three of them, one after another. Requests to the group
coordinator have a connection of their own already.
"""

from __future__ import annotations

from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.protocol.fetch import FetchRequest

FETCHES: Final = "fetches"
"""The connection group of fetches: aiokafka keeps connections by broker and group."""


def fetch_apart(consumer: AIOKafkaConsumer) -> None:
    """Let this started consumer send its fetches on connections of their own; call it before it has partitions."""
    client = consumer._client
    send = client.send

    async def send_apart(node_id: object, request: object, *, group: object = ConnectionGroup.DEFAULT) -> object:
        return await send(node_id, request, group=FETCHES if isinstance(request, FetchRequest) else group)

    client.send = send_apart
