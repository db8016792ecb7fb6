"""Renders and lints charts: with the `helm` on the PATH, else with Helm's library from pip.

Both are Helm itself. Neither needs a cluster. A chart's dependency on `file://...` is copied into a copy of the chart
first, as `helm dependency update` does.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import helm_python
import yaml

RELEASE = "tickets"
NAMESPACE = "shop"
Values = Mapping[str, Any]


class ChartRefused(Exception):
    """Helm does not render the chart with these values; the text is what a user reads."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The files that a chart became, by the template's path."""

    files: Mapping[str, str]
    notes: str

    @cached_property
    def objects(self) -> list[dict[str, Any]]:
        """All objects, in the order of the templates' names. Not to be changed."""
        texts = (text for _, text in sorted(self.files.items()))
        return [each for text in texts for each in yaml_documents(text)]

    def one(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """The only object of this kind (and name)."""
        (found,) = self.all(kind, name)
        return found

    def all(self, kind: str, name: str | None = None) -> list[dict[str, Any]]:
        """All objects of this kind (and name)."""
        return [each for each in self.objects if each["kind"] == kind and name in (None, each["metadata"]["name"])]

    @property
    def text(self) -> str:
        """All objects as one file, as `helm template` prints them: for kubectl, and for a review."""
        documents = []
        for path, text in sorted(self.files.items()):
            for document in re.split(r"^---$", text, flags=re.MULTILINE):
                lines = [line.rstrip() for line in document.splitlines()]
                body = "\n".join(lines).strip("\n")
                if any(line and not line.lstrip().startswith("#") for line in lines):
                    documents.append(f"---\n# Source: {path}\n{body}\n")
        return "".join(documents)


class StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the fast one, if built
    """YAML in which a key that is there twice is an error, as for an API server."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]} is there twice", node.start_mark)
    built: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return built


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def yaml_documents(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML text that hold something; a key that is there twice is an error."""
    return [each for each in yaml.load_all(text, StrictLoader) if each is not None]


class Renderer(Protocol):
    """Helm, whichever there is."""

    def render(self, chart: Path, values: Values | None = None, *, release: str = RELEASE) -> Rendered:
        """Render a chart. Raises ChartRefused."""
        ...

    def lint(self, chart: Path, values: Values | None = None) -> list[str]:
        """What a strict lint finds: warnings and errors."""
        ...


def find_renderer() -> Renderer:
    """The `helm` on the PATH, else the library."""
    return HelmCommand() if shutil.which("helm") else HelmLibrary()


@contextmanager
def _with_dependencies(chart: Path) -> Iterator[Path]:
    """A chart that has what it depends on; a copy, if it depends on something."""
    needed = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8")).get("dependencies", [])
    if not needed:
        yield chart
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / chart.name
        shutil.copytree(chart, copy, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
        for each in {each["name"]: each for each in needed}.values():  # one copy for all its aliases
            source = (chart / each["repository"].removeprefix("file://")).resolve()
            assert yaml.safe_load((source / "Chart.yaml").read_text())["version"] == each["version"]
            shutil.copytree(source, copy / "charts" / each["name"])
        yield copy


class HelmLibrary:
    """Helm's Go library, from the package helm-python-sdk."""

    def render(self, chart: Path, values: Values | None = None, *, release: str = RELEASE) -> Rendered:
        """Render a chart. Raises ChartRefused."""
        try:
            with _with_dependencies(chart) as whole, helm_python.Chart.load(whole) as loaded:
                loaded.validate_schema(dict(values or {}))
                files = loaded.render(dict(values or {}), name=release, namespace=NAMESPACE)
        except helm_python.HelmError as error:
            raise ChartRefused(str(error)) from None
        notes = [text for path, text in sorted(files.items()) if path.endswith("NOTES.txt")]
        objects = {path: text for path, text in files.items() if path.endswith((".yaml", ".yml")) and text.strip()}
        return Rendered(files=objects, notes="".join(notes))

    def lint(self, chart: Path, values: Values | None = None) -> list[str]:
        """What a strict lint finds: warnings and errors."""
        with _with_dependencies(chart) as whole:
            report = helm_python.lint(whole, dict(values or {}), strict=True, with_subcharts=True)
        warning = 2
        found = [f"{each['path']}: {each['error']}" for each in report["messages"] if each["severity"] >= warning]
        return list(dict.fromkeys([*found, *report["errors"]]))


class HelmCommand:
    """The program `helm`."""

    def render(self, chart: Path, values: Values | None = None, *, release: str = RELEASE) -> Rendered:
        """Render a chart. Raises ChartRefused."""
        with _with_dependencies(chart) as whole, _values_file(values) as file:
            arguments = [release, str(whole), "--namespace", NAMESPACE, "--values", str(file)]
            text = self._run("template", *arguments)
            dry = json.loads(
                self._run("install", *arguments, "--dry-run=client", "--render-subchart-notes", "--output", "json")
            )
        files: dict[str, str] = {}
        for document in re.split(r"^---$", text, flags=re.MULTILINE):
            source = re.search(r"^# Source: (\S+)$", document, flags=re.MULTILINE)
            if source:
                body = document.replace(source[0], "", 1)
                files[source[1]] = files[source[1]] + f"\n---\n{body}" if source[1] in files else body
        return Rendered(files=files, notes=dry["info"].get("notes", ""))

    def lint(self, chart: Path, values: Values | None = None) -> list[str]:
        """What a strict lint finds: warnings and errors."""
        with _with_dependencies(chart) as whole, _values_file(values) as file:
            try:
                self._run("lint", str(whole), "--strict", "--with-subcharts", "--quiet", "--values", str(file))
            except ChartRefused as error:
                return [line for line in str(error).splitlines() if line.startswith(("[WARNING]", "[ERROR]"))]
        return []

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ChartRefused(done.stderr + done.stdout)
        return done.stdout


@contextmanager
def _values_file(values: Values | None) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        json.dump(values or {}, file)
        file.flush()
        yield Path(file.name)
