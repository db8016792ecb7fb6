"""The rules of monitoring/, as they are read by Prometheus."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

MONITORING = Path(__file__).parents[2] / "monitoring"
RULE_FILES = tuple(sorted(MONITORING.glob("*.yaml")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: its alert's name or the name of the series that it records."""

    name: str
    expression: str
    is_alert: bool
    waits: str | None
    """For how long an alert's expression is true before it fires."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def __str__(self) -> str:
        return " ".join((self.name, *self.labels.values()))

    def as_rule(self) -> dict[str, object]:
        """An alert as an entry of a rule file, without its annotations."""
        return {"alert": self.name, "expr": self.expression, "for": self.waits, "labels": dict(self.labels)}


@functools.cache
def rules() -> tuple[Rule, ...]:
    """All rules, in the order of the files."""
    groups = [group for file in RULE_FILES for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return tuple(
        Rule(
            name=rule.get("alert") or rule["record"],
            expression=rule["expr"],
            is_alert="alert" in rule,
            waits=rule.get("for"),
            labels=rule.get("labels", {}),
            annotations=rule.get("annotations", {}),
        )
        for group in groups
        for rule in group["rules"]
    )


def alerts() -> tuple[Rule, ...]:
    """All alerts."""
    return tuple(rule for rule in rules() if rule.is_alert)


def recordings() -> tuple[Rule, ...]:
    """All recording rules."""
    return tuple(rule for rule in rules() if not rule.is_alert)
