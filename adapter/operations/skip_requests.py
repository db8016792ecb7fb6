"""Requests that the adapter skips a batch which cannot be read, so that it continues behind it.

Does not change the adapter's commits: each adapter that waits in front of the batch acts on the request
(`stream.blockages`). A batch that can be read is never skipped.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from adapter.stream.blockages import SkipRequest
from adapter.stream.port import TopicPartition, UnreadableBatch

_COORDINATES = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)/(?P<partition>\d{1,9})/(?P<offset>\d{1,18})")


class InvalidCoordinates(ValueError):
    """The text is not TOPIC/PARTITION/OFFSET, or no stage reads the topic."""


class NothingToSkip(Exception):
    """The record can be read, or does not exist; the message names the first record behind it that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipOperation:
    """Requests skips in the topics that stages read."""

    topics: tuple[str, ...]
    find_unreadable: Callable[[TopicPartition, int], Awaitable[UnreadableBatch | None]]
    """The first batch from an offset on that cannot be read."""
    write_request: Callable[[UnreadableBatch, str], Awaitable[SkipRequest]]

    def parse(self, where: str) -> tuple[TopicPartition, int]:
        """The partition and the offset in TOPIC/PARTITION/OFFSET. Raises InvalidCoordinates."""
        found = _COORDINATES.fullmatch(where)
        if found is None:
            raise InvalidCoordinates(f"{where!r} is not TOPIC/PARTITION/OFFSET, such as orders.paid/3/41.")
        if found["topic"] not in self.topics:
            raise InvalidCoordinates(
                f"No stage of the adapter reads {found['topic']}. Topics that it reads: {', '.join(self.topics)}."
            )
        return TopicPartition(found["topic"], int(found["partition"])), int(found["offset"])

    async def run(self, partition: TopicPartition, offset: int, why: str) -> tuple[UnreadableBatch, SkipRequest]:
        """Write the request to skip the batch at this offset. Raises NothingToSkip."""
        batch = await self.find_unreadable(partition, offset)
        if batch is None:
            raise NothingToSkip(
                f"The record at {partition}/{offset} can be read, or does not exist, so there is nothing to skip."
            )
        if not batch.base <= offset <= batch.last:
            raise NothingToSkip(
                f"The record at {partition}/{offset} can be read, so there is nothing to skip. The first one behind it "
                f"that cannot be read is at {partition}/{batch.first}."
            )
        return batch, await self.write_request(batch, why)
