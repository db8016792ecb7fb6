"""The broker's configuration: one node, the loopback only, and no topics that make themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adapter.dev.local_kafka.properties import server_properties


def properties(*ports: int, users: Mapping[str, str] | None = None) -> dict[str, str]:
    """What is configured."""
    return dict(line.split("=", 1) for line in server_properties(Path("/d"), ports, users).splitlines())


PROPERTIES = properties(20001, 20002)


def test_only_the_loopback_is_listened_on() -> None:
    """Clients and the controller, on this machine alone."""
    assert PROPERTIES["listeners"] == "PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert PROPERTIES["advertised.listeners"] == "PLAINTEXT://127.0.0.1:20001"
    assert PROPERTIES["controller.quorum.voters"] == "1@127.0.0.1:20002"


def test_topics_do_not_make_themselves() -> None:
    """A test that relies on automatic creation shall fail."""
    assert PROPERTIES["auto.create.topics.enable"] == "false"


def test_one_node_is_enough_for_every_internal_topic() -> None:
    """Nothing waits for replicas that can never come."""
    replicated = {key: value for key, value in PROPERTIES.items() if key.endswith(("replication.factor", "min.isr"))}

    assert len(replicated) == 6
    assert set(replicated.values()) == {"1"}


def test_groups_do_not_wait_for_more_members() -> None:
    """The first assignment comes at once."""
    assert PROPERTIES["group.initial.rebalance.delay.ms"] == "0"


def test_users_have_a_listener_of_their_own_and_only_the_rights_of_acls() -> None:
    """Without users no rights are checked."""
    checked = properties(20001, 20002, 20003, users={"a": "a-word", "b": "b-word"})

    assert checked["listeners"].split(",")[1] == "USERS://127.0.0.1:20003"
    assert checked["advertised.listeners"].endswith(",USERS://127.0.0.1:20003")
    assert checked["allow.everyone.if.no.acl.found"] == "false"
    assert checked["super.users"] == "User:ANONYMOUS"
    login = checked["listener.name.users.plain.sasl.jaas.config"]
    assert login.endswith('user_a="a-word" user_b="b-word";')
    assert "authorizer.class.name" not in PROPERTIES
