"""`settings show` and `settings reference`: what is in force, and what there is."""

from __future__ import annotations

import typer

from adapter.cli.context import CommandContext, Json, command
from adapter.cli.help import group
from adapter.cli.output import print_json, print_line


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the group."""
    showing = "ecticket-adapter settings show --config settings.yaml"
    printing = "ecticket-adapter settings reference > settings.md"
    settings = group("Show the settings in force, or all there are.", (showing, printing))
    command(settings, "show", examples=(showing,))(show)
    command(settings, "reference", examples=(printing,))(reference)
    app.add_typer(settings, name="settings", rich_help_panel=panel)


def show(context: CommandContext, json: Json = False) -> None:
    """Show the settings in force, from all their sources; secrets are hidden.

    The YAML can be saved and used as settings file, once the secrets are filled in.
    """
    import yaml

    from adapter.cli.reference_settings import settings_in_force

    settings = settings_in_force(context.settings())
    if json:
        print_json(settings)
    else:
        print_line(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=120).rstrip())


def reference(context: CommandContext, json: Json = False) -> None:
    """Print every setting with its variable, type, default and meaning, as Markdown."""
    from adapter.cli.reference_settings import entries, markdown

    if json:
        print_json([entry.as_json() for entry in entries()])
    else:
        print_line(markdown().rstrip("\n"))
