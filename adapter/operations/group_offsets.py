"""Where each consumer group is in each partition, and where each log begins and ends; without reading a record."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from adapter.operations.group_lag import unsettled_offsets
from adapter.stream.port import Kafka, OffsetRange


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionOffsets:
    """Where a group is in a partition."""

    committed: int | None
    unsettled: int
    """See `TopicLag`."""


async def group_offsets(kafka: Kafka, group: str, topics: Collection[str]) -> dict[str, PartitionOffsets]:
    """Return where the group is in each partition of its topics. Joins no group. Raises StreamError."""
    member = await kafka.connect(group)
    try:
        found = {}
        for partition in sorted(await member.partitions_of(topics)):
            commit, offset_range = await member.committed(partition), await member.offset_range(partition)
            found[str(partition)] = PartitionOffsets(
                committed=None if commit is None else commit.offset,
                unsettled=unsettled_offsets(commit, offset_range, member.cluster_id),
            )
        return found
    finally:
        await member.leave()


async def log_ranges(kafka: Kafka, group: str, topics: Collection[str]) -> dict[str, OffsetRange]:
    """Return the first and the next offset of each partition. `group` is not joined. Raises StreamError."""
    member = await kafka.connect(group)
    try:
        return {str(each): await member.offset_range(each) for each in sorted(await member.partitions_of(topics))}
    finally:
        await member.leave()
