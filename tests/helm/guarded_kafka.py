"""A local Kafka that denies what no ACL allows, and shows which rights were used.

Users log in with SASL PLAIN. The authorizer is Kafka's own, and its log names each operation that it allowed or denied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from adapter.dev.local_kafka import java
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.kafka.connection import KafkaConnection

ADMIN = "admin"
PASSWORD = "only-on-this-machine"
_USED = re.compile(
    r"Principal = User:(?P<user>\S+) is (?P<answer>Allowed|Denied) operation = (?P<operation>\w+) from host = \S+ "
    r"(?:via \S+ )?on resource = (?P<kind>\w+):LITERAL:(?P<name>\S+) for request"
)


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One operation on one resource; `prefix`: on all whose names begin so."""

    user: str
    kind: str
    """`topic`, `group`, `transactionalId` or `cluster`."""
    name: str
    operation: str
    prefix: bool = False

    def covers(self, used: Right) -> bool:
        """Whether a request that needs `used` is allowed by this right.

        Read, Write, Delete and Alter include Describe; AlterConfigs includes DescribeConfigs (Kafka's AclOperation).
        """
        same = (self.user, self.kind) == (used.user, used.kind)
        named = used.name.startswith(self.name) if self.prefix else used.name == self.name
        return same and named and used.operation in (self.operation, *_INCLUDED.get(self.operation, ()))


_INCLUDED: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("Read", "Write", "Delete", "Alter"), ("Describe",)),
    "AlterConfigs": ("DescribeConfigs",),
}


class GuardedKafka(LocalKafka):
    """One broker with an authorizer; `users` can log in, and may do nothing without a right."""

    def __init__(self, users: Sequence[str]) -> None:
        super().__init__()
        self._users = users

    def _lay_out(self, ports: tuple[int, ...]) -> Path:
        path = super()._lay_out(ports)
        users = " ".join(f'user_{user}="{PASSWORD}"' for user in (*self._users, ADMIN))
        login = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{ADMIN}" '
        more = {
            "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.plaintext.plain.sasl.jaas.config": f'{login}password="{PASSWORD}" {users};',
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{ADMIN};User:ANONYMOUS",  # the controller's own listener has no login
        }
        text = path.read_text(encoding="utf-8") + "".join(f"{key}={value}\n" for key, value in more.items())
        path.write_text(text, encoding="utf-8")
        return path

    def start(self) -> None:
        """Start the broker with the authorizer's log on."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(java._LOG, "log.kafka.authorizer.logger", "debug")
            super().start()

    def login(self, user: str) -> dict[str, str]:
        """The settings `kafka.*` of a user."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_username": user,
            "sasl_password": PASSWORD,
        }

    def connection(self, user: str = ADMIN) -> KafkaConnection:
        """How this user connects."""
        login = self.login(user)
        return KafkaConnection(
            bootstrap_servers=login["bootstrap_servers"],
            security_protocol=login["security_protocol"],
            sasl_mechanism=login["sasl_mechanism"],
            sasl_username=login["sasl_username"],
            sasl_password=login["sasl_password"],
        )

    def grant(self, rights: Sequence[Right]) -> None:
        """Make these rights ACLs."""
        admin = AdminClient(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": ADMIN,
                "sasl.password": PASSWORD,
            }
        )
        for future in admin.create_acls([_binding(right) for right in rights]).values():
            future.result(30)

    def used(self) -> tuple[set[Right], set[Right]]:
        """What the authorizer allowed and what it denied, of users only."""
        answers: dict[str, set[Right]] = {"Allowed": set(), "Denied": set()}
        for found in _USED.finditer(self.log.read_text(encoding="utf-8", errors="replace")):
            if found["user"] not in (ADMIN, "ANONYMOUS"):
                operation = "".join(word.title() for word in found["operation"].split("_"))
                kind = found["kind"][0].lower() + found["kind"][1:]
                answers[found["answer"]].add(Right(found["user"], kind, found["name"], operation))
        return answers["Allowed"], answers["Denied"]


_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "cluster": ResourceType.BROKER,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}


def _binding(right: Right) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.prefix else ResourcePatternType.LITERAL
    operation = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", right.operation).upper()
    return AclBinding(
        _KINDS[right.kind],
        right.name,
        pattern,
        f"User:{right.user}",
        "*",
        AclOperation[operation],
        AclPermissionType.ALLOW,
    )
