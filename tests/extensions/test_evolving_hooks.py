"""`docs/evolving-hooks.md` shows what is so."""

from __future__ import annotations

import doctest
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "evolving-hooks.md"


def test_the_examples_of_evolving_hooks_hold() -> None:
    """A promise whose example is not run goes stale."""
    failed, tried = doctest.testfile(str(DOCUMENT), module_relative=False, encoding="utf-8")

    assert tried > 15
    assert failed == 0
