"""Runs the adapter under a sampling profiler of our own: where its CPU time goes, with little overhead.

    python -m benchmarks.profiled run --only submit      (BENCH_PROFILE names the file to write)

Every two milliseconds of CPU time the stack is noted, between SIGUSR1 and SIGUSR2; at the end the stacks are written as
lines `outermost;...;innermost count`, which flame graph tools read. cProfile would cost more than what it measures.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from adapter.cli import main

FILE = "BENCH_PROFILE"
_EVERY_SECONDS = 0.002

_ROOTS = sorted((f"{root}/" for root in (*sys.path, Path(__file__).parent.parent) if root), key=len, reverse=True)

_stacks: Counter[tuple[CodeType, ...]] = Counter()


def _note(_signal: int, frame: FrameType | None) -> None:
    stack = []
    while frame is not None:
        stack.append(frame.f_code)
        frame = frame.f_back
    _stacks[tuple(stack)] += 1


def _begin(_signal: int, _frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_PROF, _EVERY_SECONDS, _EVERY_SECONDS)


def _end(_signal: int, _frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)


def _name(code: CodeType) -> str:
    """File and function, with the file as it is imported."""
    file = next((code.co_filename.removeprefix(root) for root in _ROOTS if code.co_filename.startswith(root)), "")
    return f"{file or code.co_filename}:{code.co_qualname}"


def _write(path: Path) -> None:
    lines = Counter[str]()
    for stack, count in _stacks.items():
        lines[";".join(_name(code) for code in reversed(stack))] += count
    path.write_text("".join(f"{stack} {count}\n" for stack, count in lines.most_common()), encoding="utf-8")


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, _note)
    signal.signal(signal.SIGUSR1, _begin)
    signal.signal(signal.SIGUSR2, _end)
    try:
        status = main()
    finally:
        _write(Path(os.environ[FILE]))
    sys.exit(status)
