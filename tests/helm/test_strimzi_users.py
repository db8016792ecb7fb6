"""The users of the Strimzi example: each role has exactly the rights that it needs.

Four processes, one for each stage, log in as the example's users at a broker that denies everything else. They do the
main job: orders of all kinds, dead letters, doubt, delayed issuances, callbacks, a sink. The broker's own log then
shows which rights were used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from integration.cluster import RUN, SANDBOX, Cluster, Worker, open_cluster
from integration.ecpay import Ecpay
from integration.event_log import SLOW_MACHINE, all_there
from integration.order_source import OrderSource

from adapter.app import STAGES
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.local_kafka.ports import free_ports
from adapter.dev.sandbox.fault_types import AnswerLostAfter, AnswerLostBefore, JobNeverFinishes
from adapter.dev.sandbox.faults import FaultRule
from adapter.kafka.connection import KafkaConnection
from adapter.protocol.endpoints import Endpoint
from adapter.settings import Settings
from adapter.values import replace
from helm.examples import FOLDER
from helm.kafka_rights import Right, grant, guarded_kafka, login, used_rights
from helm.renderer import yaml_documents

SINK = '''
from adapter import Undeliverable, hookimpl

class Refuses:
    """Takes no event, so that a dead letter is written."""

    name = "refuses"

    async def deliver(self, event):
        raise Undeliverable("as the test wants it")

@hookimpl
def notification_sinks():
    return [Refuses()]
'''
USERS = {
    each["metadata"]["name"]: each for each in yaml_documents((FOLDER / "strimzi" / "kafka-users.yaml").read_text())
}
SKIPS = "ecticket-adapter.skips"
"""The group with requests to skip a batch. It is read only while a partition waits at one that cannot be read."""
RARE = {
    *(("ecticket-collect", "topic", name, "Write") for name in ("ecticket.dead-letters", "ecticket.issuances")),
    ("ecticket-submit", "topic", "ecticket.dead-letters", "Read"),
}
"""The stage collect parks an issuance only if reports lack tickets for `collect.give_up_after_hours`, and submit looks
for the oldest dead letter once a minute."""
ROLES = {stage: f"ecticket-{stage}" for stage in STAGES}


def rights_of(user: str) -> set[Right]:
    """The rights of a KafkaUser."""
    return set(_rights(USERS[user]))


def _rights(user: Mapping[str, Any]) -> Iterator[Right]:
    for acl in user["spec"]["authorization"]["acls"]:
        resource = acl["resource"]
        for operation in acl["operations"]:
            yield Right(
                user=user["metadata"]["name"],
                kind=resource["type"],
                name=resource.get("name", "kafka-cluster"),
                operation=operation,
                prefix=resource.get("patternType") == "prefix",
            )


def test_a_user_for_all_stages_has_the_rights_of_each() -> None:
    """Those of the four roles together, and no others."""

    def least(*users: str) -> set[Right]:
        rights = {replace(right, user="") for user in users for right in rights_of(user)}
        return {right for right in rights if not any(other.covers(right) for other in rights - {right})}

    assert least("ecticket-adapter") == least(*ROLES.values())
    assert least("ecticket-adapter") == {replace(right, user="") for right in rights_of("ecticket-adapter")}


@pytest.fixture
def guarded(local_kafka_ready: None) -> Iterator[LocalKafka]:
    """A broker that knows the example's users and has granted them what the example grants."""
    with guarded_kafka([*ROLES.values()]) as broker:
        grant(broker, [right for user in ROLES.values() for right in rights_of(user)])
        yield broker


