"""Why no broker can be used: the address that is to blame is named, also one that only the brokers themselves give."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka.client import AIOKafkaClient
from key_words import mentions
from provider.server import self_signed
from stream.advertising import broker_that_advertises

from adapter.errors import BrokerUnavailable
from adapter.kafka.admin import admin_session
from adapter.kafka.connection import KafkaConnection


async def _complaint(servers: str, **more: object) -> str:
    connection = KafkaConnection(bootstrap_servers=servers, **more)  # type: ignore[arg-type]  # each test's own
    with pytest.raises(BrokerUnavailable) as caught:
        async with admin_session(connection, within_seconds=5.0) as cluster:
            await cluster.topics(["orders.paid"])
    return str(caught.value)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 1), ("kafka-0.nowhere.invalid", 9092)])
async def test_an_advertised_address_that_cannot_be_reached_is_named(host: str, port: int) -> None:
    """The start succeeds and nothing after it: the listener that the broker advertises is what to correct."""
    async with broker_that_advertises(host, port) as servers:
        message = await _complaint(servers)

    assert f"answers at {servers}" in message
    assert f"{host}:{port}" in message
    assert "advertised.listeners" in message


async def test_an_address_that_does_not_answer_is_named() -> None:
    """Nothing is known of advertised addresses then."""
    message = await _complaint("127.0.0.1:1")

    assert mentions(message, "No broker 127.0.0.1:1 kafka.bootstrap_servers")


async def test_a_brokers_certificate_that_is_not_trusted_names_the_setting(tmp_path: Path) -> None:
    """As for ECTicket: the file of authorities is what to set."""
    _, context = self_signed(tmp_path)
    async with broker_that_advertises("127.0.0.1", 1, tls=context) as servers:
        message = await _complaint(servers, security_protocol="SSL")

    assert mentions(message, "certificate not trusted kafka.ssl_ca_file")


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> KafkaConnection:
    """Brokers that let the client start at once."""

    async def bootstrap(self: AIOKafkaClient) -> None:
        pass

    monkeypatch.setattr(AIOKafkaClient, "bootstrap", bootstrap)
    return KafkaConnection(bootstrap_servers="127.0.0.1:1")


async def test_work_may_take_longer_than_an_answer(answered: KafkaConnection) -> None:
    """Once a broker has answered, its work has a bound of its own."""
    async with admin_session(answered, within_seconds=0.05, work_seconds=60):
        await asyncio.sleep(0.1)


async def test_work_that_takes_too_long_is_given_up(answered: KafkaConnection) -> None:
    """Its bound may also be the shorter one."""
    with pytest.raises(BrokerUnavailable):
        async with admin_session(answered, within_seconds=60, work_seconds=0.05):
            await asyncio.sleep(60)
