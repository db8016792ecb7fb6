"""Finds members of the adapter's consumer groups that belong to another deployment, or read other topics.

Every client of a deployment has the same client id (`kafka.client_id`), whatever its version, its number of replicas
and its settings. So a member with another client id belongs to another deployment: a second release with the same
`kafka.group_prefix`, or a consumer that joined by mistake. Such members take partitions of each other's orders.

Does not join a group. The brokers allow whoever may Read a group to describe it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    for_code,
)
from msgspec import Struct

from adapter.errors import BrokerUnavailable, StreamError
from adapter.kafka.admin import ANSWER_SECONDS, UNAVAILABLE
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.producers import LEAVE_SECONDS, completes_within

_NO_COORDINATOR_YET = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
_RETRY_SECONDS = 0.1


class GroupMember(Struct, frozen=True, kw_only=True):
    """A member of a consumer group as the brokers describe it."""

    group: str
    client_id: str
    host: str
    topics: frozenset[str] | None
    """What it subscribes to; None while the group rebalances, because brokers leave it out then."""


class GroupConflict(Struct, frozen=True, kw_only=True):
    """What is wrong with the members of the groups.

    `blocking`: members of another deployment, with which this one must not share orders. Otherwise a warning.
    """

    message: str
    blocking: bool


async def group_members(connection: KafkaConnection, groups: Collection[str]) -> tuple[GroupMember, ...]:
    """Return the present members of these groups; a group that does not exist has none.

    Raises BrokerUnavailable, and StreamError if the brokers do not describe a group.
    """
    admin = AIOKafkaAdminClient(**connection.client_options(), request_timeout_ms=round(ANSWER_SECONDS * 1000))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await admin.start()
            return tuple([member for group in groups for member in await _describe(admin, group)])
    except UNAVAILABLE as error:
        raise BrokerUnavailable(f"describing the consumer groups failed: {type(error).__name__}") from error
    except KafkaError as error:
        raise StreamError(f"describing the consumer groups failed: {type(error).__name__}") from error
    finally:
        await completes_within(admin.close(), LEAVE_SECONDS)


async def _describe(admin: AIOKafkaAdminClient, group: str) -> list[GroupMember]:
    """Describe one group once a broker coordinates it; the first request about a group begins that election.

    aiokafka 0.14 reads the answer about several groups wrongly: it sends version 3, which adds a field to each group,
    and decodes version 2.
    """
    while True:
        try:
            (answer,) = await admin.describe_consumer_groups([group])
            (description,) = answer.to_object()["groups"]
            return list(_members(description))
        except _NO_COORDINATOR_YET:
            await asyncio.sleep(_RETRY_SECONDS)


def find_conflict(
    members: Iterable[GroupMember], *, client_id: str, topics: Mapping[str, Collection[str]]
) -> GroupConflict | None:
    """Return what is wrong with these members, if anything is; `topics` are those that each group reads here. Pure.

    Members of this deployment that read other topics are a warning only: a rolling update that changes a topic has such
    members for a moment.
    """
    known = list(members)
    if others := [member for member in known if member.client_id != client_id]:
        return GroupConflict(
            message=(
                f"Consumer group {_groups(others)} has members of another deployment: {_clients(others)}. This one is "
                f"{client_id}. They would share the orders. Give each deployment its own kafka.group_prefix; if they "
                "are one deployment, give them the same kafka.client_id; if the other one is a predecessor, stop it."
            ),
            blocking=True,
        )
    if different := [
        each for each in known if each.topics is not None and each.topics != {*topics.get(each.group, ())}
    ]:
        there = ", ".join(sorted({topic for each in different for topic in each.topics or ()}))
        here = ", ".join(sorted({topic for each in different for topic in topics.get(each.group, ())}))
        return GroupConflict(
            message=(
                f"Consumer group {_groups(different)} has members that read other topics: {there}. This process reads "
                f"{here}. If no update is under way, these are two deployments: give each its own kafka.group_prefix "
                "and kafka.client_id."
            ),
            blocking=False,
        )
    return None


def _members(group: Mapping[str, Any]) -> Iterator[GroupMember]:
    if group["error_code"]:
        raise for_code(group["error_code"])(group["group"])
    for member in group["members"]:
        yield GroupMember(
            group=group["group"],
            client_id=member["client_id"],
            host=member["client_host"].removeprefix("/"),
            topics=_topics(member["member_metadata"]),
        )


def _topics(metadata: bytes) -> frozenset[str] | None:
    """The topics in what a member sent when it joined; None without any, or in a form that is not a consumer's."""
    if not metadata:
        return None
    try:
        return frozenset(ConsumerProtocolMemberMetadata.decode(metadata).subscription or ())
    except ValueError:
        return None


def _groups(members: Iterable[GroupMember]) -> str:
    return ", ".join(sorted({member.group for member in members}))


def _clients(members: Iterable[GroupMember]) -> str:
    return ", ".join(sorted({f"{member.client_id} at {member.host}" for member in members}))
