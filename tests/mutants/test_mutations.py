"""The mutations keep up with the code: each one still applies, and changes something that tests are named for."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from .mutations import MUTATIONS, Mutation
from .tree import ROOT, applies

LEAST = 40


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.name for mutation in MUTATIONS])
def test_each_mutation_still_applies(mutation: Mutation) -> None:
    """Its line is there, once; with the mutation the file is still Python; its tests are there."""
    assert applies(mutation), f"change the mutation of {mutation.file} as its line was changed"
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    mutated = text.replace(mutation.old, mutation.new)

    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(text))
    assert all((ROOT / test).exists() for test in mutation.tests)


def test_there_are_enough_of_them_in_each_package_that_money_goes_through() -> None:
    """At least forty, and some for each package."""
    packages = Counter(Path(mutation.file).parent.name for mutation in MUTATIONS)

    assert sum(packages.values()) >= LEAST
    assert min(packages[name] for name in ("stream", "issuance", "flows", "provider")) >= 5
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
