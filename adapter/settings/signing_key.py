"""Reads the adapter's own signing keys: from the setting `keys.signing_key` and the file `signing_key`.

One key per line, of 32 to 100 visible ASCII characters. The first one signs, and all are accepted. To replace a key,
add the new one as the second line, and when every process has read it, move it to the top. The file, in `secrets_dir`,
is read again while the adapter runs, as the merchants' files are.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from adapter.errors import SettingsError
from adapter.secret import Secret
from adapter.settings.merchants import RELOAD_SECONDS
from adapter.settings.secret_files import read_secret

FILE_NAME: Final = "signing_key"
KEY_MIN_CHARACTERS: Final = 32
KEY_MAX_CHARACTERS: Final = 100
"""No key needs more: HMAC-SHA256 has blocks of 64 bytes. Two keys of `openssl rand -hex 32` in one line have 128."""


class SigningKeyTexts:
    """Returns the current keys as texts, those of the setting first."""

    def __init__(
        self,
        setting: str | None,
        secrets_dir: Path | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._setting = _hidden(_lines(setting or ""))
        self._path = secrets_dir / FILE_NAME if secrets_dir is not None else None
        self._monotonic = monotonic
        self._from_file: tuple[Secret[str], ...] = ()
        self._read_at = float("-inf")

    def __call__(self) -> tuple[str, ...]:
        """Return the current keys. If the file is unreadable or a line in it is no key, the last ones stay."""
        now = self._monotonic()
        if now - self._read_at >= RELOAD_SECONDS:
            self._read_at = now
            with contextlib.suppress(SettingsError):
                self._from_file = self._read()
        return tuple(each.reveal() for each in dict.fromkeys((*self._setting, *self._from_file)))

    def check(self) -> None:
        """Raise SettingsError for each line that is no key, and for a file that cannot be read. It never has a key."""
        problems = list(_line_problems([each.reveal() for each in self._setting], "keys.signing_key"))
        try:
            self._from_file = self._read()
        except SettingsError as error:
            problems += error.problems
        if problems:
            raise SettingsError(*problems)

    def _read(self) -> tuple[Secret[str], ...]:
        if self._path is None:
            return ()
        found = _lines(read_secret(self._path, optional=True) or "")
        problems = tuple(_line_problems(found, f"The secret file {self._path}"))
        if problems:
            raise SettingsError(*problems)
        return _hidden(found)


def _hidden(keys: Iterable[str]) -> tuple[Secret[str], ...]:
    return tuple(map(Secret, keys))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _line_problems(keys: Iterable[str], where: str) -> Iterator[str]:
    """What is wrong with each line that cannot be one key: too short, too long, or not one word of ASCII.

    Two keys in one line would be a third one, which no other process accepts.
    """
    for number, key in enumerate(keys, 1):
        wrong = _shape_problem(key)
        if wrong:
            yield f"{where}: line {number} {wrong} Make a key with `openssl rand -hex 32`."


def _shape_problem(key: str) -> str | None:
    if not (key.isascii() and key.isprintable() and " " not in key):
        return "holds a blank or a character that is not visible ASCII. Write each key on a line of its own."
    if len(key) < KEY_MIN_CHARACTERS:
        return f"has fewer than {KEY_MIN_CHARACTERS} characters."
    glued = len(key) >= 2 * KEY_MIN_CHARACTERS and "=" in key.rstrip("=")  # the padding of base64 ends a key
    if len(key) > KEY_MAX_CHARACTERS or glued:
        most = f"a key has at most {KEY_MAX_CHARACTERS}"
        return f"has {len(key)} characters and looks like two keys ({most}). Write each key on a line of its own."
    return None
