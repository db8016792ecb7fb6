"""Implements the engine's Kafka client with aiokafka 0.14.

It keeps the promises of `port.py`. The traps of this client:

* aiokafka returns records before its listener has finished, logs and swallows the listener's exceptions, and does not
  call the listener in `stop()`. So the listener only notifies the engine, and raises nothing.
* Its defaults can lose or repeat records: `acks=1`, auto-commit, `latest`, read uncommitted. `earliest` continues
  silently after lost records, so the client resets nothing by itself: the take-over decides where reading starts.
* `getmany` without partitions means all of them. With some, it leaves the prefetched records of the others alone;
  pausing would discard them and fetch them again.
* A failed batch shows only in the futures of `send`. Nearly everything is retried without end, so everything that must
  end has a time limit here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    CommitFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata

from adapter.errors import BrokerUnavailable, StreamError
from adapter.kafka.admin import admin_session
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.fetch_connection import LOOK_MS, Fetches, fetch_apart
from adapter.kafka.fetched_records import FETCH_AT_ONCE, decode_safely
from adapter.kafka.lease import HeartbeatLease
from adapter.kafka.producers import (
    LARGEST_REQUEST,
    LEAVE_SECONDS,
    TEAR_DOWN_SECONDS,
    completes_within,
    patch_pending_batches,
    retrieve_exception,
)
from adapter.kafka.record_batches import ReadBudget
from adapter.kafka.transactional_producer import AioKafkaTransactionalProducer, BatchBytes
from adapter.kafka.wire_requests import (
    UNSTABLE_OFFSET_COMMIT,
    StableOffsetFetchRequest,
    TopicIdsRequest,
    committed_in,
    counts_in,
    ids_in,
)
from adapter.stream.port import (
    Commit,
    KafkaClientError,
    OffsetOutOfRange,
    OffsetRange,
    TopicPartition,
    UnreadableBatch,
)
from adapter.stream.records import Record

ANSWER_SECONDS = 30.0
"""How long a request to a broker may take before the caller starts again from the beginning."""

METADATA_MAX_AGE_MS = 60_000
"""How often the client looks for new partitions; `topic_ids` finds them sooner."""

REBALANCE_PER_SESSION = 3
"""The rebalance time-out, in session time-outs: calls on the wire have half of it to end."""

_NOWHERE = ClientPartition("-", 0)
"""Polled if no partition is readable, because none would mean all."""
_COORDINATOR_MOVED = frozenset(
    error.errno for error in (GroupLoadInProgressError, GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError)
)
_RETRY_SECONDS = 0.05
_NEVER_MS = 2**31 - 1


class AioKafka:
    """Creates members of consumer groups; see `port.Kafka`."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._batch_bytes = BatchBytes()
        self._options: dict[str, object] | None = None

    @property
    def rebalance_timeout(self) -> float:
        """Seconds that the group waits for a member in a rebalance."""
        return REBALANCE_PER_SESSION * self._connection.session_timeout_seconds

    async def connect(self, group: str) -> AioKafkaMember:
        """See `port.Kafka`. Raises BrokerUnavailable, KafkaClientError."""
        if self._options is None:
            self._options = self._connection.client_options()
        cluster_id = await self._cluster_id(self._options)
        consumer = self._consumer(group, self._options)
        lease = HeartbeatLease(self._connection.session_timeout_seconds, self.rebalance_timeout)
        member = AioKafkaMember(consumer, lease, group, cluster_id, self._connection, self._options, self._batch_bytes)
        try:
            async with _bounded_request("connecting"):
                await consumer.start()
            member.fetches = fetch_apart(consumer)
            member.budget = decode_safely(consumer)
            lease.watch(consumer._coordinator)
        except BaseException:
            await member.leave()
            raise
        return member

    def _consumer(self, group: str, options: Mapping[str, object]) -> AIOKafkaConsumer:
        session_ms = round(self._connection.session_timeout_seconds * 1000)
        rebalance_ms = session_ms * REBALANCE_PER_SESSION
        return AIOKafkaConsumer(
            **options,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=max(session_ms // 6, 100),
            rebalance_timeout_ms=rebalance_ms,
            # A join is answered when the rebalance ends, so no request may time out earlier than that.
            request_timeout_ms=rebalance_ms + session_ms,
            # Liveness comes from heartbeats. A stage at its concurrency limit may not poll for a long time, so
            # max.poll.interval is disabled.
            max_poll_interval_ms=_NEVER_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            consumer_timeout_ms=LOOK_MS,
        )

    async def _cluster_id(self, options: Mapping[str, object]) -> str:
        admin = AIOKafkaAdminClient(**options, request_timeout_ms=round(ANSWER_SECONDS * 1000))
        try:
            async with _bounded_request("reading the cluster id"):
                await admin.start()
                return str((await admin.describe_cluster()).get("cluster_id") or "")
        finally:
            await completes_within(admin.close(), LEAVE_SECONDS)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Passes the group's decisions to the engine."""

    def __init__(self, revoked: Callable[[], Awaitable[None]], assigned: Callable[[], None]) -> None:
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(self, revoked: Collection[ClientPartition]) -> None:
        await self._revoked()

    async def on_partitions_assigned(self, assigned: Collection[ClientPartition]) -> None:
        self._assigned()


class AioKafkaMember:
    """One consumer in its group; see `port.Member`."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        lease: HeartbeatLease,
        group: str,
        cluster_id: str,
        connection: KafkaConnection,
        options: Mapping[str, object],
        batch_bytes: BatchBytes | None = None,
    ) -> None:
        self._consumer = consumer
        self._lease = lease
        self._group = group
        self._cluster_id = cluster_id
        self._connection = connection
        self._options = options
        self._batch_bytes = batch_bytes or BatchBytes()
        self._closing: set[asyncio.Task[None]] = set()
        self.budget = ReadBudget()
        self.fetches: Fetches | None = None

    @property
    def lease(self) -> HeartbeatLease:
        """Whether this member certainly still owns its partitions."""
        return self._lease

    @property
    def cluster_id(self) -> str:
        """The id of the cluster."""
        return self._cluster_id

    def join(
        self, topics: Collection[str], *, revoked: Callable[[], Awaitable[None]], assigned: Callable[[], None]
    ) -> None:
        """See `port.Member`."""
        self._consumer.subscribe(list(topics), listener=_Listener(revoked, assigned))

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions assigned to this member."""
        return frozenset(TopicPartition(*partition) for partition in self._consumer.assignment())

    async def partitions_of(self, topics: Collection[str]) -> frozenset[TopicPartition]:
        """See `port.Member`. Raises KafkaClientError, BrokerUnavailable."""
        try:
            async with admin_session(self._connection) as cluster:
                found = await cluster.topics(topics)
        except BrokerUnavailable:
            raise
        except StreamError as error:
            raise KafkaClientError(str(error)) from error
        return frozenset(
            TopicPartition(name, partition) for name, facts in found.items() for partition in facts.partitions
        )

    async def commit_before_join(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        """See `port.Member`. Raises KafkaClientError, BrokerUnavailable."""
        offsets = {
            ClientPartition(*partition): OffsetAndMetadata(commit.offset, commit.metadata)
            for partition, commit in commits.items()
        }
        async with _bounded_request("committing before a member has joined"):
            try:
                # A commit without a generation, which a member gets when it joins: a group with members rejects it.
                await self._consumer._coordinator.commit_offsets(None, offsets)
            except CommitFailedError:
                return False
        return True

    async def poll(
        self,
        partitions: Collection[TopicPartition],
        *,
        timeout: float,  # noqa: ASYNC109  # the end of a poll is no failure
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """See `port.Member`. Raises KafkaClientError, OffsetOutOfRange, UnreadableBatch."""
        wanted = [ClientPartition(*partition) for partition in partitions] or [_NOWHERE]
        self.budget.renew()
        try:
            batches = await self._consumer.getmany(*wanted, timeout_ms=round(timeout * 1000), max_records=FETCH_AT_ONCE)
        except OffsetOutOfRangeError as error:
            (positions,) = error.args
            raise OffsetOutOfRange(TopicPartition(*partition) for partition in positions) from error
        except UnreadableBatch:
            raise
        except Exception as error:  # whatever the client raises, a new member may work
            raise KafkaClientError(f"reading failed: {error!r}") from error
        return {TopicPartition(*partition): batch for partition, batch in batches.items()}

    def position(self, partition: TopicPartition) -> int | None:
        """See `port.Member`."""
        subscription = self._consumer._subscription.subscription
        assignment = subscription and subscription.assignment
        state = assignment.state_value(ClientPartition(*partition)) if assignment else None
        return int(state.position) if state is not None and state.has_valid_position else None

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See `port.Member`. Raises KafkaClientError."""
        moves = self.position(partition) != offset
        try:
            self._consumer.seek(ClientPartition(*partition), offset)
        except KafkaError as error:
            raise KafkaClientError(f"seeking in {partition} failed: {error!r}") from error
        if moves and self.fetches is not None:
            self.fetches.moved(ClientPartition(*partition))

    async def committed(self, partition: TopicPartition) -> Commit | None:
        """See `port.Member`. Raises KafkaClientError, BrokerUnavailable."""
        async with _bounded_request(f"reading the committed offset of {partition}"):
            while True:
                offset, metadata, error_code = await self._fetch_committed(partition)
                if not error_code:
                    break
                await asyncio.sleep(_RETRY_SECONDS)
        return Commit(offset=offset, metadata=metadata) if offset >= 0 else None

    async def _fetch_committed(self, partition: TopicPartition) -> tuple[int, str, int]:
        coordinator = self._consumer._coordinator
        await coordinator.ensure_coordinator_known()
        answer = committed_in(await coordinator._send_req(StableOffsetFetchRequest(self._group, *partition)))
        error_code = answer[2]
        if error_code in _COORDINATOR_MOVED:
            coordinator.coordinator_dead()
        elif error_code not in (0, UNSTABLE_OFFSET_COMMIT):
            raise KafkaClientError(f"reading the committed offset of {partition} failed with code {error_code}")
        return answer

    async def offset_range(self, partition: TopicPartition) -> OffsetRange:
        """See `port.Member`. Raises KafkaClientError, BrokerUnavailable."""
        wanted = [ClientPartition(*partition)]
        # The id first: if the topic is recreated in between, the range belongs to a topic with another id.
        ids = await self.topic_ids([partition.topic])
        async with _bounded_request(f"reading the offset range of {partition}"):
            starts = await self._consumer.beginning_offsets(wanted)
            ends = await self._consumer.end_offsets(wanted)
        return OffsetRange(start=starts[partition], end=ends[partition], topic_id=ids.get(partition.topic, ""))

    async def lag(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """See `port.Member`. Raises KafkaClientError, BrokerUnavailable."""
        wanted = [ClientPartition(*partition) for partition in partitions]
        async with _bounded_request("reading the lag"):
            ends = await self._consumer.end_offsets(wanted) if wanted else {}
        positions = {partition: self.position(partition) for partition in partitions}
        return {
            partition: max(0, ends[ClientPartition(*partition)] - position)
            for partition, position in positions.items()
            if position is not None
        }

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        """See `port.Member`. Raises KafkaClientError, BrokerUnavailable."""
        client = self._consumer._client
        async with _bounded_request(f"reading the topic ids of {', '.join(topics)}"):
            answer = await client.send(client.get_random_node(), TopicIdsRequest(topics))
        if any(count > len(client.cluster.partitions_for_topic(topic) or ()) for topic, count in counts_in(answer)):
            # The client then joins the group again, and its leader assigns the new partitions.
            client.force_metadata_update().add_done_callback(retrieve_exception)
        return ids_in(answer)

    async def start_producer(self, partition: TopicPartition) -> AioKafkaTransactionalProducer:
        """See `port.Member`. Raises KafkaClientError, BrokerUnavailable."""
        timeout_ms = round(self._connection.transaction_timeout_seconds * 1000)
        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=f"{self._group}.{partition.topic}.{partition.partition}",
            transaction_timeout_ms=timeout_ms,
            request_timeout_ms=timeout_ms,
            acks="all",
            enable_idempotence=True,
            max_request_size=LARGEST_REQUEST,
            max_batch_size=self._batch_bytes.max_bytes,
            compression_type=self._connection.compression_type,
        )
        patch_pending_batches(producer)
        transactional = AioKafkaTransactionalProducer(
            producer, self._group, partition, timeout_ms / 1000, self._closing, self._batch_bytes
        )
        try:
            async with _bounded_request(f"starting the producer of {partition}"):
                await producer.start()
        except BaseException:
            transactional.abort()
            raise
        return transactional

    async def leave(self) -> None:
        """See `port.Member`."""
        if not await completes_within(self._consumer.stop(), LEAVE_SECONDS):
            await self._tear_down()
        if self._closing:
            await asyncio.wait(self._closing, timeout=LEAVE_SECONDS)

    async def _tear_down(self) -> None:
        """End what aiokafka's `stop` would end, if it waits for a broker that does not answer."""
        coordinator = self._consumer._coordinator
        for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task"):
            task = getattr(coordinator, name, None)
            if task is not None:
                task.cancel()
        if self._consumer._fetcher is not None:
            await completes_within(self._consumer._fetcher.close(), TEAR_DOWN_SECONDS)
        await completes_within(self._consumer._client.close(), TEAR_DOWN_SECONDS)


@asynccontextmanager
async def _bounded_request(what: str) -> AsyncIterator[None]:
    """Limit the time of a request, and raise its failure as one of our errors."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except (KafkaConnectionError, NodeNotReadyError) as error:
        raise BrokerUnavailable(f"{what}: no broker answers or accepts the login") from error
    except TimeoutError as error:
        raise KafkaClientError(f"{what}: no answer in {ANSWER_SECONDS:.0f} s") from error
    except (KafkaError, AssertionError) as error:
        raise KafkaClientError(f"{what}: {error!r}") from error
