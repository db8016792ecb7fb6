"""What the manual says of delivery is shown by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MANUAL = ROOT / "docs" / "delivery.md"
_NAMED = re.compile(r"`(?P<path>tests/[\w/]+\.py|…)::(?P<test>\w+)`")


def test_every_test_that_the_manual_names_exists() -> None:
    """`…` stands for the file named before."""
    path, missing, named = "", [], 0
    for each in _NAMED.finditer(MANUAL.read_text(encoding="utf-8")):
        path = path if each["path"] == "…" else each["path"]
        named += 1
        if f"def {each['test']}(" not in (ROOT / path).read_text(encoding="utf-8"):
            missing.append(f"{path}::{each['test']}")

    assert named > 0
    assert missing == []


def test_every_trouble_is_shown_by_a_test() -> None:
    """A row without one is a promise without proof."""
    rows = [line for line in MANUAL.read_text(encoding="utf-8").splitlines() if line.startswith("| **")]

    assert rows
    assert [row.split("|")[1].strip() for row in rows if not _NAMED.search(row)] == []
