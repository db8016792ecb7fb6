"""`docs/hooks.md` is complete and current, its examples work, and no hook is without a test."""

from __future__ import annotations

import ast
import types
from functools import cache
from pathlib import Path

import pytest

import adapter
from adapter.cli import main
from adapter.cli.reference_hooks import example, markdown
from adapter.extensions.hooks import Hook, hooks
from extensions.conftest import Marks
from extensions.helpers import manager

DOCUMENT = Path(__file__).parents[2] / "docs" / "hooks.md"
TESTS = Path(__file__).parents[1]

each_hook = pytest.mark.parametrize("hook", hooks().values(), ids=lambda hook: hook.name)


def test_the_reference_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    """`ecticket-adapter plugins reference > docs/hooks.md` writes the document."""
    assert main(["plugins", "reference"]) == 0

    assert DOCUMENT.read_text(encoding="utf-8") == capsys.readouterr().out == markdown()


@each_hook
def test_every_hook_is_in_the_reference(hook: Hook) -> None:
    """With its signature, its kind, when it is called, and an example; the kinds are explained once."""
    section = markdown().partition(f"\n## `{hook.name}`\n")[2].partition("\n## ")[0]

    assert f"def {hook.written}" in section
    assert f"[*{hook.kind}*](#kinds)" in section
    assert f"| *{hook.kind}* | {hook.kind.meaning} | {hook.kind.on_failure} |" in markdown()
    assert "\nCalled " in section
    assert example(hook).rstrip() in section


def test_every_public_name_is_in_the_reference() -> None:
    """What a hook is given or may answer is described where the hook is."""
    text = markdown()

    missing = [name for name in adapter.__all__ if f"### `{name}`" not in text and f"`{name}`" not in text]
    assert set(missing) <= {"hookimpl"}
    assert "from adapter import hookimpl" in text


@each_hook
def test_the_example_is_a_plugin_as_it_stands(hook: Hook) -> None:
    """Copied into a file it loads, and has the hook."""
    plugin = types.ModuleType("example")
    exec(compile(example(hook), "example", "exec", dont_inherit=True), vars(plugin))  # noqa: S102  # our own text

    found = manager(example=plugin)

    assert found.rejections == ()
    assert "example" in [each.plugin for each in found.implementations[hook.name]]


def test_the_reference_says_what_is_deprecated(mark: Marks) -> None:
    """The page of a deprecated hook says what to use instead."""
    mark("map_item", DeprecationWarning("Write map_items."), {"order": DeprecationWarning("Omit it.")})

    section = markdown().partition("\n## `map_item`\n")[2].partition("\n## ")[0]

    assert "**Deprecated.** Write map_items." in section
    assert "**`order` is deprecated.** Omit it." in section


@each_hook
def test_every_hook_has_a_test(hook: Hook) -> None:
    """Some test has a plugin with this hook."""
    assert hook.name in _hooks_of_tests()


@cache
def _hooks_of_tests() -> frozenset[str]:
    """The names of the functions that are marked as hooks in the tests, beside the generated ones."""
    return frozenset(
        node.name
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and any("hookimpl" in ast.dump(mark) for mark in node.decorator_list)
    )
