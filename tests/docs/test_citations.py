"""Code that gives a page of the manual as its source names a page and a heading that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PAGE = re.compile(r"\bdocs/[\w/-]+\.md\b")
_HEADING = re.compile(r'(docs/[\w-]+\.md),\s+"([^"]+)"|"([A-Z][^"]*)"\s+in\s+(docs/[\w-]+\.md)')
_WITHOUT_A_PAGE = re.compile(
    r"contract,?\s+section|sections?\s+[\d.]+\s+of\s+the\s+contract|fact\s+sheet", re.IGNORECASE
)


def _modules() -> Iterator[tuple[str, str]]:
    for folder in ("adapter", "benchmarks", "examples", "plugins", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != Path(__file__):
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def _headings(page: str) -> set[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return {heading.replace("`", "") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_pages_that_code_names_exist() -> None:
    """In docstrings, comments and messages."""
    named = {(module, page) for module, text in _modules() for page in _PAGE.findall(text)}

    assert len(named) > 20
    assert [each for each in sorted(named) if not (ROOT / each[1]).exists()] == []


def test_headings_that_code_names_exist() -> None:
    """Written as `docs/page.md, "Heading"` or `"Heading" in docs/page.md`, also across two lines."""
    named = {
        (module, match[1] or match[4], " ".join((match[2] or match[3]).split()))
        for module, text in _modules()
        for match in _HEADING.finditer(text)
    }

    assert len(named) > 20
    assert [each for each in sorted(named) if each[2] not in _headings(each[1])] == []


def test_no_code_names_a_section_without_its_page() -> None:
    """A number of a section changes unnoticed; a page and a heading are checked above."""
    assert [module for module, text in _modules() if _WITHOUT_A_PAGE.search(text)] == []
