"""`docs/glossary.md` is one sorted table, and the code has each name that the table shows as code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (?P<term>[^|]+) \| (?P<meaning>[^|]+) \| (?P<source>[^|]+) \|$", re.MULTILINE)


def _rows() -> list[re.Match[str]]:
    head, row, table = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").partition("|---|---|---|\n")
    assert row
    assert head.endswith("| term | meaning | from |\n")
    rows = list(_ROW.finditer(table))
    assert len(rows) == len(table.splitlines())
    return rows


def _terms() -> list[str]:
    return [row["term"] for row in _rows()]


def test_terms_are_sorted_and_each_stands_there_once() -> None:
    """Without regard to case and to the marks of code."""
    keys = [term.strip("`").casefold() for term in _terms()]

    assert keys == sorted(set(keys))


def test_every_name_of_the_code_exists() -> None:
    """A renamed class takes its line with it."""
    names = {term.strip("`") for term in _terms() if term.startswith("`")}

    assert names
    assert names - set(_identifiers()) == set()


def _identifiers() -> Iterator[str]:
    """The names that the modules of the adapter define."""
    for path in (ROOT / "adapter").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name
            elif isinstance(node, ast.arg):
                yield node.arg
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
