"""Commands that plugins add; a plugin is loaded only when its name is given.

So the adapter's own commands are as fast as without plugins, and work even if a plugin is broken. In return, options
that select plugins stand before the plugin's name, and `--help` does not list plugin commands (`plugins list` does).
See `docs/decisions/0016-commands-of-plugins.md`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

import typer
from typer.core import TyperCommand, TyperGroup

from adapter.cli.context import CommandContext
from adapter.cli.help import AdapterGroup
from adapter.errors import AdapterError, PluginRejected, SettingsError
from adapter.extensions.command_hook import HOOK, plugin_commands

if TYPE_CHECKING:
    from adapter.extensions.invocation import Implementation
    from adapter.extensions.manager import PluginManager
    from adapter.settings import Settings


class PluginGroup(AdapterGroup):
    """The commands of one plugin; an exception that they raise is reported as the plugin's fault."""

    implementation: Implementation

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # the base is private
        """Run the command. Raises PluginRejected for an exception that is not one of the command line."""
        try:
            result = super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException, AdapterError, OSError):
            raise
        except Exception as error:
            from adapter.extensions.invocation import location_in

            where = location_in(self.implementation.function, error.__traceback__)
            raise self._failed(f"raised {type(error).__name__}{where}", ctx) from error
        if inspect.iscoroutine(result):
            result.close()
            raise self._failed("is a coroutine function; call asyncio.run in a plain one", ctx)
        return result

    def _failed(self, what: str, ctx: typer.Context) -> PluginRejected:
        command = f"{ctx.command_path} {ctx.invoked_subcommand}"
        message = f"Plugin '{self.implementation.plugin}': its command `{command}` {what}."
        return PluginRejected(f"{message} Fix the plugin; --debug in front of its name shows the traceback.")


class RootGroup(AdapterGroup):
    """The adapter's own commands, and those of plugins."""

    def get_command(  # type: ignore[override]  # the base is private
        self, ctx: typer.Context, cmd_name: str
    ) -> TyperCommand | TyperGroup | None:
        """The command of this name, None where neither the adapter nor a plugin has one.

        Raises SettingsError or PluginRejected when a plugin's commands cannot be loaded.
        """
        command = cast(
            "TyperCommand | TyperGroup | None", super().get_command(ctx, cmd_name)
        )  # no other class is added
        return command or _commands_of_plugin(ctx, cmd_name)


def commands_of(plugins: PluginManager, name: str) -> PluginGroup | None:
    """The group with a plugin's commands, None for a plugin that adds none.

    Raises PluginRejected with plugin, hook and cure.
    """
    found = plugin_commands(plugins, name, cls=PluginGroup)
    if found is None:
        return None
    group, implementation = found
    assert isinstance(group, PluginGroup)  # noqa: S101  # the class that was asked for
    group.implementation = implementation
    return group


def _commands_of_plugin(ctx: typer.Context, name: str) -> PluginGroup | None:
    from adapter.wiring import plugin_manager, plugin_selection

    settings = _settings(ctx, name)
    selection = plugin_selection(settings)
    if name not in {source.name for source in selection.sources()}:
        return None
    if name in selection.disabled:
        ctx.fail(f"Plugin '{name}' is switched off. Take its name out of plugins.disabled.")
    plugins = plugin_manager(settings, only=name)
    plugins.raise_if_rejected()
    found = commands_of(plugins, name)
    if found is None:
        ctx.fail(f"Plugin '{name}' has no commands, since it has no hook {HOOK}.")
    return found


def _settings(ctx: typer.Context, name: str) -> Settings:
    """The settings by the options before the plugin's name."""
    given = CommandContext()
    given.add(ctx.params.get("config"), ctx.params.get("set_"), debug=False)
    try:
        return given.settings()
    except SettingsError as error:
        unknown = f"No such command '{name}' of the adapter's own. Fix the settings to look for a plugin's:"
        raise SettingsError(unknown, *error.problems) from error
