"""A copy of the tree that may be changed: the working tree is never touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .mutations import Mutation

ROOT = Path(__file__).parents[2]
_COPIED = ("adapter", "benchmarks", "examples", "plugins", "schemas", "docs", "tests")
_FILES = ("pyproject.toml", "README.md")
_NOTICED = 1
"""pytest's exit code when a test failed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run of tests ended: a test failed (`noticed`), all `passed`, or neither; `what` is the line to show."""

    noticed: bool
    what: str
    passed: bool = False


def applies(mutation: Mutation, root: Path = ROOT) -> bool:
    """Whether the line that the mutation changes is there, once."""
    return (root / mutation.file).read_text(encoding="utf-8").count(mutation.old) == 1


class Tree:
    """A copy of the tree in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "tree"
        self._root.mkdir()
        ignored = shutil.ignore_patterns("__pycache__", ".hypothesis", "*.egg-info")
        for name in _COPIED:
            shutil.copytree(ROOT / name, self._root / name, ignore=ignored)
        for name in _FILES:
            shutil.copy(ROOT / name, self._root / name)

    def run(self, tests: Sequence[str], timeout: float) -> Verdict:
        """Run tests until one fails; longer than `timeout` seconds counts as noticed, since no test may hang."""
        path = os.pathsep.join((str(self._root), str(self._root / "tests")))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not broker", *tests]
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            ran = subprocess.run(  # our own tests
                command, cwd=self._root, env=environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return Verdict(noticed=True, what=f"no end after {timeout:.0f} s")
        failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        last = (ran.stdout.strip().splitlines() or ran.stderr.strip().splitlines() or ["no output"])[-1]
        return Verdict(
            noticed=ran.returncode == _NOTICED, what=failed[0] if failed else last, passed=ran.returncode == 0
        )

    def run_mutated(self, mutation: Mutation, timeout: float) -> Verdict:
        """Run a mutation's tests with it; the copy is as before afterwards."""
        file = self._root / mutation.file
        before = file.read_text(encoding="utf-8")
        file.write_text(before.replace(mutation.old, mutation.new), encoding="utf-8")
        try:
            return self.run(mutation.tests, timeout)
        finally:
            file.write_text(before, encoding="utf-8")