async def test_each_stage_needs_exactly_the_rights_of_its_user(guarded: LocalKafka, tmp_path: Path) -> None:
    """Nothing that it needs is denied, and nothing that it may do is unused."""
    plugin = tmp_path / "refuses.py"
    plugin.write_text(SINK, encoding="utf-8")
    (port,) = free_ports(1)
    sandbox = replace(SANDBOX, report_interval_seconds=0)
    settings: dict[str, Any] = {
        **{f"topics__{name}": topic for name, topic in Settings().topics.names().items()},
        "kafka__group_prefix": Settings().kafka.group_prefix,
        "confirm__delayed_after_seconds": "2",
        "confirm__delayed_interval_seconds": "1",
        "confirm__give_up_after_hours": "0.002",
        "callbacks__port": str(port),
        "plugins__paths": str(plugin),
        "collect__issue_types": "electronic,paper,serial_number,convenience_store",
        "reconcile__at": "00:00",
        "reports__interval_seconds": "0.5",
        "collect__interval_seconds": "1",
    }
    async with open_cluster(
        KafkaConnection(bootstrap_servers=guarded.bootstrap_servers), tmp_path, sandbox=sandbox, **settings
    ) as cluster:

        async def start(stage: str) -> Worker:
            cluster.settings |= {f"kafka.{name}": value for name, value in login(guarded, ROLES[stage]).items()}
            return await cluster.start(command=(*RUN, "--only", stage), ready=False)

        workers = [await start(stage) for stage in ROLES]
        await asyncio.gather(*(worker.until_ready() for worker in workers))
        cluster.sandbox.faults.arm(
            FaultRule(behaviour=AnswerLostBefore(), count=2),
            FaultRule(behaviour=AnswerLostAfter(), endpoint=Endpoint.ISSUE, arrivals=frozenset({5, 6})),
            FaultRule(behaviour=JobNeverFinishes(), arrivals=frozenset({8})),
        )
        source = OrderSource(seed=5)
        await cluster.feed(source.orders(12))
        # Submit reads the events to learn whose a number is that a query knows; there must be one to read.
        assert await cluster.reader.until(lambda: cluster.event_log.count("issued") > 0, seconds=SLOW_MACHINE * 60)
        cluster.sandbox.faults.arm(FaultRule(behaviour=AnswerLostAfter(), endpoint=Endpoint.ISSUE, count=1))
        await cluster.feed(source.orders(1))
        await cluster.put([(b"bad", b"no order", ())])
        async with Ecpay(f"http://127.0.0.1:{port}/callbacks/ecticket/use-status") as ecpay:
            await ecpay.insist("CBX1")
        stages, types = set[str](), set[str]()
        async with asyncio.timeout(SLOW_MACHINE * 90):
            while (
                not {"parse", "confirm", "deliver"} <= stages
                or "ecticket.ticket.collected.v1" not in types
                or await cluster.uncommitted()
                or not all(await _records(cluster, "reconciliations", "orders_deferred"))
            ):
                stages = await _header(cluster, "dead_letters", "ecticket-stage")
                types = await _header(cluster, "tickets", "ce_type")
                await asyncio.sleep(0.5)
        for _ in range(120):  # the stage reconcile, for example, reads what it published when it looks again
            if not _unused(guarded):
                break
            await asyncio.sleep(0.5)
        assert [await worker.dismiss() for worker in workers] == [0] * len(STAGES)

    _, denied = used_rights(guarded)
    assert {(each.user, each.kind, each.name, each.operation) for each in denied} == set()
    assert _unused(guarded) == set()


def _unused(broker: LocalKafka) -> set[tuple[str, str, str, str]]:
    """User, kind, name and operation of each right that was not used so far, without the rare ones."""
    allowed, _ = used_rights(broker)
    granted = set().union(*(rights_of(user) for user in ROLES.values()))
    unused = {
        (right.user, right.kind, right.name, right.operation)
        for right in granted
        if not any(right.covers(used) and right.operation == used.operation for used in allowed)
    }
    return {each for each in unused - RARE if each[2] != SKIPS}


async def _records(cluster: Cluster, *topics: str) -> list[list[ConsumerRecord]]:
    """All committed records of each topic."""
    return [await all_there(cluster.kafka, cluster.topic(topic)) for topic in topics]


async def _header(cluster: Cluster, topic: str, name: str) -> set[str]:
    """The values of a header of all records on a topic."""
    (records,) = await _records(cluster, topic)
    return {dict(each.headers)[name].decode() for each in records}
