"""Records acknowledged by hand on a real broker: none twice and none forgotten, after crashes and by two people."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.structs import OffsetAndMetadata
from committed_records import committed_records
from conftest import TopicFactory

from adapter.dev.producing import producing
from adapter.errors import StreamError
from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_to_end
from adapter.stream.acknowledged_topic import AcknowledgedTopic, PartitionClaim, open_acknowledged_topic
from adapter.stream.commit_metadata import CommitMetadata, encode, new_owner, short_fingerprint
from adapter.stream.port import BatchTooLarge, TopicPartition
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome
from stream.fake_kafka import FakeCluster, FakeMember, FakeTransactionalProducer


class Table:
    """A topic with ten records, and a topic for what comes of them."""

    def __init__(self, kafka: KafkaConnection, topic: str, target: str) -> None:
        self.kafka = kafka
        self.topic = topic
        self.target = target
        self.group = f"acks-{uuid.uuid4().hex[:12]}"

    async def read(self) -> list[Record]:
        return [record async for record in read_to_end(self.kafka, [self.topic])]

    async def written(self) -> list[bytes | None]:
        return [record.value for record in await committed_records(self.kafka, [self.target])]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[AcknowledgedTopic]:
        partitions = [(record.partition, record.offset) for record in await self.read()]
        async with open_acknowledged_topic(
            AioKafka(self.kafka), topic=self.topic, group=self.group, records=partitions
        ) as topic:
            yield topic

    async def open(self) -> list[int]:
        async with self.opened() as topic:
            return sorted((await topic.pending_offsets())[0].open)

    def outcome(self, *values: bytes) -> Outcome:
        return Outcome(records=tuple(ProducerRecord(topic=self.target, key=None, value=value) for value in values))

    async def acknowledge(self, *offsets: int) -> None:
        async with self.opened() as topic, topic.claim(0) as claim:
            for offset in offsets:
                await claim.acknowledge({offset: self.outcome(b"%d" % offset)})


@pytest.fixture
async def table(kafka: KafkaConnection, topic: TopicFactory) -> Table:
    """Ten records, 0 to 9."""
    table = Table(kafka, await topic(), await topic("target", config={"max.message.bytes": "100000"}))
    async with producing(kafka) as producer:
        for number in range(10):
            await producer.send_and_wait(table.topic, b"%d" % number, partition=0)
    return table


async def test_everything_is_open_before_anything_is_acknowledged(table: Table) -> None:
    """And it is said that no commit says so."""
    async with table.opened() as topic:
        (pending_offsets,) = (await topic.pending_offsets()).values()

    assert pending_offsets.open == set(range(10))
    assert pending_offsets.forgotten


async def test_what_was_acknowledged_stays_acknowledged(table: Table) -> None:
    """In any order, each with what was published about it, and visible to later readers."""
    await table.acknowledge(7, 2, 0)
    await table.acknowledge(1)

    assert await table.open() == [3, 4, 5, 6, 8, 9]
    assert await table.written() == [b"7", b"2", b"0", b"1"]


async def test_reading_fences_no_claim(table: Table) -> None:
    """A claim stays valid while other processes read."""
    async with table.opened() as topic, topic.claim(0) as claim:
        await claim.acknowledge({3: table.outcome()})
        seen = await table.open()
        await claim.acknowledge({4: table.outcome()})

    assert seen == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert await table.open() == [0, 1, 2, 5, 6, 7, 8, 9]


async def test_of_two_at_once_the_first_gets_an_error_and_nothing_happens_twice(table: Table) -> None:
    """The second fences the first, and sees what the first had done."""
    async with table.opened() as one, one.claim(0) as first:
        await first.acknowledge({0: table.outcome(b"first 0")})
        async with table.opened() as other, other.claim(0) as second:
            assert not second.is_open(0)
            assert second.is_open(1)
            with pytest.raises(StreamError, match="another process"):
                await first.acknowledge({1: table.outcome(b"first 1")})
            await second.acknowledge({1: table.outcome(b"second 1")})

    assert await table.written() == [b"first 0", b"second 1"]
    assert await table.open() == [2, 3, 4, 5, 6, 7, 8, 9]


async def test_a_record_that_came_later_is_open(table: Table) -> None:
    """All were taken, and then there was one more."""
    await table.acknowledge(*range(10))
    async with producing(table.kafka) as producer:
        await producer.send_and_wait(table.topic, b"new", partition=0)

    assert await table.open() == [10]


async def test_several_are_acknowledged_together(table: Table) -> None:
    """One transaction."""
    async with table.opened() as topic, topic.claim(0) as claim:
        acknowledged = await claim.acknowledge({offset: table.outcome(b"%d" % offset) for offset in (1, 3, 5)})

    assert acknowledged == {1, 3, 5}
    assert await table.open() == [0, 2, 4, 6, 7, 8, 9]


async def test_what_a_topic_rejects_is_not_acknowledged(table: Table) -> None:
    """Neither is what was to go with it; the cure is in the sentence."""
    async with table.opened() as topic, topic.claim(0) as claim:
        with pytest.raises(StreamError, match=r"max\.message\.bytes"):
            await claim.acknowledge({1: table.outcome(b"x" * 200_000), 2: table.outcome(b"2")})
        await claim.acknowledge({2: table.outcome(b"2")})

    assert await table.open() == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert await table.written() == [b"2"]


async def test_records_that_share_a_batch_are_not_too_large(table: Table) -> None:
    """Ten at once, each of which the topic takes."""
    async with table.opened() as topic, topic.claim(0) as claim:
        acknowledged = await claim.acknowledge(
            {offset: table.outcome(b"%d " % offset + b"x" * 30_000) for offset in range(10)}
        )

    assert acknowledged == set(range(10))
    assert await table.open() == []
    assert sorted(value[:2] for value in await table.written() if value) == [b"%d " % offset for offset in range(10)]


async def test_a_commit_of_another_program_is_not_believed(table: Table) -> None:
    """An offset moved by hand leaves the records behind it open, and marks the state as forgotten."""
    await table.acknowledge(2, 5)
    await _commit(table, 4)

    async with table.opened() as topic:
        (pending_offsets,) = (await topic.pending_offsets()).values()

    assert pending_offsets.open == {4, 5, 6, 7, 8, 9}
    assert pending_offsets.forgotten


async def test_what_is_known_otherwise_is_written_down_with_the_next_one(table: Table) -> None:
    """Commits were forgotten; what was found out in the meantime is committed again."""
    async with table.opened() as topic, topic.claim(0) as claim:
        claim.mark_acknowledged([0, 1, 6])
        await claim.acknowledge({3: table.outcome(b"3")})

    async with table.opened() as topic:
        (pending_offsets,) = (await topic.pending_offsets()).values()
    assert pending_offsets.open == {2, 4, 5, 7, 8, 9}
    assert not pending_offsets.forgotten
    assert await table.written() == [b"3"]


async def _commit(table: Table, offset: int) -> None:
    """As an operator with Kafka's tools would."""
    partition = ClientPartition(table.topic, 0)
    consumer = AIOKafkaConsumer(**table.kafka.client_options(), group_id=table.group, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign([partition])
        await consumer.commit({partition: OffsetAndMetadata(offset, "")})
    finally:
        await consumer.stop()


async def test_a_commit_without_room_acknowledges_the_oldest_or_raises(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit stays open and untouched."""
    async with table.opened() as topic, topic.claim(0) as claim:
        bare = CommitMetadata(
            cluster_id=topic._member.cluster_id,
            topic_id=(await topic._member.topic_ids([table.topic]))[table.topic],
            committed=1,
            reserved_until=0,
            other_fingerprint_until=0,
            fingerprint=short_fingerprint(""),
            owner=new_owner(),
        )
        monkeypatch.setattr("adapter.stream.partition_state.LIMIT", len(encode(bare)))
        with pytest.raises(StreamError, match="no room left"):
            await claim.acknowledge({9: table.outcome(b"9")})
        assert await claim.acknowledge({0: table.outcome(b"0")}) == {0}

    assert await table.open() == list(range(1, 10))
    assert await table.written() == [b"0"]


async def test_nothing_is_left_running(table: Table) -> None:
    """Leaving in the middle leaves nothing behind."""
    before = len(asyncio.all_tasks())
    async with table.opened() as topic, topic.claim(0) as claim:
        assert isinstance(claim, PartitionClaim)

    assert len(asyncio.all_tasks()) == before


async def test_an_acknowledged_offset_says_nothing_about_a_recreated_topic(cluster: FakeCluster) -> None:
    """The commit may outlive its topic: mirrored, restored, or of a transaction that ended after the deletion."""
    partition = TopicPartition("dead-letters", 0)
    cluster.append(partition, *"abcde")
    member = FakeMember(cluster, ())
    async with AcknowledgedTopic(member, "dead-letters", [(0, offset) for offset in range(5)]).claim(0) as claim:
        await claim.acknowledge({offset: Outcome() for offset in range(5)})
    commit = cluster.commits[partition]
    cluster.remake("dead-letters")
    cluster.commits[partition] = commit
    cluster.append(partition, *"ABCDEFGH")

    (pending_offsets,) = (
        await AcknowledgedTopic(member, "dead-letters", [(0, offset) for offset in range(8)]).pending_offsets()
    ).values()

    assert pending_offsets.open == set(range(8))
    assert pending_offsets.forgotten


async def test_one_transaction_takes_no_more_than_its_bytes(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What timed out once would time out whenever the command is run again."""
    monkeypatch.setattr("adapter.stream.acknowledged_topic.MAX_TRANSACTION_BYTES", 2_000)
    partition = TopicPartition("dead-letters", 0)
    cluster.append(partition, *"abcde")
    member = FakeMember(cluster, ())
    dead_letter = Outcome(records=(ProducerRecord(topic="again", key=None, value=b"x" * 900),))

    async with AcknowledgedTopic(member, "dead-letters", [(0, offset) for offset in range(5)]).claim(0) as claim:
        acknowledged = await claim.acknowledge(dict.fromkeys(range(5), dead_letter))
        rest = await claim.acknowledge(dict.fromkeys(range(2, 5), dead_letter))

    assert (set(acknowledged), set(rest)) == ({0, 1}, {2, 3})
    assert len(cluster.produced_records) == 4


@pytest.mark.parametrize("other_commits", [True, False])
async def test_a_restart_after_a_rejection_checks_for_a_later_claim(
    cluster: FakeCluster, other_commits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic rejects a batch, and another process claims the partition before the next producer has started."""
    partition = TopicPartition("dead-letters", 0)
    cluster.append(partition, *"ab")
    partitions = [(0, 0), (0, 1)]
    member, other = FakeMember(cluster, ()), FakeMember(cluster, ())
    refuse, publish = [True], FakeTransactionalProducer.publish

    async def refuses_once(
        producer: FakeTransactionalProducer, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str
    ) -> None:
        if refuse and producer in member.producers:
            refuse.clear()
            async with AcknowledgedTopic(other, "dead-letters", partitions).claim(0) as theirs:
                if other_commits:
                    await theirs.acknowledge({0: Outcome()})
            raise BatchTooLarge("together")
        await publish(producer, producer_records, offset=offset, metadata=metadata)

    monkeypatch.setattr(FakeTransactionalProducer, "publish", refuses_once)
    dead_letter = Outcome(records=(ProducerRecord(topic="again", key=None, value=b"x"),))
    async with AcknowledgedTopic(member, "dead-letters", partitions).claim(0) as claim:
        if other_commits:
            with pytest.raises(StreamError, match="another process"):
                await claim.acknowledge(dict.fromkeys((0, 1), dead_letter))
        else:
            assert await claim.acknowledge(dict.fromkeys((0, 1), dead_letter)) == {0, 1}

    assert len(cluster.produced_records) == (0 if other_commits else 2)
