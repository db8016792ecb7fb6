"""Wraps the Kafka client of an engine: each transaction is a span below every recorded order whose outcome it commits.

One transaction commits the outcomes of many orders. Each order's trace gets its own span of the same duration, so that
a trace shows when the order's outcome became visible.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import cast

from opentelemetry.trace import SpanContext, SpanKind

from adapter.stream.port import Kafka, Member, TopicPartition, TransactionalProducer
from adapter.stream.records import ProducerRecord
from adapter.tracing.spans import Attributes, SpanOrigin, Spans, harmless, mark_failed
from adapter.tracing.stages import TracedRecord


class TracedKafka:
    """Connects members whose producers are traced."""

    def __init__(self, kafka: Kafka, spans: Spans) -> None:
        self._kafka = kafka
        self._spans = spans

    async def connect(self, group: str) -> Member:
        """Return a member of the group."""
        # A member has fourteen methods, and all but one are the client's own.
        return cast("Member", _TracedMember(await self._kafka.connect(group), self._spans))

    @property
    def rebalance_timeout(self) -> float:
        """Seconds, as `Kafka.rebalance_timeout`."""
        return self._kafka.rebalance_timeout


class _TracedMember:
    def __init__(self, member: Member, spans: Spans) -> None:
        self._member = member
        self._spans = spans

    def __getattr__(self, name: str) -> object:
        return getattr(self._member, name)

    async def start_producer(self, partition: TopicPartition) -> TransactionalProducer:
        return TracedProducer(await self._member.start_producer(partition), partition, self._spans)


class TracedProducer:
    """Publishes in transactions, each with a span for every order that it commits."""

    def __init__(self, producer: TransactionalProducer, partition: TopicPartition, spans: Spans) -> None:
        self._producer = producer
        self._partition = partition
        self._spans = spans

    @property
    def first(self) -> bool:
        """As `TransactionalProducer.first`."""
        return self._producer.first

    async def publish(self, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str) -> None:
        """Publish the records, and record how long that took."""
        traced = (each.process for each in producer_records if isinstance(each, TracedRecord))
        processes = {process.span_id: process for process in traced}
        if not processes:
            await self._producer.publish(producer_records, offset=offset, metadata=metadata)
            return
        began, error_type = time.time_ns(), None
        try:
            await self._producer.publish(producer_records, offset=offset, metadata=metadata)
        except BaseException as error:
            error_type = type(error).__name__
            raise
        finally:
            ended = partial(self._ended, tuple(processes.values()), len(producer_records), began, error_type)
            harmless(ended, None)

    def _ended(self, processes: Sequence[SpanContext], records: int, began: int, error_type: str | None) -> None:
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "transaction",
            "messaging.operation.type": "send",
            "messaging.batch.message_count": records,
            "ecticket.input.topic": self._partition.topic,
            "ecticket.input.partition": self._partition.partition,
        }
        for process in processes:
            origin = SpanOrigin(parent=process)
            span = self._spans.begin("transaction", origin, kind=SpanKind.CLIENT, attributes=attributes, began=began)
            if error_type is not None:
                mark_failed(span, error_type)
            span.end()

    def close(self) -> None:
        """As `TransactionalProducer.close`."""
        self._producer.close()

    def abort(self) -> None:
        """As `TransactionalProducer.abort`."""
        self._producer.abort()
