"""Which settings of an existing topic can lose something: a pure comparison of what is with what was asked.

It refuses to know brokers, and to complain of what merely differs: only a setting under which a record can vanish, or
cannot be written, is worth a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from adapter.kafka.admin import TopicDescription, TopicSpec

_FOREVER = -1


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
