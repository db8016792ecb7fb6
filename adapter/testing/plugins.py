"""Plugin objects as the adapter takes them in: the same manager, the same refusals, and nothing installed gets in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from adapter.extensions.builtin import built_in_sources
from adapter.extensions.manager import Choice, PluginManager


def manager_of(plugins: Mapping[str, object]) -> PluginManager:
    """A manager of these plugins, by name, and of the built-in ones.

    Raises PluginRefused with the message of every plugin that the adapter would refuse.
    """
    found = PluginManager(Choice(objects=plugins), built_in=built_in_sources())
    found.ensure_sound()
    return found


def by_name(*plugins: object, **named: object) -> dict[str, object]:
    """Plugins by name; one without a name gets its module's, its class's or its file's."""
    return {**{name_of(plugin): plugin for plugin in plugins}, **named}


def name_of(plugin: object) -> str:
    """What a plugin that nobody named is called: its module's name without what lies before the last dot."""
    home = plugin.__name__ if inspect.ismodule(plugin) or inspect.isclass(plugin) else type(plugin).__name__
    return home.rpartition(".")[2]
