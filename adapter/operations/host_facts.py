"""Versions and limits of the machine and the process, for a support bundle."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")
_CGROUP_FILES: Final = (
    "memory.max",
    "memory.high",
    "memory.current",
    "memory.events",
    "cpu.max",
    "cpu.stat",
    "pids.max",
    "pids.current",
)
_LIMITS: Final = ("AS", "CORE", "CPU", "FSIZE", "MEMLOCK", "NOFILE", "NPROC")


def versions() -> Mapping[str, object]:
    """Return the versions of Python, the system and all installed packages."""
    packages = {str(each.metadata["Name"]): each.version for each in distributions() if each.metadata["Name"]}
    return {
        "python": sys.version,
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def limits() -> Mapping[str, object]:
    """Return what the machine and its container allow this process, and what is used; unknown values are left out."""
    folder = tempfile.gettempdir()
    disk = shutil.disk_usage(folder)
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "time_zone": time.tzname[0],
        "cpus": os.cpu_count(),
        "cpus_of_process": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "limits": _limits(),
        "cgroup": {name: text for name in _CGROUP_FILES if (text := _text(_CGROUP / name)) is not None},
        "temporary_folder": {"path": folder, "bytes": disk.total, "free_bytes": disk.free},
    }


def _limits() -> Mapping[str, object]:
    """Return the soft and hard limits of the process; None is no limit. Windows has none of them."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return {}
    found = {}
    for name in _LIMITS:
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is not None:
            pair = resource.getrlimit(number)
            found[name] = [None if each == resource.RLIM_INFINITY else each for each in pair]
    return found


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
