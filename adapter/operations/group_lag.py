"""What a consumer group has not settled of its topics, in all processes together."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from adapter.stream.commit_metadata import CommitMetadata, decode
from adapter.stream.port import Commit, Member, OffsetRange


class TopicLag(Struct, frozen=True, kw_only=True):
    """One topic that a group reads."""

    group: str
    topic: str
    partitions: int
    unsettled: int
    """Offsets that are not settled. Transaction markers count, so it can be more than there are records."""


async def topic_lags(member: Member, group: str, topics: Collection[str]) -> tuple[TopicLag, ...]:
    """The lag of each topic that exists. `member` belongs to the group and need not have joined it.

    Raises BrokerUnavailable, KafkaClientError.
    """
    partitions = sorted(await member.partitions_of(topics))
    unsettled: dict[str, list[int]] = {}
    for partition in partitions:
        commit, offset_range = await member.committed(partition), await member.offset_range(partition)
        unsettled.setdefault(partition.topic, []).append(unsettled_offsets(commit, offset_range, member.cluster_id))
    return tuple(
        TopicLag(group=group, topic=topic, partitions=len(counts), unsettled=sum(counts))
        for topic, counts in unsettled.items()
    )


def unsettled_offsets(commit: Commit | None, offset_range: OffsetRange, cluster_id: str) -> int:
    """How many offsets of a partition are neither below the committed one nor in a run that is settled beyond it."""
    if commit is None:
        return offset_range.end - offset_range.start
    metadata = decode(commit.metadata, cluster_id=cluster_id, committed=commit.offset)
    runs = metadata.settled if isinstance(metadata, CommitMetadata) else ()
    settled = sum(max(0, min(past, offset_range.end) - max(first, offset_range.start)) for first, past in runs)
    return max(0, offset_range.end - max(commit.offset, offset_range.start) - settled)
