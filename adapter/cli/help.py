"""How the help of commands and groups looks: whole paragraphs, examples below, and no type where there is no value."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption


class AdapterCommand(TyperCommand):
    """A command whose `--help` is shown as the flag it is."""

    def get_help_option(self, ctx: typer.Context) -> TyperOption | None:  # type: ignore[override]  # the base is private
        """The option, without a value's type."""
        return _as_flag(super().get_help_option(ctx))


class AdapterGroup(TyperGroup):
    """A group of commands whose `--help` is shown as the flag it is."""

    def get_help_option(self, ctx: typer.Context) -> TyperOption | None:  # type: ignore[override]  # the base is private
        """The option, without a value's type."""
        return _as_flag(super().get_help_option(ctx))


def _as_flag(option: TyperOption | None) -> TyperOption | None:
    if option is not None:
        option.metavar = ""
    return option


def group(help: str, examples: tuple[str, ...]) -> typer.Typer:
    """A group of commands; without one of them it shows its help."""
    return typer.Typer(no_args_is_help=True, help=help, epilog=examples_text(examples), cls=AdapterGroup)


def examples_text(examples: tuple[str, ...]) -> str:
    """Examples as they stand below a command's help."""
    return "\n  ".join((f"Example{'s' if len(examples) > 1 else ''}:", *examples))


def help_text(function: Callable[..., object]) -> str:
    """The docstring as help: one line for each paragraph, so that the terminal breaks them where it ends."""
    paragraphs = inspect.getdoc(function) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs.split("\n\n"))
