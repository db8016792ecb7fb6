"""Lists the secrets of the settings as texts, for those who must not show them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from pydantic import BaseModel, SecretStr

from adapter.settings.groups import Settings

FILE_MAX_BYTES: Final = 64 * 1024
"""A larger file in `secrets_dir` is no secret."""
_URL_PASSWORD: Final = re.compile(r"://[^/?#:\n]*:([^/?#\n]+)@")
PLUGIN_TEXT_MIN_CHARACTERS: Final = 12
"""Of plugins' settings, which do not say what is secret, shorter texts are taken for ordinary words."""


def secret_texts(settings: Settings) -> frozenset[str]:
    """Return every secret: of settings, of the files in `secrets_dir`, of URLs, of private keys and of plugins.

    A secret of several lines is returned line by line. Files that cannot be read are left out.
    """
    texts = {*_of_model(settings), *_of_plugins(settings.plugins.settings)}
    if settings.kafka.ssl_key_file is not None:
        texts.update(_of_file(settings.kafka.ssl_key_file))
    return _lines(texts) | (
        secret_file_texts(settings.secrets_dir) if settings.secrets_dir is not None else frozenset()
    )


def secret_file_texts(folder: Path) -> frozenset[str]:
    """Return the lines of all files in the folder, which need no settings. Files that cannot be read are left out."""
    return _lines({text for path in _files(folder) for text in _of_file(path)})


def _lines(texts: Collection[str]) -> frozenset[str]:
    return frozenset(line.strip() for text in texts for line in text.splitlines() if line.strip())


def _of_model(model: BaseModel) -> Iterator[str]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        for each in value.values() if isinstance(value, Mapping) else (value,):
            if isinstance(each, SecretStr):
                yield each.get_secret_value()
            elif isinstance(each, BaseModel):
                yield from _of_model(each)
            elif isinstance(each, str):
                for password in url_passwords(each):
                    yield from {password, unquote(password)}


def _of_plugins(value: object) -> Iterator[str]:
    if isinstance(value, str) and len(value) >= PLUGIN_TEXT_MIN_CHARACTERS:
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _of_plugins(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _of_plugins(each)


def url_passwords(text: str) -> Iterator[str]:
    """The passwords of the URLs in a text as they are written, also with a blank or an `@` that is not encoded."""
    yield from _URL_PASSWORD.findall(text)


def _files(folder: Path) -> Iterator[Path]:
    """The files of the folder; Kubernetes mounts them as links into a hidden folder, which is left out."""
    try:
        found = sorted(folder.rglob("*"))
    except OSError:
        return
    yield from (path for path in found if not any(part.startswith("..") for part in path.relative_to(folder).parts))


def _of_file(path: Path) -> Iterator[str]:
    try:
        if path.is_file() and path.stat().st_size <= FILE_MAX_BYTES:
            yield path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
