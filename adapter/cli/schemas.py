"""`schemas write` and `schemas check`: the JSON Schemas of events and their AsyncAPI document, as files."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from adapter.cli.context import CommandContext, command
from adapter.cli.help import group
from adapter.cli.output import note, print_line
from adapter.cli.system_errors import with_path

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the schemas.")]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the group."""
    writing, checking = "ecticket-adapter schemas write /tmp/schemas", "ecticket-adapter schemas check /tmp/schemas"
    schemas = group("JSON Schemas and AsyncAPI document of the events that come in and go out.", (writing, checking))
    command(schemas, "write", examples=(writing,))(write)
    command(schemas, "check", examples=(checking,))(check)
    app.add_typer(schemas, name="schemas", rich_help_panel=panel)


def write(context: CommandContext, folder: Folder = Path("schemas")) -> None:
    """Write a file for each schema, and an AsyncAPI document of all topics and events.

    The document takes its examples from DIR, where they lie as SCHEMA/examples/valid*.json.
    """
    from adapter.cli.schema_folder import published_files

    files = published_files(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with with_path(folder / name):
            (folder / name).write_text(text, encoding="utf-8")
        print_line(str(folder / name))


def check(context: CommandContext, folder: Folder = Path("schemas")) -> int:
    """Show which files differ from what this version writes; exit code 1 if any does."""
    from adapter.cli.schema_folder import published_files

    current = published_files(folder)
    differences, foreign = tuple(_differences(folder, current)), tuple(_foreign(folder, current))
    for each in (*differences, *foreign):
        note(each)
    if differences:
        note(f"Write them again with: ecticket-adapter schemas write {shlex.quote(str(folder))}")
    if differences or foreign:
        return 1
    print_line(f"The schemas in {folder} are current.")
    return 0


def _differences(folder: Path, current: Mapping[str, str]) -> Iterator[str]:
    for name, text in current.items():
        path = folder / name
        if not path.is_file():
            yield f"{path} is missing."
        elif path.read_text(encoding="utf-8", errors="replace") != text:
            yield f"{path} differs from what this version reads and publishes."


def _foreign(folder: Path, current: Mapping[str, str]) -> Iterator[str]:
    for path in sorted(folder.glob("*.json")):
        if path.name not in current:
            yield f"{path} is no schema of this version. Remove it."
