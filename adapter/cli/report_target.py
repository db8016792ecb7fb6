"""Where a report is downloaded to: a file that is complete or absent, or a stream as it arrives."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from adapter.cli.output import counting_bytes, note
from adapter.cli.system_errors import with_path
from adapter.provider.report_file import PIECE_BYTES, temporary_file
from adapter.provider.report_source import DownloadWatcher

if TYPE_CHECKING:
    from adapter.protocol.credentials import Merchant
    from adapter.protocol.order_detail import ReportRequest
    from adapter.provider.report_file import ReportFile
    from adapter.provider.report_source import ReportSource

STANDARD_OUTPUT = "-"
_WHAT = "of the report"


@asynccontextmanager
async def downloaded(
    source: ReportSource, merchant: Merchant, request: ReportRequest, output: Path | None
) -> AsyncIterator[ReportFile]:
    """Download a report, also to `output` if there is one, and hold it until the body ends.

    The output is complete when the body begins. If the download fails, a file is as it was before.
    """
    async with AsyncExitStack() as stack:
        if output is None:
            with counting_bytes(_WHAT) as count:
                download = source.download(merchant, request, watcher=CommandWatcher(count))
                report = await stack.enter_async_context(download)
        elif _is_stream(output):
            stream, file = stack.enter_context(_opened(output)), stack.enter_context(temporary_file())
            copy = _StreamCopy(file, stream)
            with counting_bytes(_WHAT, shown=not stream.isatty()) as count:
                download = source.download(merchant, request, into=file, watcher=CommandWatcher(count, copy.grow))
                report = await copy.during(stack.enter_async_context(download))
        else:
            partial = stack.enter_context(_partial_file(output))
            with counting_bytes(_WHAT) as count:
                download = source.download(merchant, request, into=partial.file, watcher=CommandWatcher(count))
                report = await stack.enter_async_context(download)
            partial.complete()
        yield report


class CommandWatcher(DownloadWatcher):
    """Prints on standard error how long a command waits, and passes on how much has come."""

    def __init__(self, *on_size: Callable[[int], None]) -> None:
        self._on_size = on_size

    def waiting(self, seconds: float) -> None:
        """Print how long it will take until the download begins."""
        note(f"ECTicket allows one report per merchant and minute; this one begins in {seconds:.0f} s or later.")

    def received(self, size: int) -> None:
        """Pass the size on."""
        for on_size in self._on_size:
            on_size(size)


class _StreamCopy:
    """Copies a growing file to a stream; a slow reader of the stream does not slow the download down."""

    def __init__(self, file: BinaryIO, stream: BinaryIO) -> None:
        self._file = file
        self._stream = stream
        self._size = 0
        self._complete = False
        self._changed = asyncio.Event()

    def grow(self, size: int) -> None:
        """Note that the file has so many bytes."""
        self._size = size
        self._changed.set()

    async def during(self, download: Coroutine[object, object, ReportFile]) -> ReportFile:
        """Copy while the download runs, and until all of it is copied."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy())
                report = await download
                self._complete = True
                self._changed.set()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return report

    async def _copy(self) -> None:
        copied = 0
        while not (self._complete and copied == self._size):
            await self._changed.wait()
            self._changed.clear()
            while piece := os.pread(self._file.fileno(), min(PIECE_BYTES, self._size - copied), copied):
                await asyncio.to_thread(self._write, piece)
                copied += len(piece)

    def _write(self, piece: bytes) -> None:
        self._stream.write(piece)
        self._stream.flush()


class _PartialFile:
    """A file without a name in the folder of its target, whose place it takes when it is complete.

    A process that is killed leaves nothing behind. Where the file system knows no files without names, it has another
    name until then, `.report-*.part`.
    """

    def __init__(self, file: BinaryIO, path: Path | None, target: Path) -> None:
        self.file = file
        self._path = path
        self._target = target

    def complete(self) -> None:
        """Give the file its name; it stays open."""
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
def _partial_file(output: Path) -> Iterator[_PartialFile]:
    target = output.resolve()  # a symbolic link stays one
    partial = _without_name(target) or _with_other_name(target, output)
    try:
        with partial.file, with_path(output):
            yield partial
    finally:
        partial.remove()


def _without_name(target: Path) -> _PartialFile | None:
    """Open a file without a name; None where that cannot be, or where it could not get one later."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None

    def open_nameless(_path: str, _flags: int) -> int:
        return os.open(target.parent, os.O_TMPFILE | os.O_RDWR, 0o666)

    try:
        return _PartialFile(open(target, "w+b", opener=open_nameless), None, target)
    except OSError:
        return None


def _with_other_name(target: Path, output: Path) -> _PartialFile:
    path = _part_of(target)
    try:
        return _PartialFile(path.open("x+b"), path, target)
    except OSError as error:
        error.filename = str(output)
        raise


def _part_of(target: Path) -> Path:
    return target.with_name(f".report-{secrets.token_hex(4)}.part")


def _is_stream(output: Path) -> bool:
    """Whether nothing can be renamed to this: standard output, a device, a pipe."""
    return str(output) == STANDARD_OUTPUT or (output.exists() and not output.is_file())


@contextmanager
def _opened(output: Path) -> Iterator[BinaryIO]:
    """Open a stream past Python's encoding of text; standard output stays open."""
    if str(output) == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        return
    with with_path(output), output.open("wb") as stream:
        yield stream
