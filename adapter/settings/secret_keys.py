"""Finds the keys at which a settings file holds secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from adapter.settings.groups import Settings
from adapter.settings.secret_texts import NAME_ENDING, url_passwords
from adapter.settings.texts import inside, takes_secret

_SECRET_NAME: Final = re.compile(f"{NAME_ENDING}$")
"""Names of plugins' settings that hold secrets; only the plugin knows, and it is not loaded here."""


def secret_keys(content: Mapping[str, object]) -> Iterator[str]:
    """Yield the dotted keys of a settings file at which it holds a secret, in the order of the file.

    A secret is a value of a secret type at any depth, a URL with a password, and of plugins' settings a text or list
    whose name is that of a secret.
    """
    yield from _found(content, Settings, "")


def _found(value: object, annotation: object, key: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _found(below, inside(annotation, str(name)), f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        if any(True for item in value for _ in _found(item, annotation, key)):
            yield key
    elif value is not None and value != "" and _is_secret(value, annotation, key):
        yield key


def _is_secret(value: object, annotation: object, key: str) -> bool:
    if isinstance(value, str) and any(url_passwords(value)):
        return True
    if key.startswith("plugins.settings."):
        return isinstance(value, str) and _SECRET_NAME.search(key.rpartition(".")[2].lower()) is not None
    return takes_secret(annotation)
