"""Lists the secrets of the settings as texts, for those who must not show them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from pydantic import BaseModel, SecretStr

from adapter.settings.groups import Settings
from adapter.strict_json import parse_json

FILE_MAX_BYTES: Final = 64 * 1024
"""A larger file in `secrets_dir` is no secret."""
_URL_PASSWORD: Final = re.compile(r"://[^/?#:\n]*:([^/?#\n]+)@")
_URL_QUERY: Final = re.compile(r"://[^?#\s]*\?([^#\s]+)")
NAME_ENDING: Final = r"(secret|password|passphrase|token|credential|(api|private|access|hash|signing)_?key)s?"
"""How the name of a plugin's setting ends that holds a secret; only the plugin knows."""
PLUGIN_TEXT_MIN_CHARACTERS: Final = 12
"""Of plugins' settings, which do not say what is secret, shorter texts are taken for ordinary words."""
_SECRET_NAME: Final = re.compile(f"{NAME_ENDING}(_?(file|path)s?)?$")
_WEBHOOK_PREFIX: Final = "whsec_"
"""Before a webhook's secret; what follows is the secret itself."""


def secret_texts(settings: Settings) -> frozenset[str]:
    """Return every secret: of settings, of the files in `secrets_dir`, of URLs, of private keys, of plugins and of the
    environment's variables for proxies and traces.

    A plugin's text counts from `PLUGIN_TEXT_MIN_CHARACTERS` on. One whose name is that of a secret always counts, and
    so does the content of a file that it names. A secret of several lines is returned line by line. Files that cannot
    be read are left out.
    """
    texts = {*_of_model(settings), *_of_plugins(settings.plugins.settings), *_of_environment()}
    if settings.kafka.ssl_key_file is not None:
        texts.update(_of_file(settings.kafka.ssl_key_file))
    return _lines(texts) | (
        secret_file_texts(settings.secrets_dir) if settings.secrets_dir is not None else frozenset()
    )


def secret_file_texts(folder: Path) -> frozenset[str]:
    """Return the lines of all files in the folder, which need no settings. Files that cannot be read are left out."""
    return _lines({text for path in _files(folder) for text in _of_file(path)})


def _lines(texts: Collection[str]) -> frozenset[str]:
    found = {line.strip() for text in texts for line in text.splitlines() if line.strip()}
    return frozenset({*found, *(line.removeprefix(_WEBHOOK_PREFIX) for line in found)})


def _of_model(model: BaseModel) -> Iterator[str]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        for each in value.values() if isinstance(value, Mapping) else (value,):
            if isinstance(each, SecretStr):
                yield each.get_secret_value()
            elif isinstance(each, BaseModel):
                yield from _of_model(each)
            elif isinstance(each, str):
                yield from _of_url(each)


def _of_plugins(value: object, *, named: bool = False) -> Iterator[str]:
    """The texts of plugins' settings; `named` if the name of this value, or one above it, is that of a secret."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _of_plugins(each, named=named or _SECRET_NAME.search(str(name).lower()) is not None)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _of_plugins(each, named=named)
    elif isinstance(value, str):
        inside = _structure(value)
        if inside is not None:
            yield from _of_plugins(inside, named=named)
        elif named or len(value) >= PLUGIN_TEXT_MIN_CHARACTERS:
            yield value
            yield from _of_file(Path(value)) if named else ()


def _structure(text: str) -> object:
    """The list or mapping that a variable of the environment gives as JSON; None for any other text."""
    try:
        return parse_json(text) if text[:1] in ("{", "[") else None
    except ValueError:
        return None


def _of_environment() -> Iterator[str]:
    """Passwords of proxies, and what the exporter of traces sends as headers (`name=value`, comma-separated)."""
    for name, text in os.environ.items():
        if name.lower().endswith("_proxy"):
            yield from _of_url(text if "://" in text else f"http://{text}")
        elif re.fullmatch("OTEL_EXPORTER_OTLP_([A-Z]+_)?HEADERS", name):
            for header in text.split(","):
                value = header.partition("=")[2].strip()
                for each in (value, unquote(value)):
                    yield from (each, each.rpartition(" ")[2])  # without the word Bearer


def url_passwords(text: str) -> Iterator[str]:
    """The passwords of the URLs in a text as they are written, also with a blank or an `@` that is not encoded."""
    yield from _URL_PASSWORD.findall(text)


def _of_url(text: str) -> Iterator[str]:
    """The passwords of URLs and the values of their queries, as they are written and as they are meant."""
    queries = [part for query in _URL_QUERY.findall(text) for part in query.split("&")]
    for each in (*url_passwords(text), *(part.partition("=")[2] or part for part in queries)):
        yield from {each, unquote(each)}


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
