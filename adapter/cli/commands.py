"""Lists the commands in the order of the help, and the options before them.

A process runs one command, so it imports that one only: a start of `run` would import the modules of all, and build
their options.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from adapter.cli.context import CommandContext, Config, Debug, Overrides
from adapter.cli.help import examples_text
from adapter.cli.output import print_line
from adapter.cli.plugin_commands import RootGroup

NAME = "ecticket-adapter"

RUNNING = "Running"
OPERATING = "Operating"
ECTICKET = "Querying ECTicket"
SETTING_UP = "Setting up"

_MODULES = (
    (RUNNING, "run", ("run", "sandbox")),
    (RUNNING, "demo", ("demo",)),
    (OPERATING, "check", ("check",)),
    (OPERATING, "explain", ("explain",)),
    (OPERATING, "dead_letters", ("dead-letters",)),
    (OPERATING, "resolve", ("resolve",)),
    (OPERATING, "reissue", ("reissue",)),
    (OPERATING, "reconcile", ("reconcile",)),
    (OPERATING, "hold", ("hold", "release")),
    (OPERATING, "support_bundle", ("support-bundle",)),
    (ECTICKET, "query", ("query", "item")),
    (ECTICKET, "report", ("report",)),
    (ECTICKET, "issue", ("issue",)),
    (ECTICKET, "catalogue", ("catalogue",)),
    (SETTING_UP, "settings", ("settings",)),
    (SETTING_UP, "topics", ("topics",)),
    (SETTING_UP, "plugins", ("plugins",)),
    (SETTING_UP, "schemas", ("schemas",)),
)
"""The modules of the commands, each with its panel of the help and the names that its `add` adds."""
_NAMES = frozenset(name for _, _, names in _MODULES for name in names)


def build_app(only: str | None = None) -> typer.Typer:
    """All commands; those of one module if `only` is the name of a command."""
    app = typer.Typer(
        name=NAME,
        cls=RootGroup,
        help="Paid orders on Kafka become ECPay ECTicket tickets, exactly once.",
        epilog=examples_text((f"{NAME} check", f"{NAME} run --config settings.yaml", f"{NAME} query --help")),
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_before)
    for panel, module, names in _MODULES:
        if only not in _NAMES or only in names:
            import_module(f"adapter.cli.{module}").add(app, panel=panel)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"{NAME} {version(NAME)}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_version,
        is_eager=True,
        help="Show the version and exit.",
        rich_help_panel="Common options",
        metavar="",
    ),
]


def _before(
    typer_context: typer.Context,
    config: Config = None,
    set_: Overrides = None,
    debug: Debug = False,
    version: Version = False,
) -> None:
    typer_context.ensure_object(CommandContext).add(config, set_, debug=debug)
