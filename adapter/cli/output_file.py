"""The file or stream that a command writes its result to: a file is complete or absent, and a stream is no file."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from adapter.cli.system_errors import with_path

STANDARD_OUTPUT = "-"


class PartialFile:
    """A file without a name in the folder of its target, whose place it takes when it is complete.

    A process that is killed leaves nothing behind. Where the file system knows no files without names, it has another
    name until then, `.ecticket-*.part`.
    """

    def __init__(self, file: BinaryIO, path: Path | None, target: Path) -> None:
        self.file = file
        self._path = path
        self._target = target

    def complete(self) -> None:
        """Give the file its name; it stays open."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if self._path is None:
            self._path = _part_of(self._target)
            descriptor = self.file.fileno()
            # With a descriptor, Python calls linkat, which follows the link to the open file.
            os.link(f"/proc/self/fd/{descriptor}", self._path, src_dir_fd=descriptor)
        self._path.replace(self._target)

    def remove(self) -> None:
        """Remove the file if it was not completed."""
        if self._path is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()


@contextmanager
def partial_file(output: Path, *, mode: int = 0o666) -> Iterator[PartialFile]:
    """Open a file that takes the place of `output` when it is complete; otherwise `output` stays as it was.

    `mode`: its permissions, of which the umask takes some away.
    """
    target = output.resolve()  # a symbolic link stays one
    partial = _without_name(target, mode) or _with_other_name(target, output, mode)
    try:
        with partial.file, with_path(output):
            yield partial
    finally:
        partial.remove()


def _without_name(target: Path, mode: int) -> PartialFile | None:
    """Open a file without a name; None where that cannot be, or where it could not get one later."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None

    def open_nameless(_path: str, _flags: int) -> int:
        return os.open(target.parent, os.O_TMPFILE | os.O_RDWR, mode)

    try:
        return PartialFile(open(target, "w+b", opener=open_nameless), None, target)
    except OSError:
        return None


def _with_other_name(target: Path, output: Path, mode: int) -> PartialFile:
    path = _part_of(target)
    try:
        return PartialFile(open(path, "x+b", opener=lambda name, flags: os.open(name, flags, mode)), path, target)
    except OSError as error:
        error.filename = str(output)
        raise


def _part_of(target: Path) -> Path:
    return target.with_name(f".ecticket-{secrets.token_hex(4)}.part")


def is_stream(output: Path) -> bool:
    """Whether nothing can be renamed to this: standard output, a device, a pipe."""
    return str(output) == STANDARD_OUTPUT or (output.exists() and not output.is_file())


@contextmanager
def opened(output: Path) -> Iterator[BinaryIO]:
    """Open a stream past Python's encoding of text; standard output stays open."""
    if str(output) == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        return
    with with_path(output), output.open("wb") as stream:
        yield stream
