"""`plugins new`: a plugin to begin with, complete, whose test passes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adapter.cli.context import CommandContext, command
from adapter.cli.output import note, print_line
from adapter.cli.system_errors import with_path

Name = Annotated[str, typer.Argument(metavar="NAME", help="The project's name: small letters, digits and hyphens.")]
Into = Annotated[Path, typer.Option("--into", metavar="DIR", help="The folder in which the project's folder is made.")]


def add(plugins: typer.Typer) -> None:
    """Add the command to the group."""
    examples = (
        "ecticket-adapter plugins new family-tickets",
        "ecticket-adapter plugins new family-tickets --into plugins",
    )
    command(plugins, "new", examples=examples)(new)


def new(context: CommandContext, name: Name, into: Into = Path()) -> None:
    """Write a new plugin: a project with a hook, a test that passes, and all that is needed to install it.

    Nothing is overwritten: a folder that is there already stops it.
    """
    from adapter.testing.scaffold import module_name, write_project

    with with_path(into / name):
        folder = write_project(name, into)
    module = module_name(name)
    for file in sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        print_line(str(folder / file))
    note(f"Next: cd {folder}, run pytest, change {module}.py, and ecticket-adapter plugins check {module}.py.")
