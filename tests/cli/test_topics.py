"""`topics` names what is missing, and makes it when asked; nothing else is ever made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest

from adapter.cli.topics import Survey
from adapter.errors import BrokerUnavailable
from adapter.kafka import topics as kafka_topics
from adapter.kafka.admin import TopicDescription, TopicRejection
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import TopicSpec, create

from .command_runner import CLOSED_PORT, Commands


@pytest.fixture
def on_broker(run: Commands, kafka: KafkaConnection, names: dict[str, str]) -> Commands:
    """Commands with the broker and names of their own."""
    run.settings({"kafka": {"bootstrap_servers": kafka.bootstrap_servers}, "topics": names})
    return run


def _states(result: dict[str, object]) -> dict[str, str]:
    topics = result["topics"]
    assert isinstance(topics, list)
    return {topic["name"]: topic["state"] for topic in topics}


def test_missing_topics_are_named_with_the_command_that_makes_them(on_broker: Commands, names: dict[str, str]) -> None:
    """Exit code 1; asking makes nothing."""
    for _ in range(2):
        result = on_broker("topics")

        assert result.code == 1
        assert all(name in result.out for name in names.values())
        assert names["orders_paid"] in result.err
        assert f"topics --create --config {on_broker.config}" in result.err


def test_missing_topics_are_made(on_broker: Commands, names: dict[str, str], kafka: KafkaConnection) -> None:
    """Those that exist stay as they are; afterwards all is well."""
    spec = TopicSpec(name=names["orders_paid"], partitions=1, config={"retention.ms": "3600000"})
    asyncio.run(create(kafka, [spec]))

    made = on_broker("topics", "--create", "--partitions", "2", "--replication", "1", "--json")

    assert made.code == 0
    assert _states(made.json) == {
        name: "exists" if name == names["orders_paid"] else "created" for name in names.values()
    }
    (logged,) = made.logged
    assert logged["event"] == "topics"
    assert logged["created"] == [name for name, state in _states(made.json).items() if state == "created"]
    again = on_broker("topics", "--json")
    topics = again.json["topics"]
    assert again.logged == []
    assert again.code == 0
    assert isinstance(topics, list)
    assert [topic["partitions"] for topic in topics] == [1, 2, 2, 2, 2, 2, 2, 1]


def test_settings_that_can_lose_records_are_reported(
    on_broker: Commands, names: dict[str, str], kafka: KafkaConnection
) -> None:
    """A retention of one hour on the orders' topic is a warning below the table."""
    spec = TopicSpec(name=names["orders_paid"], partitions=1, config={"retention.ms": "3600000"})
    asyncio.run(create(kafka, [spec]))

    warnings = on_broker("topics", "--json").json["warnings"]

    assert isinstance(warnings, list)
    (warning,) = (each for each in warnings if "retention.ms=3600000" in each)
    assert names["orders_paid"] in warning
    assert "retention.ms=3600000" in on_broker("topics").out


def test_what_was_made_is_not_complained_of(on_broker: Commands) -> None:
    """Own topics are as they should be, replication on a single broker apart."""
    on_broker("topics", "--create")

    warnings = on_broker("topics", "--json").json["warnings"]

    assert isinstance(warnings, list)
    assert all("replication factor 1" in warning for warning in warnings)


def test_the_same_warning_is_printed_once() -> None:
    """Seven topics on one broker are one thing to know."""
    warnings = ("Topic a leaks.", "Topic b leaks.", "Topic a stops.", "c stops.")
    found = Survey(specs=(), found={}, warnings=warnings)

    both, *others = found.grouped_warnings
    assert both.startswith("Topic a leaks.")
    assert both.endswith(" b.")
    assert others == ["Topic a stops.", "c stops."]


@pytest.mark.parametrize("refused", [["orders.paid"], []], ids=["one refused", "no answer afterwards"])
def test_what_the_brokers_have_created_is_logged(
    refused: list[str], run: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if they reject another topic, or no longer answer."""

    class Cluster:
        created: tuple[str, ...] = ()

        async def topics(self, names: Collection[str]) -> dict[str, TopicDescription]:
            if self.created and not refused:
                raise BrokerUnavailable("No broker answers.")
            return {
                name: TopicDescription(name=name, partitions=(0,), replication=1, ready=True) for name in self.created
            }

        async def create(self, specs: Collection[TopicSpec]) -> dict[str, TopicRejection]:
            self.created = tuple(spec.name for spec in specs if spec.name not in refused)
            return dict.fromkeys(refused, TopicRejection(name="PolicyViolationError", message=""))

    cluster = Cluster()

    @asynccontextmanager
    async def session(*_: object, **__: object) -> AsyncIterator[Cluster]:
        yield cluster

    monkeypatch.setattr(kafka_topics, "admin_session", session)
    result = run("topics", "--create")

    (logged,) = result.logged
    assert result.code == 1
    assert (logged["event"], logged["created"]) == ("topics", list(cluster.created))
    assert len(cluster.created) > 5


def test_no_broker_is_1(run: Commands) -> None:
    """What was tried, and what to look at."""
    result = run("topics")

    assert result.code == 1
    assert CLOSED_PORT in result.err
    assert "kafka.bootstrap_servers" in result.err


def test_a_wrong_address_is_2(run: Commands) -> None:
    """A setting that cannot be right is reported as one."""
    result = run("topics", "--set", "kafka.bootstrap_servers=nowhere")

    assert result.code == 2
    assert "host:port" in result.err
