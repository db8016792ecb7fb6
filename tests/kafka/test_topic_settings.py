"""Each setting that can lose something gets its sentence, and harmless ones get none."""

from __future__ import annotations

import pytest

from adapter.kafka.admin import TopicDescription, TopicSpec
from adapter.kafka.topic_settings import durability_warnings

ASKED = TopicSpec(
    name="orders",
    partitions=3,
    config={"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "2097152"},
)
SAFE = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "max.message.bytes": "2097152",
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
}


def facts(replication: int = 3) -> TopicDescription:
    return TopicDescription(name="orders", partitions=(0, 1, 2), replication=replication, ready=True)


def test_a_topic_as_it_was_asked_for_is_not_complained_of() -> None:
    """What is as asked, or better, gets no sentence."""
    better = SAFE | {"retention.ms": "-1", "max.message.bytes": "8388608", "min.insync.replicas": "3"}

    assert list(durability_warnings(ASKED, facts(), SAFE)) == []
    assert list(durability_warnings(ASKED, facts(), better)) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "3600000"),
        ("retention.bytes", "1000000"),
        ("max.message.bytes", "1048588"),
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "true"),
    ],
)
def test_a_setting_that_can_lose_something_is_named_with_its_value(setting: str, value: str) -> None:
    """One sentence: topic, setting, value, why, and what to set."""
    (sentence,) = durability_warnings(ASKED, facts(), SAFE | {setting: value})

    assert sentence.startswith(f"Topic orders has {setting}={value}")
    assert "; set " in sentence


def test_a_single_copy_is_the_complaint_and_not_its_in_sync_setting() -> None:
    """With one replica, min.insync.replicas=1 is not the problem."""
    (sentence,) = durability_warnings(ASKED, facts(replication=1), SAFE | {"min.insync.replicas": "1"})

    assert "replication factor 1" in sentence


def test_nothing_is_said_of_sizes_and_times_that_nobody_asked_for() -> None:
    """A topic of others (orders.paid) may keep its records as long as its owner likes."""
    nothing_asked = TopicSpec(name="orders", partitions=1, config={})

    assert (
        list(durability_warnings(nothing_asked, facts(), SAFE | {"retention.ms": "1", "max.message.bytes": "1"})) == []
    )
    assert list(durability_warnings(ASKED, facts(), {"min.insync.replicas": "2"})) == []


def test_retention_is_told_in_words() -> None:
    """Milliseconds alone help nobody."""
    (sentence,) = durability_warnings(ASKED, facts(), SAFE | {"retention.ms": "3600000"})

    assert "vanish after 1 h" in sentence
    assert "(7 days)" in sentence
