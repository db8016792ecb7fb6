"""Publishes the outcomes of one partition and its offset in one transaction, with aiokafka.

Topics reject whole batches without naming the record that is too large. So this producer learns a smaller batch size,
and only a record that was alone in its batch counts as too large.
"""

from __future__ import annotations

import asyncio
import logging
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
from adapter.kafka.transaction_batches import TransactionBatch, write_batches
from adapter.stream.port import (
    BatchTooLarge,
    KafkaClientError,
    RecordsTooLarge,
    TopicPartition,
)
from adapter.stream.records import ProducerRecord

log = logging.getLogger(__name__)

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
        batches = await write_batches(self._producer, producer_records)
        await self._producer.begin_transaction()
        self._open = True
        results = await self._send(batches, commit)
        rejected = [batch for batch, result in zip(batches, results, strict=False) if isinstance(result, TOO_LARGE)]
        if rejected:
            # aiokafka has counted the rejected batch and the broker has not: what follows would be out of sequence.
            raise self._rejection(rejected)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        await self._producer.commit_transaction()
        self._open = False

    def _rejection(self, rejected: Sequence[TransactionBatch]) -> RecordsTooLarge | BatchTooLarge:
        """Decide which records are too large: topics reject whole batches, so only a record alone in its batch is known
        to be.
        """
        alone = {batch.indexes[0] for batch in rejected if len(batch.indexes) == 1}
        if len(alone) < len(rejected):
            self._batch_bytes.shrink(self._own_batch_bytes)
        if alone:
            return RecordsTooLarge(alone)
        return BatchTooLarge(f"a topic rejects batches of {self._own_batch_bytes} bytes; the next ones are smaller")

    async def _send(self, batches: Sequence[TransactionBatch], commit: OffsetAndMetadata) -> list[object]:
        """Return the result of each batch, and of the commit as the last; each may be an exception."""
        sent: list[asyncio.Future[object]] = []
        try:
            for batch in batches:
                sent.append(await self._producer.send_batch(batch.builder, batch.topic, partition=batch.partition))
        except BaseException:
            for future in sent:
                future.cancel()
            raise
        offsets = self._producer.send_offsets_to_transaction({self._partition: commit}, self._group)
        return await asyncio.gather(*sent, offsets, return_exceptions=True)

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
