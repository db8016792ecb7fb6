"""Finds secret files that every user of the machine can read.

In a container there is no other user, and Kubernetes writes projected files with mode 0644 into a memory file system of
the pod's own, so nothing is reported there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

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
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    names = ", ".join(found[:3])
    return (f"Every user of this machine can read the secret files {names}{more}. Run chmod -R o-rwx {secrets_dir}.",)


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
