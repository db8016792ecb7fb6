"""The commands that a plugin adds with its hook `add_commands`. Does not run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.errors import PluginRejected
from adapter.extensions.bounded_threads import call_provider_hook

if TYPE_CHECKING:
    from typer.core import TyperGroup

    from adapter.extensions.invocation import Implementation
    from adapter.extensions.manager import PluginManager

HOOK = "add_commands"


def plugin_commands(
    plugins: PluginManager, name: str, *, cls: type[TyperGroup] | None = None
) -> tuple[TyperGroup, Implementation] | None:
    """Return the group of a plugin's commands, of class `cls`, and the hook that added them; None if it has none.

    Raises PluginRejected with plugin, hook and cure.
    """
    import typer  # the import takes 0.1 s, and most processes do not need it
    from typer.core import TyperGroup
    from typer.main import get_group

    implementations = [each for each in plugins.implementations[HOOK] if each.plugin == name]
    if not implementations:
        return None
    cli = typer.Typer(name=name, help=f"Commands of plugin {name}.", no_args_is_help=True, cls=cls or TyperGroup)
    for implementation in implementations:
        call_provider_hook(implementation, {"cli": cli})
    try:
        return get_group(cli), implementations[0]
    except Exception as error:
        problem = f"adds what typer cannot turn into a command: {type(error).__name__}: {error}"
        message = implementations[0].describe(problem)
        raise PluginRejected(f"{message}. Fix the plugin, or put its name into plugins.disabled.") from error
