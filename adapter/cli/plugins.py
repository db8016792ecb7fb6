"""`plugins list` and `plugins reference`: show the loaded and rejected plugins, and the hooks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

from adapter.cli import plugin_check, plugin_new
from adapter.cli.context import CommandContext, Json, command
from adapter.cli.help import group
from adapter.cli.output import capture_plugin_output, note, print_json, print_line, print_table

if TYPE_CHECKING:
    from adapter.extensions.manager import PluginManager


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the group of commands."""
    listing = ("ecticket-adapter plugins list", "ecticket-adapter plugins list --set plugins.paths=family.py")
    printing = "ecticket-adapter plugins reference > hooks.md"
    plugins = group(
        "List, check and create plugins: merchants' own code for mapping and notifications.\n\n"
        "For commands that a plugin adds, see: ecticket-adapter PLUGIN --help.",
        (listing[0], printing),
    )
    command(plugins, "list", examples=listing)(list_)
    command(plugins, "reference", examples=(printing,))(reference)
    plugin_check.add(plugins)
    plugin_new.add(plugins)
    app.add_typer(plugins, name="plugins", rich_help_panel=panel)


def list_(context: CommandContext, json: Json = False) -> int:
    """List the plugins in the order in which they are called; exit code 1 if one was rejected.

    This command loads and configures the plugins, as `run` does at its start.
    """
    from adapter.wiring import plugin_manager

    settings = context.settings()
    with capture_plugin_output() as output:
        plugins = plugin_manager(settings)
        commands = plugin_commands_of(plugins)
        if json:
            print_json(_as_json(plugins, commands), to=output)
        else:
            with redirect_stdout(output):
                _show(plugins, commands)
    for sentence in (*plugins.warnings, *(rejection.message for rejection in plugins.rejections), *commands.problems):
        note(sentence)
    return 1 if plugins.rejections or commands.problems else 0


def reference(context: CommandContext) -> None:
    """Print every hook with its kind, meaning, example and arguments, as Markdown."""
    from adapter.cli.reference_hooks import markdown

    print_line(markdown().rstrip("\n"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginCommands:
    """The commands that plugins add, and why some cannot be called."""

    found: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By plugin: each command with its line of help."""
    problems: tuple[str, ...] = ()


def plugin_commands_of(plugins: PluginManager) -> PluginCommands:
    """Return the commands of all plugins."""
    from adapter.cli.commands import build_app
    from adapter.cli.plugin_commands import commands_of
    from adapter.errors import PluginRejected

    root = typer.main.get_group(build_app())
    found, problems = {}, []
    for plugin in plugins.describe():
        try:
            made = commands_of(plugins, plugin.name)
        except PluginRejected as rejected:
            problems.append(str(rejected))
            continue
        if made is not None and plugin.name in root.commands:
            problems.append(
                f"Plugin '{plugin.name}': its commands cannot be called, because the adapter has a command "
                f"named {plugin.name}. Give the plugin another name."
            )
        elif made is not None:
            found[plugin.name] = {name: each.get_short_help_str() for name, each in made.commands.items()}
    return PluginCommands(found=found, problems=tuple(problems))


def _as_json(plugins: PluginManager, commands: PluginCommands) -> Mapping[str, object]:
    from adapter.extensions.hooks import hooks

    return {
        "plugins": [
            {
                "name": found.name,
                "version": found.version,
                "origin": found.origin,
                "source": found.where,
                "hooks": list(found.hooks),
                "commands": list(commands.found.get(found.name, ())),
                "settings_schema": found.settings_schema,
            }
            for found in plugins.describe()
        ],
        "hooks": [
            {"name": hook.name, "kind": hook.kind, "called": _callers(plugins, hook.name)} for hook in hooks().values()
        ],
        "rejected": [
            {"name": rejection.name, "source": rejection.where, "message": rejection.message}
            for rejection in plugins.rejections
        ],
        "warnings": list(plugins.warnings),
        "problems": list(commands.problems),
        "fingerprint": plugins.fingerprint,
    }


def _show(plugins: PluginManager, commands: PluginCommands) -> None:
    from adapter.extensions.hooks import hooks

    loaded = [
        (position, found.name, found.version, found.origin, ", ".join(found.hooks), found.where)
        for position, found in enumerate(plugins.describe(), start=1)
    ]
    rejected = [(None, rejection.name, None, "rejected", None, rejection.where) for rejection in plugins.rejections]
    print_table(("", "name", "version", "origin", "hooks", "source"), [*loaded, *rejected])
    called_hooks = [(hook.name, hook.kind, ", ".join(_callers(plugins, hook.name))) for hook in hooks().values()]
    print_line("")
    print_table(("hook", "kind", "called in this order"), [row for row in called_hooks if row[-1]])
    called = [
        (f"{plugin} {name}", help_line) for plugin, found in commands.found.items() for name, help_line in found.items()
    ]
    if called:
        print_line("")
        print_table(("command", "what it does"), called)


def _callers(plugins: PluginManager, hook: str) -> list[str]:
    return [implementation.plugin for implementation in plugins.implementations[hook]]
