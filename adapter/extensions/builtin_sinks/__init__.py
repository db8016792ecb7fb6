"""The adapter's own sinks, through the same hooks that merchants use; both are off by default.

They are not in `builtin`, because every file of that folder counts in the fingerprint of the mapping.
"""

from __future__ import annotations

from importlib.metadata import version

from adapter.extensions.builtin_sinks.log import LogPlugin
from adapter.extensions.builtin_sinks.webhook_plugin import WebhookPlugin
from adapter.extensions.sources import PluginOrigin, Source


def sink_sources() -> tuple[Source, ...]:
    """Return the plugins `log` and `webhook`, not configured yet."""
    return (
        _source("log", "writes events to the log", LogPlugin()),
        _source("webhook", "posts events to addresses", WebhookPlugin()),
    )


def _source(name: str, where: str, plugin: object) -> Source:
    return Source(
        name=name, origin=PluginOrigin.BUILT_IN, where=where, load=lambda: plugin, version=version("ecticket-adapter")
    )
