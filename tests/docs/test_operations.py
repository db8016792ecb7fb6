"""The operations manual has a section for each dead-letter reason and each alert of the chart, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import yaml

from adapter.flows.messages.events import ParkReason

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "operations"
RENDERED = ROOT / "helm" / "examples" / "shop" / "rendered.yaml"


def sections(page: str) -> list[str]:
    """The headings of the second level."""
    return re.findall(r"^## (.+)$", (PAGES / page).read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_each_dead_letter_reason_has_its_section() -> None:
    """In both directions."""
    assert sorted(sections("dead-letters.md")) == sorted(get_args(ParkReason))


def test_each_alert_that_the_chart_renders_has_its_section() -> None:
    """In both directions; the example is what the chart renders with its rules on."""
    objects = [each for each in yaml.safe_load_all(RENDERED.read_text(encoding="utf-8")) if each]
    (rule,) = (each for each in objects if each["kind"] == "PrometheusRule")
    alerts = [each["alert"] for group in rule["spec"]["groups"] for each in group["rules"]]

    assert sorted(sections("alerts.md")) == sorted(alerts)


def test_no_section_is_empty() -> None:
    """A heading alone helps no operator."""
    for page in ("dead-letters.md", "alerts.md"):
        texts = re.split(r"^## .+$", (PAGES / page).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        assert min(len(text.split()) for text in texts) > 15, page
