"""Measures processes from outside: CPU time, memory, and their cores.

Reads Linux's /proc, because there is no way to ask for another process's CPU time in Python that works everywhere; on
other systems the benchmarks say so and stop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

MIB = 1024 * 1024


class NotMeasurableError(Exception):
    """This system does not provide the figures to measure."""


def require_proc() -> None:
    """Raise NotMeasurableError if there is no /proc."""
    if not Path("/proc/self/stat").exists():
        raise NotMeasurableError("The benchmarks read /proc, which only Linux has; run them in a container.")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, in steps of 10 ms; its children's is not in it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """The memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def peak_mib(pid: int) -> float:
    """The most memory that a process had in RAM at any moment of its life (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) / 1024


def pin(pid: int, cores: Collection[int]) -> None:
    """Let all threads of a process run on these cores only; threads they start later stay there too."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)


def share_out_cores() -> tuple[frozenset[int], frozenset[int]]:
    """One core for the measured process, and the others for all others; the same core if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return frozenset(cores[-1:]), frozenset(cores[:-1] or cores)
