"""Asks `promtool test rules` which alerts fire over the scrapes of an adapter."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitoring.rule_files import RULE_FILES, alerts
from monitoring.scraped_adapter import ScrapedAdapter

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Firing:
    """The alerts that fire at a minute, each with its labels, and no others."""

    minute: int
    alerts: Sequence[Labels]

    def as_test(self) -> dict[str, object]:
        """An entry of `promql_expr_test`."""
        expected = [{"labels": f"ALERTS{_text({**each, 'alertstate': 'firing'})}", "value": 1} for each in self.alerts]
        return {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{self.minute}m", "exp_samples": expected}


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression whose result has no labels is at a minute."""

    minute: int
    expression: str
    value: float

    def as_test(self) -> dict[str, object]:
        """An entry of `promql_expr_test`."""
        expected = [{"labels": "{}", "value": self.value}]
        return {"expr": self.expression, "eval_time": f"{self.minute}m", "exp_samples": expected}


def _text(labels: Labels) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def wrong_alerts(
    promtool: str,
    folder: Path,
    adapter: ScrapedAdapter,
    expected: Sequence[Firing | Value],
    *,
    only: str | None = None,
) -> str:
    """What promtool finds wrong, evaluating all rules once a minute; nothing if it is as expected.

    `only`: of all rules only the alerts of this name, because days of all of them take half a minute.
    """
    test = {
        "interval": "1m",
        "input_series": [{"series": series, "values": " ".join(values)} for series, values in adapter.series.items()],
        "promql_expr_test": [each.as_test() for each in expected],
    }
    file = folder / "test.yaml"
    rule_files = [str(each) for each in RULE_FILES]
    if only is not None:
        chosen = [rule.as_rule() for rule in alerts() if rule.name == only]
        rule_files = [str(folder / "rules.yaml")]
        Path(rule_files[0]).write_text(json.dumps({"groups": [{"name": only, "rules": chosen}]}), encoding="utf-8")
    file.write_text(json.dumps({"rule_files": rule_files, "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
