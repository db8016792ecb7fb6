"""A broker that checks rights, an ECTicket, and the records that roles work on.

Each trial has topics, groups and transactional ids of its own: all names get a prefix. So trials run side by side, and
a failed one leaves nothing for the next.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from integration.cluster import MERCHANT, QUICK, merchants
from integration.event_log import SLOW_MACHINE

from acls.rights import Right
from adapter.app import Adapter
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.producing import producing
from adapter.dev.sandbox.fault_types import AnswerLostAfter, AnswerLostBefore, JobNeverFinishes
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_to_end
from adapter.kafka.topics import create
from adapter.protocol.endpoints import Endpoint
from adapter.settings import Settings, load
from adapter.stream.records import Record
from adapter.wiring import topic_specs

TOPICS: Mapping[str, str] = {
    "orders_paid": "orders.paid",
    "orders_deferred": "ecticket.orders.deferred",
    "confirmations": "ecticket.confirmations",
    "issuances": "ecticket.issuances",
    "tickets": "ecticket.tickets",
    "dead_letters": "ecticket.dead-letters",
    "reconciliations": "ecticket.reconciliations",
    "control": "ecticket.control",
}
"""The settings of topics, and the names that the page uses."""
GROUP_PREFIX = "ecticket-adapter"
PASSWORD = "pass-word"
ACCEPTED, RECOVERED, UNFINISHED, REFUSED = "ACCEPTED1", "RECOVERED1", "UNFINISHED1", "REFUSED1"
"""Trade numbers of orders that the adapter submits at once, recovers, waits for, and finds refused."""
IN_DOUBT = "DOUB"
"""Prefix of derived numbers: Issue never answers for them."""
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "Create": AclOperation.CREATE,
}


def order(order_id: str, *, trade_no: str | None = None, sku: str = "VQT04959", **more: object) -> bytes:
    """A paid order of one electronic ticket."""
    customer = {"name": "Wang Ming", "phone": "0912345678", "email": "ming@example.com"}
    lines = [{"sku": sku, "quantity": 1}]
    content = {"order_id": order_id, "customer": customer, "issue_type": "electronic", "lines": lines} | more
    return json.dumps(content | ({} if trade_no is None else {"trade_no": trade_no})).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The broker with a user for each role, and the ECTicket of all trials."""

    broker: LocalKafka
    sandbox: RunningSandbox
    records: dict[str, list[Record]] = field(default_factory=dict)
    """What the adapter wrote about orders of every kind, by the setting of the topic."""
    written_under: list[str] = field(default_factory=list)
    """The prefix of the topics in these records."""

    @property
    def everything(self) -> KafkaConnection:
        """A connection that may do everything."""
        return KafkaConnection(bootstrap_servers=self.broker.bootstrap_servers)

    def values(self, prefix: str, user: str | None = None) -> dict[str, str]:
        """Settings of an adapter whose names begin with `prefix`; without a user it may do everything."""
        login = {
            "kafka.bootstrap_servers": self.broker.users_bootstrap_servers,
            "kafka.security_protocol": "SASL_PLAINTEXT",
            "kafka.sasl_mechanism": "PLAIN",
            "kafka.sasl_username": user or "",
            "kafka.sasl_password": PASSWORD,
        }
        return {
            **QUICK,
            "submit.refusal_final_after_seconds": "1",
            "submit.reissue_after_seconds": "60",
            **({"kafka.bootstrap_servers": self.broker.bootstrap_servers} if user is None else login),
            "kafka.group_prefix": f"{prefix}{GROUP_PREFIX}",
            **{f"topics.{setting}": f"{prefix}{name}" for setting, name in TOPICS.items()},
            "provider.environment": "custom",
            "provider.base_url": self.sandbox.base_url,
            "merchants": merchants(MERCHANT.merchant_id),
            "submit.operator": "web",
            "callbacks.host": "127.0.0.1",
            "callbacks.port": "0",
            "admin.host": "127.0.0.1",
            "admin.port": "0",
            "console.port": "0",
        }

    def settings(self, prefix: str, **more: str) -> Settings:
        """The same, read."""
        return load(None, self.values(prefix) | {key.replace("__", "."): value for key, value in more.items()})

    async def make_topics(self, prefix: str) -> None:
        """Create the topics, with one partition each."""
        await create(self.everything, topic_specs(self.settings(prefix), partitions=1))

    async def grant(self, user: str, rights: Collection[Right], prefix: str) -> None:
        """Allow this user these operations on names that begin with `prefix`."""
        bindings = [
            AclBinding(
                _KINDS[right.kind],
                f"{prefix}{right.name}",
                ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
                f"User:{user}",
                "*",
                _OPERATIONS[right.operation],
                AclPermissionType.ALLOW,
            )
            for right in rights
        ]
        if bindings:
            admin = AdminClient({"bootstrap.servers": self.broker.bootstrap_servers})
            created = await asyncio.to_thread(admin.create_acls, bindings)
            await asyncio.gather(*(asyncio.wrap_future(future) for future in created.values()))

    async def put(self, prefix: str, setting: str, *values: bytes) -> None:
        """Put records with these values on a topic."""
        await self.copy(prefix, setting, [_plain(value) for value in values])

    async def copy(self, prefix: str, setting: str, records: Sequence[Record]) -> None:
        """Put these records on a topic as they are, except for the names of topics in them."""
        async with producing(self.everything, enable_idempotence=True) as producer:
            for record in records:
                await _send(producer, f"{prefix}{TOPICS[setting]}", record, self.written_under, prefix)

    async def read(self, prefix: str, *, without: Collection[str] = ()) -> dict[str, list[Record]]:
        """All committed records now, by the setting of the topic; `without` names those that are not read."""
        settings = {f"{prefix}{name}": setting for setting, name in TOPICS.items() if setting not in without}
        found: dict[str, list[Record]] = {setting: [] for setting in TOPICS}
        async with aclosing(read_to_end(self.everything, [*settings])) as records:
            async for record in records:
                found[settings[record.topic]].append(record)
        return found

    def event(self, name: str) -> Record:
        """The first event of this type that the adapter wrote; `name` is the last part of its name."""
        return next(each for each in self.records["issuances"] if event_name(each) == name)

    async def prepare(self) -> None:
        """Let an adapter that may do everything submit orders of every kind, and keep what it writes."""
        prefix = f"{uuid.uuid4().hex[:6]}-"
        await self.make_topics(prefix)
        settings = self.settings(
            prefix,
            submit__trade_no_prefix=IN_DOUBT,
            submit__derive_trade_no="always",
            submit__give_up_after_hours="0.0012",
        )
        stop = asyncio.Event()
        running = asyncio.create_task(Adapter(settings, ("submit",)).run(stop))
        two_parts = [{"sku": "VQT04959", "quantity": 1}, {"sku": "VQT04959", "quantity": 1, "issue_type": "paper"}]
        await self.put(prefix, "orders_paid", order("A-1", trade_no=ACCEPTED))
        await self._until(prefix, {"issuances": 1}, running)
        await self.put(
            prefix,
            "orders_paid",
            order("A-2", trade_no=RECOVERED),
            order("A-3", trade_no=REFUSED, sku="OFF00001"),
            order("A-4", lines=two_parts, print_by="ecpay"),
            order("A-5", trade_no=UNFINISHED),
        )
        # are submitted, A-3 has failed, A-4 is parked.
        await self._until(prefix, {"issuances": 5, "dead_letters": 1, "confirmations": 3}, running)
        stop.set()
        await running
        self.records.update(await self.read(prefix))
        self.written_under.append(prefix)

    async def _until(self, prefix: str, counts: Mapping[str, int], running: asyncio.Task[None]) -> None:
        deadline = time.monotonic() + SLOW_MACHINE * 8
        while True:
            found = await self.read(prefix)
            if all(len(found[setting]) >= count for setting, count in counts.items()):
                return
            assert not running.done(), running.exception()
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.1)


