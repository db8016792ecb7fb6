"""Helpers of this room's tests: is a process gone, and parents that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]
BOUND_SECONDS = 60.0


def is_gone(pid: int) -> bool:
    """Whether no such process runs; one that has ended and was not collected yet does not run."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return True
    except FileNotFoundError:
        return sys.platform == "linux"
    return state == "Z"


def goes(pid: int) -> bool:
    """Whether the process ends within a bound that no test should ever need."""
    return comes_true(lambda: is_gone(pid))


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it happens within that bound; returns as soon as it does."""
    deadline = time.monotonic() + BOUND_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def parent(script: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """A Python process of its own that runs `script`; in a session of its own, as a command in a terminal is."""
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )


def failure(process: subprocess.Popen[str]) -> list[str]:
    """The next line that the process prints, in words."""
    assert process.stdout is not None
    return process.stdout.readline().split()
