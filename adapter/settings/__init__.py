"""Reads the settings, once. Only `cli`, `app`, `wiring` and `sink_runner` use them; all other parts receive values."""

from adapter.settings.groups import Settings
from adapter.settings.loading import known_keys, load, variable

__all__ = ["Settings", "known_keys", "load", "variable"]
