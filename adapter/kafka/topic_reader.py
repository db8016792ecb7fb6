"""The topics of one cluster, as commands and the console read them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from datetime import datetime

from msgspec import Struct

from adapter.errors import TopicsMissing
from adapter.kafka import reader
from adapter.kafka.connection import KafkaConnection
from adapter.stream.port import UnreadableBatch
from adapter.stream.records import Record

Records = AsyncGenerator[Record, None]


def _unchanged(records: Records) -> Records:
    return records


class KafkaTopicReader(Struct, frozen=True):
    """Reads topics without a consumer group (`operations.ports.KeyedTopicReader`)."""

    connection: KafkaConnection
    pace: Callable[[Records], Records] = _unchanged
    """What many records pass through, such as a reader that rests."""

    def read_to_end(self, topics: Collection[str], *, since: datetime | None = None) -> AsyncGenerator[Record, None]:
        """See `reader.read_to_end`."""
        return self.pace(reader.read_to_end(self.connection, topics, since=since))

    async def partitions_of(self, keys: Mapping[str, Collection[bytes] | None]) -> Mapping[str, frozenset[int]]:
        """See `reader.partitions_of`."""
        return await reader.partitions_of(self.connection, keys)

    def read_partitions(
        self,
        partitions: Mapping[str, Collection[int]],
        *,
        since: datetime | None,
        on_progress: Callable[[int, int], None],
        on_unreadable: Callable[[UnreadableBatch], None],
    ) -> AsyncGenerator[Record, None]:
        """See `reader.read_partitions`."""
        records = reader.read_partitions(
            self.connection, partitions, since=since, on_progress=on_progress, on_unreadable=on_unreadable
        )
        return self.pace(records)

    async def read_one(self, topic: str, partition: int, offset: int) -> Record | None:
        """See `reader.read_one`; None too if there is no such topic."""
        try:
            return await reader.read_one(self.connection, topic, partition, offset)
        except TopicsMissing:
            return None
