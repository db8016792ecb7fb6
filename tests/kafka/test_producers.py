"""The producer of commands that write records by hand is closed however its start ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, TransactionalIdAuthorizationFailed

from adapter.errors import BrokerUnavailable, StreamError
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.producers import exclusive_producer


@pytest.fixture
def silent() -> Iterator[KafkaConnection]:
    """An address where a connection is taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield KafkaConnection(bootstrap_servers=f"127.0.0.1:{server.getsockname()[1]}")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[AIOKafkaProducer]:
    """The producers whose start was called."""
    producers: list[AIOKafkaProducer] = []
    start = AIOKafkaProducer.start

    async def starting(self: AIOKafkaProducer) -> None:
        producers.append(self)
        await start(self)

    monkeypatch.setattr(AIOKafkaProducer, "start", starting)
    return producers


async def test_a_start_that_is_cancelled_closes_the_producer(
    silent: KafkaConnection, started: list[AIOKafkaProducer]
) -> None:
    """A command that is interrupted while it waits for a broker leaves no connection."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), exclusive_producer(silent, "name"):
            pass

    assert [producer._closed for producer in started] == [True]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KafkaConnectionError(), BrokerUnavailable),
        (TransactionalIdAuthorizationFailed(), StreamError),
        (AssertionError(), AssertionError),
    ],
)
async def test_a_start_that_fails_closes_the_producer(
    silent: KafkaConnection, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception]
) -> None:
    """Also after an error that is none of the client's own, which passes as it is."""
    failed: list[AIOKafkaProducer] = []

    async def failing(self: AIOKafkaProducer) -> None:
        failed.append(self)
        raise error

    monkeypatch.setattr(AIOKafkaProducer, "start", failing)

    with pytest.raises(raised):
        async with exclusive_producer(silent, "name"):
            pass

    assert [producer._closed for producer in failed] == [True]
