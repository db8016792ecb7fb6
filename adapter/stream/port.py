"""Defines what the engine needs of a Kafka client, and what such a client promises.

`adapter/kafka` keeps these promises with aiokafka, and the engine's tests keep them in memory. Another client may take
its place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from adapter.errors import StreamError
from adapter.stream.records import ProducerRecord, Record


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Commit(Struct, frozen=True, kw_only=True):
    """A group's committed offset of one partition, and the metadata of the commit."""

    offset: int
    metadata: str


class OffsetRange(Struct, frozen=True, kw_only=True):
    """The first offset that the log still has, and the one after the last that committed readers can see."""

    start: int
    end: int
    topic_id: str = ""
    """The topic's id: a topic that is deleted and recreated has another. Empty if the brokers have no ids."""


class KafkaClientError(StreamError):
    """A request failed, and it is unknown whether it took effect: read the state from the broker, then try again."""


class BatchTooLarge(KafkaClientError):
    """A topic rejects a batch of records each of which it may accept; nothing was written, and the producer cannot be
    reused.

    Producers that are started from now on send smaller batches.
    """


class RecordsTooLarge(StreamError):
    """Topics reject these records, given by their index; nothing was written, and the producer cannot be reused.

    Also raised for a record that no client can write.
    """

    def __init__(self, indexes: Collection[int]) -> None:
        super().__init__(f"{len(indexes)} record(s) exceed max.message.bytes of their topic")
        self.indexes = frozenset(indexes)


class OffsetOutOfRange(StreamError):
    """The logs of these partitions have no record at the next offset; nothing was read, and nothing was skipped."""

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = frozenset(partitions)
        super().__init__(f"the next offset is out of range in {', '.join(map(str, self.partitions))}")


class UnreadableBatch(StreamError):
    """The batch of `partition` that holds offset `first` cannot be decoded; nothing of it was read or skipped.

    `base` and `last` are the batch's own first and last offset, as far as its header can be believed. `cause` quotes no
    content.
    """

    def __init__(self, partition: TopicPartition, *, base: int, first: int, last: int, cause: str) -> None:
        super().__init__(f"The batch at {partition}/{first} cannot be read: {cause}")
        self.partition = partition
        self.base = base
        self.first = first
        self.last = last
        self.cause = cause


class TransactionalProducer(Protocol):
    """The transactional producer of a partition's outcomes; its start has fenced every earlier one."""

    @property
    def first(self) -> bool:
        """Whether the brokers know no earlier producer of this partition; valid once started."""
        ...

    async def publish(self, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str) -> None:
        """Publish all records and the commit in one transaction, or nothing.

        Raises RecordsTooLarge for records that are too large by themselves, or BatchTooLarge: nothing was written.
        After any other KafkaClientError, only the group's committed offset, read after this producer was fenced, shows
        whether the transaction was committed.
        """
        ...

    def close(self) -> None:
        """Close it in the background."""
        ...

    def abort(self) -> None:
        """Close it with a transaction open, which ends with the next owner's fence, or by its time-out."""
        ...


class FollowedRecords(Struct, frozen=True, kw_only=True):
    """The next records of a topic that is read without a consumer group; possibly none."""

    records: tuple[Record, ...] = ()
    complete: bool
    """Everything has been returned that was committed when the reading began."""
    answered: bool
    """A broker has answered about every partition since the records before these."""


class Publisher(Protocol):
    """Writes single records that are not the outcome of a record, outside of transactions: at least once."""

    async def publish(self, producer_record: ProducerRecord) -> None:
        """Return when all in-sync replicas have the record. Raises BrokerUnavailable or KafkaClientError in bounded
        time.

        After an error the record may have been written all the same.
        """
        ...


