"""A record by itself is acknowledged by the broker or given back within a bound, and outages end by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiokafka.errors import NodeNotReadyError
from aiokafka.structs import BrokerMetadata
from conftest import TopicFactory
from integration.event_log import all_there
from stream.broker_harness import until

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.errors import BrokerUnavailable
from adapter.kafka import publisher as publisher_module
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.publisher import WITHIN_SECONDS, KafkaPublisher
from adapter.kafka.topics import TopicSpec, create
from adapter.stream.port import KafkaClientError
from adapter.stream.records import ProducerRecord

pytestmark = pytest.mark.usefixtures("nothing_overlooked")

WITHIN = 1.5
_REQUEST_ERRORS = (NodeNotReadyError(), AssertionError("a login without a token"), ConnectionResetError())


@asynccontextmanager
async def _publishing(connection: KafkaConnection, *, within_seconds: float = WITHIN) -> AsyncIterator[KafkaPublisher]:
    """A publisher that runs."""
    publisher, stop = KafkaPublisher(connection, within_seconds=within_seconds), asyncio.Event()
    running = asyncio.create_task(publisher.run(stop))
    try:
        yield publisher
    finally:
        stop.set()
        await asyncio.wait_for(running, 60)


def _record(topic: str, value: str) -> ProducerRecord:
    return ProducerRecord(topic=topic, key=b"3085676/A", value=value.encode(), headers=(("ce_id", value.encode()),))


async def _there(connection: KafkaConnection, topic: str) -> list[str]:
    """Everything that a committed reader finds now."""
    return [record.value.decode() for record in await all_there(connection, topic)]


async def test_what_is_published_is_there(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """Once, with its key and headers; many at once."""
    name = await topic(partitions=3)
    async with _publishing(kafka) as publisher:
        await until(lambda: publisher.connected, seconds=20)
        await asyncio.gather(*(publisher.publish(_record(name, f"{number}")) for number in range(300)))

        assert publisher.connected
        assert sorted(await _there(kafka, name)) == sorted(str(number) for number in range(300))


async def test_a_record_that_the_topic_does_not_take_harms_no_other(
    kafka: KafkaConnection, topic: TopicFactory
) -> None:
    """The client counts the rejected record and the broker does not, so the client starts again."""
    name = await topic(config={"max.message.bytes": "2000"})
    async with _publishing(kafka) as publisher:
        await until(lambda: publisher.connected, seconds=20)
        await publisher.publish(_record(name, "before"))

        with pytest.raises(KafkaClientError):
            await publisher.publish(_record(name, "x" * 5000))

        await publisher.publish(_record(name, "after"))

    assert await _there(kafka, name) == ["before", "after"]


async def test_records_that_share_a_batch_are_not_too_large(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """A hundred notifications at once, each of which the topic takes."""
    name = await topic(config={"max.message.bytes": "2000"})
    async with _publishing(kafka, within_seconds=60) as publisher:
        await until(lambda: publisher.connected, seconds=20)
        await asyncio.gather(*(publisher.publish(_record(name, f"{number:0>900}")) for number in range(100)))

    assert sorted(map(int, await _there(kafka, name))) == list(range(100))


async def test_without_a_broker_it_raises_at_once() -> None:
    """No caller waits for a broker that is known to be unavailable; and the publisher stops all the same."""
    async with _publishing(KafkaConnection(bootstrap_servers="127.0.0.1:9")) as publisher:
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(_record("tickets", "x"))

        assert not publisher.connected


class _Client:
    """An aiokafka client; `answers` has what each broker does: answer, never answer, or the error of the request."""

    def __init__(self, *answers: object) -> None:
        self._answers = answers
        self.metadata_updates = 0
        brokers = frozenset(BrokerMetadata(node_id, "kafka", 9092, None) for node_id in range(len(answers)))
        self.cluster = SimpleNamespace(brokers=lambda: brokers)

    async def send(self, node_id: int, request: object) -> None:
        answer = self._answers[node_id]
        if isinstance(answer, Exception):
            raise answer
        if answer == "never":
            await asyncio.Event().wait()

    def force_metadata_update(self) -> None:
        self.metadata_updates += 1


async def test_silent_and_failing_brokers_hide_no_answer() -> None:
    """One that answers is enough, whichever is asked first."""
    client = _Client(*["never"] * 20, *_REQUEST_ERRORS, "at once")
    publisher = KafkaPublisher(KafkaConnection(bootstrap_servers="127.0.0.1:9"))

    assert await publisher._answers(SimpleNamespace(client=client))
    assert client.metadata_updates == 0


@pytest.mark.parametrize("answers", [(), _REQUEST_ERRORS, ("never", "never")], ids=["no broker", "errors", "silence"])
async def test_without_any_answer_the_client_updates_its_metadata(
    answers: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The brokers may have other addresses. No error of the client ends the publisher."""
    monkeypatch.setattr(publisher_module, "_CHECK_SECONDS", 0.01)
    client = _Client(*answers)
    publisher = KafkaPublisher(KafkaConnection(bootstrap_servers="127.0.0.1:9"))

    assert not await publisher._answers(SimpleNamespace(client=client))
    assert client.metadata_updates == 1


def test_before_its_start_it_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made with the process and started when a broker is there, which may be hours later."""
    publisher = KafkaPublisher(KafkaConnection(bootstrap_servers="127.0.0.1:9"))
    later = time.monotonic() + 7200
    monkeypatch.setattr(time, "monotonic", lambda: later)

    assert publisher.last_heartbeat == later


def test_no_caller_waits_longer_than_the_contract_allows() -> None:
    """ECPay sends again after 5 s without an answer."""
    assert WITHIN_SECONDS < 5


async def test_a_broker_that_comes_back_is_published_to_again(own_kafka: LocalKafka) -> None:
    """Killed during a publish; what was acknowledged is there."""
    connection = KafkaConnection(bootstrap_servers=own_kafka.bootstrap_servers)
    await create(connection, [TopicSpec(name="tickets", partitions=1, config={})])
    async with _publishing(connection) as publisher:
        await until(lambda: publisher.connected, seconds=20)
        await publisher.publish(_record("tickets", "before"))
        await asyncio.to_thread(own_kafka.kill)
        with pytest.raises((BrokerUnavailable, KafkaClientError)):
            await publisher.publish(_record("tickets", "during"))
        await until(lambda: not publisher.connected, seconds=20)

        await asyncio.to_thread(own_kafka.restart)
        await until(lambda: publisher.connected, seconds=20)
        await publisher.publish(_record("tickets", "after"))

    assert {"before", "after"} <= set(await _there(connection, "tickets"))
