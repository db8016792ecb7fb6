"""Commits the latest offsets of a new group whose stage starts at the end.

This happens for all partitions together, before the first member joins. If each partition started at its own end when
it is taken over, records written between its creation and its take-over would be lost in every topic that grows; and an
owner that died before its first commit would leave the same problem to its successor.

So the ends are committed at once, as if everything before them had been read. From then on the group is like any other:
a partition without a commit is a new one, and is read from its start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from adapter.stream.commit_metadata import CommitMetadata, encode
from adapter.stream.port import Commit, Member, OffsetRange

log = logging.getLogger(__name__)


async def commit_latest_offsets(member: Member, topics: Collection[str], *, fingerprint: str) -> bool:
    """Commit the ends of these topics for a group that never committed; return whether that was done now.

    `member` has not joined. If two processes do this at once, the later one's ends count, or those of the one that has
    joined. Raises KafkaClientError, BrokerUnavailable.
    """
    partitions = sorted(await member.partitions_of(topics))
    commits = await asyncio.gather(*(member.committed(partition) for partition in partitions))
    if any(commit is not None for commit in commits):
        return False
    ranges = await asyncio.gather(*(member.offset_range(partition) for partition in partitions))
    ends = {
        partition: _read_to_end(found, member.cluster_id, fingerprint)
        for partition, found in zip(partitions, ranges, strict=True)
    }
    done = await member.commit_before_join(ends)
    if done:
        log.info("new-group-starts-at-end", extra={"topics": sorted(topics)})
    return done


def _read_to_end(found: OffsetRange, cluster_id: str, fingerprint: str) -> Commit:
    metadata = CommitMetadata(
        cluster_id=cluster_id,
        topic_id=found.topic_id,
        committed=found.end,
        reserved_until=0,
        other_fingerprint_until=0,
        fingerprint=fingerprint,
        settled=(),
    )
    return Commit(offset=found.end, metadata=encode(metadata))
