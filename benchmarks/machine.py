"""The machine of a measurement: without it, a figure has no meaning."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from adapter.dev.local_kafka.jars import KAFKA_VERSION
from benchmarks.orders import order

_YARDSTICK_ORDERS = 50_000
_PACKAGES = ("aiokafka", "httptools", "httpx", "cryptography", "pydantic")


def machine() -> Mapping[str, str]:
    """Processor, system, versions, the command; and how busy and how fast the machine was.

    On a busy machine, or a shared one, the same work takes more CPU time; by the yardstick two runs can be compared.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.python_implementation()} "
        f"{platform.python_version()}, Apache Kafka {KAFKA_VERSION}",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "yardstick": f"{_yardstick():.2f} CPU seconds to write and read {_YARDSTICK_ORDERS:,} orders as JSON",
        "command": " ".join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    }


def _yardstick() -> float:
    """CPU seconds of a piece of plain Python work that never changes."""
    began = time.process_time()
    for number in range(_YARDSTICK_ORDERS):
        json.loads(order(number))
    return time.process_time() - began


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
