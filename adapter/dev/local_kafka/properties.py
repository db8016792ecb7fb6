"""The configuration of a single-node broker: a production broker's, except where one node cannot follow it.

Pure text. Does not write files.
"""

from __future__ import annotations

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


def server_properties(data: Path, broker_port: int, controller_port: int) -> str:
    """The text of `server.properties`: data in `data`, listeners on loopback only."""
    broker, controller = f"{LOOPBACK}:{broker_port}", f"{LOOPBACK}:{controller_port}"
    here = {
        "log.dirs": str(data),
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "controller.quorum.voters": f"1@{controller}",
    }
    return "".join(f"{key}={value}\n" for key, value in (_SINGLE_NODE | _STRICT | _QUICK | here).items())
