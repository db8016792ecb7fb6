"""What it was measured on: without it, a figure says nothing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from adapter.local.jars import KAFKA_VERSION

_PACKAGES = ("aiokafka", "aiohttp", "httpx", "cryptography", "pydantic")


def machine() -> Mapping[str, str]:
    """Processor, system, versions, how busy the machine was, and the command."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.python_implementation()} "
        f"{platform.python_version()}, Apache Kafka {KAFKA_VERSION}",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "command": " ".join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
