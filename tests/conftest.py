"""Fixtures that more than one room's tests need: the real broker, topics on it, and a broker to do harm to.

One local Kafka serves the whole session; `ECTICKET_KAFKA__BOOTSTRAP_SERVERS` names another broker to use instead. A
test that asks for it is a broker test (marker `broker`): where the broker cannot be had, it is skipped and says so, and
under `CI=true` that is a failure, so that a green run without a broker does not look like a tested one.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from typing import Protocol

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import HealthCheck, settings
from quick import EXAMPLES, QUICK
from unclosed import watch_clients

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.errors import LocalKafkaError
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import TopicSpec, create

_NOT_RUN = "BROKER TEST NOT RUN"

# A test proves what the code does, not how busy the machine is.
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("any load"), max_examples=EXAMPLES)
settings.load_profile("quick" if QUICK else "any load")


class TopicFactory(Protocol):
    """Makes a topic with a name that no other test has, and returns the name."""

    async def __call__(
        self, name: str = "test", *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str: ...


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that use a broker are marked automatically, whether it is the session's or their own."""
    if not {"kafka", "local_kafka_ready"}.isdisjoint(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.broker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI=true a broker test that did not run has failed, whatever skipped it."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _must_run(item):
        report.outcome = "failed"
        report.longrepr = f"{_NOT_RUN}, which CI=true makes a failure: {report.longrepr}"
    return report


def _must_run(item: pytest.Item) -> bool:
    return os.environ.get("CI") == "true" and item.get_closest_marker("broker") is not None


@pytest.fixture(autouse=True)
def _every_client_is_closed() -> Iterator[None]:
    """The test that leaves a Kafka client open fails, not a later one during which the garbage collector finds it."""
    with pytest.MonkeyPatch.context() as patch:  # a test may undo its own patches
        unclosed = watch_clients(patch)
        yield
        assert list(unclosed) == []


@pytest.fixture(autouse=True)
def _log_handlers_are_removed() -> Iterator[None]:
    """A command that runs in this process logs to the standard error of its test, which is closed afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def local_kafka_ready() -> None:
    """Everything that a local broker needs is here; else the test is skipped. For tests that start their own."""
    try:
        LocalKafka().prepare()
    except LocalKafkaError as error:
        pytest.skip(f"{_NOT_RUN}: {error}")


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[KafkaConnection]:
    """How to reach the session's broker."""
    given = os.environ.get("ECTICKET_KAFKA__BOOTSTRAP_SERVERS")
    if given:
        yield KafkaConnection(bootstrap_servers=given)
        return
    request.getfixturevalue("local_kafka_ready")
    with LocalKafka() as broker:
        yield KafkaConnection(bootstrap_servers=broker.bootstrap_servers)


@pytest.fixture
def own_kafka(local_kafka_ready: None) -> Iterator[LocalKafka]:
    """A broker of the test's own, which it may kill or damage: whatever it leaves, the next test has another one."""
    with LocalKafka() as broker:
        yield broker


@pytest.fixture
async def topic(kafka: KafkaConnection) -> AsyncIterator[TopicFactory]:
    """Makes topics that are removed after the test."""
    made: list[str] = []

    async def make(name: str = "test", *, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        unique = f"{name}-{uuid.uuid4().hex[:12]}"
        await create(kafka, [TopicSpec(name=unique, partitions=partitions, config=config or {})])
        made.append(unique)
        return unique

    yield make
    if made:
        await _delete(kafka, made)


async def _delete(kafka: KafkaConnection, names: list[str]) -> None:
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await admin.start()
        await admin.delete_topics(names)
    finally:
        await admin.close()