class Lease(Protocol):
    """How certain this process may be that it still owns its partitions."""

    @property
    def generation(self) -> int:
        """The group generation that this member belongs to; negative if it belongs to none."""
        ...

    def holds(self, generation: int) -> bool:
        """Whether a request that the broker answered for `generation` was sent less than a session time-out ago."""
        ...

    def answered(self) -> bool:
        """Whether the broker answered any request within a session time-out, or within a rebalance time-out while
        joining.
        """
        ...

    def check_proven(self) -> None:
        """Check, once partitions are assigned, that the broker's answers are observed at all. Raises AssertionError."""
        ...

    async def proven_after(self, moment: float) -> None:
        """Wait until the broker has answered a request of this member that was sent after `moment` (see `clock`)."""
        ...

    def clock(self) -> float:
        """Seconds on a clock that continues while this process is stopped or the machine sleeps."""
        ...


class Member(Protocol):
    """One member of a consumer group. It reads only committed records, and commits nothing by itself."""

    @property
    def lease(self) -> Lease: ...

    @property
    def cluster_id(self) -> str: ...

    def join(
        self, topics: Collection[str], *, revoked: Callable[[], Awaitable[None]], assigned: Callable[[], None]
    ) -> None:
        """Start to join the group.

        `revoked` is awaited before the member's partitions are given up, and must return within half of
        `Kafka.rebalance_timeout`. `assigned` is called as soon as partitions, possibly none, have been assigned.
        Neither may raise.
        """
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions assigned to this member, taken over or not."""
        ...

    async def partitions_of(self, topics: Collection[str]) -> frozenset[TopicPartition]:
        """Return every partition of these topics. Raises KafkaClientError, BrokerUnavailable."""
        ...

    async def commit_before_join(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        """Commit all of these at once, before any member has joined the group.

        Returns False and commits nothing if a member has joined. Raises KafkaClientError, BrokerUnavailable.
        """
        ...

    async def poll(
        self,
        partitions: Collection[TopicPartition],
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return records of these partitions only, in the order of their offsets; empty after `timeout` seconds.

        Raises KafkaClientError if this member cannot continue and must be replaced. Raises OffsetOutOfRange, which the
        caller handles; those partitions are not read until a seek.

        Raises UnreadableBatch if the next batch of one partition cannot be decoded; all records before it were returned
        by earlier polls. What this poll had read of other partitions is lost, so the caller must seek all of them.
        """
        ...

    def position(self, partition: TopicPartition) -> int | None:
        """The next offset that is read; None while that is unknown.

        What `poll` did not return below it is no record: a transaction marker, or an aborted or compacted record.
        """
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Continue reading at `offset` and forget what was fetched but not returned yet. Raises KafkaClientError."""
        ...

    async def committed(self, partition: TopicPartition) -> Commit | None:
        """Return the group's commit, None if there is none. Raises KafkaClientError, BrokerUnavailable."""
        ...

    async def offset_range(self, partition: TopicPartition) -> OffsetRange:
        """Return the present range of the log. Raises KafkaClientError, BrokerUnavailable."""
        ...

    async def lag(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return how many offsets of these partitions were not returned yet; partitions where this is unknown are left
        out.

        Raises KafkaClientError, BrokerUnavailable.
        """
        ...

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        """Return the `topic_id` of each of these topics that has one. Raises KafkaClientError, BrokerUnavailable.

        If a topic has partitions that the group does not know yet, this makes the group assign them.
        """
        ...

    async def start_producer(self, partition: TopicPartition) -> TransactionalProducer:
        """Return a started producer for this partition's outcomes. Raises KafkaClientError, BrokerUnavailable."""
        ...

    async def leave(self) -> None:
        """Leave the group and close all connections, also those of the producers. Never raises and never takes long."""
        ...


class Kafka(Protocol):
    """Creates members of groups."""

    async def connect(self, group: str) -> Member:
        """Return a member that can join `group`. Raises BrokerUnavailable, KafkaClientError."""
        ...

    @property
    def rebalance_timeout(self) -> float:
        """Seconds that the group waits for a member in a rebalance before it continues without it."""
        ...
