"""The adapter's own mapping, through the same hooks that merchants use.

One of two plugins is always loaded, runs without a thread, and is called after all merchants' plugins: with a catalogue
the catalogue decides, without one the sku is the item number.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adapter.extensions.builtin.catalogue import CataloguePlugin
from adapter.extensions.builtin.sku_is_item_no import SkuIsItemNo
from adapter.extensions.sources import PluginOrigin, Source


def built_in_sources(catalogue: Path | None = None) -> tuple[Source, ...]:
    """Return the built-in plugins for this value of `submit.catalogue`.

    Raises SettingsError with one sentence for each error in the catalogue.
    """
    if catalogue is None:
        return (_source("builtin.sku_is_item_no", "the sku is the item number", SkuIsItemNo()),)
    return (_source("builtin.catalogue", f"catalogue {catalogue}", CataloguePlugin.read(catalogue)),)


def _source(name: str, where: str, plugin: object) -> Source:
    return Source(name=name, origin=PluginOrigin.BUILT_IN, where=where, load=lambda: plugin, version=_own_version())


def _own_version() -> str | None:
    try:
        return version("ecticket-adapter")
    except PackageNotFoundError:  # the checkout is not installed
        return None
