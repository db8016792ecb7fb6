"""The configuration of a single-node broker: a production broker's, except where one node cannot follow it.

Pure text. Does not write files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from adapter.dev.local_kafka.ports import LOOPBACK

_SINGLE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}
_STRICT = {
    # The adapter never relies on automatic topic creation; a test that does must fail.
    "auto.create.topics.enable": "false",
}
_QUICK = {
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # The default scan interval is 10 s: tests of dead owners would wait for the scan instead of the time-out.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # How long a killed broker's registration delays its successor (default 9 s).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "log.cleaner.dedupe.buffer.size": "4194304",
}


_CHECKED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "false",
    # Clients of the listener without a login, the broker itself among them.
    "super.users": "User:ANONYMOUS",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.users.sasl.enabled.mechanisms": "PLAIN",
}
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


def server_properties(data: Path, ports: Sequence[int], users: Mapping[str, str] | None = None) -> str:
    """The text of `server.properties`: data in `data`, listeners on loopback only.

    `ports` are those of the broker and the controller and, with `users` (password by name), that of a listener where
    they log in and have only the rights that ACLs give them.
    """
    broker, controller, *users_ports = (f"{LOOPBACK}:{port}" for port in ports)
    listeners = {"PLAINTEXT": broker}
    checked: dict[str, str] = {}
    if users is not None:
        (listeners["USERS"],) = users_ports
        logins = " ".join(f'user_{name}="{password}"' for name, password in users.items())
        checked = {**_CHECKED, "listener.name.users.plain.sasl.jaas.config": f"{_LOGIN} required {logins};"}
    advertised = ",".join(f"{name}://{address}" for name, address in listeners.items())
    here = {
        "log.dirs": str(data),
        "listeners": f"{advertised},CONTROLLER://{controller}",
        "advertised.listeners": advertised,
        "controller.quorum.voters": f"1@{controller}",
    }
    return "".join(f"{key}={value}\n" for key, value in (_SINGLE_NODE | _STRICT | _QUICK | checked | here).items())
