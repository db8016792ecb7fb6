"""Topics on the real broker: what is missing, made once or by several at once, and what is said of those that exist."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateTopicsRequest
from conftest import TopicFactory
from key_words import mentions

from adapter.errors import BrokerUnavailable, TopicsMissing
from adapter.kafka import topics
from adapter.kafka.admin import ANSWER_SECONDS, CREATE_SECONDS, TopicDescription, TopicSpec, admin_session
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import durability_warnings


def spec(name: str, partitions: int = 2, **config: str) -> TopicSpec:
    return TopicSpec(name=name, partitions=partitions, config={key.replace("_", "."): v for key, v in config.items()})


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def silent_peer() -> Iterator[KafkaConnection]:
    """An address where a connection is taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield KafkaConnection(bootstrap_servers=f"127.0.0.1:{server.getsockname()[1]}")


async def test_missing_topics_are_named_in_the_order_given(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """Looking does not make topics, and those that exist are not named."""
    there, first, second = await topic(), unique("z"), unique("a")

    assert await topics.missing(kafka, [first, there, second, first]) == (first, second)
    assert await topics.missing(kafka, [first, second]) == (first, second)
    assert await topics.existing(kafka, [first, there]) == {there}


async def test_making_topics_twice_changes_nothing(kafka: KafkaConnection) -> None:
    """The first call makes them as asked and says so; the second finds them there."""
    wanted = spec(unique("made"), partitions=3, retention_ms="604800000", max_message_bytes="2097152")

    assert await topics.create(kafka, [wanted]) == (wanted.name,)
    assert await topics.create(kafka, [wanted]) == ()
    async with admin_session(kafka) as cluster:
        facts = (await cluster.topics([wanted.name]))[wanted.name]
        settings = (await cluster.settings([wanted.name]))[wanted.name]
    assert facts.partitions == (0, 1, 2)
    assert facts.ready
    assert settings["retention.ms"] == "604800000"
    assert settings["max.message.bytes"] == "2097152"


async def test_topics_may_take_longer_to_make_than_an_answer_takes(
    kafka: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers and client get `CREATE_SECONDS` for it, with which a busy machine makes topics."""
    asked: list[tuple[int, int]] = []
    send = AIOKafkaClient.send

    async def sending(self: AIOKafkaClient, node: int, request: object) -> object:
        if isinstance(request, CreateTopicsRequest):
            asked.append((request.timeout, self._request_timeout_ms))
        return await send(self, node, request)

    monkeypatch.setattr(AIOKafkaClient, "send", sending)

    await topics.create(kafka, [spec(unique("slow"))])

    assert asked == [(CREATE_SECONDS * 1000, CREATE_SECONDS * 1000)]
    assert CREATE_SECONDS > ANSWER_SECONDS


async def test_several_can_make_the_same_topics_at_once(kafka: KafkaConnection) -> None:
    """Replicas that start together do not trip over each other."""
    wanted = [spec(unique("race")) for _ in range(3)]

    await asyncio.gather(*(topics.create(kafka, wanted) for _ in range(4)))

    assert await topics.missing(kafka, [each.name for each in wanted]) == ()


async def test_a_rejection_has_the_brokers_message(kafka: KafkaConnection) -> None:
    """Each topic that the brokers will not make is named with why; the others are made."""
    good, typo, bad_name = spec(unique("good")), spec(unique("typo"), retentoin_ms="1"), spec("not a name")

    with pytest.raises(TopicsMissing) as refused:
        await topics.create(kafka, [good, typo, bad_name])

    first, second = str(refused.value).splitlines()
    assert typo.name in first
    assert "retentoin.ms" in first
    assert "'not a name'" in second
    assert await topics.missing(kafka, [good.name]) == ()


async def test_existing_topics_are_judged_by_their_real_settings(kafka: KafkaConnection) -> None:
    """The sentences name topic, setting and value; missing topics are passed over."""
    name = unique("risky")
    await topics.create(kafka, [spec(name, cleanup_policy="compact", retention_ms="3600000")])

    sentences = await topics.warnings(kafka, [spec(name, retention_ms="604800000"), spec(unique("absent"))])

    for sentence, words in zip(
        sentences, ("cleanup.policy=compact", "retention.ms=3600000", "replication factor 1"), strict=True
    ):
        assert mentions(sentence, f"{name} {words}")


async def test_an_unavailable_broker_is_reported_with_the_reason(unused_port: int) -> None:
    """A refused connection is not a missing topic; the message has address and cause."""
    connection = KafkaConnection(bootstrap_servers=f"127.0.0.1:{unused_port}")

    with pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{unused_port} .*[Cc]onnect"):
        await topics.missing(connection, ["orders"])


async def test_a_peer_that_never_answers_is_given_up(silent_peer: KafkaConnection) -> None:
    """What takes connections and says nothing is away, too, and within the bound."""
    with pytest.raises(BrokerUnavailable):
        async with admin_session(silent_peer, within_seconds=0.2):
            pass


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


ASKED = TopicSpec(
    name="orders",
    partitions=3,
    config={"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "2097152"},
)
SAFE = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "max.message.bytes": "2097152",
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
}


def facts(replication: int = 3) -> TopicDescription:
    return TopicDescription(name="orders", partitions=(0, 1, 2), replication=replication, ready=True)


def test_a_topic_as_requested_gives_no_warning() -> None:
    """What is as asked, or better, gets no sentence."""
    better = SAFE | {"retention.ms": "-1", "max.message.bytes": "8388608", "min.insync.replicas": "3"}

    assert list(durability_warnings(ASKED, facts(), SAFE)) == []
    assert list(durability_warnings(ASKED, facts(), better)) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "3600000"),
        ("retention.bytes", "1000000"),
        ("max.message.bytes", "1048588"),
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "true"),
    ],
)
def test_a_setting_that_can_lose_something_is_named_with_its_value(setting: str, value: str) -> None:
    """One sentence: topic, setting, value, why, and what to set."""
    (sentence,) = durability_warnings(ASKED, facts(), SAFE | {setting: value})

    assert sentence.startswith(f"Topic orders has {setting}={value}")
    assert "; set " in sentence


def test_a_single_copy_is_the_complaint_and_not_its_in_sync_setting() -> None:
    """With one replica, min.insync.replicas=1 is not the problem."""
    (sentence,) = durability_warnings(ASKED, facts(replication=1), SAFE | {"min.insync.replicas": "1"})

    assert "replication factor 1" in sentence


def test_sizes_and_times_that_were_not_requested_give_no_warning() -> None:
    """A topic of others (orders.paid) may keep its records as long as its owner likes."""
    nothing_asked = TopicSpec(name="orders", partitions=1, config={})

    assert (
        list(durability_warnings(nothing_asked, facts(), SAFE | {"retention.ms": "1", "max.message.bytes": "1"})) == []
    )
    assert list(durability_warnings(ASKED, facts(), {"min.insync.replicas": "2"})) == []


def test_retention_is_shown_as_a_duration() -> None:
    """Milliseconds alone help no operator."""
    (sentence,) = durability_warnings(ASKED, facts(), SAFE | {"retention.ms": "3600000"})

    assert "after 1 h" in sentence
    assert "(7 days)" in sentence
