"""Reads secrets from files, as Kubernetes mounts them, and explains why one cannot be used."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, overload

from adapter.errors import SettingsError


@overload
def read_secret(path: Path, *, optional: Literal[False] = False, may_be_empty: bool = False) -> str: ...
@overload
def read_secret(path: Path, *, optional: bool, may_be_empty: bool = False) -> str | None: ...
def read_secret(path: Path, *, optional: bool = False, may_be_empty: bool = False) -> str | None:
    """Return the text without outer blanks and newlines; None if the file is optional and does not exist.

    A file without content is an error: it comes from a Secret that was made of an unset variable, and to take it for an
    absent file would switch to other keys.

    Raises SettingsError, never with the text, for a file that is missing, unreadable or empty.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if optional:
            return None
        raise SettingsError(f"The secret file {path} is missing. Add its key to the Secret and its mount.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The secret file {path} cannot be read: {reading_problem(error)}") from None
    if not text and not may_be_empty:
        raise SettingsError(f"The secret file {path} is empty. Put the value into the Secret, or remove the key.")
    return text


SETTING_FILES: Final[Sequence[tuple[str, str]]] = (
    ("kafka", "sasl_password"),
    ("kafka", "oauth_client_id"),
    ("kafka", "oauth_client_secret"),
    ("provider", "proxy_username"),
    ("provider", "proxy_password"),
)
"""Secret files that are settings of their own, each at its dotted key as a path in `secrets_dir`.

Not those that change while the adapter runs: of merchants and platforms (`merchants`), and the signing keys
(`signing_key`).
"""


def read_setting_files(folder: Path) -> tuple[Mapping[str, Mapping[str, str]], tuple[str, ...]]:
    """The values of `SETTING_FILES` that exist, as nested groups; and one sentence for each that cannot be used."""
    tree: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for group, name in SETTING_FILES:
        path = folder / group / name
        try:
            text = read_secret(path, optional=True)
        except SettingsError as error:
            problems += error.problems
            continue
        if text is not None and len(text.splitlines()) > 1:
            problems.append(f"The secret file {path} has {len(text.splitlines())} lines. Put one value into it.")
        elif text is not None:
            tree.setdefault(group, {})[name] = text
    return tree, tuple(problems)


def reading_problem(error: OSError | UnicodeDecodeError) -> str:
    """Why a file or folder cannot be read and, for missing rights, what to do."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text."
    cause = error.strerror or type(error).__name__
    if isinstance(error, PermissionError) and hasattr(os, "getuid"):
        groups = ", ".join(map(str, sorted({os.getgid(), *os.getgroups()})))
        return (
            f"{cause}. This process runs as uid {os.getuid()} with the groups {groups}. Run it as the intended user "
            "(runAsUser), or let one of its groups read the file (fsGroup, defaultMode)."
        )
    return f"{cause}."
