"""What contributors and CI use calls what exists: the lint of `make lint`, the targets of the Makefile."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
GITHUB = sorted(path for path in (ROOT / ".github").rglob("*") if path.suffix in {".yaml", ".yml"})


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _recipes() -> dict[str, list[str]]:
    """The commands of each target of the Makefile; `.venv/bin` stands where the Makefile has a variable."""
    recipes: dict[str, list[str]] = {}
    target = ""
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([a-z-]+):(?!=)", line):
            target = match[1]
            recipes[target] = []
        elif line.startswith("\t") and target:
            recipes[target].append(line.strip().replace("$(BIN)", ".venv/bin"))
    return recipes


def _steps() -> list[dict[str, Any]]:
    (job,) = _read(ROOT / ".github" / "workflows" / "ci.yaml")["jobs"].values()
    return list(job["steps"])


def test_the_commit_hooks_run_the_lint_of_make_lint() -> None:
    """The same commands in the same order, with the project's own tools and nothing from the network."""
    (repository,) = _read(ROOT / ".pre-commit-config.yaml")["repos"]

    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == _recipes()["lint"]
    assert all(hook["always_run"] and not hook["pass_filenames"] for hook in repository["hooks"])
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_ci_runs_make_test_on_the_oldest_and_on_a_newer_python() -> None:
    """The oldest one is the one that the package declares."""
    (job,) = _read(ROOT / ".github" / "workflows" / "ci.yaml")["jobs"].values()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest, newest = job["strategy"]["matrix"]["python"]

    assert project["requires-python"] == f">={oldest}"
    assert [int(part) for part in newest.split(".")] > [int(part) for part in oldest.split(".")]
    assert "make test PYTHON=python" in [step.get("run") for step in job["steps"]]


def test_every_target_that_ci_makes_exists() -> None:
    """And takes the variable that names the Python."""
    commands = [step["run"].split() for step in _steps() if "run" in step]

    assert commands
    for make, target, variable in commands:
        assert make == "make"
        assert target in _recipes()
        assert variable.startswith("PYTHON=")
    assert re.search(r"^PYTHON \?=", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_target_that_the_contributors_guide_names_exists() -> None:
    """In CONTRIBUTING.md."""
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))

    assert {"lint", "quick", "test", "demo", "help"} <= named & set(_recipes())
    assert "`make " in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.name)
def test_forms_and_workflows_are_yaml(path: Path) -> None:
    """An issue form has what a form must have."""
    content = _read(path)

    assert isinstance(content, dict)
    if path.parent.name == "ISSUE_TEMPLATE" and path.name != "config.yml":
        assert {"name", "description", "body"} <= content.keys()
        assert len({each["id"] for each in content["body"] if "id" in each}) >= 2
