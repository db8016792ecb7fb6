"""The image's file, as text: what a review of it would ask."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

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


def test_everything_is_a_wheel_with_a_pinned_hash() -> None:
    """Nothing is compiled, and each step installs a file of hashes, or the wheel that an earlier step has built."""
    steps = [step.text for step in BUILD if step.word == "RUN"]
    installs = re.findall(r"pip --python \S+ install (.*?)(?: &&|$)", "\n".join(steps), flags=re.MULTILINE)

    assert sum(text.count(" install ") for text in steps) == len(installs)
    assert sorted(installs) == [
        "--no-deps --no-index /wheels/*.whl",
        "--require-hashes --requirement requirements/build.txt",
        "--require-hashes --requirement requirements/image.txt",
    ]
    assert any(step.word == "ENV" and "PIP_ONLY_BINARY=:all:" in step.text for step in BUILD)


@pytest.mark.parametrize(
    ("options", "interpreter", "builds"),
    [
        ("'--enable-shared' '--enable-optimizations' '--with-lto'", "optimized", True),
        ("'--enable-shared'", "optimized", False),
        ("None", "optimized", False),
        ("'--enable-shared'", "any", True),
    ],
)
def test_a_base_whose_python_is_not_optimized_builds_no_image(
    options: str, interpreter: str, builds: bool, tmp_path: Path
) -> None:
    """Such an interpreter needs a tenth more CPU time for each order; a build with it must ask for it."""
    (step,) = [step.text for step in BUILD if step.word == "RUN" and "CONFIG_ARGS" in step.text]
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "{options}"\n')
    python.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "INTERPRETER": interpreter}

    ended = subprocess.run(["/bin/sh", "-e", "-c", step], env=environment, capture_output=True, check=False)

    assert (ended.returncode == 0) is builds
    assert BUILD[1].text == "INTERPRETER=optimized"


def test_threads_share_heaps() -> None:
    """An idle process with a heap for each thread takes 1 MiB more; the benchmarks measure as the image runs."""
    (variables,) = [step.text.split() for step in FINAL if step.word == "ENV"]

    assert "MALLOC_ARENA_MAX=2" in variables


def test_the_user_is_a_number_and_not_root() -> None:
    """Kubernetes refuses `runAsNonRoot` with a name."""
    (user,) = [step.text for step in FINAL if step.word == "USER"]

    assert user.isdecimal()
    assert int(user) > 0


def test_the_build_context_holds_the_package_and_no_secrets() -> None:
    """A settings file beside the sources, or Git's folder, is not sent to the builder."""
    top = {path.parts[0] for path in build_context(ROOT)}

    assert top == {"adapter", "constraints.txt", "requirements", "pyproject.toml", "README.md", "LICENSE"}
    assert not any("__pycache__" in path.parts for path in build_context(ROOT))
    assert os.readlink(ROOT / ".dockerignore") == ".containerignore"
