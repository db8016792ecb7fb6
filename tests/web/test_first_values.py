"""Every series whose labels are known begins at 0 with its stage: Prometheus sees no first count of a new series."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import adapter
from adapter.app import STAGES, Adapter
from adapter.settings import load
from adapter.web.metrics import Metrics
from web.observed_metrics import CONFIGURED, is_configured, observed_everything

SOURCES = Path(adapter.__file__).parent
NOT_KNOWN = {"ecticket_ignored", "ecticket_hook_calls", "ecticket_hook_failures", "ecticket_hook_seconds"}
"""The reasons and the hooks of plugins."""
LABELS = {
    "order_settled": ("ecticket_orders", "outcome"),
    "issuance_published": ("ecticket_issuances", "event"),
    "recovered": ("ecticket_recovered", "after"),
    "duplicate_avoided": ("ecticket_duplicates_avoided", "reason"),
    "deferred": ("ecticket_deferred", "reason"),
    "items_checked": ("ecticket_item_checks", "result"),
    "report_for_collecting": ("ecticket_collect_reports", "outcome"),
    "notification_ended": ("ecticket_notifications", "outcome"),
    "give_way": ("ecticket_callback_connections_closed", "reason"),
    "partition_dropped": ("ecticket_partition_assignments", "event"),
}
"""The methods that are called with a label's value as text, and whose label it is."""
Series = tuple[str, frozenset[tuple[str, str]]]


def begun() -> Metrics:
    """The metrics of a process with all stages and one sink, before anything has happened."""
    metrics = Metrics(is_configured)
    metrics.begin(STAGES, CONFIGURED)
    metrics.stream.begin("submit", ("orders.paid",))
    metrics.sinks.begin("chat")
    return metrics


def counted(registry: CollectorRegistry) -> Iterator[tuple[Series, float]]:
    """The values of counters and histograms, by the name of their family."""
    for family in registry.collect():
        if family.type in {"counter", "histogram"} and family.name not in NOT_KNOWN:
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    yield (family.name, frozenset(sample.labels.items())), sample.value


def test_every_counter_begins_at_zero() -> None:
    """Whatever an observer counts, its series was there before."""
    before = dict(counted(begun().registry))
    collected = {"ecticket_log_lines_dropped"}  # read when it is scraped: it has no labels and is always there

    counted_now = {series for series, _ in counted(observed_everything().registry) if series[0] not in collected}
    assert len({name for name, _ in counted_now}) > 30
    assert counted_now - before.keys() == set()
    assert set(before.values()) == {0.0}


def _literals(method: str) -> Iterator[str]:
    """The texts with which a method is called anywhere in the adapter."""
    for file in SOURCES.rglob("*.py"):
        if "testing" in file.parts or f"{method}(" not in (text := file.read_text(encoding="utf-8")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == method:
                yield from (
                    each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
                )


@pytest.mark.parametrize("method", LABELS)
def test_every_value_in_the_code_has_begun(method: str) -> None:
    """A new outcome or reason is also one of the first values."""
    metric, label = LABELS[method]
    values = {dict(labels)[label] for (name, labels), _ in counted(begun().registry) if name == metric}

    assert values
    assert set(_literals(method)) <= values


def test_the_values_in_the_code_are_found() -> None:
    """The test above reads some of them."""
    assert {"submitted", "issued"} <= set(_literals("issuance_published"))
    assert {"too-large", "too-busy"} <= set(_literals("notification_ended"))


@pytest.mark.parametrize(
    ("only", "there", "absent"),
    [
        (
            ("submit",),
            'ecticket_records_lost_total{stage="submit",topic="orders.deferred"}',
            "ecticket_reconciliation_failures_total{",
        ),
        (("confirm",), 'ecticket_issuances_total{event="delayed",recovered="false"}', "ecticket_notifications_total{"),
        (("reconcile",), 'ecticket_reconciliation_failures_total{merchant_id="1"}', "ecticket_orders_total{"),
        (("collect",), 'ecticket_collect_reports_total{merchant_id="1",outcome="failed"}', "ecticket_orders_total{"),
        (("receive",), 'ecticket_notifications_total{outcome="too-busy",posted_to="refund"}', "ecticket_orders_total{"),
        (("deliver",), 'ecticket_deliveries_total{outcome="timed_out",sink="log"}', "ecticket_orders_total{"),
    ],
)
def test_a_process_shows_the_series_of_its_stages(only: tuple[str, ...], there: str, absent: str) -> None:
    """And those of no other stage."""
    given = {
        "merchants.1.hash_key": "k" * 16,
        "merchants.1.hash_iv": "v" * 16,
        "submit.operator": "web",
        "reconcile.at": "05:00",
        "collect.issue_types": '["paper"]',
        "topics.orders_deferred": "orders.deferred",
        "plugins.settings.log.enabled": "true",
    }

    shown = generate_latest(Adapter(load(None, given), only)._metrics.registry).decode().splitlines()

    assert f"{there} 0.0" in shown
    assert not [line for line in shown if line.startswith(absent)]
