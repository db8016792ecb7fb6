"""`make mutants`: try every mutation, each against the tests that must notice it; exit 1 if one survives.

The tests run once without any mutation first: a mutation is noticed only by a test that passes without it. Two copies
of the tree work side by side.

    cd tests && python -m mutants                every mutation
    cd tests && python -m mutants breaker lease  those whose names contain one of the words
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from .mutations import MUTATIONS, Mutation
from .tree import Tree, Verdict, applies

SIDE_BY_SIDE = 2
TIMEOUT_SECONDS = 120.0
"""For the tests of one mutation."""
CLEAN_TIMEOUT_SECONDS = 600.0
"""For all tests without any mutation."""


def main() -> int:
    """0: each mutation is noticed. 1: one is not, or does not apply, or the tests fail without any."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations whose names contain one of these")
    words = parser.parse_args().words
    chosen = [each for each in MUTATIONS if not words or any(word in each.name for word in words)]
    console = Console()
    began = time.monotonic()
    with TemporaryDirectory(prefix="ecticket-mutants-") as folder:
        verdicts = _tried(chosen, Path(folder), console)
    if verdicts is None:
        return 1
    _show(verdicts, console)
    survivors = sum(not verdict.noticed for verdict in verdicts.values())
    console.print(f"{len(verdicts)} mutations, {survivors} not noticed, {time.monotonic() - began:.0f} s")
    return 1 if survivors or not verdicts else 0


def _tried(chosen: list[Mutation], folder: Path, console: Console) -> dict[Mutation, Verdict] | None:
    trees: SimpleQueue[Tree] = SimpleQueue()
    for number in range(SIDE_BY_SIDE):
        place = folder / str(number)
        place.mkdir()
        trees.put(Tree(place))
    clean = _without_any(chosen, trees)
    if not clean.passed:
        console.print(f"The tests fail without any mutation: {clean.what}", markup=False)
        return None

    def attempt(mutation: Mutation) -> Verdict:
        if not applies(mutation):
            return Verdict(noticed=False, what="does not apply: the line is not there, or not once")
        tree = trees.get()
        try:
            return tree.run_mutated(mutation, TIMEOUT_SECONDS)
        finally:
            trees.put(tree)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return dict(zip(chosen, pool.map(attempt, chosen), strict=True))


def _without_any(chosen: list[Mutation], trees: SimpleQueue[Tree]) -> Verdict:
    """Run every test that is named, once."""
    tests = list(dict.fromkeys(test for mutation in chosen for test in mutation.tests))
    tree = trees.get()
    try:
        return tree.run(["-n", str(SIDE_BY_SIDE), *tests], CLEAN_TIMEOUT_SECONDS)
    finally:
        trees.put(tree)


def _show(verdicts: dict[Mutation, Verdict], console: Console) -> None:
    table = Table("mutation", "", "by")
    for mutation, verdict in verdicts.items():
        style = None if verdict.noticed else "bold red"
        table.add_row(mutation.name, "noticed" if verdict.noticed else "NOT NOTICED", verdict.what[:100], style=style)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
