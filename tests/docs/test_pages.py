"""The tutorial works as written, in a fresh environment; and the runner would notice if it did not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from examples.fresh import fresh_environment

from docs.pages import Command, File, Reader, fits, steps

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.slow
def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    """Every file as it stands there, every command in its order, and what each prints."""
    fresh = fresh_environment(tmp_path / "venv")
    (tmp_path / "work").mkdir()
    reader = Reader(fresh, tmp_path / "work")
    with reader.reading():
        for step in steps((DOCS / "writing-a-plugin.md").read_text(encoding="utf-8")):
            reader.do(step)


def test_the_examples_of_the_manual_pass(tmp_path: Path) -> None:
    """The files of docs/testing-plugins.md are tests, and pass as they stand."""
    reader = Reader(fresh_environment(tmp_path / "venv"), tmp_path)
    files = list(steps((DOCS / "testing-plugins.md").read_text(encoding="utf-8")))
    for step in files:
        reader.do(step)

    reader.do(Command("pytest -q -p no:asyncio", "...\n7 passed in ...\n"))
    assert len(files) == 3


def test_steps_are_files_and_commands_in_the_order_of_the_page() -> None:
    """What has no path and is no console is for reading."""
    page = "```python a.py\nx = 1\n```\n\n```python\ny\n```\ntext\n```console\n$ one\n1\n2\n$ two &\n```\n"

    assert list(steps(page)) == [File("a.py", "x = 1\n"), Command("one", "1\n2\n"), Command("two &", "")]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a\n", "a\n"),
        ("a\n", "a  \n"),
        ("", ""),
        ("...\n", ""),
        ("a\n...\nc\n", "a\nb\nb\nc\n"),
        ("3 passed in ...\n", "3 passed in 0.12s\n"),
        ("a (b.c) [d]\n", "a (b.c) [d]\n"),
    ],
)
def test_what_is_shown_fits(shown: str, printed: str) -> None:
    """Dots stand for what differs."""
    assert fits(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a\n", "b\n"),
        ("a\n", "a\nb\n"),
        ("", "a\n"),
        ("a\n", ""),
        ("a ... c\n", "a b\nc\n"),
        ("a\n...\nc\n", "a\nb\n"),
        ("a.c\n", "abc\n"),
    ],
)
def test_what_was_not_printed_does_not_fit(shown: str, printed: str) -> None:
    """And nothing that was printed is passed over."""
    assert not fits(shown, printed)


def test_a_command_that_fails_stops_the_page(tmp_path: Path) -> None:
    """Whatever it prints."""
    reader = Reader(fresh_environment(tmp_path / "venv"), tmp_path)

    with pytest.raises(AssertionError, match="exit code 3"):
        reader.do(Command("exit 3", ""))


def test_links_lead_somewhere() -> None:
    """To pages and folders that are there."""
    for page in ("writing-a-plugin.md", "testing-plugins.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (DOCS / target).exists(), f"{page}: {target}"
