"""The table of `docs/architecture.md` is what the imports say: they point one way, and there are no cycles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "adapter"

EVERYWHERE = {"errors", "backoff", "event_loop", "visible_text", "trace_context", "strict_json", "secret", "values"}
CORE = {"issuance", "protocol", "stream", "provider", "extensions"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "backoff": set(),
    "visible_text": set(),
    "secret": set(),
    "values": set(),
    "strict_json": set(),
    "event_loop": set(),
    "trace_context": set(),
    "protocol": set(),
    "issuance": {"protocol"},
    "provider": {"protocol"},
    "extensions": {"issuance", "protocol"},
    "stream": set(),
    "kafka": {"stream"},
    "flows": CORE,
    "operations": CORE | {"flows"},
    "web": CORE | {"flows", "operations"},
    "settings": {"protocol"},
}
"""What each package may import besides itself, the public names of `adapter`, and `EVERYWHERE`."""

BUILDERS = {"app", "wiring", "sink_runner", "console_runner", "log", "log_limits", "log_writer", "tracing"}
"""They put the packages above together."""

MAY_IMPORT |= {package: {*MAY_IMPORT} | BUILDERS for package in BUILDERS}
MAY_IMPORT["dev"] = {*MAY_IMPORT}
MAY_IMPORT["testing"] = {*MAY_IMPORT}
MAY_IMPORT["command_name"] = set()
MAY_IMPORT["cli"] = {*MAY_IMPORT}
MAY_IMPORT["__main__"] = {"cli", "command_name"}

NOT_HERE = {
    "stream": {"aiokafka"},
    "operations": {"typer", "rich"},
    "protocol": {"asyncio", "httpx", "aiokafka"},
    "issuance": {"asyncio", "httpx", "aiokafka"},
}
"""Libraries that a package does without, so that its code stays pure or free of a terminal."""


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {_name(path) for path in _modules()}


def _imported(path: Path, *, at_import: bool = False) -> Iterator[str]:
    """The modules that this one imports; `at_import`: only those which it imports when it is imported."""
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8")), at_import=at_import):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                yield member if member in NAMES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _nodes(tree: ast.AST, *, at_import: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not (at_import and (later or for_types)):
            yield node
            yield from _nodes(node, at_import=at_import)


def _package(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    """A package imports only what the table allows; what it does without appears nowhere in it."""
    if path == PACKAGE / "__init__.py":
        return
    package = _package(_name(path))
    imported = set(_imported(path))
    own = {_package(module) for module in imported if module.startswith("adapter.")}

    assert own - {package} - EVERYWHERE <= MAY_IMPORT[package]
    assert not {module.split(".")[0] for module in imported} & NOT_HERE.get(package, set())


def test_modules_import_each_other_in_no_circle() -> None:
    """Every module can be imported first."""
    graph = {_name(path): set(_imported(path, at_import=True)) & NAMES - {_name(path)} for path in _modules()}

    assert list(TopologicalSorter(graph).static_order())


def test_only_settings_reads_the_environment() -> None:
    """Parts receive values; one package reads the environment."""
    for path in _modules():
        if _package(f"{_name(path)}.") not in {"settings", "dev"}:  # `dev` starts processes, which inherit it
            assert "os.environ" not in path.read_text(encoding="utf-8"), path


def test_modules_have_docstrings() -> None:
    """Every module opens with a docstring."""
    for path in _modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_a_dataclass_with_slots_has_only_functions_as_properties() -> None:
    """Python 3.14 looks for code in each getter of such a class: any other callable ends the import."""
    odd = [
        f"{_name(path)}.{node.name}"
        for path in _modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and any("slots=True" in ast.unparse(each) for each in node.decorator_list)
        for call in (each.value for each in node.body if isinstance(each, ast.Assign | ast.AnnAssign))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "property"
    ]

    assert odd == []


def test_values_are_changed_by_one_function() -> None:
    """`dataclasses.replace` raises for a struct, which no type checker notices: `adapter.values.replace` takes both."""
    others = {"dataclasses.replace", "msgspec.structs.replace"}
    importers = {_name(path) for path in _modules() if others & set(_imported_names(path))}

    assert importers == {"adapter.values"}


def _imported_names(path: Path) -> Iterator[str]:
    """The names that a module imports from others; for a whole `dataclasses`, that of its `replace`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (f"{alias.name}.replace" for alias in node.names)
