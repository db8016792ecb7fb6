"""Publishes the outcomes of one partition and its offset in one transaction, with aiokafka.

Topics reject whole batches without naming the record that is too large. So this producer learns a smaller batch size,
and only a record that was alone in its batch counts as too large.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import (
    IllegalOperation,
    KafkaError,
)
from aiokafka.structs import OffsetAndMetadata

from adapter.kafka.producers import (
    ALONE,
    TOO_LARGE,
    close_producer,
    retrieve_exception,
)
from adapter.stream.port import (
    BatchTooLarge,
    KafkaClientError,
    RecordsTooLarge,
    TopicPartition,
)
from adapter.stream.records import ProducerRecord

log = logging.getLogger(__name__)

_UNWRITABLE = (TypeError, ValueError)
"""What the client raises for a record that it cannot write, such as text that UTF-8 cannot encode."""
_BATCH_BYTES = 128 * 1024
_BATCH_STEP = 4
_MIN_BATCH_BYTES = 512


class BatchBytes:
    """The batch size of all transactional producers of a process; smaller once a topic has rejected a batch.

    Clients do not know a topic's `max.message.bytes`, which limits batches and not records.
    """

    def __init__(self) -> None:
        self.max_bytes = _BATCH_BYTES

    def shrink(self, refused: int) -> None:
        """Send smaller batches than the rejected one; in the end, each record goes alone."""
        smaller = refused // _BATCH_STEP if refused > _MIN_BATCH_BYTES else ALONE
        if smaller < self.max_bytes:
            self.max_bytes = smaller
            log.warning("batches-shrunk", extra={"bytes": refused, "max_bytes": smaller})


class AioKafkaTransactionalProducer:
    """One transactional producer; see `port.TransactionalProducer`."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        group: str,
        partition: TopicPartition,
        transaction_timeout: float,
        closing: set[asyncio.Task[None]],
        batch_bytes: BatchBytes | None = None,
    ) -> None:
        self._batch_bytes = batch_bytes or BatchBytes()
        self._own_batch_bytes = self._batch_bytes.max_bytes
        self._producer = producer
        self._closing = closing
        self._transaction_timeout = transaction_timeout
        self._group = group
        self._partition = ClientPartition(*partition)
        self._open = False

    @property
    def first(self) -> bool:
        """See `port.TransactionalProducer`."""
        return bool(self._producer._txn_manager.producer_epoch == 0)

    async def publish(self, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str) -> None:
        """See `port.TransactionalProducer`. Raises RecordsTooLarge, KafkaClientError."""
        try:
            # Long before that, the broker aborts the transaction by itself.
            async with asyncio.timeout(2 * self._transaction_timeout):
                await self._transact(producer_records, OffsetAndMetadata(offset, metadata))
        except (KafkaError, IllegalOperation, TimeoutError, AssertionError) as error:
            # If it was fenced between two sends, aiokafka raises IllegalOperation, which is no KafkaError. It also uses
            # asserts.
            for *_, future in self._producer._txn_manager._pending_txn_offsets:
                future.add_done_callback(retrieve_exception)
            raise KafkaClientError(f"the transaction failed: {error!r}") from error

    async def _transact(self, producer_records: Sequence[ProducerRecord], commit: OffsetAndMetadata) -> None:
        await self._producer.begin_transaction()
        self._open = True
        results = await self._send(producer_records, commit)
        unwritable = {
            at for at, result in enumerate(results[: len(producer_records)]) if isinstance(result, _UNWRITABLE)
        }
        if unwritable:
            raise RecordsTooLarge(unwritable)
        too_large = {at for at, result in enumerate(results) if isinstance(result, TOO_LARGE)}
        if too_large:
            # aiokafka has counted the rejected batch and the broker has not: what follows would be out of sequence.
            raise self._rejection(producer_records, too_large)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        await self._producer.commit_transaction()
        self._open = False

    def _rejection(
        self, producer_records: Sequence[ProducerRecord], refused: set[int]
    ) -> RecordsTooLarge | BatchTooLarge:
        """Decide which records are too large: topics reject whole batches, so only a record alone in its batch is known
        to be.
        """
        by_topic = Counter(producer_records[at].topic for at in refused)
        alone = {
            at
            for at in refused
            if self._own_batch_bytes == ALONE
            or producer_records[at].size >= self._own_batch_bytes
            or by_topic[producer_records[at].topic] == 1
        }
        if alone != refused:
            self._batch_bytes.shrink(self._own_batch_bytes)
        if alone:
            return RecordsTooLarge(alone)
        return BatchTooLarge(f"a topic rejects batches of {self._own_batch_bytes} bytes; the next ones are smaller")

    async def _send(self, producer_records: Sequence[ProducerRecord], commit: OffsetAndMetadata) -> list[object]:
        """Return the result of each record, and of the commit as the last; each may be an exception."""
        sent: list[asyncio.Future[object]] = []
        try:
            for producer_record in producer_records:
                sent.append(await self._send_one(producer_record))
        except BaseException:
            for future in sent:
                future.cancel()
            raise
        offsets = self._producer.send_offsets_to_transaction({self._partition: commit}, self._group)
        return await asyncio.gather(*sent, offsets, return_exceptions=True)

    async def _send_one(self, producer_record: ProducerRecord) -> asyncio.Future[object]:
        try:
            if producer_record.key is None and producer_record.value is None:
                return await self._send_empty(producer_record)
            future: asyncio.Future[object] = await self._producer.send(
                producer_record.topic, producer_record.value, producer_record.key, headers=list(producer_record.headers)
            )
        except (*TOO_LARGE, *_UNWRITABLE) as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        return future

    async def _send_empty(self, producer_record: ProducerRecord) -> asyncio.Future[object]:
        """Send a record without key and value: Kafka accepts that, and a dead letter may be one, but aiokafka's `send`
        does not.
        """
        partitions = await self._producer.partitions_for(producer_record.topic)
        batch = self._producer.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=list(producer_record.headers))
        future: asyncio.Future[object] = await self._producer.send_batch(
            batch, producer_record.topic, partition=random.choice(sorted(partitions))
        )
        return future

    def close(self) -> None:
        """See `port.TransactionalProducer`."""
        closing = asyncio.ensure_future(self._end())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def abort(self) -> None:
        """See `port.TransactionalProducer`."""
        self._open = True
        self.close()

    async def _end(self) -> None:
        # An open transaction is ended by the broker or by the next owner.
        await close_producer(self._producer, abort=self._open)
