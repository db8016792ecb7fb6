"""Builds a plugin manager from plugin objects; validation is the adapter's own, and installed plugins are ignored.

A plugin's tests pass it as an object while it is also installed where they run. It must not be found twice.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

from adapter.extensions.builtin import built_in_sources
from adapter.extensions.manager import PluginManager, PluginSelection
from adapter.extensions.sources import Source, from_objects

Sections = Mapping[str, Mapping[str, object]]
"""Settings of plugins, by plugin name, as below `plugins.settings`."""


class OnlyObjects(PluginSelection):
    """The given plugins, and no others."""

    def sources(self) -> Iterator[Source]:
        """The given plugins."""
        yield from from_objects(self.objects)


def manager_of(plugins: Mapping[str, object], settings: Sections | None = None) -> PluginManager:
    """A manager of these plugins, by name, and of the built-in ones, configured with these settings.

    Raises PluginRejected with one message for each plugin that the adapter would reject, and SettingsError if only
    settings are wrong.
    """
    found = PluginManager(OnlyObjects(objects=plugins, settings=settings or {}), built_in=built_in_sources())
    found.raise_if_rejected()
    return found


def by_name(*plugins: object, **named: object) -> dict[str, object]:
    """Plugins by name; a plugin without a name gets that of its module or class."""
    return {**{name_of(plugin): plugin for plugin in plugins}, **named}


def name_of(plugin: object) -> str:
    """The default name of a plugin: its module's name after the last dot, or its class's name."""
    home = plugin.__name__ if inspect.ismodule(plugin) or inspect.isclass(plugin) else type(plugin).__name__
    return home.rpartition(".")[2]
