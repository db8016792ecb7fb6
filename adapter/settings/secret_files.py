"""Reads one secret from one file, as Kubernetes mounts them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

from adapter.errors import SettingsError


@overload
def read_secret(path: Path, *, optional: Literal[False] = False) -> str: ...
@overload
def read_secret(path: Path, *, optional: bool) -> str | None: ...
def read_secret(path: Path, *, optional: bool = False) -> str | None:
    """Return the text without outer blanks and newlines; None if the file is optional and does not exist.

    Raises SettingsError, never with the text, for a file that is missing or unreadable.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if optional:
            return None
        raise SettingsError(f"The secret file {path} is missing.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The secret file {path} cannot be read: {_why(error)}.") from None


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is not UTF-8 text"
