"""Settings are read here, once, and nowhere else; only `cli` and `app` look at them."""

from adapter.settings.groups import Settings
from adapter.settings.loading import known_keys, load, variable

__all__ = ["Settings", "known_keys", "load", "variable"]
