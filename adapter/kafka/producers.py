"""Creates and closes aiokafka's producers safely, and writes records of commands in exclusive transactions.

aiokafka's producer removes a failed batch twice, waits in `stop` for deliveries that may never come, and leaves
exceptions that no task retrieves. The functions here correct that, and close a producer in bounded time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.producer.message_accumulator import MessageBatch

from adapter.errors import BrokerUnavailable, StreamError
from adapter.kafka.admin import UNAVAILABLE
from adapter.kafka.connection import KafkaConnection
from adapter.stream.port import KafkaClientError
from adapter.stream.records import ProducerRecord

log = logging.getLogger(__name__)

LARGEST_REQUEST = 16 * 1024 * 1024
"""The most bytes of one request to a broker: the topics decide what is too large, not the client."""

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
"""A topic's errors for a batch that is too large; all records of the batch get them."""

ALONE = 1
"""A batch size with which each record has a batch of its own: no record is smaller."""

_UNACKNOWLEDGED_MAX = 5000
"""Records of one write that may wait for their acknowledgement."""

LEAVE_SECONDS = 2.0
"""How long a clean leave may take; otherwise the group notices a session time-out later."""

TEAR_DOWN_SECONDS = 0.5
"""How long each part of a client may take to close if the broker does not answer."""


class _PendingBatches(set[MessageBatch]):
    """Batches in flight. aiokafka removes a batch twice that fails while it waits to be sent again."""

    def add(self, batch: MessageBatch) -> None:
        batch.future.add_done_callback(retrieve_exception)  # after a time-out, no task waits for it
        super().add(batch)

    def remove(self, batch: MessageBatch) -> None:
        self.discard(batch)


def patch_pending_batches(producer: AIOKafkaProducer) -> None:
    """Let batches fail without an error of the client's own; call it before the start."""
    producer._message_accumulator._pending_batches = _PendingBatches()


async def close_producer(producer: AIOKafkaProducer, *, abort: bool) -> None:
    """Close a producer in bounded time; `abort` gives up undelivered batches, for which it would wait."""
    if abort:
        producer._message_accumulator.fail_all(KafkaClientError("the producer was aborted"))
    if not await completes_within(producer.stop(), LEAVE_SECONDS):
        await completes_within(producer._sender.close(), TEAR_DOWN_SECONDS)
        await completes_within(producer.client.close(), TEAR_DOWN_SECONDS)
    _retrieve_exceptions(producer)


async def completes_within(work: Coroutine[object, object, object], seconds: float) -> bool:
    """Whether `work` ended in time, with or without an error."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        return False
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("client-not-closed", extra={"detail": repr(error)})
    return True


def retrieve_exception(future: asyncio.Future[object]) -> None:
    """Retrieve an exception for which no task waits any more, so that asyncio does not report it."""
    if not future.cancelled():
        future.exception()


def _retrieve_exceptions(producer: AIOKafkaProducer) -> None:
    batches = [batch for queue in producer._message_accumulator._batches.values() for batch in queue]
    futures = [future for batch in batches for future in (batch._drain_waiter, batch.future)]
    futures.append(producer._txn_manager._transaction_waiter)
    for future in futures:
        if future is not None and future.done():
            retrieve_exception(future)


class ExclusiveProducer:
    """The latest producer with its transactional id: its start has fenced the earlier ones."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def write(self, producer_records: Iterable[ProducerRecord]) -> None:
        """Write all records or none; they are taken one by one, so that not all need be in memory.

        Raises StreamError if a later producer has started or a topic rejects one.
        """
        topics: set[str] = set()
        try:
            async with self._producer.transaction():
                await self._send_all(producer_records, topics)
        except (KafkaError, IllegalOperation) as error:
            raise StreamError(
                f"Writing to {', '.join(sorted(topics))} failed ({error}). If another process runs the same command, "
                "its result counts. Run the command again: it reads what was written."
            ) from error

    async def _send_all(self, producer_records: Iterable[ProducerRecord], topics: set[str]) -> None:
        unacknowledged: deque[asyncio.Future[object]] = deque()
        try:
            for each in producer_records:
                topics.add(each.topic)
                sent = await self._producer.send(each.topic, each.value, each.key, headers=list(each.headers))
                unacknowledged.append(sent)
                if len(unacknowledged) >= _UNACKNOWLEDGED_MAX:
                    await unacknowledged.popleft()
            while unacknowledged:
                await unacknowledged.popleft()
        finally:
            for future in unacknowledged:
                future.add_done_callback(retrieve_exception)


@asynccontextmanager
async def exclusive_producer(
    connection: KafkaConnection, name: str, *, transaction_timeout_seconds: float | None = None
) -> AsyncIterator[ExclusiveProducer]:
    """Open the only producer with this transactional id, for commands that write records of their own.

    The brokers abort a transaction after `transaction_timeout_seconds`, by default those of the connection.

    Of two processes that run the same command at once, only the later one writes, and what it reads after its start is
    final. Raises BrokerUnavailable, StreamError.
    """
    producer = AIOKafkaProducer(
        **connection.client_options(),
        transactional_id=name,
        transaction_timeout_ms=round(1000 * (transaction_timeout_seconds or connection.transaction_timeout_seconds)),
        acks="all",
        enable_idempotence=True,
        max_request_size=LARGEST_REQUEST,
        compression_type=connection.compression_type,
    )
    try:
        try:
            await producer.start()
        except UNAVAILABLE as error:
            raise BrokerUnavailable(
                f"No Kafka broker at {connection.bootstrap_servers} answered. Check that the brokers run, and try "
                "again."
            ) from error
        except KafkaError as error:
            raise StreamError(
                f"The brokers reject the transactional id {name} ({error}). Allow this user to Write it (ACL)."
            ) from error
        yield ExclusiveProducer(producer)
    finally:
        await producer.stop()
