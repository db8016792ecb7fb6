"""Explains errors of the machine on which a command runs: disks, folders, streams, memory, network, packages.

They are not defects of the adapter, so each explanation says what happened and what to do. It names paths and never
content. The adapter's own errors explain themselves (`errors`).
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FULL = "The disk is full. Free some space, or write to another disk."
_NETWORK = "Check the network, the host and the port."
_CURES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "The disk quota is used up. Free some space, or write to another disk.",
    errno.EFBIG: "The file has reached the size limit (ulimit -f). Raise the limit.",
    errno.EROFS: "The file system is read-only. Mount it writable, or use another path.",
    errno.EACCES: "This user has no permission. Check the path and its permissions.",
    errno.EPERM: "This user has no permission. Check the path and its permissions.",
    errno.ENOENT: "Check that the path and the folders above it exist.",
    errno.ENOTDIR: "A part of this path is a file, and a folder is needed. Correct the path.",
    errno.EISDIR: "This is a folder, and a file is needed. Correct the path.",
    errno.EEXIST: "Remove the existing file or folder, or use another path.",
    errno.ENOTEMPTY: "Remove the existing file or folder, or use another path.",
    errno.ELOOP: "A symbolic link leads back to itself. Correct the path.",
    errno.ENAMETOOLONG: "The path is too long. Use a shorter one.",
    errno.EMFILE: "This process has too many open files (ulimit -n). Raise the limit.",
    errno.ENFILE: "This machine has too many open files. Close some, or raise its limit.",
    errno.ENOMEM: "There is not enough memory. Give this process more.",
    errno.EAGAIN: "This process has reached a limit of the machine (ulimit -u). Raise the limit.",
    errno.EIO: "The disk or terminal reports errors. Check it.",
    errno.EBADF: "A standard stream of this process was closed. Start the process with open streams.",
    errno.EADDRINUSE: "Another program listens at this address. Choose another port, 0 for a free one.",
    errno.EADDRNOTAVAIL: "This machine has no such address. Correct the host.",
    errno.EAFNOSUPPORT: "This machine has no addresses of that kind (IPv6). Use another host.",
    **dict.fromkeys((errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT), _NETWORK),
    **dict.fromkeys((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN), _NETWORK),
}
"""What to do about each error of the operating system."""
_ANY = "Check the disk, the paths and the limits of this process."


def explain(error: BaseException) -> tuple[str, str] | None:
    """Return what happened and what to do; None if the machine did not cause the error."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(explain, error.exceptions)), None)
    if isinstance(error, MemoryError):
        return "There is not enough memory.", "Give this process more memory, or request less data at once."
    if isinstance(error, ImportError):
        return (
            f"A Python package cannot be loaded: {error.name or 'its name is not known'}.",
            "Install the adapter again: pip install --force-reinstall ecticket-adapter",
        )
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return "No further thread can be started.", _CURES[errno.EAGAIN]
    package = _broken_package(error)
    if package is not None:
        return (
            f"The file entry_points.txt of the installed package {package} cannot be read. Every Python program with "
            "plugins reads it at its start.",
            "Install that package again, or remove it.",
        )
    if type(error).__module__.partition(".")[0] == "aiokafka":
        return f"The Kafka client failed: {type(error).__name__}.", "Run ecticket-adapter check, and try again."
    if isinstance(error, TimeoutError | ConnectionError) and error.errno is None:  # raised by a library, without errno
        return "A connection was lost, or no answer came in time.", _NETWORK
    if not isinstance(error, OSError) or error.errno is None:
        return None
    if isinstance(error, socket.gaierror):
        return "The name of a host cannot be resolved.", "Check the name, and this machine's DNS."
    what = error.strerror or os.strerror(error.errno)
    where = f"{_path(error.filename)}: " if error.filename is not None else ""
    return f"{where}{what.rstrip('.')}.", _CURES.get(error.errno, _ANY)


def _broken_package(error: BaseException) -> str | None:
    """Return the package whose entry points could not be read, if that caused the error; here or in a library."""
    frames = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
    if importlib.metadata.__file__ not in frames:
        return None
    return next((_name(each) for each in importlib.metadata.distributions() if not _readable(each)), None)


def _readable(distribution: importlib.metadata.Distribution) -> bool:
    try:
        return distribution.entry_points is not None
    except Exception:  # noqa: BLE001  # importlib raises whatever a broken file leads to
        return False


def _name(distribution: importlib.metadata.Distribution) -> str:
    """Return its name, or its folder, because a broken package may have no name."""
    try:
        return str(distribution.metadata["Name"] or distribution.locate_file(""))
    except Exception:  # noqa: BLE001  # no METADATA, or none that can be read
        return str(distribution.locate_file(""))


def _path(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, str | bytes) else str(name)


@contextmanager
def with_path(path: Path) -> Iterator[None]:
    """Add the path to an error of the operating system that has none, such as an error of writing."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def reopen_closed_streams() -> None:
    """Replace standard streams that are closed (`>&-`): reads find the end, and writes are discarded."""
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115  # open until the process ends
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def replace_unencodable_characters() -> None:
    """Print `?` for what the terminal cannot encode, such as half a surrogate pair, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            with suppress(OSError):  # it is flushed first, which may fail
                reconfigure(errors="replace")


def discard_unwritable_output() -> None:
    """Discard output that cannot be written: the interpreter's flush at exit would fail and change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):  # a stream in memory, as in tests
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
