"""Every decision record has the same head: a number, a title, its status and its date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DECISIONS = sorted((Path(__file__).parents[2] / "docs" / "decisions").glob("*.md"))
_HEAD = re.compile(r"# .+\n\nStatus: [a-z][^.\n]*\. Date: 20\d\d-\d\d-\d\d\.\n\n")


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.stem[:4])
def test_it_has_a_status_and_a_date(decision: Path) -> None:
    """The third line of the file, the same in all."""
    assert _HEAD.match(decision.read_text(encoding="utf-8"))


def test_each_number_is_used_once_and_none_is_left_out() -> None:
    """Code and documents name decisions by number."""
    assert [int(decision.stem[:4]) for decision in DECISIONS] == list(range(1, len(DECISIONS) + 1))
