"""Lists the commands in the order of the help, and the options before them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from adapter.cli import (
    catalogue,
    check,
    dead_letters,
    demo,
    explain,
    hold,
    issue,
    plugins,
    query,
    reconcile,
    reissue,
    report,
    resolve,
    run,
    schemas,
    settings,
    support_bundle,
    topics,
)
from adapter.cli.context import CommandContext, Config, Debug, Overrides
from adapter.cli.help import examples_text
from adapter.cli.output import print_line
from adapter.cli.plugin_commands import RootGroup

NAME = "ecticket-adapter"

RUNNING = "Running"
OPERATING = "Operating"
ECTICKET = "Querying ECTicket"
SETTING_UP = "Setting up"


def build_app() -> typer.Typer:
    """All commands."""
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
    parts: tuple[tuple[Callable[..., None], str], ...] = (
        (run.add, RUNNING),
        (demo.add, RUNNING),
        (check.add, OPERATING),
        (explain.add, OPERATING),
        (dead_letters.add, OPERATING),
        (resolve.add, OPERATING),
        (reissue.add, OPERATING),
        (reconcile.add, OPERATING),
        (hold.add, OPERATING),
        (support_bundle.add, OPERATING),
        (query.add, ECTICKET),
        (report.add, ECTICKET),
        (issue.add, ECTICKET),
        (catalogue.add, ECTICKET),
        (settings.add, SETTING_UP),
        (topics.add, SETTING_UP),
        (plugins.add, SETTING_UP),
        (schemas.add, SETTING_UP),
    )
    for add, panel in parts:
        add(app, panel=panel)
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
