"""The first count of a process is an increase, because its series were scraped before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapter.app import STAGES
from adapter.testing.orders import MERCHANT
from monitoring.rule_test import Value, wrong_alerts
from monitoring.scraped_adapter import PAID, ScrapedAdapter


@pytest.mark.parametrize(
    ("metric", "count"),
    [
        ("ecticket_dead_letters_total", lambda metrics: metrics.flows.parked("map", "unmapped-item")),
        ("ecticket_no_known_number_total", lambda metrics: metrics.flows.no_known_number(MERCHANT)),
        ("ecticket_records_lost_total", lambda metrics: metrics.stream.records_lost("submit", PAID.topic, 1)),
        ("ecticket_notifications_total", lambda metrics: metrics.callbacks.notification_ended("refund", "too-busy")),
    ],
)
def test_a_first_count_is_an_increase(
    promtool: str, tmp_path: Path, metric: str, count: Callable[[object], None]
) -> None:
    """The panels of the dashboard and the alerts with `increase` show it."""
    adapter = ScrapedAdapter()
    adapter.metrics.begin(STAGES, [MERCHANT])
    adapter.metrics.stream.begin("submit", [PAID.topic])
    adapter.run(3)
    count(adapter.metrics)
    adapter.run(3)

    expression = f"sum(increase({metric}[5m])) > bool 0"
    expected = [Value(2, expression, 0), Value(5, expression, 1)]
    assert wrong_alerts(promtool, tmp_path, adapter, expected, only="EcticketNotReconciled") == ""
