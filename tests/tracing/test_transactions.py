"""The transaction that makes an order's outcome visible is a span of that order's trace."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from flows.harness import with_headers
from opentelemetry.trace import SpanKind

from adapter.stream.port import KafkaClientError, Member, TopicPartition, TransactionalProducer
from adapter.stream.records import ProducerRecord
from adapter.stream.stage import Outcome
from adapter.testing.fakes import FakeRecordContext
from tracing.conftest import SHOP, TracedHarness, attributes, context, parent

PARTITION = TopicPartition("orders.paid", 3)


class Cluster:
    """A Kafka with one member and one producer, which keeps what it publishes; implements the ports."""

    rebalance_timeout = 30.0
    cluster_id = "memory"
    first = True

    def __init__(self) -> None:
        self.published: list[ProducerRecord] = []
        self.error: Exception | None = None
        self.ended: list[str] = []

    async def connect(self, _group: str) -> Cluster:
        return self

    async def start_producer(self, _partition: TopicPartition) -> Cluster:
        return self

    async def publish(self, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str) -> None:
        if self.error is not None:
            raise self.error
        self.published.extend(producer_records)

    def close(self) -> None:
        self.ended.append("close")

    def abort(self) -> None:
        self.ended.append("abort")


async def producer(harness: TracedHarness, cluster: Cluster) -> tuple[Member, TransactionalProducer]:
    """A member and its producer, with spans around them."""
    member = await harness.traces.instruments.kafka(cluster).connect("g")  # type: ignore[arg-type]  # only what is used
    return member, await member.start_producer(PARTITION)


async def outcome(harness: TracedHarness, order_id: str, traceparent: str = SHOP) -> Outcome:
    """What one order yields."""
    record = with_headers(harness.order(order_id=order_id), ("traceparent", traceparent.encode()))
    prepared = await harness.submit.prepare(record)
    return await harness.submit.handle(prepared.subject, FakeRecordContext(record))


async def test_each_order_gets_a_span_of_the_transaction(harness: TracedHarness) -> None:
    """Below the span that processed the order, not the one of another order in the same transaction."""
    cluster = Cluster()
    orders = [await outcome(harness, order_id) for order_id in ("A-1", "A-2")]
    processes = {context(span).span_id for span in harness.traces.spans if span.name.startswith("process")}
    _, transactional = await producer(harness, cluster)
    harness.traces.forget()
    records = [record for each in orders for record in each.records]
    await transactional.publish(records, offset=7, metadata="m")

    assert cluster.published == records
    assert {parent(span) for span in harness.traces.spans} == processes
    assert [span.kind for span in harness.traces.spans] == [SpanKind.CLIENT, SpanKind.CLIENT]
    assert dict(attributes(harness.traces.spans[0])) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "transaction",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": 4,
        "ecticket.input.topic": "orders.paid",
        "ecticket.input.partition": 3,
    }


async def test_a_transaction_without_a_recorded_order_has_no_span(harness: TracedHarness) -> None:
    """Reservations are transactions too."""
    order = await outcome(harness, "A-1", SHOP[:-2] + "00")
    cluster = Cluster()
    _, transactional = await producer(harness, cluster)
    await transactional.publish(order.records, offset=7, metadata="m")

    assert cluster.published == list(order.records)
    assert not harness.traces.spans


async def test_a_failed_transaction_is_a_failed_span(harness: TracedHarness) -> None:
    """Its error passes through, and the span has its type only."""
    order = await outcome(harness, "A-1")
    cluster = Cluster()
    cluster.error = KafkaClientError("fenced, with details")
    _, transactional = await producer(harness, cluster)
    with pytest.raises(KafkaClientError):
        await transactional.publish(order.records, offset=7, metadata="m")

    span = harness.traces.span("transaction")
    assert attributes(span)["error.type"] == "KafkaClientError"
    assert not span.events
    assert span.status.description is None


async def test_everything_else_is_the_clients(harness: TracedHarness) -> None:
    """A member and its producer do all other things themselves."""
    cluster = Cluster()
    member, transactional = await producer(harness, cluster)
    transactional.close()
    transactional.abort()

    assert (member.cluster_id, transactional.first, cluster.ended) == ("memory", True, ["close", "abort"])
    assert harness.traces.instruments.kafka(cluster).rebalance_timeout == 30.0  # type: ignore[arg-type]
