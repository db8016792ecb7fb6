"""Finds secret files, and a settings file with secrets, that every user of the machine can read.

In a container there is no other user, and Kubernetes writes projected files with mode 0644 into a memory file system of
the pod's own, so nothing is reported there.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from adapter.settings.checks import SettingsIssue
from adapter.settings.groups import SettingsFile

_MARKS_OF_CONTAINERS = ("/.dockerenv", "/run/.containerenv")
_KUBERNETES = "..data"
"""The link by which the kubelet swaps the files of a volume."""


def in_container() -> bool:
    """Whether this process runs in a container."""
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(map(os.path.exists, _MARKS_OF_CONTAINERS))


def exposed_files(secrets_dir: Path | None, *, contained: bool) -> tuple[str, ...]:
    """Return one sentence about the files below `secrets_dir` that every user can read; none in a container."""
    if secrets_dir is None or contained or not _is_open(secrets_dir):
        return ()
    found = [str(path) for path in _files(secrets_dir) if path.stat().st_mode & stat.S_IROTH]
    if not found:
        return ()
    names = _first_of(found)
    return (f"Every user of this machine can read the secret files {names}. Run chmod -R o-rwx {secrets_dir}.",)


def exposed_settings_file(file: SettingsFile | None, *, contained: bool) -> tuple[SettingsIssue, ...]:
    """Return an issue if every user can read the settings file and it holds secrets; none in a container."""
    if file is None or contained or not file.secret_keys or not _is_readable(file.path):
        return ()
    message = f"Every user of this machine can read the settings file {file.path}, which holds the secrets"
    return (
        SettingsIssue(
            level="warning",
            key=file.secret_keys[0],
            message=f"{message} {_first_of(file.secret_keys)}.",
            cure=f"Run chmod o-rwx {shlex.quote(str(file.path))}, or move the secrets into secret files.",
        ),
    )


def _first_of(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _is_readable(file: Path) -> bool:
    """Whether every user reaches the file and can read it, outside of volumes of Kubernetes."""
    try:
        resolved = file.resolve(strict=True)
        if any((folder / _KUBERNETES).is_symlink() for folder in (file.absolute().parent, *resolved.parents[:2])):
            return False
        return _is_open(resolved.parent) and bool(resolved.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _is_open(folder: Path) -> bool:
    """Whether every user may pass through the folder and all folders above it."""
    try:
        resolved = folder.resolve()
        return all(each.stat().st_mode & stat.S_IXOTH for each in (resolved, *resolved.parents))
    except OSError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    """The files that every user reaches, outside of volumes of Kubernetes."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    if any(entry.name == _KUBERNETES for entry in entries):
        return
    for entry in entries:
        if entry.is_dir() and entry.stat().st_mode & stat.S_IXOTH:
            yield from _files(entry)
        elif entry.is_file():
            yield entry
