"""The secrets of one endpoint: from the settings, and from files, which may change while the adapter runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from adapter.extensions.builtin_sinks.signature import read_secret
from adapter.secret import Secret

_log = logging.getLogger(__name__)


class _Known(Struct, frozen=True, kw_only=True):
    """What a file held when it was last read; `mark` changes with the file."""

    mark: tuple[int, int, int]
    key: Secret[bytes]


class Secrets:
    """Keys from texts and from files; a changed file is read again."""

    def __init__(self, texts: Sequence[str], files: Sequence[Path]) -> None:
        self._keys = [Secret(read_secret(text)) for text in texts]
        self._files = files
        self._read: dict[Path, _Known] = {}

    def now(self) -> list[bytes]:
        """Return the current keys, those of the settings first.

        A file that cannot be used now leaves the secret that was read before. Raises OSError for one that could never
        be read, and ValueError for one that never held a secret.
        """
        return [key.reveal() for key in (*self._keys, *(self._from(file) for file in self._files))]

    def _from(self, file: Path) -> Secret[bytes]:
        known = self._read.get(file)
        try:
            known = self._read[file] = _read_again(file, known)
        except (OSError, ValueError) as error:
            if known is None:
                raise
            _log.warning("webhook-secret-unusable", extra={"detail": str(error)})
        return known.key


def _read_again(file: Path, known: _Known | None) -> _Known:
    """Read the file if it has changed. Raises OSError, and ValueError for a file without a secret."""
    found = file.stat()
    mark = (found.st_mtime_ns, found.st_ino, found.st_size)
    if known is not None and known.mark == mark:
        return known
    try:
        return _Known(mark=mark, key=Secret(read_secret(file.read_text(encoding="utf-8").strip())))
    except ValueError as error:
        raise ValueError(f"{file} holds no secret. {error}") from None
