"""Are the topics there, how to make them, and what about the existing ones can lose something.

Nothing here relies on topics that make themselves. It refuses to know which topics there should be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping

from adapter.errors import TopicsMissing
from adapter.kafka.admin import CREATE_SECONDS, Admin, TopicDescription, TopicRejection, TopicSpec, admin_session
from adapter.kafka.connection import KafkaConnection

__all__ = ["TopicSpec", "create", "durability_warnings", "existing", "missing", "warnings"]

_LOOK_SECONDS = 0.05
_FOREVER = -1
_NOT_ALLOWED = {"TopicAuthorizationFailedError", "ClusterAuthorizationFailedError"}


async def existing(connection: KafkaConnection, names: Collection[str]) -> frozenset[str]:
    """Those of `names` that are topics. Raises BrokerAway, and StreamError when the brokers will not say."""
    async with admin_session(connection) as cluster:
        return frozenset(await cluster.topics(names))


async def missing(connection: KafkaConnection, names: Collection[str]) -> tuple[str, ...]:
    """Those of `names` that are no topics, in the order given. Raises as `existing` does."""
    found = await existing(connection, names)
    return tuple(dict.fromkeys(name for name in names if name not in found))


async def create(connection: KafkaConnection, specs: Iterable[TopicSpec]) -> tuple[str, ...]:
    """Make the topics that are not there yet; returns the names of these when all of them can be used.

    Topics that exist stay as they are, also those that somebody else makes at the same moment. Raises BrokerAway, and
    TopicsMissing when brokers refuse to make one, with what they said.
    """
    wanted = {spec.name: spec for spec in specs}
    async with admin_session(connection, work_seconds=CREATE_SECONDS) as cluster:
        found = await cluster.topics(wanted)
        absent = [spec for name, spec in wanted.items() if name not in found]
        if not absent:
            return ()
        refused = await cluster.create(absent)
        await _usable(cluster, [name for name in wanted if name not in refused])
        if refused:
            raise TopicsMissing("\n".join(_refusal(name, refusal) for name, refusal in refused.items()))
        return tuple(spec.name for spec in absent)


async def warnings(connection: KafkaConnection, specs: Iterable[TopicSpec]) -> tuple[str, ...]:
    """One sentence for each setting of an existing topic that can lose something; missing topics are passed over.

    Raises BrokerAway, and StreamError when the brokers will not say what exists.
    """
    wanted = {spec.name: spec for spec in specs}
    async with admin_session(connection) as cluster:
        found = await cluster.topics(wanted)
        settings = await cluster.settings(found) if found else {}
    sentences: list[str] = []
    for name, facts in found.items():
        if name in settings:
            sentences += durability_warnings(wanted[name], facts, settings[name])
        else:
            sentences.append(
                f"The settings of topic {name} cannot be read, so nobody knows whether it can lose something; "
                "allow this user to DescribeConfigs on it (ACL)."
            )
    return tuple(sentences)


async def _usable(cluster: Admin, names: Collection[str]) -> None:
    """Wait until every partition has a leader; the talk's own bound ends this."""
    while True:
        found = await cluster.topics(names)
        if all(name in found and found[name].ready for name in names):
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _refusal(name: str, refusal: TopicRejection) -> str:
    cure = (
        "allow this user to Create topics (ACL), or have them made by someone who may"
        if refusal.name in _NOT_ALLOWED
        else "change what is asked for, or have it made by hand"
    )
    said = f": {refusal.message.rstrip('.')}" if refusal.message else ""
    return f"The topic {name} is missing, and the brokers refuse to make it ({refusal.name}{said}); {cure}."


def durability_warnings(spec: TopicSpec, facts: TopicDescription, settings: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each setting that can lose something: topic, setting, value, why, cure."""
    yield from _cleanup_warning(spec, settings)
    yield from _size_warning(spec, settings)
    yield from _replication_warning(spec.name, facts, settings)


def _cleanup_warning(spec: TopicSpec, settings: Mapping[str, str]) -> Iterator[str]:
    policy = settings.get("cleanup.policy", "delete")
    if "compact" in policy and "compact" not in spec.config.get("cleanup.policy", "delete"):
        yield (
            f"Topic {spec.name} has cleanup.policy={policy}: of records with the same key only the last is kept, and "
            "the others are facts too; set cleanup.policy=delete."
        )
    size = settings.get("retention.bytes", "-1")
    if int(size) != _FOREVER and "retention.bytes" not in spec.config:
        yield (
            f"Topic {spec.name} has retention.bytes={size}: a rush of records removes older ones before their time; "
            "set retention.bytes=-1."
        )


def _size_warning(spec: TopicSpec, settings: Mapping[str, str]) -> Iterator[str]:
    retention, asked = settings.get("retention.ms"), spec.config.get("retention.ms")
    if retention and asked and _lasting(retention) < _lasting(asked):
        yield (
            f"Topic {spec.name} has retention.ms={retention}: records vanish after {_span(retention)}, and nobody may "
            f"have read them by then; set retention.ms={asked} ({_span(asked)}) or more."
        )
    size, wanted = settings.get("max.message.bytes"), spec.config.get("max.message.bytes")
    if size and wanted and int(size) < int(wanted):
        yield (
            f"Topic {spec.name} has max.message.bytes={size}: a larger record cannot be written to it; "
            f"set max.message.bytes={wanted} or more."
        )


def _replication_warning(name: str, facts: TopicDescription, settings: Mapping[str, str]) -> Iterator[str]:
    least = settings.get("min.insync.replicas", "1")
    if facts.replication == 1:
        yield (
            f"Topic {name} has replication factor 1: with the one broker's disk all its records are lost; "
            "replicate it to 3 brokers (fine on a broker for trying things out)."
        )
    elif int(least) == 1:
        yield (
            f"Topic {name} has min.insync.replicas=1 with {facts.replication} replicas: a record counts as written "
            "when a single broker has it, and is lost with that one; set min.insync.replicas=2."
        )
    if settings.get("unclean.leader.election.enable") == "true":
        yield (
            f"Topic {name} has unclean.leader.election.enable=true: a replica that lags behind may become leader and "
            "drop records that were already acknowledged; set it to false."
        )


def _lasting(milliseconds: str) -> float:
    return float("inf") if int(milliseconds) == _FOREVER else int(milliseconds)


def _span(milliseconds: str) -> str:
    """A length of time for people."""
    hours = _lasting(milliseconds) / 3_600_000
    if hours == float("inf"):
        return "for ever"
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} h"
