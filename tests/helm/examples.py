"""The examples of the chart: each folder of helm/examples, rendered to its `rendered.yaml`.

`make charts` writes the rendered files, so a review shows what a change of a template does. A test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helm.renderer import Rendered, Renderer, yaml_documents
from helm.settings_values import CHART

FOLDER = CHART.parent / "examples"
RENDERED = "rendered.yaml"
_HEAD = "# Written by `make charts` from {source}; do not edit.\n"


@dataclass(frozen=True, slots=True)
class Example:
    """One folder of helm/examples."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def is_chart(self) -> bool:
        """Whether it is a chart of its own, and not only values."""
        return (self.folder / "Chart.yaml").exists()

    @property
    def chart(self) -> Path:
        """The chart that it renders."""
        return self.folder if self.is_chart else CHART

    @property
    def values(self) -> dict[str, Any]:
        """The values that it renders with, beside the defaults of its chart."""
        if self.is_chart:
            return {}
        return self._own_values

    @property
    def adapter_values(self) -> dict[str, Any]:
        """The values of the adapter's chart."""
        values: dict[str, Any] = self._own_values["ecticket-adapter"] if self.is_chart else self._own_values
        return values

    @property
    def _own_values(self) -> dict[str, Any]:
        (values,) = yaml_documents((self.folder / "values.yaml").read_text(encoding="utf-8"))
        return values

    @property
    def beside(self) -> list[dict[str, Any]]:
        """The objects in the files beside the values."""
        files = [path for path in sorted(self.folder.glob("*.yaml")) if path.name not in _NOT_OBJECTS]
        return [each for path in files for each in yaml_documents(path.read_text(encoding="utf-8"))]

    def render(self, renderer: Renderer) -> Rendered:
        """What the chart makes of it."""
        return renderer.render(self.chart, self.values)

    def text(self, renderer: Renderer) -> str:
        """The content of its rendered file."""
        source = "its chart" if self.is_chart else "values.yaml"
        return _HEAD.format(source=source) + self.render(renderer).text


_NOT_OBJECTS = {"Chart.yaml", "values.yaml", RENDERED}


def all_examples() -> list[Example]:
    """Every example, by name."""
    return [Example(folder) for folder in sorted(FOLDER.iterdir()) if (folder / "values.yaml").exists()]
