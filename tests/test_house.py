"""The picture of the house in `docs/architecture.md` is what the imports say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "adapter"

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "protocol": {"errors"},
    "issuance": {"protocol", "errors"},
    "stream": {"errors"},
    "provider": {"protocol", "errors"},
    "extensions": {"issuance", "protocol", "errors"},
    "flows": {"issuance", "protocol", "stream", "provider", "extensions", "errors"},
    "web": {"flows", "issuance", "protocol", "stream", "provider", "extensions", "errors"},
    "settings": {"protocol", "errors"},
    "sandbox": {"protocol", "errors"},
    "local": {"errors"},
}
"""What each room may import; `app`, `cli` and `testing` put rooms together and may import all of them."""

PUTS_TOGETHER = {"app", "cli", "sink_runner", "demo", "log", "wiring", "testing", "__init__", "__main__"}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def _imported_rooms(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module or ""]
            if node.module == "adapter":
                names = [f"adapter.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name == "adapter" or name.startswith("adapter."):
                yield name.removeprefix("adapter").lstrip(".").split(".")[0] or "__init__"


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    """A room imports only the rooms below it."""
    room = _room(path)
    allowed = MAY_IMPORT.get(room)

    assert room in PUTS_TOGETHER or allowed is not None, f"{room} has no place in the picture"
    if allowed is not None:
        assert set(_imported_rooms(path)) - {room} <= allowed


def test_no_lower_package_imports_what_puts_the_parts_together() -> None:
    """`app` and `cli` are imported by nothing below them."""
    for path in _modules():
        if _room(path) not in PUTS_TOGETHER:
            assert not set(_imported_rooms(path)) & (PUTS_TOGETHER - {"__init__"}), path


def test_only_settings_reads_the_environment() -> None:
    """Parts receive values; the environment is read in one room."""
    for path in _modules():
        if _room(path) in {"settings", "local", "demo"}:
            continue  # the last two start processes, which inherit an environment
        assert "os.environ" not in path.read_text(encoding="utf-8"), path


def test_modules_have_docstrings() -> None:
    """Every module opens with a docstring."""
    for path in _modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
