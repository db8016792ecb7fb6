"""Checks which topics exist, creates missing ones, and finds settings of existing ones that can lose records.

Topics are created only here; brokers that create topics on first use are never relied on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from adapter.errors import TopicsMissing
from adapter.kafka.admin import CREATE_SECONDS, Admin, TopicDescription, TopicRejection, TopicSpec, admin_session
from adapter.kafka.connection import KafkaConnection

__all__ = ["TopicSpec", "create", "durability_warnings", "existing", "missing", "warnings"]

_LOOK_SECONDS = 0.05
_FOREVER = -1
_NOT_ALLOWED = {"TopicAuthorizationFailedError", "ClusterAuthorizationFailedError"}


async def existing(connection: KafkaConnection, names: Collection[str]) -> frozenset[str]:
    """Return those of `names` that are topics. Raises BrokerUnavailable, and StreamError if the brokers do not answer
    that.
    """
    async with admin_session(connection) as cluster:
        return frozenset(await cluster.topics(names))


async def missing(connection: KafkaConnection, names: Collection[str]) -> tuple[str, ...]:
    """Return those of `names` that are no topics, in the order given. Raises as `existing` does."""
    found = await existing(connection, names)
    return tuple(dict.fromkeys(name for name in names if name not in found))


async def create(
    connection: KafkaConnection,
    specs: Iterable[TopicSpec],
    *,
    on_created: Callable[[Sequence[str]], None] = lambda names: None,
) -> tuple[str, ...]:
    """Create the topics that do not exist; return their names when all of them are ready.

    `on_created` gets the names as soon as the brokers have answered, also if they reject others. Existing topics stay
    as they are, also those that another process creates at the same moment. Raises BrokerUnavailable, and TopicsMissing
    with the brokers' message if they reject one.
    """
    wanted = {spec.name: spec for spec in specs}
    async with admin_session(connection, work_seconds=CREATE_SECONDS) as cluster:
        found = await cluster.topics(wanted)
        absent = [spec for name, spec in wanted.items() if name not in found]
        if not absent:
            return ()
        refused = await cluster.create(absent)
        created = tuple(spec.name for spec in absent if spec.name not in refused)
        if created:
            on_created(created)
        await _usable(cluster, [name for name in wanted if name not in refused])
        if refused:
            raise TopicsMissing("\n".join(_refusal(name, refusal) for name, refusal in refused.items()))
        return created


async def warnings(connection: KafkaConnection, specs: Iterable[TopicSpec]) -> tuple[str, ...]:
    """Return one sentence for each setting of an existing topic that can lose records; missing topics are left out.

    Raises BrokerUnavailable, and StreamError if the brokers do not describe a topic.
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
                f"The settings of topic {name} cannot be read, so it is unknown whether it can lose records; "
                "allow this user to DescribeConfigs on it (ACL)."
            )
    return tuple(sentences)


async def _usable(cluster: Admin, names: Collection[str]) -> None:
    """Wait until every partition has a leader; the time limit of the session ends this."""
    while True:
        found = await cluster.topics(names)
        if all(name in found and found[name].ready for name in names):
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _refusal(name: str, refusal: TopicRejection) -> str:
    cure = (
        "allow this user to Create topics (ACL), or let an administrator create them"
        if refusal.name in _NOT_ALLOWED
        else "change the requested settings, or create it by hand"
    )
    details = f": {refusal.message.rstrip('.')}" if refusal.message else ""
    return f"The topic {name} is missing, and the brokers do not create it ({refusal.name}{details}); {cure}."


def durability_warnings(spec: TopicSpec, facts: TopicDescription, settings: Mapping[str, str]) -> Iterator[str]:
    """Yield one sentence for each setting that can lose records: topic, setting, value, reason, remedy.

    Pure. Settings that merely differ from the requested ones give no sentence.
    """
    yield from _cleanup_warning(spec, settings)
    yield from _size_warning(spec, settings)
    yield from _replication_warning(spec.name, facts, settings)


def _cleanup_warning(spec: TopicSpec, settings: Mapping[str, str]) -> Iterator[str]:
    policy = settings.get("cleanup.policy", "delete")
    if "compact" in policy and "compact" not in spec.config.get("cleanup.policy", "delete"):
        yield (
            f"Topic {spec.name} has cleanup.policy={policy}: of records with the same key only the last is kept, but "
            "all are needed; set cleanup.policy=delete."
        )
    if spec.config.get("cleanup.policy") == "compact" and policy != "compact":
        yield (
            f"Topic {spec.name} has cleanup.policy={policy}: records are deleted after a time, although the newest of "
            "each key is needed for ever; set cleanup.policy=compact."
        )
    size = settings.get("retention.bytes", "-1")
    if int(size) != _FOREVER and "retention.bytes" not in spec.config:
        yield (
            f"Topic {spec.name} has retention.bytes={size}: a burst of records deletes older ones before their time; "
            "set retention.bytes=-1."
        )


def _size_warning(spec: TopicSpec, settings: Mapping[str, str]) -> Iterator[str]:
    retention, asked = settings.get("retention.ms"), spec.config.get("retention.ms")
    if retention and asked and _lasting(retention) < _lasting(asked):
        yield (
            f"Topic {spec.name} has retention.ms={retention}: records are deleted after {_span(retention)}, even if "
            f"they were not read; set retention.ms={asked} ({_span(asked)}) or more."
        )
    size, wanted = settings.get("max.message.bytes"), spec.config.get("max.message.bytes")
    if size and wanted and int(size) < int(wanted):
        yield (
            f"Topic {spec.name} has max.message.bytes={size}: a larger record cannot be written to it; "
            f"set max.message.bytes={wanted} or more."
        )


def _replication_warning(name: str, facts: TopicDescription, settings: Mapping[str, str]) -> Iterator[str]:
    min_insync = settings.get("min.insync.replicas", "1")
    if facts.replication == 1:
        yield (
            f"Topic {name} has replication factor 1: if that broker's disk fails, all its records are lost; "
            "replicate it to 3 brokers (fine on a broker for trials)."
        )
    elif int(min_insync) == 1:
        yield (
            f"Topic {name} has min.insync.replicas=1 with {facts.replication} replicas: a record counts as written "
            "when a single broker has it, and is lost with that broker; set min.insync.replicas=2."
        )
    if settings.get("unclean.leader.election.enable") == "true":
        yield (
            f"Topic {name} has unclean.leader.election.enable=true: a replica that lags behind may become leader and "
            "drop records that were already acknowledged; set it to false."
        )


def _lasting(milliseconds: str) -> float:
    return float("inf") if int(milliseconds) == _FOREVER else int(milliseconds)


def _span(milliseconds: str) -> str:
    """Format a duration for people."""
    hours = _lasting(milliseconds) / 3_600_000
    if hours == float("inf"):
        return "for ever"
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} h"
