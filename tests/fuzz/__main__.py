"""`python -m fuzz`: fuzzes every target for its share of the time, and keeps inputs that reach new lines.

`make fuzz` calls it. An input that breaks a promise is kept too, so the tests fail until it is fixed. Exits with 1 if
there was one.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import traceback

from fuzz.corpus import keep, kept
from fuzz.fuzzer import fuzz
from fuzz.targets import TARGETS


def main() -> int:
    """Run what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="the targets (all)")
    parser.add_argument("--seconds", type=float, default=300.0, help="for all targets together (%(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="to repeat a run")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    names = asked.targets or list(TARGETS)
    print(f"seed {asked.seed}")
    return max(_fuzz(name, asked.seconds / len(names), asked.seed) for name in names)


def _fuzz(name: str, seconds: float, seed: int) -> int:
    result = fuzz(TARGETS[name], kept(name).values(), seconds=seconds, seed=seed)
    for data in result.new:
        keep(name, data)
    print(f"{name:14} {result.inputs:7,} inputs, {len(result.new):3} kept, {len(result.lines):5,} lines", flush=True)
    if result.finding is None:
        return 0
    path = keep(name, result.finding.data)
    print(f"FOUND: {path}")
    traceback.print_exception(result.finding.error)
    return 1


if __name__ == "__main__":
    sys.exit(main())
