"""The series that rules and dashboard may read: the adapter's, the recorded ones, and Prometheus' own `ALERTS`."""

from __future__ import annotations

import functools

from web.observed_metrics import observed_everything

from monitoring.promql import Families, labels_of
from monitoring.rule_files import alerts, recordings

TARGET_LABELS = frozenset({"namespace", "pod"})
"""What Prometheus adds to each series of a pod, and the rules and the dashboard use."""
_OF_ALERTS = frozenset({"alertname", "alertstate"})


@functools.cache
def adapter_series() -> Families:
    """The adapter's sample names, with their labels and those of a target."""
    families: dict[str, set[str]] = {}
    for family in observed_everything().registry.collect():
        for sample in family.samples:
            families.setdefault(sample.name, set(TARGET_LABELS)).update(sample.labels)
    return families


@functools.cache
def all_series() -> Families:
    """Those, and what the rules make of them."""
    families = dict(adapter_series())
    for rule in recordings():
        families[rule.name] = labels_of(rule.expression, families) | set(rule.labels)
    found = [labels_of(rule.expression, families) | set(rule.labels) for rule in alerts()]
    return families | {"ALERTS": _OF_ALERTS.union(*found)}
