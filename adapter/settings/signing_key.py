"""Reads the adapter's own signing keys: from the setting `keys.signing_key` and the file `signing_key`.

One key per line. The first one signs, and all are accepted. To replace a key, add the new one as the second line, and
when every process has read it, move it to the top. The file, in `secrets_dir`, is read again while the adapter runs, as
the merchants' files are.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from adapter.errors import SettingsError
from adapter.settings.merchants import RELOAD_SECONDS
from adapter.settings.secret_files import read_secret

FILE_NAME: Final = "signing_key"
KEY_MIN_CHARACTERS: Final = 32


class SigningKeyTexts:
    """Returns the current keys as texts, those of the setting first."""

    def __init__(
        self,
        setting: str | None,
        secrets_dir: Path | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._setting = _lines(setting or "")
        self._path = secrets_dir / FILE_NAME if secrets_dir is not None else None
        self._monotonic = monotonic
        self._from_file: tuple[str, ...] = ()
        self._read_at = float("-inf")

    def __call__(self) -> tuple[str, ...]:
        """Return the current keys. If the file is unreadable or a key in it too short, the last ones stay."""
        now = self._monotonic()
        if now - self._read_at >= RELOAD_SECONDS:
            self._read_at = now
            with contextlib.suppress(SettingsError):
                self._from_file = self._read()
        return tuple(dict.fromkeys((*self._setting, *self._from_file)))

    def check(self) -> None:
        """Raise SettingsError for a key that is too short or a file that cannot be read. It never contains a key."""
        _ensure_long_enough(self._setting, "keys.signing_key")
        self._from_file = self._read()

    def _read(self) -> tuple[str, ...]:
        if self._path is None:
            return ()
        found = _lines(read_secret(self._path, optional=True) or "")
        _ensure_long_enough(found, f"The secret file {self._path}")
        return found


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _ensure_long_enough(keys: tuple[str, ...], where: str) -> None:
    short = [number for number, key in enumerate(keys, 1) if len(key) < KEY_MIN_CHARACTERS]
    if short:
        raise SettingsError(
            f"{where}: line {short[0]} has fewer than {KEY_MIN_CHARACTERS} characters. Make a key with "
            "`openssl rand -hex 32`."
        )
