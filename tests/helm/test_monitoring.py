"""The chart renders the rules and the dashboard of monitoring/, for its release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from monitoring.dashboard import dashboard
from monitoring.promql import selectors
from monitoring.rule_files import rules

from helm.cases import ALL_STAGES, LOG_SINK, SIDECAR, merged, minimal
from helm.monitoring_files import COPIES, monitoring_files
from helm.objects import in_order
from helm.renderer import find_renderer
from helm.settings_values import CHART, VALUES_FILE

VALUES: Mapping[str, Any] = yaml.safe_load(VALUES_FILE.read_text(encoding="utf-8"))
COLLECTING = {"config": {"collect": {"issue_types": ["paper"]}}}
RECONCILING = {"config": {"reconcile": {"at": "05:00"}}}
ALL_RULES = merged(ALL_STAGES, LOG_SINK, COLLECTING, RECONCILING, {"components": {"collect": {}, "reconcile": {}}})


def _rendered(values: Mapping[str, Any], alert: str | None = None) -> list[dict[str, Any]]:
    """The rules that the chart renders with these values, or those of one alert."""
    rendered = find_renderer().render(CHART, minimal({"monitoring": {"rules": {"enabled": True}}}, values))
    found = [rule for group in rendered.one("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    return [rule for rule in found if alert in (None, rule.get("alert"))]


def test_the_copies_are_current() -> None:
    """`make charts` writes them; Helm reads no file outside of the chart."""
    assert {path.name for path in COPIES.iterdir()} == {source.name for source, _ in monitoring_files()}
    for source, copy in monitoring_files():
        assert copy.read_bytes() == source.read_bytes(), source.name


@pytest.mark.parametrize(
    ("values", "stages"),
    [
        ({}, {"submit", "confirm"}),
        (SIDECAR, {"submit", "confirm"}),
        (
            merged(LOG_SINK, COLLECTING),
            {"submit", "confirm", "collect", "deliver"},
        ),
        (RECONCILING, {"submit", "confirm", "reconcile"}),
        ({"stages": ["confirm", "collect", "deliver", "reconcile"]}, {"confirm"}),
        (merged(ALL_STAGES, LOG_SINK), {"submit", "confirm", "deliver", "receive"}),
        ({"components": {"receive": {}}}, {"receive"}),
        ({"stages": ["receive"]}, set()),
    ],
    ids=in_order,
)
def test_an_alert_watches_each_stage_that_runs(values: Mapping[str, Any], stages: set[str]) -> None:
    """An adapter that is gone has no metrics; only `absent` sees that. A stage that is off is not missed."""
    gone = {rule["labels"]["stage"]: rule for rule in _rendered(values, "EcticketStageGone")}

    assert gone.keys() == stages
    for stage, rule in gone.items():
        ((_, matchers),) = selectors(rule["expr"])
        pods = f'pod=~"tickets-ecticket-adapter{"-receive" if stage == "receive" else ""}-.*"'
        assert rule["expr"].startswith("absent(")
        assert 'namespace="shop"' in matchers
        assert {each for each in matchers if each.startswith("pod")} == (set() if values == SIDECAR else {pods})
        assert rule["labels"]["namespace"] == "shop"  # `absent` returns no labels


def test_the_alerts_on_lag_watch_the_topic_of_paid_orders() -> None:
    """With the topic's and the release's names; deferred orders wait without an alert, as they should."""
    values = {"config": {"topics": {"orders_paid": "eu.orders"}}, "monitoring": {"rules": {"lagThreshold": 12000}}}
    (waiting,), (stuck,) = (_rendered(values, alert) for alert in ("EcticketOrdersWaiting", "EcticketOrdersStuck"))

    read = [matchers for rule in (waiting, stuck) for _, matchers in selectors(rule["expr"])]
    assert waiting["expr"].endswith("> 12000")
    assert len(read) == 3
    assert all(matchers >= {'topic="eu.orders"', 'stage="submit"'} for matchers in read)
    assert _rendered({"stages": ["confirm"]}, "EcticketOrdersStuck") == []


def test_the_defaults_are_those_of_the_written_rules() -> None:
    """The chart replaces them in the text."""
    (written,) = (rule.expression for rule in rules() if rule.name == "EcticketOrdersWaiting")
    (rendered,) = _rendered({}, "EcticketOrdersWaiting")

    assert written.rpartition(" ")[2] == rendered["expr"].rpartition(" ")[2]
    assert VALUES["config"]["topics"]["orders_paid"] in written
    assert VALUES["monitoring"]["rules"]["lagThreshold"] == 5 * VALUES["keda"]["lagThreshold"]


def test_every_selector_is_of_the_release_s_namespace() -> None:
    """Two releases in one cluster do not report each other's faults."""
    for rule in _rendered(ALL_RULES):
        assert all('namespace="shop"' in matchers for _, matchers in selectors(rule["expr"])), rule


def test_nothing_else_differs_from_the_written_rules() -> None:
    """With all stages on, each rule is there, with its time, labels and texts."""
    found = _rendered(ALL_RULES)
    by_key = {_key(rule.get("alert") or rule["record"], rule.get("labels", {})): rule for rule in found}

    assert len(by_key) == len(found)
    assert by_key.keys() == {_key(rule.name, rule.labels) for rule in rules()}
    for written in rules():
        rule = by_key[_key(written.name, written.labels)]
        assert _without_scope(rule["expr"]) == _without_scope(written.expression)
        assert rule.get("for") == written.waits
        assert rule.get("annotations", {}) == written.annotations


def _key(name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    return name, labels.get("severity", ""), labels.get("stage", "")


def _without_scope(expression: str) -> list[tuple[str, frozenset[str]]]:
    return [
        (name, frozenset(each for each in matchers if not each.startswith(("namespace", "pod"))))
        for name, matchers in selectors(expression)
    ]


def test_the_manual_s_address_is_a_value() -> None:
    """A runbook link leads to where the operator publishes the manual."""
    page = "https://manual.example/docs/operations/alerts/"
    rules = _rendered({"monitoring": {"rules": {"runbook": page}}})

    links = {rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
    assert f"{page}#ecticketbreakeropen" in links
    assert all(link.startswith(f"{page}#") for link in links)


def test_the_dashboard_is_a_config_map_for_grafana_s_sidecar() -> None:
    """Off by default; word for word the file of the repository."""
    rendered = find_renderer().render(CHART, minimal({"monitoring": {"dashboard": {"enabled": True}}}))
    found = rendered.one("ConfigMap", "tickets-ecticket-adapter-dashboard")

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text) for name, text in found["data"].items()} == {"ecticket-adapter.json": dashboard()}
    assert find_renderer().render(CHART, minimal()).all("ConfigMap", "tickets-ecticket-adapter-dashboard") == []


@pytest.mark.parametrize(
    ("enabled", "complete"),
    [(("dashboard",), False), (("dashboard", "rules"), False), (("dashboard", "rules", "podMonitor"), True)],
)
def test_the_notes_name_what_the_dashboard_lacks(enabled: tuple[str, ...], complete: bool) -> None:
    """Without a monitor it is empty; without rules some panels are."""
    values = {"monitoring": {name: {"enabled": True} for name in enabled}}

    assert ("monitoring.dashboard" in find_renderer().render(CHART, minimal(values)).notes) is not complete
