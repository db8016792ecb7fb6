"""Plugin objects as the adapter takes them in: the same manager and the same refusals, and nothing installed gets in.

A plugin's own tests give it as an object, while it is also installed where they run: there it is not to be found twice.
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
    """The plugins that are given, and no others."""

    def sources(self) -> Iterator[Source]:
        """Those that are given."""
        yield from from_objects(self.objects)


def manager_of(plugins: Mapping[str, object], settings: Sections | None = None) -> PluginManager:
    """A manager of these plugins, by name, and of the built-in ones; configured with these settings.

    Raises PluginRefused with the message of every plugin that the adapter would refuse, SettingsError where nothing but
    settings is wrong.
    """
    found = PluginManager(OnlyObjects(objects=plugins, settings=settings or {}), built_in=built_in_sources())
    found.raise_if_rejected()
    return found


def by_name(*plugins: object, **named: object) -> dict[str, object]:
    """Plugins by name; one without a name is called as its module or class is."""
    return {**{name_of(plugin): plugin for plugin in plugins}, **named}


def name_of(plugin: object) -> str:
    """What a plugin is called that nobody named: as its module without what lies before the last dot, or its class."""
    home = plugin.__name__ if inspect.ismodule(plugin) or inspect.isclass(plugin) else type(plugin).__name__
    return home.rpartition(".")[2]
