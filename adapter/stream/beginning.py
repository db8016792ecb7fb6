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

from adapter.stream.metadata import CommitNote, write
from adapter.stream.port import Commit, LogRange, Member

log = logging.getLogger(__name__)


async def begin_at_ends(member: Member, topics: Collection[str], *, fingerprint: str) -> bool:
    """Have a group that never committed begin at the ends of these topics' logs; whether this was done here and now.

    `member` has not joined. When two begin at once, the later one's ends count, or those of the one that has joined.
    Raises KafkaTrouble, BrokerAway.
    """
    places = sorted(await member.places(topics))
    commits = await asyncio.gather(*(member.committed(place) for place in places))
    if any(commit is not None for commit in commits):
        return False
    ranges = await asyncio.gather(*(member.log_range(place) for place in places))
    ends = {
        place: _read_to_end(found, member.cluster_id, fingerprint) for place, found in zip(places, ranges, strict=True)
    }
    done = await member.commit_unjoined(ends)
    if done:
        log.info("the group is new; it begins at the end of %s", ", ".join(sorted(topics)))
    return done


def _read_to_end(found: LogRange, cluster_id: str, fingerprint: str) -> Commit:
    note = CommitNote(
        cluster_id=cluster_id,
        log_id=found.log_id,
        committed=found.end,
        reserved_until=0,
        mixed_until=0,
        fingerprint=fingerprint,
        settled=(),
    )
    return Commit(offset=found.end, metadata=write(note))
