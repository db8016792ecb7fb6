"""Every command that a message of the adapter names can be run as it is printed."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

import adapter
from adapter.cli.commands import build_app
from adapter.issuance.park_messages import query_command
from adapter.protocol.issue import TradeNo, TradeNoKind

SOURCES = Path(adapter.__file__).parent
UsageError = typer.BadParameter.__bases__[0]
"""Typer's base of wrong options, missing values and unknown commands, for which it has no public name."""
VALUE, DAY = "X1", "2026-03-01"
"""In place of what a message fills in."""
FILLED_IN = {VALUE, "PLUGIN --help", "<plugin> ..."}
"""Commands that a message fills in as a whole, and the names of plugins' own."""
_COMMAND = re.compile(r"`ecticket-adapter ([^`]+)`|: ecticket-adapter ((?:[^`\n.,]|\.\w|\.{3})+)\.?$")


def _text(node: ast.expr) -> str:
    """The text of a constant or f-string, with `VALUE` for each value; of two texts to choose from, the first."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"\{[a-z_]+\}", VALUE, text.replace("{begin}", DAY).replace("{end}", DAY))
        case ast.JoinedStr(values=values):
            return "".join(map(_text, values))
        case ast.FormattedValue(value=ast.IfExp(body=ast.Constant(value=str(text)))):
            return text
        case _:
            return VALUE


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is below it, without the parts of f-strings."""
    yield node
    if not isinstance(node, ast.JoinedStr):
        for child in ast.iter_child_nodes(node):
            yield from _parts(child)


def named_commands(source: str) -> Iterator[str]:
    """The commands in the texts of a module, without their program."""
    for node in _parts(ast.parse(source)):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            found = {match[1] or match[2] for match in _COMMAND.finditer(_text(node))}
            yield from sorted(found - FILLED_IN)


@functools.cache
def _program() -> TyperGroup:
    return cast("TyperGroup", get_command(build_app()))


def parse(command: str) -> None:
    """Parse it and run nothing; the name of a command alone is enough. Raises UsageError.

    A character that a shell takes for an operator ends with an error, because the command is copied into one.
    """
    words = list(shlex.shlex(command, posix=True, punctuation_chars=True))
    operators = [word for word in words if set(word) <= set("|&;<>()")]
    if operators:
        raise UsageError(f"a shell reads {operators} in {command}")
    rest, name = shlex.split(command), "ecticket-adapter"
    parent: typer.Context | None = None
    group: TyperGroup | None = _program()
    while group is not None and rest:
        parent = typer.Context(group, info_name=name, parent=parent)
        named, found, rest = group.resolve_command(parent, rest)
        assert named is not None
        assert found is not None
        name, group = named, found if isinstance(found, TyperGroup) else None
        if group is None and rest:
            found.make_context(name, rest, parent=parent)


def test_the_command_that_queries_a_number_can_be_run() -> None:
    """Messages fill it in."""
    for kind in TradeNoKind:
        parse(query_command(TradeNo(kind=kind, value=VALUE)))


NAMED = sorted(
    {
        (str(path.relative_to(SOURCES)), command)
        for path in SOURCES.rglob("*.py")
        for command in named_commands(path.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize(("path", "command"), NAMED, ids=lambda value: value.replace("/", "."))
def test_a_command_that_a_message_names_can_be_run_as_it_is(path: str, command: str) -> None:
    """An operator copies it."""
    parse(command)


def test_the_commands_are_found() -> None:
    """In constants, templates and f-strings."""
    source = """f"a (`ecticket-adapter query {'--free ' if free else ''}{number}`)" + "b: ecticket-adapter check." """

    assert list(named_commands(source)) == ["query --free X1", "check"]
    assert len(NAMED) > 30
    assert {command.split()[0] for _, command in NAMED} >= {"resolve", "reissue", "dead-letters", "query", "topics"}


@pytest.mark.parametrize(
    "command", ["resolv X1", "resolve X1 --as issued", "resolve X1 --as issued|failed --why TEXT", "check --jsn"]
)
def test_a_command_that_cannot_be_run_is_found(command: str) -> None:
    """A wrong name, a missing option, a choice that a shell takes for a pipe, a wrong option."""
    with pytest.raises(UsageError):
        parse(command)
