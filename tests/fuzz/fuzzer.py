"""Runs a target on mutated inputs and keeps those that reach new lines of the adapter.

Coverage is measured by tracing the lines of `adapter/` only, so an input costs little more than it would without.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import adapter
from fuzz.mutation import mutated
from fuzz.targets import Target

ADAPTER = str(Path(adapter.__file__).parent)
SLOW_SECONDS = 2.0
"""CPU time above which an input is a finding; the largest one has 4 KiB."""

Line = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that breaks a promise, and how."""

    data: bytes
    error: BaseException


@dataclass(slots=True)
class Fuzzed:
    """The result of a run."""

    inputs: int = 0
    new: list[bytes] = field(default_factory=list)
    lines: set[Line] = field(default_factory=set)
    finding: Finding | None = None


class TooSlowError(Exception):
    """An input took more CPU time than any may."""


def lines_of(target: Target, data: bytes) -> set[Line]:
    """Run the target; return the lines of the adapter that it reached. Raises what the target raises, TooSlowError."""
    lines: set[Line] = set()

    def trace_lines(frame: FrameType, _event: str, _: object) -> Any:
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace_lines

    def trace_calls(frame: FrameType, _event: str, _: object) -> Any:  # typeshed names a type that refers to itself
        return trace_lines if frame.f_code.co_filename.startswith(ADAPTER) else None

    before = sys.gettrace()
    began = time.process_time()
    sys.settrace(trace_calls)
    try:
        target(data)
    finally:
        sys.settrace(before)
    if time.process_time() - began > SLOW_SECONDS:
        raise TooSlowError(f"{len(data)} bytes took {time.process_time() - began:.1f} s")
    return lines


def fuzz(target: Target, corpus: Iterable[bytes], *, seconds: float, seed: int) -> Fuzzed:
    """Run the corpus, then mutations of it until the time is over or something is found."""
    chance = random.Random(seed)
    result = Fuzzed()
    inputs = list(corpus) or [b""]
    ends = time.monotonic() + seconds
    for data in tuple(inputs):
        if not _try(target, data, result):
            return result
    while time.monotonic() < ends:
        data = mutated(chance.choice(inputs), inputs, chance)
        before = len(result.lines)
        if not _try(target, data, result):
            return result
        if len(result.lines) > before:
            inputs.append(data)
            result.new.append(data)
    return result


def _try(target: Target, data: bytes, result: Fuzzed) -> bool:
    result.inputs += 1
    try:
        result.lines |= lines_of(target, data)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is a finding
        result.finding = Finding(data, error)
        return False
    return True
