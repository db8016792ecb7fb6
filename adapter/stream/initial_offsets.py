"""Where a group begins that has never committed anything, when its stage wants to begin at the end.

It exists because "from now on" must be said once, for all partitions together and before the first member joins. Were
each partition begun at its own end when it is taken over, what came between its birth and its take-over would be lost
in every topic that grows; and an owner that died before its first commit would leave everything anew to its successor.

So the ends are committed at once, as if they had been read up to there. From then on the group is like any other: a
partition without a commit is a new one, and read from its start. It refuses to know who asks for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from adapter.stream.commit_metadata import CommitMetadata, encode
from adapter.stream.port import Commit, Member, OffsetRange

log = logging.getLogger(__name__)


async def commit_latest_offsets(member: Member, topics: Collection[str], *, fingerprint: str) -> bool:
    """Have a group that never committed begin at the ends of these topics' logs; whether this was done here and now.

    `member` has not joined. When two begin at once, the later one's ends count, or those of the one that has joined.
    Raises KafkaTrouble, BrokerAway.
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
        log.info("the group is new; it begins at the end of %s", ", ".join(sorted(topics)))
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
