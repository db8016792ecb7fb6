"""Prometheus' programs: those on the PATH, or those that `prometheus.sh` unpacked into `PROMETHEUS_FOLDER`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / "build" / "prometheus"


def find_program(name: str) -> str | None:
    """The path of `prometheus` or `promtool`, or None."""
    return shutil.which(name) or shutil.which(name, path=os.environ.get("PROMETHEUS_FOLDER", _FOLDER))
