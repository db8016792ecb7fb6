"""Burn-rate alerts fire within minutes of an outage, end soon after it, warn of a slow burn, and ignore few misses."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.objectives import OBJECTIVES, Objective
from monitoring.rule_test import Firing, wrong_alerts
from monitoring.scraped_adapter import TARGET, ScrapedAdapter

HEALTHY_MINUTES = 60
pytestmark = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.alert)


def _alert(objective: Objective, severity: str) -> dict[str, str]:
    return {"alertname": objective.alert, "namespace": TARGET["namespace"], "severity": severity}


def test_an_outage_is_critical_within_minutes_and_until_it_ends(
    promtool: str, tmp_path: Path, objective: Objective
) -> None:
    """Ten minutes of it are enough. After it only the warning stays, because much of the budget is spent."""
    adapter = ScrapedAdapter()
    adapter.run(HEALTHY_MINUTES)
    adapter.run(20, objective.outage)
    ended = adapter.minute
    adapter.run(45)
    critical, warning = _alert(objective, "critical"), _alert(objective, "warning")

    assert (
        wrong_alerts(
            promtool,
            tmp_path,
            adapter,
            [
                Firing(HEALTHY_MINUTES - 1, []),
                Firing(HEALTHY_MINUTES + 10, [critical, warning]),
                Firing(ended - 1, [critical, warning]),
                Firing(ended + 40, [warning]),
            ],
        )
        == ""
    )


def test_a_slow_burn_is_a_warning(promtool: str, tmp_path: Path, objective: Objective) -> None:
    """It spends the month's budget in days; a person looks at it in working hours."""
    adapter = ScrapedAdapter()
    adapter.run(HEALTHY_MINUTES)
    adapter.run(150, lambda adapter: objective.miss(adapter) if adapter.minute % objective.slow_minutes == 0 else None)

    warning = _alert(objective, "warning")
    assert wrong_alerts(promtool, tmp_path, adapter, [Firing(adapter.minute - 1, [warning])]) == ""


def test_a_few_misses_are_no_alert(promtool: str, tmp_path: Path, objective: Objective) -> None:
    """At night one miss is a large part of a few orders; the alerts on the oldest watch it."""

    def an_order_and_a_miss(adapter: ScrapedAdapter) -> None:
        if adapter.minute in {10, 20, 30, 40}:
            adapter.issued(since_paid=40.0)
            objective.miss(adapter)

    adapter = ScrapedAdapter()
    adapter.orders_a_minute = 0
    adapter.run(HEALTHY_MINUTES, an_order_and_a_miss)

    assert wrong_alerts(promtool, tmp_path, adapter, [Firing(minute, []) for minute in (15, 25, 35, 45, 55)]) == ""
