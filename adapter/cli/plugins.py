"""`plugins list`: which plugins are loaded, from where, with which hooks, and which were refused."""

from __future__ import annotations

import typer

from adapter.cli.help import group
from adapter.cli.invocation import Invocation, Json, command
from adapter.cli.output import note, print_json, print_table


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the group."""
    examples = ("ecticket-adapter plugins list", "ecticket-adapter plugins list --set plugins.paths=family.py")
    plugins = group("Look at plugins: merchants' own code for mapping and notifications.", examples[:1])
    command(plugins, "list", examples=examples)(list_)
    app.add_typer(plugins, name="plugins", rich_help_panel=panel)


def list_(invocation: Invocation, json: Json = False) -> int:
    """List the plugins in the order in which they are asked; exit code 1 when one was refused."""
    from adapter.wiring import plugin_manager

    plugins = plugin_manager(invocation.settings())
    if json:
        print_json(
            {
                "plugins": [
                    {
                        "name": found.name,
                        "version": found.version,
                        "origin": found.origin,
                        "where": found.where,
                        "hooks": list(found.hooks),
                    }
                    for found in plugins.describe()
                ],
                "refused": [
                    {"name": refusal.name, "where": refusal.where, "message": refusal.message}
                    for refusal in plugins.refusals
                ],
                "warnings": list(plugins.warnings),
                "fingerprint": plugins.fingerprint,
            }
        )
    else:
        rows = (
            (found.name, found.version, found.origin, ", ".join(found.hooks), found.where)
            for found in plugins.describe()
        )
        print_table(("name", "version", "origin", "hooks", "from"), rows)
    for sentence in (*plugins.warnings, *(refusal.message for refusal in plugins.refusals)):
        note(sentence)
    return 1 if plugins.refusals else 0
