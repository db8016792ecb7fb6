"""Rights of users at a local Kafka: gives them as ACLs, and reads which of them were used.

The authorizer is Kafka's own, and its log names each operation that it allowed or denied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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


@contextmanager
def guarded_kafka(users: Sequence[str]) -> Iterator[LocalKafka]:
    """A local Kafka for these users, whose log names what they were allowed, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(java._LOG, "log.kafka.authorizer.logger", "debug")
        with LocalKafka(users=dict.fromkeys(users, PASSWORD)) as broker:
            yield broker


def login(broker: LocalKafka, user: str) -> dict[str, str]:
    """The settings `kafka.*` of a user."""
    return {
        "bootstrap_servers": broker.users_bootstrap_servers,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": user,
        "sasl_password": PASSWORD,
    }


def grant(broker: LocalKafka, rights: Sequence[Right]) -> None:
    """Make these rights ACLs."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for future in admin.create_acls([_binding(right) for right in rights]).values():
        future.result(30)


def used_rights(broker: LocalKafka) -> tuple[set[Right], set[Right]]:
    """What the authorizer allowed and what it denied, of users only."""
    answers: dict[str, set[Right]] = {"Allowed": set(), "Denied": set()}
    for found in _USED.finditer(broker.log.read_text(encoding="utf-8", errors="replace")):
        if found["user"] != "ANONYMOUS":
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
