"""What a group has not settled is its lag without what is settled beyond its commit."""

from __future__ import annotations

import pytest
from stream.fake_kafka import CLUSTER_ID, FakeCluster, FakeKafka

from adapter.operations.group_lag import TopicLag, topic_lags, unsettled_offsets
from adapter.stream.commit_metadata import CommitMetadata, encode
from adapter.stream.port import Commit, OffsetRange, TopicPartition


def _commit(offset: int, *settled: tuple[int, int], cluster_id: str = CLUSTER_ID) -> Commit:
    metadata = CommitMetadata(
        cluster_id=cluster_id,
        committed=offset,
        reserved_until=0,
        other_fingerprint_until=0,
        fingerprint="",
        settled=settled,
    )
    return Commit(offset=offset, metadata=encode(metadata))


@pytest.mark.parametrize(
    ("commit", "start", "end", "unsettled"),
    [
        (None, 3, 10, 7),
        (_commit(4), 0, 10, 6),
        (_commit(4, (5, 7), (8, 9)), 0, 10, 3),
        (_commit(4, (5, 7)), 6, 10, 3),  # retention deleted up to 6
        (_commit(10), 0, 10, 0),
        (_commit(12), 0, 10, 0),  # the topic was recreated
        (_commit(4, (5, 7), cluster_id="other"), 0, 10, 6),
        (Commit(offset=4, metadata="of another program"), 0, 10, 6),
    ],
)
def test_settled_runs_do_not_count(commit: Commit | None, start: int, end: int, unsettled: int) -> None:
    """Nor what is no longer in the log; metadata that is not ours is ignored."""
    assert unsettled_offsets(commit, OffsetRange(start=start, end=end), CLUSTER_ID) == unsettled


async def test_partitions_are_added_up_by_topic() -> None:
    """Without joining the group."""
    cluster = FakeCluster()
    paid, other = TopicPartition("paid", 0), TopicPartition("paid", 1)
    cluster.append(paid, "a", "b", "c")
    cluster.append(other, "d")
    cluster.commits[paid] = _commit(1)
    member = await FakeKafka(cluster).connect("g")

    lags = await topic_lags(member, "g", ["paid"])

    assert lags == (TopicLag(group="g", topic="paid", partitions=2, unsettled=3),)
    assert cluster.members == []
