"""Where a report is downloaded to: a file that is complete or absent, or a stream as it arrives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from adapter.cli.output import counting_bytes, note
from adapter.cli.output_file import is_stream, opened, partial_file
from adapter.provider.report_file import PIECE_BYTES, temporary_file
from adapter.provider.report_source import DownloadWatcher

if TYPE_CHECKING:
    from adapter.protocol.credentials import Merchant
    from adapter.protocol.order_detail import ReportRequest
    from adapter.provider.report_file import ReportFile
    from adapter.provider.report_source import ReportSource

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
        elif is_stream(output):
            stream, file = stack.enter_context(opened(output)), stack.enter_context(temporary_file())
            copy = _StreamCopy(file, stream)
            with counting_bytes(_WHAT, shown=not stream.isatty()) as count:
                download = source.download(merchant, request, into=file, watcher=CommandWatcher(count, copy.grow))
                report = await copy.during(stack.enter_async_context(download))
        else:
            partial = stack.enter_context(partial_file(output))
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
