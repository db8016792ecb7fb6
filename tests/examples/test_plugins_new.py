"""`plugins new` writes a project that installs, whose test passes, and that the adapter takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapter.errors import SettingsError
from adapter.testing.scaffold import project_files, refuse_name, write_project
from examples.fresh import fresh_environment


@pytest.mark.slow
def test_the_project_installs_and_its_test_passes_and_the_adapter_takes_it(tmp_path: Path) -> None:
    """In a fresh environment, by the words of its README."""
    fresh = fresh_environment(tmp_path / "venv")
    fresh.must("ecticket-adapter", "plugins", "new", "family-tickets", "--into", tmp_path)
    project = tmp_path / "family-tickets"

    fresh.must("pip", "install", "-e", ".[test]", cwd=project)
    assert "3 passed" in fresh.must("pytest", cwd=project)
    listed = json.loads(fresh.must("ecticket-adapter", "plugins", "list", "--json", cwd=tmp_path))
    assert (listed["plugins"][0]["name"], listed["plugins"][0]["hooks"]) == ("family_tickets", ["map_item"])
    checked = json.loads(fresh.must("ecticket-adapter", "plugins", "check", "family_tickets", "--json", cwd=tmp_path))
    assert checked["passed"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder that is there stays as it is, empty or not."""
    (tmp_path / "family-tickets").mkdir()

    with pytest.raises(SettingsError, match="already exists"):
        write_project("family-tickets", tmp_path)
    assert list((tmp_path / "family-tickets").iterdir()) == []


@pytest.mark.parametrize("name", ["family", "family-tickets", "a1", "x-2-y"])
def test_good_names_are_taken(name: str) -> None:
    """Small letters, digits, hyphens."""
    refuse_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "Family", "family_tickets", "1st", "-a", "a-", "a--b", "ä", "a b", "../a", "a/b", "a.b", "a\n", "a" * 51],
)
def test_other_names_are_refused_with_an_example(name: str) -> None:
    """They would be no distribution, no module, or no folder here."""
    with pytest.raises(SettingsError, match="as in family-tickets"):
        refuse_name(name)


@pytest.mark.parametrize("name", ["json", "class", "adapter", "tests", "pytest", "log", "webhook"])
def test_names_that_are_taken_are_refused(name: str) -> None:
    """The standard library's, Python's words, what the project itself imports, and the adapter's own plugins."""
    with pytest.raises(SettingsError, match="is taken"):
        refuse_name(name)


def test_nothing_is_left_to_fill_in() -> None:
    """No placeholder survives."""
    assert all("$module" not in text and "$name" not in text for text in project_files("family-tickets").values())
