"""Members of consumer groups: which belong to another deployment, and which only read other topics."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from conftest import TopicFactory

from adapter.errors import BrokerUnavailable
from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.group_members import GroupMember, find_conflict, group_members
from adapter.values import replace

TOPICS = {"a.submit": ("orders.paid", "orders.deferred"), "a.confirm": ("confirmations",)}


def member(group: str = "a.submit", client_id: str = "shop", topics: tuple[str, ...] | None = None) -> GroupMember:
    read = TOPICS[group] if topics is None else topics
    return GroupMember(group=group, client_id=client_id, host="10.0.0.7", topics=frozenset(read))


@pytest.mark.parametrize("others", [[], [member()], [member(), member(), member("a.confirm")]])
def test_members_of_the_same_deployment_are_no_conflict(others: list[GroupMember]) -> None:
    """Replicas, a rolling update, and components of one release."""
    assert find_conflict(others, client_id="shop", topics=TOPICS) is None


def test_members_that_rebalance_are_no_conflict() -> None:
    """Brokers leave out what they subscribe to."""
    joining = replace(member(), topics=None)

    assert find_conflict([joining], client_id="shop", topics=TOPICS) is None


def test_a_member_of_another_deployment_blocks() -> None:
    """Whatever it reads; group, client and address are named, and the settings that separate the two."""
    conflict = find_conflict([member(), member(client_id="stage")], client_id="shop", topics=TOPICS)

    assert conflict is not None
    assert conflict.blocking
    named = ("a.submit", "stage at 10.0.0.7", "shop", "kafka.group_prefix", "kafka.client_id")
    assert [each for each in named if each not in conflict.message] == []


def test_other_topics_are_a_warning() -> None:
    """A rolling update that changes a topic must not wait for itself."""
    conflict = find_conflict([member(topics=("orders.paid", "other"))], client_id="shop", topics=TOPICS)

    assert conflict is not None
    assert not conflict.blocking
    assert [each for each in ("a.submit", "other", "orders.deferred") if each not in conflict.message] == []


async def test_members_are_described_by_the_brokers(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """Before a member joins, with the client id and the topics of each that did, and when all have left."""
    name, group = await topic("in"), f"group-{uuid.uuid4().hex[:12]}"
    joins = AioKafka(replace(kafka, client_id="stage", session_timeout_seconds=6))
    assigned = asyncio.Event()

    async def revoked() -> None:
        pass

    before = await group_members(kafka, [group])
    joined = await joins.connect(group)
    try:
        joined.join([name], revoked=revoked, assigned=assigned.set)
        async with asyncio.timeout(60):
            await assigned.wait()
        (found,) = await group_members(kafka, [group, f"{group}.none"])
    finally:
        await joined.leave()

    assert before == ()
    assert (found.group, found.client_id, found.topics) == (group, "stage", frozenset({name}))
    assert found.host
    assert await group_members(kafka, [group]) == ()


async def test_without_a_broker_nothing_is_known() -> None:
    """The start waits then."""
    with pytest.raises(BrokerUnavailable):
        await group_members(KafkaConnection(bootstrap_servers="127.0.0.1:1"), ["group"])
