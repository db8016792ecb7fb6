"""The context of a command, and the options that every command has.

`--config`, `--set` and `--debug` may stand before or after the command; those after it win.
A command is a plain function of a `CommandContext` and its own arguments; it returns the exit code, None for 0.
"""

from __future__ import annotations

import functools
import inspect
import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.models import OptionInfo

from adapter.cli.help import AdapterCommand, examples_text, help_text

if TYPE_CHECKING:
    from adapter.settings import Settings

_COMMON = "Common options"


def flag(name: str, help: str, panel: str | None = None) -> OptionInfo:
    """An option without a value, shown without one."""
    option: OptionInfo = typer.Option(name, help=help, metavar="", rich_help_panel=panel)
    return option


Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file (YAML).", rich_help_panel=_COMMON)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated.", rich_help_panel=_COMMON),
]
Debug = Annotated[
    bool, flag("--debug", "Show full tracebacks; they may quote customer data. The log of `run` never does.", _COMMON)
]
Json = Annotated[bool, flag("--json", "Print only JSON on standard output.")]
MerchantId = Annotated[
    str | None,
    typer.Option("--merchant", metavar="ID", help="Which merchant; optional if there is only one."),
]


@dataclass(slots=True)
class CommandContext:
    """One run of the program: where settings come from, and how errors are shown."""

    config: Path | None = None
    overrides: dict[str, str] = field(default_factory=dict)
    debug: bool = False
    is_service: bool = False
    """Whether the command is `run`, whose errors are log lines and the container's termination message."""

    def add(self, config: Path | None, overrides: list[str] | None, *, debug: bool) -> None:
        """Add the common options from one position on the command line."""
        self.config = config or self.config
        self.overrides.update(_pair(text) for text in overrides or ())
        self.debug = self.debug or debug

    @property
    def same_config(self) -> str:
        """The option that gives another command the same settings file; empty without one."""
        return "" if self.config is None else f" --config {shlex.quote(str(self.config))}"

    def settings(self) -> Settings:
        """The settings.

        Raises SettingsError with one sentence per mistake.
        """
        from adapter.settings import load

        return load(self.config, self.overrides)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise typer.BadParameter(f"--set takes KEY=VALUE, such as submit.operator=web, not {text!r}.")
    return key.strip(), value


Command = Callable[..., int | None]


def command(
    app: typer.Typer, name: str, *, examples: tuple[str, ...], panel: str | None = None
) -> Callable[[Command], Command]:
    """Add a function to `app` as the command `name`; its docstring is its help, below which stand the examples."""

    def add(function: Command) -> Command:
        help_string, below = help_text(function), examples_text(examples)
        app.command(name, cls=AdapterCommand, help=help_string, epilog=below, rich_help_panel=panel)(
            _with_common_options(function)
        )
        return function

    return add


def _common(typer_context: typer.Context, config: Config = None, set_: Overrides = None, debug: Debug = False) -> None:
    typer_context.ensure_object(CommandContext).add(config, set_, debug=debug)


def _quieten_libraries(context: CommandContext) -> None:
    """Show log lines of libraries only with `--debug`; a command reports errors itself (`run` sets up logging)."""
    if context.debug:
        logging.basicConfig(level=logging.INFO)
    else:
        logging.basicConfig(handlers=[logging.NullHandler()])


def _with_common_options(function: Command) -> Callable[..., None]:
    """The function as typer wants it: with a context in front and the common options behind its own arguments."""
    typer_context, *common = inspect.signature(_common, eval_str=True).parameters.values()
    _, *arguments = inspect.signature(function, eval_str=True).parameters.values()

    @functools.wraps(function)
    def run(typer_context: typer.Context, **given: object) -> None:
        shared = {option.name: given.pop(option.name) for option in common}
        _common(typer_context, **shared)  # type: ignore[arg-type]  # typer has read them by `_common`'s own annotations
        context = typer_context.ensure_object(CommandContext)
        _quieten_libraries(context)
        raise typer.Exit(function(context, **given) or 0)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (typer_context, *arguments, *common)
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect.signature looks at
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
