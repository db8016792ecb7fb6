"""Reads what `benchmarks.profiled` wrote: which rooms, packages and functions the CPU time goes to.

python -m benchmarks.profiles FILE
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

_TOP = 40
_TRUNK = 0.95
"""What is below nearly every sample is the way into the program, and says nothing."""


def summary(text: str, *, top: int = _TOP) -> str:
    """Three lists, in percent of all samples: rooms and packages, functions by themselves, functions with callees."""
    owners, own, whole = Counter[str](), Counter[str](), Counter[str]()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        functions = stack.split(";")
        owners[_owner(functions[-1])] += int(count)
        own[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    total = sum(own.values())
    branches = Counter({name: count for name, count in whole.items() if count < _TRUNK * total})
    parts = {
        "rooms and packages, by themselves": owners,
        "functions, by themselves": own,
        "functions, with what they call": branches,
    }
    return "\n".join(line for title, counts in parts.items() for line in _listed(title, counts, total, top))


def _listed(title: str, counts: Counter[str], total: int, top: int) -> list[str]:
    return [
        f"\n{title}, percent of {total} samples",
        *(f"{100 * n / total:6.1f}  {name}" for name, n in counts.most_common(top)),
    ]


def _owner(function: str) -> str:
    """`adapter/stream` for our own rooms; for others' files the package, or the module of the standard library."""
    file = function.partition(":")[0]
    parts = file.split("/")
    return "/".join(parts[:2]) if parts[0] == "adapter" and len(parts) > 2 else parts[0]


if __name__ == "__main__":
    print(summary(Path(sys.argv[1]).read_text(encoding="utf-8")))
