"""Formats the help of commands and groups: paragraphs, then examples; a flag is shown without a value type."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption


class AdapterCommand(TyperCommand):
    """A command whose help shows `--help` as a flag."""

    def get_help_option(self, ctx: typer.Context) -> TyperOption | None:  # type: ignore[override]  # the base is private
        """Return the option without a value type."""
        return _as_flag(super().get_help_option(ctx))


class AdapterGroup(TyperGroup):
    """A group of commands whose help shows `--help` as a flag."""

    def get_help_option(self, ctx: typer.Context) -> TyperOption | None:  # type: ignore[override]  # the base is private
        """Return the option without a value type."""
        return _as_flag(super().get_help_option(ctx))


def _as_flag(option: TyperOption | None) -> TyperOption | None:
    if option is not None:
        option.metavar = ""
    return option


def group(help: str, examples: tuple[str, ...]) -> typer.Typer:
    """Make a group of commands; called without a command, it prints its help."""
    return typer.Typer(no_args_is_help=True, help=help, epilog=examples_text(examples), cls=AdapterGroup)


def examples_text(examples: tuple[str, ...]) -> str:
    """Return the examples as text for the end of a command's help."""
    return "\n  ".join((f"Example{'s' if len(examples) > 1 else ''}:", *examples))


def help_text(function: Callable[..., object]) -> str:
    """Return the docstring as help: each paragraph in one line, so that the terminal wraps it."""
    paragraphs = inspect.getdoc(function) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs.split("\n\n"))
