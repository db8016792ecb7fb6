"""Generates the reference of hooks as Markdown, from the hook specifications and the public names.

`docs/hooks.md` is this text; a test compares them.
"""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

import adapter
from adapter.errors import OrderError
from adapter.extensions import hookspecs
from adapter.extensions.hooks import Hook, hooks
from adapter.extensions.hookspecs import HookKind

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

INTRODUCTION = """\
# Hooks

<!-- Written by `ecticket-adapter plugins reference`; change the docstrings in adapter/extensions/hookspecs.py. -->
"""
VALUES = """\
## Arguments and answers

All are imported from `adapter`; values are frozen.
"""


def markdown() -> str:
    """Return the whole reference."""
    sections = [
        INTRODUCTION,
        _general(),
        _kinds(),
        _glance(),
        *(_hook(hook) for hook in hooks().values()),
        VALUES,
        *(_value(name, value) for name, value in _public_values()),
        *(_function(name) for name in adapter.__all__ if inspect.isfunction(getattr(adapter, name))),
        _errors(),
    ]
    return "\n".join(sections)


def example(hook: Hook) -> str:
    """Return the example in a hook's documentation as a program, with blank lines between its statements."""
    statements = [each.source for each in doctest.DocTestParser().get_examples(hook.documentation)]
    return "".join([statements[0], *(_gap(*pair) + pair[1] for pair in pairwise(statements))])


def _gap(before: str, statement: str) -> str:
    """Return the blank lines between two statements, as the formatter sets them."""
    if any(each.startswith(("@", "class ", "def ")) for each in (before, statement)):
        return "\n\n"
    imports = [each.startswith(("import ", "from ")) for each in (before, statement)]
    return "\n" if imports == [True, False] else ""


def _general() -> str:
    changes = "How hooks change: [writing-a-plugin.md](writing-a-plugin.md#how-hooks-change)."
    return f"{inspect.cleandoc(hookspecs.__doc__ or '')}\n\n{changes}\n"


def _kinds() -> str:
    rows = "".join(f"| *{kind}* | {kind.meaning} | {kind.on_failure} |\n" for kind in HookKind)
    return f"## Kinds\n\n| kind | answers | failure |\n|---|---|---|\n{rows}"


def _glance() -> str:
    links = ",\n".join(f"[`{hook.signature}`](#{hook.name})" for hook in hooks().values())
    return f"## All hooks\n\nIn the order of their calls: {links}.\n"


def _hook(hook: Hook) -> str:
    text = hook.documentation.partition(">>>")[0].rstrip()
    parts = [
        f"## `{hook.name}`",
        f"```python\ndef {hook.written}\n```",
        f"Kind: [*{hook.kind}*](#kinds).",
        *_deprecations(hook),
        text,
        f"```python\n{example(hook).rstrip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _deprecations(hook: Hook) -> Iterator[str]:
    if hook.deprecated is not None:
        yield f"**Deprecated.** {hook.deprecated}"
    for argument, instead in hook.deprecated_arguments.items():
        yield f"**`{argument}` is deprecated.** {instead}"


def _public() -> Iterator[tuple[str, type]]:
    for name in adapter.__all__:
        found = getattr(adapter, name)
        if inspect.isclass(found):
            yield name, found


def _public_values() -> Iterator[tuple[str, type]]:
    return ((name, found) for name, found in _public() if not issubclass(found, OrderError))


def _value(name: str, value: type) -> str:
    if issubclass(value, Enum):
        shown = ", ".join(f"`{name}.{member}`" for member in value.__members__)
    elif is_dataclass(value):
        shown = _fields(value)
    else:
        shown = _members(value)
    return "\n\n".join(part for part in (f"### `{name}`", inspect.getdoc(value), shown) if part) + "\n"


def _function(name: str) -> str:
    """Describe a function that hooks may call."""
    function = getattr(adapter, name)
    return f"### `{name}`\n\n```python\ndef {name}{_signature(function)}\n```\n\n{inspect.getdoc(function)}\n"


def _signature(function: Callable[..., object]) -> str:
    """Return the signature without the quotes of postponed annotations."""
    return str(inspect.signature(function)).replace("'", "")


def _fields(value: type[DataclassInstance]) -> str:
    """Return the fields as in the source of the class."""
    return "\n".join(("```python", *(f"{each.name}: {each.type}{_default(each)}" for each in fields(value)), "```"))


def _members(value: type) -> str:
    """Return the public attributes and methods of a class that is not a dataclass."""
    attributes = [f"* `{name}: {kind}`" for name, kind in inspect.get_annotations(value).items() if name[0] != "_"]
    functions = [
        f"* `{name}{_signature(function)}`: {_first_line(inspect.getdoc(function) or '')}".rstrip(": ")
        for name, function in vars(value).items()
        if inspect.isfunction(function) and name[0] != "_"
    ]
    return "\n".join((*attributes, *functions))


def _default(field: Field[object]) -> str:
    if field.default is MISSING:
        return "" if field.default_factory is MISSING else " = ..."
    return f" = {field.default if isinstance(field.default, Enum) else repr(field.default)}"


def _errors() -> str:
    errors: Mapping[str, type[OrderError]] = {
        name: found for name, found in _public() if issubclass(found, OrderError) and found is not OrderError
    }
    lines = "".join(f"* `{name}`: `{each.reason}`\n" for name, each in errors.items())
    return (
        "## Errors that are answers\n\nIf a hook that decides about an order raises one of these `OrderError`s, the "
        "order is parked for the\n[reason](events.md#dead-letter-reasons), with the error's message, so it holds no "
        f"customer data.\n\n{lines}"
    )


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
