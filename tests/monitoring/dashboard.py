"""The panels and queries of monitoring/dashboard.json."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from monitoring.rule_files import MONITORING

FILE = MONITORING / "dashboard.json"
VARIABLES = {"$__rate_interval": "1m", "$namespace": ".*", "$merchant": ".*"}
"""What Grafana puts in the place of the variables, with everything chosen."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel."""

    panel: str
    written: str
    legend: str

    @property
    def expression(self) -> str:
        """The query as Grafana sends it."""
        text = self.written
        for variable, value in VARIABLES.items():
            text = text.replace(variable, value)
        return text

    def __str__(self) -> str:
        return f"{self.panel}: {self.legend}"


@functools.cache
def dashboard() -> Mapping[str, Any]:
    """The document. Not to be changed."""
    document: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return document


def panels() -> Iterator[Mapping[str, Any]]:
    """Every panel that shows something."""
    yield from (panel for panel in dashboard()["panels"] if panel["type"] != "row")


def queries() -> list[Query]:
    """The queries of all panels."""
    return [
        Query(panel["title"], target["expr"], target["legendFormat"])
        for panel in panels()
        for target in panel["targets"]
    ]
