"""Each rule of monitoring/ reads metrics and labels that exist, and each alert has what a person on call needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitoring.families import adapter_series, all_series
from monitoring.promql import UnknownName, labels_of
from monitoring.rule_files import MONITORING, Rule, alerts, rules

ROOT = MONITORING.parent
MANUAL = ROOT / "docs" / "metrics.md"


@pytest.mark.parametrize("rule", rules(), ids=str)
def test_every_metric_and_label_of_a_rule_exists(rule: Rule) -> None:
    """Also those that a summary names: `$labels` are the labels of the expression's result."""
    labels = labels_of(rule.expression, all_series())

    assert set(re.findall(r"\$labels\.(\w+)", str(rule.annotations))) <= labels


@pytest.mark.parametrize(
    "expression",
    [
        "ecticket_record_lost_total",
        'ecticket_records_lost_total{merchant_id="1"}',
        "sum by (merchant_id) (ecticket_records_lost_total)",
        "sum by (stage) (sum by (topic) (ecticket_records_lost_total))",
        "sum by (topic) (ecticket_records_lost_total) unless sum by (stage) (ecticket_records_lost_total)",
        "histogram_quantile(0.9, sum by (stage) (rate(ecticket_transaction_duration_seconds_bucket[5m])))",
    ],
)
def test_an_expression_with_an_unknown_name_is_found(expression: str) -> None:
    """A metric, a label in a matcher, in `by`, or one that an inner `by` dropped."""
    with pytest.raises(UnknownName):
        labels_of(expression, adapter_series())


@pytest.mark.parametrize("alert", alerts(), ids=str)
def test_an_alert_has_what_a_person_on_call_needs(alert: Rule) -> None:
    """A time, a severity, a summary that is one or two sentences, and its section of the manual."""
    assert re.fullmatch(r"\d+[mh]", alert.waits or "")
    assert alert.labels["severity"] in {"critical", "warning"}
    assert re.fullmatch(r".{20,180}\.", alert.annotations["summary"])
    assert alert.annotations["runbook_url"] == f"docs/operations/alerts.md#{alert.name.lower()}"
    assert f"\n## {alert.name}\n" in (ROOT / "docs" / "operations" / "alerts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("alert", [each for each in alerts() if "stage" not in each.labels], ids=str)
def test_an_alert_of_the_whole_namespace_keeps_the_namespace(alert: Rule) -> None:
    """A Prometheus that watches several namespaces must say in which one it is."""
    assert "namespace" in labels_of(alert.expression, all_series())


def test_each_metric_that_the_manual_gives_an_alert_has_one() -> None:
    """A line of docs/metrics.md that says alert."""
    read = " ".join(rule.expression for rule in rules())
    rows = [line for line in MANUAL.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    alarming = {row.split("`")[1] for row in rows if re.search(r"\balert\b", row, re.IGNORECASE)}

    assert len(alarming) > 10
    assert {name for name in alarming if name not in read} == set()


def test_there_is_nothing_else_in_the_folder() -> None:
    """A file that no test reads would be a file that nothing checks."""
    assert {path.suffix for path in Path(MONITORING).iterdir()} <= {".yaml", ".json"}
