"""The dashboard reads metrics and labels that exist, shows all of them, and is one that Grafana can load."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from monitoring.dashboard import VARIABLES, Query, dashboard, panels, queries
from monitoring.families import adapter_series, all_series
from monitoring.promql import labels_of, selectors
from monitoring.rule_files import rules
from monitoring.rule_test import Value, wrong_alerts
from monitoring.scraped_adapter import PAID, ScrapedAdapter


@pytest.mark.parametrize("query", queries(), ids=str)
def test_every_metric_and_label_of_a_query_exists(query: Query) -> None:
    """Also those that name its lines."""
    labels = labels_of(query.expression, all_series())

    assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= labels


def test_every_selector_is_of_the_chosen_namespace() -> None:
    """And of the chosen merchant, where the metric has merchants and the panel is not of all of them."""
    for query in queries():
        for name, matchers in selectors(query.written.replace("$__rate_interval", "1m")):
            assert 'namespace=~"$namespace"' in matchers, query
            if "merchant_id" in all_series()[name] and name.startswith("ecticket_") and "ALERTS" not in query.written:
                assert 'merchant_id=~"$merchant"' in matchers or query.panel in OF_ALL_MERCHANTS, query


OF_ALL_MERCHANTS = {"Defects and losses"}


def test_each_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    """A metric that is shown nowhere helps no operator."""
    read = " ".join([*(query.written for query in queries()), *(rule.expression for rule in rules())])
    families = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in adapter_series() if "_created" not in name}

    assert {name for name in families if not re.search(rf"\b{name}(_bucket|_count|_sum|_total)?\b", read)} == set()


def test_each_panel_says_what_it_shows() -> None:
    """With a unit, and without a fixed data source."""
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"].get("unit") or panel["type"] == "table", panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_panel_lies_over_another() -> None:
    """Each has a number of its own and a place of its own within the width of 24."""
    every = dashboard()["panels"]

    assert len({panel["id"] for panel in every}) == len(every)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in every)
    cells = [cell for panel in every for cell in _cells(panel["gridPos"])]
    assert len(cells) == len(set(cells))


def _cells(place: Mapping[str, int]) -> list[tuple[int, int]]:
    rows, columns = range(place["y"], place["y"] + place["h"]), range(place["x"], place["x"] + place["w"])
    return list(itertools.product(rows, columns))


def test_every_variable_is_defined_and_used() -> None:
    """Those of Grafana begin with two underscores."""
    named: list[Mapping[str, Any]] = dashboard()["templating"]["list"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard(), ensure_ascii=False)))

    assert {variable["name"] for variable in named} == {name for name in used if not name.startswith("__")}
    assert {f"${name}" for name in used} - {"$datasource", "$__all"} == VARIABLES.keys()


def test_the_values_of_the_variables_come_from_metrics_that_exist() -> None:
    """`label_values(series, label)`."""
    asked = [
        variable["query"]["query"] for variable in dashboard()["templating"]["list"] if variable["type"] == "query"
    ]

    assert len(asked) == 2
    for query in asked:
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert label in labels_of(selector, all_series())


FIRST_LOSSES: Mapping[str, Callable[[ScrapedAdapter], None]] = {
    "Records lost, 24 h": lambda adapter: adapter.metrics.stream.records_lost("submit", PAID.topic, 7),
    "Dead letters with possible tickets, 24 h": lambda adapter: adapter.metrics.flows.parked("confirm", "unresolved"),
    "internal errors": lambda adapter: adapter.metrics.stream.failed("submit", PAID.topic, "handle"),
}
"""By the legend of the query that shows it."""


@pytest.mark.parametrize(("legend", "shown"), [*zip(FIRST_LOSSES, (7, 1, 1), strict=True)])
def test_the_first_loss_of_a_process_is_shown(promtool: str, tmp_path: Path, legend: str, shown: int) -> None:
    """Once, though its counter begins with it, and `increase` sees no change."""
    (query,) = (each for each in queries() if each.legend == legend)
    adapter = ScrapedAdapter()
    adapter.run(10)
    FIRST_LOSSES[legend](adapter)
    adapter.run(2)

    seen = [Value(9, query.expression, 0), Value(10, query.expression, shown)]
    if "[24h]" in query.expression:
        FIRST_LOSSES[legend](adapter)
        adapter.run(2)
        seen.append(Value(13, query.expression, 2 * shown))
    assert wrong_alerts(promtool, tmp_path, adapter, seen) == ""
