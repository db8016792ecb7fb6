"""The rules and the dashboard of monitoring/, and their copies in the chart: Helm reads no file outside of a chart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from helm.settings_values import CHART

MONITORING = Path(__file__).parents[2] / "monitoring"
COPIES = CHART / "files" / "monitoring"


def monitoring_files() -> Iterator[tuple[Path, Path]]:
    """Each file of monitoring/, and its copy."""
    for source in sorted(MONITORING.iterdir()):
        yield source, COPIES / source.name
