"""The secrets of one endpoint: from the settings, and from files, which may change while the adapter runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adapter.extensions.builtin_sinks.signature import read_secret


class Secrets:
    """Keys from texts and from files; a changed file is read again."""

    def __init__(self, texts: Sequence[str], files: Sequence[Path]) -> None:
        self._keys = [read_secret(text) for text in texts]
        self._files = files
        self._read: dict[Path, tuple[tuple[int, int, int], bytes]] = {}

    def now(self) -> list[bytes]:
        """Return the current keys, those of the settings first.

        Raises OSError for a file that cannot be read, and ValueError for one that holds no secret.
        """
        return [*self._keys, *(self._from(file) for file in self._files)]

    def _from(self, file: Path) -> bytes:
        found = file.stat()
        mark = (found.st_mtime_ns, found.st_ino, found.st_size)
        known = self._read.get(file)
        if known is None or known[0] != mark:
            try:
                known = mark, read_secret(file.read_text(encoding="utf-8").strip())
            except ValueError as error:
                raise ValueError(f"{file} holds no secret. {error}") from None
            self._read[file] = known
        return known[1]
