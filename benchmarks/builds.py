"""An adapter to measure: the code of a checkout, the interpreter that runs it, and settings of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import NotMeasurableError

ROOT = Path(__file__).parent.parent
_SECONDS = 60.0
_FACTS = """
import importlib.metadata, json, platform, sysconfig
names = ("aiokafka", "cryptography", "pydantic")
print(json.dumps({
    "python": platform.python_implementation() + " " + platform.python_version(),
    "options": sysconfig.get_config_var("CONFIG_ARGS") or "",
    "packages": ", ".join(name + " " + importlib.metadata.version(name) for name in names),
}))
"""
"""Runs on the interpreter that is described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """An adapter to measure.

    Only it has the settings `changes` and the environment's `variables`: names and values.
    """

    name: str
    checkout: Path = ROOT
    python: Path = Path(sys.executable)
    changes: tuple[tuple[str, str], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    async def facts(self) -> str:
        """One sentence: commit, interpreter, packages. Raises NotMeasurableError if the interpreter cannot run."""
        found = json.loads(await asyncio.to_thread(_output, str(self.python), "-c", _FACTS))
        optimized = "--enable-optimizations" in found["options"]
        return (
            f"{self.name}: commit {await asyncio.to_thread(_commit, self.checkout)}; {found['python']}, configured "
            f"{'with' if optimized else 'without'} --enable-optimizations; {found['packages']}."
        )


PRESENT = Build(name="now")


def earlier(checkout: Path) -> Build:
    """The adapter of another checkout, run by the interpreter of its `.venv`, which has the packages it was pinned to.

    Raises NotMeasurableError if it has none.
    """
    python = checkout.resolve() / ".venv" / "bin" / "python"
    if not python.exists():
        raise NotMeasurableError(f"{checkout} has no .venv/bin/python; run `make .venv/.ready` there.")
    return Build(name="before", checkout=checkout.resolve(), python=python)


def on_interpreter(python: Path, changes: tuple[tuple[str, str], ...]) -> Build:
    """The present adapter, run by another interpreter, which must have its packages."""
    return Build(name=f"now, {python}", python=python.absolute(), changes=changes)


def _commit(checkout: Path) -> str:
    """The checkout's commit, and whether its files differ from it."""
    try:
        commit = _output("git", "-C", str(checkout), "rev-parse", "--short", "HEAD").strip()
        changed = _output("git", "-C", str(checkout), "status", "--porcelain", "--", "adapter").strip()
    except NotMeasurableError:
        return "unknown"
    return f"{commit} with changes" if changed else commit


def _output(*command: str) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        errors = getattr(error, "stderr", "") or str(error)
        raise NotMeasurableError(f"{command[0]} failed: {errors.strip()}") from error
    return ended.stdout
