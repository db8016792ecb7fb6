"""Secrets of settings that are read again from their files while the adapter runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adapter.errors import SettingsError
from adapter.secret import Secret
from adapter.settings.secret_files import read_secret


class ReloadedSecrets:
    """The current values of some settings of one group, each of which may be a secret file.

    `given` are the values of the start. One that came from its file follows the file; one that came from a source with
    precedence over files stays. A file that cannot be read leaves the last value in use.
    """

    def __init__(self, given: Mapping[str, str], folder: Path | None) -> None:
        """Take the values of the start, and the folder of the group's files, if there is one."""
        self._values = {name: Secret(text) for name, text in given.items()}
        self._files = {} if folder is None else {name: folder / name for name in given}
        self._files = {name: path for name, path in self._files.items() if self._read(path) == given[name]}

    def __call__(self) -> Mapping[str, str]:
        """Read the files and return the current values."""
        for name, path in self._files.items():
            text = self._read(path)
            self._values[name] = self._values[name] if text is None else Secret(text)
        return {name: value.reveal() for name, value in self._values.items()}

    @staticmethod
    def _read(path: Path) -> str | None:
        try:
            return read_secret(path, optional=True)
        except SettingsError:
            return None
