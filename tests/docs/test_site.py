"""The manual as a site: complete, without broken links, and readable without a network."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
_LOADED = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=[\"']?(?P<src>[^\"'\s>]+)|<link[^>]*\shref=[\"']?(?P<href>[^\"'\s>]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a broken link or anchor fails the build."""
    folder = tmp_path_factory.mktemp("site")
    build = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder))
    run = subprocess.run(
        build, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The module that MkDocs loads."""
    spec = importlib.util.spec_from_file_location("repository_pages", ROOT / "docs" / "site" / "repository_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_of_the_manual_is_in_the_navigation_and_nothing_else() -> None:
    """Pages of decisions and plugins are reached from the page of their folder."""
    nav = list(_pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    manual = {
        *(path.name for path in ROOT.glob("*.md")),
        *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
        *(f"docs/operations/{path.name}" for path in (ROOT / "docs" / "operations").glob("*.md")),
        *(str(path.relative_to(ROOT)) for path in (ROOT / "helm").rglob("*.md")),
    }
    folders = {f"{name}/README.md" for name in ("docs/decisions", "plugins")}

    assert sorted(nav) == sorted(manual | folders)


def _pages(entries: list[dict[str, object]]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            if isinstance(value, list):
                yield from _pages(value)
            else:
                yield str(value)


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    """No font, script, style or picture has an address of another machine."""
    pages = sorted(site.rglob("*.html"))
    loaded = {
        match["src"] or match["href"] for page in pages for match in _LOADED.finditer(page.read_text(encoding="utf-8"))
    }

    assert len(pages) > 20
    assert loaded
    assert [each for each in loaded if re.match(r"(?:https?:)?//", each)] == []


def test_the_search_knows_the_pages(site: Path) -> None:
    """The index lies beside the pages as a script, which a page opened as a file may load."""
    script = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    entries = json.loads(script.removeprefix("var __index = "))["docs"]

    found = {entry["location"].partition("#")[0] for entry in entries}
    assert {"index.html", "docs/settings.html", "docs/decisions/index.html", "plugins/chat-sink/index.html"} <= found


def test_files_that_pages_link_to_are_part_of_the_site(site: Path) -> None:
    """So a link to a schema works on the site as it does in the repository."""
    schema = "schemas/order-paid.v1.json"

    assert (site / schema).read_bytes() == (ROOT / schema).read_bytes()


def test_headings_have_the_anchors_that_github_gives_them(hook: ModuleType) -> None:
    """A link to a heading works in both places."""
    assert hook.slug("What is not here, yet: `a_b` - c") == "what-is-not-here-yet-a_b---c"


def test_lists_are_lists_as_on_github(hook: ModuleType) -> None:
    """Without an empty line before them, and with items two spaces in; code stays as it is."""
    markdown = "Text:\n* one\n  * two\n* three\n\n```\nText:\n* code\n  * code\n```\n"

    assert hook.with_lists(markdown) == "Text:\n\n* one\n    * two\n* three\n\n```\nText:\n* code\n  * code\n```\n"
