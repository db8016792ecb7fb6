"""Reads what `benchmarks.profiled` wrote: which packages and functions of the adapter and of libraries the CPU time
goes to.

python -m benchmarks.profiles FILE
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.reporting import Cell, Report, show

_TOP = 40
_TRUNK = 0.95
"""A function below nearly every sample only starts the program, and is left out."""


def report(text: str, *, top: int = _TOP) -> Report:
    """The largest of each, in percent of all samples; `text` is lines of `outermost;...;innermost count`."""
    owners, own, whole = Counter[str](), Counter[str](), Counter[str]()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        functions = stack.split(";")
        owners[_owner(functions[-1])] += int(count)
        own[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    total = own.total()
    branches = Counter({name: count for name, count in whole.items() if count < _TRUNK * total})
    kinds = {"package": owners, "function, by itself": own, "function, with what it calls": branches}
    rows = [row for kind, counts in kinds.items() for row in _rows(kind, counts, total, top)]
    return Report(title=f"Where the CPU time goes, {total:,} samples", rows=rows)


def _rows(kind: str, counts: Counter[str], total: int, top: int) -> Iterator[dict[str, Cell]]:
    for name, count in counts.most_common(top):
        yield {"of": kind, "percent": 100 * count / total, "name": name}


def _owner(function: str) -> str:
    """`adapter/stream` for our own packages; for others' files the package, or the module of the standard library."""
    file = function.partition(":")[0]
    parts = file.split("/")
    return "/".join(parts[:2]) if parts[0] == "adapter" and len(parts) > 2 else parts[0]


if __name__ == "__main__":
    show(report(Path(sys.argv[1]).read_text(encoding="utf-8")), Console())
