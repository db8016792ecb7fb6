"""Publishes records that are not the outcome of a record, such as notifications over HTTP: at least once, in bounded
time.

A caller outside waits for the answer, and a transaction of the engine could take as long as a broker is unavailable.
The publisher keeps nothing: a record that is not acknowledged in time fails, and its sender sends it again.

aiokafka's idempotent producer retries without end, and after a failure that is not a lost connection it counts records
that the broker does not. So whenever a record is not acknowledged, whatever the reason, the producer is closed with
everything it holds, and a new one is started.

Records that are published at the same time share a batch, and a topic may reject a batch of records that it accepts one
by one (`max.message.bytes`). From the first such error on, each record goes alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from typing import Literal

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IllegalOperation, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from adapter.errors import BrokerUnavailable
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.producers import (
    ALONE,
    LARGEST_REQUEST,
    TOO_LARGE,
    close_producer,
    patch_pending_batches,
    retrieve_exception,
)
from adapter.stream.port import KafkaClientError
from adapter.stream.records import ProducerRecord

WITHIN_SECONDS = 4.0
"""How long a record may take, including the wait for a broker; without an answer, ECPay sends again after 5 to 15
minutes, and it waits about 10 s for one (unverified)."""
_CHECK_SECONDS = 2.0
"""How often the brokers are checked if nothing is published."""
_START_SECONDS = 5.0
_RETRY_SECONDS = 0.25
_BATCH_BYTES = 128 * 1024
_FAILURES = (KafkaError, IllegalOperation, AssertionError)

log = logging.getLogger(__name__)


class KafkaPublisher:
    """See `port.Publisher`; publishes while `run` is running."""

    def __init__(self, connection: KafkaConnection, *, within_seconds: float = WITHIN_SECONDS) -> None:
        self._connection = connection
        self._within = within_seconds
        self._producer: AIOKafkaProducer | None = None
        self._producer_ready = asyncio.Event()
        self._broken = asyncio.Event()
        self._connected = False
        self._last_heartbeat: float | None = None
        self._batch_bytes = self._own_batch_bytes = _BATCH_BYTES

    @property
    def last_heartbeat(self) -> float:
        """When `run` last updated its heartbeat (`time.monotonic`); now, before its start, which waits for a broker
        without end.
        """
        return time.monotonic() if self._last_heartbeat is None else self._last_heartbeat

    @property
    def connected(self) -> bool:
        """Whether a broker answered recently."""
        return self._connected

    async def run(self, stop: asyncio.Event) -> None:
        """Keep a producer until `stop`; records in flight then get a moment to be acknowledged."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                batch_bytes = self._batch_bytes
                producer = await self._start(batch_bytes)
                if producer is None:
                    await asyncio.wait({stopping}, timeout=_RETRY_SECONDS)
                else:
                    await self._serve(producer, batch_bytes, stopping)
        finally:
            stopping.cancel()

    async def _start(self, batch_bytes: int) -> AIOKafkaProducer | None:
        """Return a producer that has found a broker, or None."""
        self._update_heartbeat(connected=self._connected)
        timeout_ms = round(self._within * 1000)
        producer = AIOKafkaProducer(
            **self._connection.client_options(),
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=timeout_ms,
            max_request_size=LARGEST_REQUEST,
            max_batch_size=batch_bytes,
            compression_type=self._connection.compression_type,
        )
        patch_pending_batches(producer)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await producer.start()
        except (*_FAILURES, OSError, TimeoutError) as error:
            self._update_heartbeat(connected=False)
            log.debug("producer-not-started", extra={"detail": repr(error)})
            await close_producer(producer, abort=True)
            return None
        except BaseException:
            await close_producer(producer, abort=True)
            raise
        return producer

    async def _serve(self, producer: AIOKafkaProducer, batch_bytes: int, stopping: asyncio.Task[Literal[True]]) -> None:
        """Publish with this producer until it fails or `run` stops."""
        self._update_heartbeat(connected=True)
        self._broken.clear()
        self._producer = producer
        self._own_batch_bytes = batch_bytes
        self._producer_ready.set()
        breaking = asyncio.create_task(self._broken.wait())
        try:
            waiting = {breaking, stopping}
            while not (await asyncio.wait(waiting, timeout=_CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED))[0]:
                self._update_heartbeat(connected=await self._answers(producer))
        finally:
            breaking.cancel()
            self._discard_producer()
            await close_producer(producer, abort=self._broken.is_set())

    async def _answers(self, producer: AIOKafkaProducer) -> bool:
        """Whether a broker answers now; all are asked at once. If none does, the client has to update its metadata."""
        client = producer.client
        brokers = [broker.nodeId for broker in client.cluster.brokers()]
        # In random order, because aiokafka opens one connection at a time.
        asking = [asyncio.create_task(_answered(client, node_id)) for node_id in random.sample(brokers, len(brokers))]
        try:
            for answered in asyncio.as_completed(asking, timeout=_CHECK_SECONDS):
                if await answered:
                    return True
        except TimeoutError:
            pass
        finally:
            for task in asking:
                task.cancel()
        client.force_metadata_update()
        return False

    async def publish(self, producer_record: ProducerRecord) -> None:
        """See `port.Publisher`. Raises BrokerUnavailable, at once while no broker is found, and KafkaClientError."""
        if self._producer is None and not self._connected:
            raise BrokerUnavailable("No broker is available.")
        try:
            async with asyncio.timeout(self._within):
                while not await self._publish(await self._wait_for_producer(), producer_record):
                    pass
        except TimeoutError as error:
            raise BrokerUnavailable(f"No broker acknowledged the record within {self._within:g} s.") from error

    async def _wait_for_producer(self) -> AIOKafkaProducer:
        while (producer := self._producer) is None:
            await self._producer_ready.wait()
        return producer

    async def _publish(self, producer: AIOKafkaProducer, producer_record: ProducerRecord) -> bool:
        """Publish once; False if the topic rejected a batch that the record may have shared, so that it goes alone
        next.
        """
        batch_bytes = self._own_batch_bytes
        try:
            sent = await producer.send(
                producer_record.topic, producer_record.value, producer_record.key, headers=list(producer_record.headers)
            )
            sent.add_done_callback(retrieve_exception)  # this task may no longer wait by then
            await asyncio.shield(sent)  # other tasks may wait for the same batch
        except TOO_LARGE as error:
            self._break(producer, repr(error))
            if producer_record.size >= batch_bytes:
                raise KafkaClientError(
                    f"{producer_record.topic} rejects a record of {producer_record.size} bytes (max.message.bytes)"
                ) from error
            self._batch_bytes = ALONE
            return False
        except KafkaClientError:
            # Aborted with its producer. If another record's batch was the cause, this one goes alone as well.
            if self._batch_bytes < batch_bytes:
                return False
            raise
        except _FAILURES as error:
            self._break(producer, repr(error))
            raise KafkaClientError(f"publishing to {producer_record.topic} failed: {error!r}") from error
        except asyncio.CancelledError:
            self._break(producer, "no acknowledgement in time")
            raise
        return True

    def _break(self, producer: AIOKafkaProducer, why: str) -> None:
        """Have this producer replaced: all its records in flight fail together, and it gets no more."""
        if producer is self._producer:
            log.warning("publishing-failed", extra={"detail": why})
            self._discard_producer()
            self._broken.set()

    def _discard_producer(self) -> None:
        self._producer_ready.clear()
        self._producer = None

    def _update_heartbeat(self, *, connected: bool) -> None:
        self._last_heartbeat = time.monotonic()
        if connected != self._connected:
            self._connected = connected
            if connected:
                log.info("publisher-connected")
            else:
                log.info("publisher-disconnected")


async def _answered(client: AIOKafkaClient, node_id: object) -> bool:
    """Whether this broker answered. The request names no topic: a metadata update of the client names all."""
    with contextlib.suppress(*_FAILURES, OSError):
        await client.send(node_id, MetadataRequest([], allow_auto_topic_creation=False))
        return True
    return False
