"""What the engine needs of a Kafka client, and what such a client promises: the edge where another one can move in.

It refuses to know any client. `client.py` keeps these promises with aiokafka; the engine's tests keep them in
memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from adapter.errors import StreamError
from adapter.stream.records import ProducerRecord, Record


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A group's committed offset of one partition, and the metadata that hangs on it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetRange:
    """The first offset that the log still has, and the one after the last that committed readers can see.

    `topic_id` is the log's own name: a topic that is deleted and made anew has another. Empty where brokers tell none.
    """

    start: int
    end: int
    topic_id: str = ""


class KafkaClientError(StreamError):
    """The client could not do what was asked, and cannot say whether it happened; ask the broker, then try again."""


class BatchTooLarge(KafkaClientError):
    """A topic does not take a batch of records each of which it may take; nothing was written, the writer is used up.

    Writers that are started from now on send smaller batches.
    """


class RecordsTooLarge(StreamError):
    """The topics do not take these publications, by their index; nothing was written, and the writer is used up.

    That is so for a publication that no client can write, too.
    """

    def __init__(self, indexes: Collection[int]) -> None:
        super().__init__(f"{len(indexes)} publication(s) exceed what their topic takes")
        self.indexes = frozenset(indexes)


class OffsetOutOfRange(StreamError):
    """The logs of these places have nothing where reading should go on; nothing was read, and nothing was skipped."""

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = frozenset(partitions)
        super().__init__(f"nothing is where reading should go on in {', '.join(map(str, self.partitions))}")


class UnreadableBatch(StreamError):
    """The batch of `place` that holds offset `first` cannot be decoded; nothing of it was read or skipped.

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
    """The one writer of a partition's outcomes; having started it has fenced every earlier one."""

    @property
    def first(self) -> bool:
        """Whether the brokers remember no earlier writer of this place; once started."""
        ...

    async def publish(self, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str) -> None:
        """All publications and the commit in one transaction, or nothing.

        Raises PublicationsTooLarge about those that are too large by themselves, or BatchTooLarge: nothing was written.
        Any other KafkaTrouble: whether it was written must be read from the group's committed offset after this writer
        was fenced.
        """
        ...

    def close(self) -> None:
        """Have no more use for it; it ends in the background."""
        ...

    def abort(self) -> None:
        """The same with a transaction under way, which ends with the next owner's fence, or by its time-out."""
        ...


class Publisher(Protocol):
    """Writes records that answer no record, each by itself and outside of transactions: at least once."""

    async def publish(self, producer_record: ProducerRecord) -> None:
        """Return when all in-sync replicas have the record. Raises BrokerAway or KafkaTrouble within a bound.

        After a raise the record may be there all the same.
        """
        ...


class Lease(Protocol):
    """How certain this process may be that its partitions are still its own."""

    @property
    def generation(self) -> int:
        """The group's generation that this member belongs to; negative when it belongs to none."""
        ...

    def holds(self, generation: int) -> bool:
        """Whether a request that the broker answered for `generation` was sent less than a session time-out ago."""
        ...

    def answered(self) -> bool:
        """Whether the broker answered something within a session time-out, or owes no more than a rebalance's end."""
        ...

    def check_proven(self) -> None:
        """Be sure, once partitions were assigned, that proofs are seen at all. Raises AssertionError."""
        ...

    async def proven_after(self, moment: float) -> None:
        """Wait until the broker has answered a request of this member that was sent after `moment` (see `clock`)."""
        ...

    def clock(self) -> float:
        """Seconds on a clock that goes on while this process is stopped or the machine sleeps."""
        ...


class Member(Protocol):
    """One member of a consumer group, reading committed records only, committing nothing by itself."""

    @property
    def lease(self) -> Lease: ...

    @property
    def cluster_id(self) -> str: ...

    def join(
        self, topics: Collection[str], *, revoked: Callable[[], Awaitable[None]], assigned: Callable[[], None]
    ) -> None:
        """Begin to join the group.

        `revoked` is awaited before the member's partitions are given up, and must come back within half of
        `Kafka.rebalance_timeout`; `assigned` is called as soon as partitions, maybe none, have been assigned. Neither
        may raise.
        """
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions assigned to this member, taken over or not."""
        ...

    async def partitions_of(self, topics: Collection[str]) -> frozenset[TopicPartition]:
        """Every partition of these topics. Raises KafkaTrouble, BrokerAway."""
        ...

    async def commit_before_join(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        """Commit all of these at once, before anybody has joined the group.

        False, and nothing is committed, when somebody has. Raises KafkaTrouble, BrokerAway.
        """
        ...

    async def poll(
        self,
        partitions: Collection[TopicPartition],
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Records of these places only, in the order of their offsets; empty after `timeout` seconds.

        Raises KafkaTrouble when this member can go on no more: make a new one; and OutOfRange, which is for the caller
        to judge: nothing of those places is read until they are sought.

        Raises UnreadableBatch when the next batch of one place cannot be decoded; all records before it were returned
        by earlier polls. What this poll had read of other places is lost, so the caller must seek all of them.
        """
        ...

    def position(self, partition: TopicPartition) -> int | None:
        """Where reading goes on; None while that is not known.

        What `poll` did not hand out below it is no record: a transaction's marker, or an aborted or compacted record.
        """
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on at `offset`; what was fetched already and not yet handed out is forgotten. Raises KafkaTrouble."""
        ...

    async def committed(self, partition: TopicPartition) -> Commit | None:
        """What the group has committed, None when it never has. Raises KafkaTrouble, BrokerAway."""
        ...

    async def offset_range(self, partition: TopicPartition) -> OffsetRange:
        """What the log has at this moment. Raises KafkaTrouble, BrokerAway."""
        ...

    async def lag(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """How many offsets of these logs were not handed out yet; a place where that is not known is left out.

        Raises KafkaTrouble, BrokerAway.
        """
        ...

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        """The `topic_id` of these topics' logs, as far as there are any. Raises KafkaTrouble, BrokerAway.

        When they have partitions that the group does not know of yet, this makes it deal them out.
        """
        ...

    async def start_producer(self, partition: TopicPartition) -> TransactionalProducer:
        """A started writer for this place's outcomes. Raises KafkaTrouble, BrokerAway."""
        ...

    async def leave(self) -> None:
        """Leave the group and end all connections, the writers' too; never raises and never takes long."""
        ...


class Kafka(Protocol):
    """Makes members of groups."""

    async def connect(self, group: str) -> Member:
        """Somebody who can join `group`. Raises BrokerAway when no broker answers, KafkaTrouble for anything else."""
        ...

    @property
    def rebalance_timeout(self) -> float:
        """Seconds that the group waits for a member in a rebalance before it goes on without it."""
        ...
