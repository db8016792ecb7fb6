"""aiokafka's producers made fit for money, and ended in bounded time whatever the brokers do.

What the writers of this room share about that client: a failed batch is removed twice, closing waits for deliveries
that may never come, and failures that nobody waits for any more are reported as overlooked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from adapter.errors import BrokerUnavailable, StreamError
from adapter.kafka.admin import AWAY
from adapter.kafka.connection import KafkaConnection
from adapter.stream.port import KafkaClientError
from adapter.stream.records import ProducerRecord

log = logging.getLogger(__name__)

LARGEST_REQUEST = 16 * 1024 * 1024
"""Bytes of one request to a broker: the topics decide what is too large, not the client."""

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
"""What a topic answers to a batch that is larger than it takes; all records of the batch get it."""

ALONE = 1
"""A batch size with which each record has a batch of its own: none is smaller than its first record."""

LEAVE_SECONDS = 2.0
"""How long leaving in good order may take; a group notices by itself a session time-out later."""

TEAR_DOWN_SECONDS = 0.5
"""How long each of a client's parts may take to end when the broker does not answer."""


class _PendingBatches(set[object]):
    """Batches on their way. aiokafka removes those twice that fail while they wait to be sent again."""

    def remove(self, batch: object) -> None:
        self.discard(batch)


def patch_pending_batches(producer: AIOKafkaProducer) -> None:
    """Before its start: let batches fail without an error of the client's own."""
    producer._message_accumulator._pending_batches = _PendingBatches()


async def close_producer(producer: AIOKafkaProducer, *, abort: bool) -> None:
    """End a producer in bounded time; `abort` gives up what it has not delivered, for which it would wait."""
    if abort:
        producer._message_accumulator.fail_all(KafkaClientError("the writer was abandoned"))
    if not await completes_within(producer.stop(), LEAVE_SECONDS):
        await completes_within(producer._sender.close(), TEAR_DOWN_SECONDS)
        await completes_within(producer.client.close(), TEAR_DOWN_SECONDS)
    _retrieve_exceptions(producer)


async def completes_within(work: Coroutine[object, object, object], seconds: float) -> bool:
    """Whether `work` ended in time; how it ended does not matter any more."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        return False
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("closing a client: %r", error)
    return True


def retrieve_exception(future: asyncio.Future[object]) -> None:
    """Look at a failure that nobody waits for any more, so that asyncio does not report it as overlooked."""
    if not future.cancelled():
        future.exception()


def _retrieve_exceptions(producer: AIOKafkaProducer) -> None:
    batches = [batch for queue in producer._message_accumulator._batches.values() for batch in queue]
    futures = [batch._drain_waiter for batch in batches]
    futures.append(producer._txn_manager._transaction_waiter)
    for future in futures:
        if future is not None and future.done():
            retrieve_exception(future)


class ExclusiveProducer:
    """The last one to have begun under its name."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def write(self, producer_records: Sequence[ProducerRecord]) -> None:
        """All of them, or nothing. Raises StreamError: somebody else has begun since, or a topic refuses them."""
        try:
            async with self._producer.transaction():
                for each in producer_records:
                    await self._producer.send_and_wait(each.topic, each.value, each.key, headers=list(each.headers))
        except (KafkaError, IllegalOperation) as error:
            raise StreamError(
                f"Writing to {', '.join(sorted({each.topic for each in producer_records}))} failed ({error}). If "
                "somebody else runs the same command at this moment, theirs counts. "
                "Run it again: it sees what was done."
            ) from error


@asynccontextmanager
async def exclusive_producer(connection: KafkaConnection, name: str) -> AsyncIterator[ExclusiveProducer]:
    """The sole writer of this name, the transactional id. Raises BrokerAway, StreamError."""
    producer = AIOKafkaProducer(
        **connection.client_options(),
        transactional_id=name,
        transaction_timeout_ms=round(connection.transaction_timeout_seconds * 1000),
        acks="all",
        enable_idempotence=True,
        max_request_size=LARGEST_REQUEST,
        compression_type=connection.compression_type,
    )
    try:
        try:
            await producer.start()
        except AWAY as error:
            raise BrokerUnavailable(
                f"No Kafka broker at {connection.bootstrap_servers} answered. Check that the brokers run, and try "
                "again."
            ) from error
        except KafkaError as error:
            raise StreamError(
                f"The brokers refuse the transactional id {name} ({error}). Allow this user to Write it (ACL)."
            ) from error
        yield ExclusiveProducer(producer)
    finally:
        await producer.stop()
