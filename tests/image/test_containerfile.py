"""The image's file, as text: what a review of it would ask."""

from __future__ import annotations

import os
import re
from pathlib import Path

from image.containerfile import build_context, stages

ROOT = Path(__file__).parents[2]
BUILD, FINAL = stages(ROOT / "Containerfile")


def test_the_final_stage_only_copies_what_was_built() -> None:
    """No compiler, no package manager and no source: it is the slim base, pinned by digest, and one folder."""
    assert [step.text.split()[0] for step in FINAL if step.word == "COPY"] == ["--from=build"]
    assert not any(step.word == "RUN" for step in FINAL)
    assert {BUILD[0].text.split()[0], FINAL[0].text} == {"${PYTHON}"}
    (base,) = [line for line in (ROOT / "Containerfile").read_text().splitlines() if line.startswith("ARG PYTHON=")]
    assert re.fullmatch(r"ARG PYTHON=docker\.io/library/python:3\.[0-9]+-slim@sha256:[0-9a-f]{64}", base)


def test_everything_is_a_wheel_of_a_pinned_version() -> None:
    """Nothing is compiled, and no step installs without the constraints."""
    installs = [step.text for step in BUILD if step.word == "RUN" and " install " in step.text]

    assert len(installs) == 2
    assert all("--constraint constraints.txt" in text for text in installs)
    assert any(step.word == "ENV" and "PIP_ONLY_BINARY=:all:" in step.text for step in BUILD)


def test_the_user_is_a_number_and_not_root() -> None:
    """Kubernetes refuses `runAsNonRoot` with a name."""
    (user,) = [step.text for step in FINAL if step.word == "USER"]

    assert user.isdecimal()
    assert int(user) > 0


def test_the_build_context_holds_the_package_and_no_secrets() -> None:
    """A settings file beside the sources, or Git's folder, is not sent to the builder."""
    top = {path.parts[0] for path in build_context(ROOT)}

    assert top == {"adapter", "constraints.txt", "pyproject.toml", "README.md", "LICENSE"}
    assert not any("__pycache__" in path.parts for path in build_context(ROOT))
    assert os.readlink(ROOT / ".dockerignore") == ".containerignore"
