"""Lets MkDocs read the repository's Markdown as it stands, so that each link works both here and on the site.

The site has the folders of the repository: README.md is its front page, docs/ and the READMEs of plugins lie where they
are. A linked file that is no page (a schema, an example) is copied; a linked folder becomes a page that lists it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = ("*.md", "docs/**/*.md", "helm/**/*.md", "plugins/*/README.md")
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?=(?:#[^)\s]*)?\))")
_FENCE = re.compile(r"^\s*```")
_ITEM = re.compile(r"^(?P<indent> *)(?:[-*]|\d+\.) ")
_TITLE = re.compile(r"^# (?P<title>.+)$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the headings as GitHub does."""
    config.mdx_configs["toc"]["slugify"] = lambda text, _separator: slug(text)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the repository's pages, and what they link to, in the place of the files of docs/."""
    root = _root(config)
    for file in list(files):
        if Path(file.abs_src_path or "/").is_relative_to(config.docs_dir):
            files.remove(file)
    pages = pages_of(root)
    targets = {target for page in pages for target in _targets(page)}
    assets = [root / each for each in (*config.extra["polyfills"], *config.extra_css)]
    for path in chain(pages, assets, sorted(each for each in targets.difference(pages) if each.is_file())):
        files.append(File.generated(config, _uri(root, path), abs_src_path=str(path)))
    for folder in sorted(each for each in targets if each.is_dir()):
        if files.get_file_from_path(uri := _uri(root, folder / "README.md")) is None:
            files.append(File.generated(config, uri, content=_listing(folder)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write what GitHub reads otherwise in Python-Markdown's way: links to folders, and lists."""
    here = (_root(config) / page.file.src_uri).parent

    def named(link: re.Match[str]) -> str:
        return f"{link['path'].rstrip('/')}/README.md" if (here / link["path"]).is_dir() else link["path"]

    return _LINK.sub(named, with_lists(markdown))


def pages_of(root: Path) -> list[Path]:
    """All pages of the site that are files of the repository."""
    return [path for pattern in PAGES for path in sorted(root.glob(pattern))]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading.

    >>> slug("What is not here, yet: `a_b`")
    'what-is-not-here-yet-a_b'
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def with_lists(markdown: str) -> str:
    """The same text, with an empty line before each list and nested items four spaces in."""
    lines: list[str] = []
    fenced = in_list = False
    for line in markdown.splitlines():
        fenced ^= _FENCE.match(line) is not None
        item = None if fenced else _ITEM.match(line)
        if item and not item["indent"] and not in_list and lines and lines[-1].strip():
            lines.append("")
        if item and 1 < len(item["indent"]) < 4:
            line = f"    {line.lstrip()}"
        in_list = item is not None or (in_list and bool(line.strip()))
        lines.append(line)
    return "\n".join(lines) + "\n"


def _targets(page: Path) -> Iterator[Path]:
    """The files and folders of the repository that a page links to."""
    for link in _LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / link["path"]).resolve()
        if target.exists():
            yield target


def _listing(folder: Path) -> str:
    """A page that lists a folder: its pages by title, its other files by name."""
    lines = [f"# {folder.name}", ""]
    for path in sorted(folder.iterdir()):
        page = path / "README.md" if path.is_dir() else path
        if page.is_file() and page.suffix == ".md" and (title := _TITLE.search(page.read_text(encoding="utf-8"))):
            lines.append(f"* [{title['title']}]({page.relative_to(folder).as_posix()})")
        elif path.is_file():
            lines.append(f"* {path.name}")
    return "\n".join(lines) + "\n"


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent


def _uri(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
