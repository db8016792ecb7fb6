"""The operations manual has a section for each dead-letter reason and each alert of the chart, and no others."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import get_args

import yaml
from helm.renderer import find_renderer
from monitoring.rule_files import alerts

from adapter.flows.messages.events import ParkReason

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "operations"
SHOP = ROOT / "helm" / "examples" / "shop"


def sections(page: str) -> list[str]:
    """The headings of the second level."""
    return re.findall(r"^## (.+)$", (PAGES / page).read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_each_dead_letter_reason_has_its_section() -> None:
    """In both directions."""
    assert sorted(sections("dead-letters.md")) == sorted(get_args(ParkReason))


def test_each_alert_has_its_section() -> None:
    """In both directions; an alert may have several rules."""
    assert sorted(sections("alerts.md")) == sorted({alert.name for alert in alerts()})


def test_no_section_is_empty() -> None:
    """A heading alone helps no operator."""
    for page in ("dead-letters.md", "alerts.md"):
        texts = re.split(r"^## .+$", (PAGES / page).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        assert min(len(text.split()) for text in texts) > 15, page


def test_the_values_of_the_installation_are_accepted() -> None:
    """By the example of a shop's chart; they bring the sidecar, the Job for the topics and the alerts."""
    page = (PAGES / "installation.md").read_text(encoding="utf-8")
    block, ipv6 = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    values = yaml.safe_load(textwrap.dedent(block).replace("sha256:...", f"sha256:{'0' * 64}"))

    rendered = find_renderer().render(SHOP, values)

    pod = rendered.one("Deployment")["spec"]["template"]["spec"]
    assert [each["name"] for each in pod["initContainers"]] == ["ecticket-adapter"]
    assert rendered.all("Job")
    assert rendered.all("PrometheusRule")
    values["ecticket-adapter"] |= {"config": values["ecticket-adapter"]["config"] | yaml.safe_load(ipv6)["config"]}
    assert find_renderer().render(SHOP, values).all("Deployment")