def event_name(record: Record) -> str:
    """The type of an event, without what all have in common."""
    return (dict(record.headers)["ce_type"] or b"").decode().split(".")[-2]


def _plain(value: bytes) -> Record:
    return Record(topic="", partition=0, offset=0, timestamp=datetime.now(UTC), key=b"k", value=value)


async def _send(producer: AIOKafkaProducer, topic: str, record: Record, old: Sequence[str], prefix: str) -> None:
    headers = [
        (name, _renamed(value, old, prefix) if name == "ce_orderref" else value) for name, value in record.headers
    ]
    timestamp_ms = round(record.timestamp.timestamp() * 1000)
    # A batch, because the client refuses to send a record with neither key nor value.
    builder = producer.create_batch()
    builder.append(key=record.key, value=record.value, timestamp=timestamp_ms, headers=headers)
    await (await producer.send_batch(builder, topic, partition=0))


def _renamed(value: bytes | None, old: Sequence[str], prefix: str) -> bytes | None:
    for each in old:
        value = value and value.replace(each.encode(), prefix.encode())
    return value


@asynccontextmanager
async def open_ground(roles: Collection[str]) -> AsyncIterator[Ground]:
    """A broker with a user for each role, and an ECTicket; closed at the end."""
    users = {user_of(role): PASSWORD for role in roles}
    broker = LocalKafka(users=users)
    async with RunningSandbox(SandboxSettings(port=0, job_seconds=0.2, report_interval_seconds=0)) as sandbox:
        sandbox.faults.arm(
            FaultRule(behaviour=AnswerLostAfter(), endpoint=Endpoint.ISSUE, trade_no=RECOVERED),
            FaultRule(behaviour=AnswerLostBefore(), endpoint=Endpoint.ISSUE, trade_no_prefix=IN_DOUBT),
            FaultRule(behaviour=JobNeverFinishes(), trade_no=UNFINISHED),
        )
        try:
            await asyncio.to_thread(broker.start)
            ground = Ground(broker=broker, sandbox=sandbox)
            await ground.prepare()
            yield ground
        finally:
            await asyncio.to_thread(broker.stop)


def user_of(role: str) -> str:
    """The Kafka user of a role; names of users in the broker's configuration have no blanks."""
    return "".join(each if each.isalnum() else "-" for each in role)
